"""One HTTP exchange with a camera, read as loosely as cameras write and no further than we can bear.

Own code, because the libraries at hand hold to the letter of HTTP, and cameras do not: head lines without a name, lengths that
are wrong in either direction, status lines without a reason. What is read is bounded in size (as sent, and undone), in time and
in the number of its pieces, and between two pieces everything else in the process gets its turn.

Source of the forms: RFC 9112; of the deviations: the tables in ``tests/integration/test_camera_http.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.cameras.http.door import Place
from gateway.domain.errors import Unavailable

PIECE = 8 << 10
"""Bytes taken at a time: in chunks of one byte, the most costly form, they take some 5 ms."""

CONNECT_S = 1.5
"""For the connection alone: one lost packet is sent again after 1 s."""

LARGEST_HEAD = 32 << 10
"""Bytes of status line and head lines; cameras send some 300."""

MOST_CHUNKS = 1 << 18
"""Pieces of a chunked body: a picture of 10 MB in pieces of 40 bytes."""

MOST_INTERIM = 4
"""Answers with 1xx before the one that counts."""

LINGER_S = 0.5
"""How long more is waited for behind a length that was named, where what came is not whole."""

_STATUS = re.compile(rb"\s*(?:HTTP|RTSP|ICY)(?:/[0-9.]*)?[ \t]+([1-9][0-9]{2})(?![0-9])", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]{0,256})?\r?\n")
_CHUNK_LONGEST = 300


class Unreached(Unavailable):
    """Nothing at that place takes a connection."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, head lines (names in lower case, each with all its values) and body, its encoding undone."""

    status: int
    head: dict[str, list[str]]
    body: bytearray
    asked_s: float
    """When the request went out, and when the answer began, by the loop's clock."""
    began_s: float

    def first(self, name: str) -> str:
        """The first value of a head line, empty if there is none."""
        return self.head.get(name, [""])[0]


def no_end(_: bytearray) -> bool:
    """For bodies that do not tell their own end."""
    return False


async def exchange(
    place: Place,
    method: str,
    *,
    head: Mapping[str, str],
    body: bytes = b"",
    largest: int,
    whole: Callable[[bytearray], bool] = no_end,
) -> Reply:
    """Connect, send, read one answer, close. ``whole`` says of what came whether it is all that is wanted: then it counts,
    whatever length was named. The caller bounds the time.

    Raises :class:`Unreached` where nothing listens, ``Unavailable`` in words for all else.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                place.host, place.port, limit=PIECE, ssl=camera_tls() if place.scheme == "https" else None
            )
    except TimeoutError:
        raise Unreached(f"it takes no connection within {CONNECT_S} s") from None
    except ssl.SSLError as exc:
        raise Unreached(f"no TLS connection is made there ({exc.reason or 'the handshake failed'})") from exc
    except OSError as exc:
        raise Unreached(f"it cannot be reached ({why(exc)})") from exc
    try:
        asked_s = loop.time()
        with contextlib.suppress(ConnectionError):  # it may have answered before it closed
            writer.write(_request(place, method, head, body))
            await writer.drain()
        return await _reply(reader, asked_s, largest, whole)
    except OSError as exc:
        raise Unavailable(f"the connection broke off ({why(exc)})") from exc
    finally:
        writer.transport.abort()


def why(exc: OSError) -> str:
    """An error of the network in the system's own words, never the name of a class."""
    if isinstance(exc, ConnectionResetError):
        return "reset by the other side"
    return exc.strerror or "the network refused"


@functools.cache
def camera_tls() -> ssl.SSLContext:
    """Cameras make their own certificates, and old ones speak old versions: this hides what is said, and proves nobody."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0)
    return context


def _request(place: Place, method: str, head: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"{method} {place.target} HTTP/1.1",
        f"Host: {place.authority}",
        "User-Agent: campus-gateway",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        *(f"{name}: {value}" for name, value in head.items()),
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _reply(
    reader: asyncio.StreamReader, asked_s: float, largest: int, whole: Callable[[bytearray], bool]
) -> Reply:
    source = _Source(reader)
    for _ in range(MOST_INTERIM + 1):
        status, head = await _head(source)
        if status >= 200:
            break
    else:
        raise Unavailable("it answers with interim answers only (1xx)")
    began_s = asyncio.get_running_loop().time()
    body = _Body(head.get("content-encoding", [""])[0], largest, whole)
    if 200 <= status != 204 and status != 401 and not 300 <= status < 400:  # of the others the head says all
        if "chunked" in head.get("transfer-encoding", [""])[-1].lower():
            await _chunked(source, body)
        else:
            await _plain(source, body, head.get("content-length", [""])[0])
    return Reply(status, head, body.data, asked_s, began_s)


class _Source:
    """What comes, piece by piece; ``held`` is what has not been used yet."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.held = bytearray()

    async def more(self) -> bool:
        """Take the next piece; ``False`` at the end."""
        piece = await self._reader.read(PIECE)
        await asyncio.sleep(0)  # a fast sender would have the loop for itself
        self.held += piece
        return bool(piece)

    def take(self, most: int | None = None) -> bytearray:
        if most is None or most >= len(self.held):
            piece, self.held = self.held, bytearray()
            return piece
        piece = self.held[:most]
        del self.held[:most]
        return piece


