"""A request body that is read from the object store while it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from drivers.uplinks.wire import Send
from gateway.domain.errors import Refused, Unavailable

PIECE_BYTES = 64 * 1024

Read = Callable[[int, int], AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]]


class Streamed:
    """:class:`drivers.uplinks.wire.Body`: the bytes from ``start`` to ``end`` of an item, for one attempt.

    The last piece is held back until the SHA-256 of all of it is proved, so that altered evidence never arrives as complete.
    ``sent`` counts what was given to the network; ``failure`` says why reading broke off.
    """

    def __init__(
        self,
        read: Read,
        start: int,
        end: int,
        *,
        sha256: str,
        before_each: Callable[[], Awaitable[None]],
        moved: Callable[[], None],
    ) -> None:
        self._read, self._start, self._length = read, start, end - start
        self._sha256 = sha256
        self._before_each, self._moved = before_each, moved
        self.sent = 0
        self.failure = ""

    @property
    def complete(self) -> bool:
        """Whether everything has been given to the network."""
        return self.sent == self._length

    @property
    def size(self) -> int:
        """Bytes that are to be sent."""
        return self._length

    async def write(self, send: Send) -> None:
        """Read and send all of it; raises ``Refused`` or ``Unavailable`` where the store does not give it as it was stored."""
        digest, end = hashlib.sha256(), self._start + self._length
        try:
            async with self._read(self._start, end) as piece:
                while self.sent < self._length:
                    await self._before_each()
                    data = await piece(min(PIECE_BYTES, self._length - self.sent))
                    digest.update(data)
                    last = self.sent + len(data) == self._length
                    if not data or (last and digest.hexdigest() != self._sha256):
                        raise Unavailable("the stored item is not what its record says; tell the technician")
                    # Counted before it is awaited: the answer may be here before this continues.
                    self.sent += len(data)
                    self._moved()
                    await send(data)
                    self._moved()
        except (Refused, Unavailable) as exc:
            self.failure = exc.reason
            raise
