"""The database: transactions over all tables, and what is noted of it outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gateway.domain.loss import Loss
from gateway.ports.alarm_tables import (
    Alarms,
    AnswerItems,
    Contacts,
    DrillWindows,
    EvidenceRows,
    Inbox,
    Messages,
    Requests,
)
from gateway.ports.recording_tables import Deletions, Holds, Recordings, TrustedTimes
from gateway.ports.service_tables import Faults, Register

T = TypeVar("T")


class Transaction(Protocol):
    """All tables as they are at one instant. Synchronous: nothing is awaited while the write lock is held."""

    @property
    def durable(self) -> bool:
        """Whether a commit of it outlives the box's power. Not while the disk takes nothing."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def contacts(self) -> Contacts: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def evidence(self) -> EvidenceRows: ...
    @property
    def messages(self) -> Messages: ...
    @property
    def faults(self) -> Faults: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def windows(self) -> DrillWindows: ...
    @property
    def register(self) -> Register: ...
    @property
    def answer_items(self) -> AnswerItems: ...
    @property
    def recordings(self) -> Recordings: ...
    @property
    def holds(self) -> Holds: ...
    @property
    def deletions(self) -> Deletions: ...
    @property
    def trusted(self) -> TrustedTimes: ...

    def marks(self) -> Mapping[str, int]:
        """By table how many rows were ever written, for those whose rows stay, and ``recorded_until`` (seconds since 1970)."""


class Store(Protocol):
    """The database: the only channel between stages.

    Work runs on the store's own thread, and more than once where a commit fails. What :meth:`write` did is on disk
    (synchronous=FULL) when it returns, or in memory while :attr:`durable` is false; if the work raises, nothing of it is
    kept and the error is passed on. Several writes that wait at the same
    time share one commit. ``Unavailable`` when the disk or the database refuses; then nothing was kept.
    """

    @property
    def durable(self) -> bool:
        """Whether what has returned is on disk."""

    async def until_durable(self) -> None:
        """Return once it is."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction that may change things, and commit."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on a consistent view; it sees every commit that has returned."""

    def write_later(self, work: Callable[[Transaction], None]) -> None:
        """Run ``work`` with the next write that comes, at the latest after a second; may be lost in a crash.
        For what only saves work later."""


class Losses(Protocol):
    """What happened to the database, until a person knows of it."""

    @property
    def forgetful(self) -> bool:
        """Whether something may be missing that was on record: then nothing is deleted."""

    def note_older(self, cause: str) -> None:
        """The database knows less than what was noted of it."""

    async def acknowledge(self) -> Sequence[Loss]:
        """A person knows; what they know of is returned and told no more. ``Unavailable`` where that cannot be kept."""


class Witnesses(Protocol):
    """Places outside the database where it is noted how far it has come. Both methods block."""

    def read(self) -> Sequence[Mapping[str, Any]]:
        """What was noted last in each place that can be read."""

    def write(self, document: Mapping[str, Any]) -> None:
        """Note it in every place. Raises ``OSError``."""