async def _head(source: _Source) -> tuple[int, dict[str, list[str]]]:
    while (found := head_of(source.held)) is None:
        if len(source.held) > LARGEST_HEAD:
            raise Unavailable(f"the head of its answer exceeds {LARGEST_HEAD >> 10} KiB")
        if not await source.more():
            raise Unavailable(
                "it closes the connection without an answer"
                if not source.held
                else "its answer is no HTTP, or breaks off in its head"
            )
    if found[0] == 0:
        raise Unavailable("its answer is no HTTP")
    return found


def head_of(held: bytearray) -> tuple[int, dict[str, list[str]]] | None:
    """Status and head lines (names in lower case, each with all its values), taken out of what is held; ``None`` while they are
    not whole. The status is 0 where the first line is none."""
    end = _HEAD_END.search(held)
    if end is None:
        return None
    lines, behind = bytes(held[: end.start()]).split(b"\n"), end.end()
    del end
    del held[:behind]
    head: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon and _NAME.fullmatch(name.strip()):  # anything else is passed over
            text = value.strip().decode("utf-8", "replace")
            head.setdefault(name.strip().decode().lower(), []).append(text)
    status = _STATUS.match(lines[0])
    return int(status[1]) if status is not None else 0, head


class _Body:
    """What came, its encoding undone, up to the largest; ``done`` once it is whole by its own word."""

    def __init__(self, encoding: str, largest: int, whole: Callable[[bytearray], bool]) -> None:
        self.data = bytearray()
        self._largest, self._whole = largest, whole
        self._undo = None
        if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
            self._undo = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._began = False
        self.sent = 0

    def add(self, piece: bytes | bytearray) -> bool:
        """Take a piece; ``True`` once nothing more is wanted. Raises ``Unavailable`` where it is too large or is no such code."""
        self.sent += len(piece)
        if self._undo is None:
            self.data += piece
        else:
            self.data += self._undone(piece)
        if len(self.data) > self._largest:
            raise Unavailable(f"its answer exceeds {_size(self._largest)}")
        return self._whole(self.data)

    def _undone(self, piece: bytes | bytearray) -> bytes:
        assert self._undo is not None
        room, began, self._began = self._largest + 1 - len(self.data), self._began, True
        with contextlib.suppress(zlib.error):
            return self._undo.decompress(piece, room)
        try:  # "deflate" is by its definition wrapped, and often is not
            if not began:
                self._undo = zlib.decompressobj(-zlib.MAX_WBITS)
                return self._undo.decompress(piece, room)
        except zlib.error:
            pass
        raise Unavailable("its answer is said to be compressed, and cannot be undone")


def _size(largest: int) -> str:
    return f"{largest >> 20} MB" if largest >= 1 << 20 else f"{largest >> 10} KiB"


async def _plain(source: _Source, body: _Body, named: str) -> None:
    """A body up to the length that was named; up to the end of the connection where none was, or where that is too short."""
    length = int(named) if named.isascii() and named.isdigit() and len(named) < 12 else None
    if body.add(source.take()):
        return
    while length is None or body.sent < length:
        if not await source.more() or body.add(source.take()):
            return
    await _linger(source, body)


async def _linger(source: _Source, body: _Body) -> None:
    """What comes behind the length that was named, as long as it comes at once."""
    with contextlib.suppress(TimeoutError, OSError):
        while True:
            async with asyncio.timeout(LINGER_S):
                if not await source.more():
                    return
            if body.add(source.take()):
                return


async def _chunked(source: _Source, body: _Body) -> None:
    """A chunked body; one that only says so, and is not, is read as it is."""
    for number in range(MOST_CHUNKS):
        while (size := _CHUNK.match(source.held)) is None:
            if number and source.held.startswith((b"\r", b"\n")):
                del source.held[:1]
                continue
            if (number or source.held) and (
                len(source.held) > _CHUNK_LONGEST or b"\n" in source.held or not _may_be_chunk(source.held)
            ):
                if number == 0:
                    await _plain(source, body, "")
                return  # what came may be whole all the same
            if not await source.more():
                body.add(source.take())
                return
        left = int(size[1], 16)
        del source.held[: size.end()]
        if left == 0:
            return
        while left:
            piece = source.take(left)
            left -= len(piece)
            if piece and body.add(piece):
                return
            if left and not await source.more():
                return
    raise Unavailable("its answer comes in more pieces than any camera sends")


def _may_be_chunk(held: bytearray) -> bool:
    return re.match(rb"[ \t]*[0-9A-Fa-f]{0,8}[ \t]*(;[^\n]*)?\r?$", held) is not None
