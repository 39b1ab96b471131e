"""The 110 centre: where messages and evidence go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.domain.message import Answer
from gateway.domain.upload import Put, Upload
from gateway.ports.store import Transaction


class Heard(Protocol):
    """What one answer of the centre says besides that a message was received; nothing of it is applied yet."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing to apply."""

    def apply(self, tx: Transaction) -> None:
        """Apply it within the caller's transaction. May be run again if that could not be committed. What cannot be applied
        changes nothing and is kept as such; raises only what the database raises."""

    def committed(self) -> None:
        """The transaction is on disk: wake who has work by it, and say what was not applied."""

    def failed(self, cause: str) -> None:
        """It could not be applied by a mistake of ours, and was given up so that delivery goes on."""


class Uplink(Protocol):
    """One path to the 110 centre."""

    @property
    def name(self) -> str:
        """The path's name in attempts and faults."""

    async def deliver(
        self,
        message: str,
        body: bytes,
        *,
        drill: bool = False,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Answer:
        """Make one attempt, signed with the drill secret if ``drill``: connect within 3 s, the whole within 10 s. Never raises
        for what the other side or the network does: that is an :class:`Answer` without status. Idempotent for the receiver by
        the message's id. ``answering`` hears the status at once, while the rest of the answer may still be on its way."""


class MediaUplink(Protocol):
    """The place at the 110 centre to which evidence and live pictures are PUT."""

    async def put(
        self,
        upload: Upload,
        read: Callable[[int, int], AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]],
        *,
        resume: bool,
        give_way: Callable[[], Awaitable[None]],
    ) -> Put:
        """Make one attempt at an item, read piece by piece: ``read(start, end)`` opens that span as :meth:`ObjectStore.read`
        does. ``resume`` asks the receiver first what it kept of an earlier attempt. ``give_way`` is awaited before each piece.

        Gives up when nothing has moved for 10 s, never for being large. Never raises for what the other side, the network
        or the store does. Putting the same item again is harmless.
        """

    async def put_part(self, place: str, data: bytes, media_type: str) -> Answer:
        """Put a part of a live picture, within 10 s in all; else as :meth:`put`."""
