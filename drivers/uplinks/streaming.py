"""A request body that is read from the object store while it is sent. Imports aiohttp: load it in a thread, when first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from gateway.domain.errors import Refused, Unavailable

PIECE_BYTES = 64 * 1024

Read = Callable[[int, int], AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]]


class Streamed(Payload):
    """The bytes from ``start`` to ``end`` of an item, for one attempt: the client, which would send an idempotent request again
    by itself, must not send a whole clip again where the receiver has kept nine tenths of it.

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
        content_type: str,
        before_each: Callable[[], Awaitable[None]],
        moved: Callable[[], None],
    ) -> None:
        super().__init__(None, content_type=content_type)
        self._read, self._start, self._length = read, start, end - start
        self._size = self._length  # where the client looks for Content-Length
        self._sha256 = sha256
        self._before_each, self._moved = before_each, moved
        self.sent = 0
        self.failure = ""

    @property
    def complete(self) -> bool:
        """Whether everything has been given to the network."""
        return self.sent == self._length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("evidence is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._consumed = True
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
                    await writer.write(data)
                    self._moved()
        except (Refused, Unavailable) as exc:
            self.failure = exc.reason
            raise
