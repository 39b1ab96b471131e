"""One reading of an object in S3, which a cut connection does not end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from gateway.domain.errors import Refused, Unavailable

if TYPE_CHECKING:
    from storage.objects.s3_calls import S3Calls

log = structlog.get_logger(__name__)

T = TypeVar("T")

RESUMES = 4  # of one reading, without a byte between


class Bucket(Protocol):
    """What a reading needs of the store."""

    async def size(self, key: str, version: str | None) -> int | None:
        """Bytes stored under ``key``, or ``None``."""

    async def ask(self, call: Callable[[S3Calls], T]) -> T:
        """Make a call on a thread for reading, a few times if it does not work now."""

    async def once(self, call: Callable[[S3Calls], T]) -> T:
        """The same, without trying again."""

    def later(self, call: Callable[[], object]) -> None:
        """Make a call there that nobody waits for."""


class Reading:
    """One reading of a range. A connection that is cut is taken up where it ended, if the object is still the same."""

    def __init__(
        self, store: Bucket, key: str, start: int, end: int | None, version: str | None = None
    ) -> None:
        self._store, self._key, self._at, self._end, self._version = store, key, start, end, version
        self._response: Any = None
        self._etag: str | None = None
        self._resumed = 0

    async def open(self) -> None:
        """Ask for the range; ``Unavailable`` if there is no such object."""
        if self._end is not None and self._at >= self._end:
            await self._must_be_there()
            return
        try:
            self._response = await self._store.ask(
                lambda s3: s3.open(self._key, self._at, self._end, self._etag, self._version)
            )
        except Refused as exc:
            code = getattr(exc, "code", "")
            if code == "InvalidRange":
                await self._must_be_there()
            elif code in ("NoSuchKey", "NoSuchVersion"):
                raise Unavailable(f"reading {self._key}: no such object") from exc
            elif code == "PreconditionFailed":
                raise Unavailable(f"reading {self._key}: it was replaced while it was read") from exc
            else:
                raise
            return
        given = self._response.headers.get("content-range") or ""
        if self._at > 0 and not given.startswith(
            f"bytes {self._at}-"
        ):  # the status does not tell: rclone says 200
            self.close()
            raise Unavailable(f"reading {self._key}: the store gives the whole where a range was asked for")
        self._etag = (self._response.headers.get("etag") or "").strip('"') or None

    async def _must_be_there(self) -> None:
        if await self._store.size(self._key, self._version) is None:
            raise Unavailable(f"reading {self._key}: no such object")

    async def piece(self, size: int) -> bytes:
        """The next bytes; ``b""`` at the end."""
        while self._response is not None and size > 0:
            try:
                data = await self._store.once(partial(self._next, self._response, size))
            except Unavailable as exc:
                self.close()
                if self._resumed == RESUMES:
                    raise
                self._resumed += 1
                log.info("s3.reading_resumed", key=self._key, at=self._at, cause=exc.reason)
                await self.open()
                continue
            self._at += len(data)
            if data:
                self._resumed = 0
                return data
            self.close(whole=True)
        return b""

    def _next(self, response: Any, size: int, s3: S3Calls) -> bytes:
        return s3.read(self._key, response, size)

    def close(self, *, whole: bool = False) -> None:
        """Give the connection back if all was read, else close it; on a thread, since a read may still be under way there."""
        response, self._response = self._response, None
        if response is not None:
            self._store.later(response.release_conn if whole else response.close)
