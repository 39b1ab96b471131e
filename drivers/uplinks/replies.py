"""Reading HTTP replies as leniently as they come: the status line is the answer, whatever follows it.

Client libraries refuse a whole reply for one bad header line, which here would send an alarm again that the centre has. What
follows the status line is read where it can be and otherwise reported as lost, with the reason. Everything is bounded.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

MOST_HEAD_BYTES = 64 * 1024  # ours: ten times what servers take themselves
MOST_HINTS = 20  # interim replies (1xx) before the real one
#: A reply without a length ends with its connection. One that stays open instead is not waited for longer.
NO_LENGTH_S = 2.0
MOST_CHUNK_LINE_BYTES = 1024
MOST_ENCODINGS = 3  # stacked by proxies; each has to be undone
#: Three digits after the protocol's name; what follows them, even glued to them, is the reason.
_STATUS_LINE = re.compile(rb"HTTP/\d+(?:\.\d+)?[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")
_CHUNK_BEGUN = re.compile(rb"[ \t]*[0-9A-Fa-f]{0,8}[ \t]*(?:;[^\n]*)?\r?")


class Source(Protocol):
    """Where a reply's bytes come from: what has arrived and was not used, and a wait for more."""

    buffer: bytearray

    async def more(self) -> bool:
        """Wait for further bytes; whether any came before the other side's end. Raises ``OSError`` for a broken connection."""


class NotHttp(Exception):
    """What came is no HTTP reply."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """One HTTP reply. ``lost`` says why a body that was given is not here; ``reusable`` whether the connection is clean at
    the reply's end. Names of ``fields`` are in lower case; a line that is no header is passed over."""

    status: int
    reason: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    lost: str = ""
    reusable: bool = False
    version: tuple[int, int] = (1, 1)

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for known, value in self.fields if known == name]

    def first(self, name: str) -> str:
        """The first value of a header; empty where there is none."""
        return next(iter(self.all(name)), "")


async def read_status(source: Source) -> Reply:
    """Read up to the end of the final status line, past interim replies.

    Raises ``NotHttp`` where something else came, ``EOFError`` if the connection ended before, ``OSError`` if it broke.
    """
    for _ in range(MOST_HINTS):
        line = await _line(source)
        for _ in range(2):  # RFC 9112, 2.2: an empty line or two may stand before
            if line == b"":
                line = await _line(source)
        if line is None:
            raise EOFError
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise NotHttp(f"what came is no HTTP reply: {line[:40]!r}")
        status = int(match[1])
        if not 100 <= status < 200 or status == 101:
            version = (1, 0) if line[5:8] == b"1.0" else (1, 1)
            return Reply(status=status, reason=_text(match[2]), version=version)
        if not await _read_fields(source, Reply(status=status)):
            raise EOFError
    raise NotHttp(f"{MOST_HINTS} interim replies (1xx) and no final one")


async def read_rest(source: Source, reply: Reply, *, method: str, most: int) -> None:
    """Read headers and body into ``reply``, and undo the body's encodings. At most ``most`` bytes of body are kept, packed and
    unpacked; whatever cannot be read is ``lost``. Raises nothing but ``asyncio.CancelledError``: a caller that gives up in
    between has what came until then."""
    reply.lost = "broke off in its head"
    try:
        if not await _read_fields(source, reply):
            return
        reply.lost = "broke off"
        await _read_body(source, reply, method, most)
    except (OSError, EOFError):
        pass
    except NotHttp as exc:
        reply.lost = str(exc)
    if reply.lost:
        reply.body, reply.reusable = b"", False
    elif reply.body:
        _decode(reply, most)


async def _line(source: Source, most: int = MOST_HEAD_BYTES) -> bytes | None:
    """The next line without its end; ``None`` if the connection ended before. Raises ``NotHttp`` for one without end."""
    seen = 0
    while (end := source.buffer.find(b"\n", seen)) < 0:
        seen = len(source.buffer)
        if seen > most:
            raise NotHttp(f"a line of more than {most} bytes")
        if not await source.more():
            return None
    if end > most:
        raise NotHttp(f"a line of more than {most} bytes")
    line = bytes(source.buffer[:end])
    del source.buffer[: end + 1]
    return line.rstrip(b"\r")


async def _read_fields(source: Source, reply: Reply) -> bool:
    """The header lines up to the blank one; whether that came. A line that is none is passed over."""
    left = MOST_HEAD_BYTES
    while True:
        line = await _line(source, left)
        if line is None:
            return False
        if line == b"":
            return True
        left -= len(line) + 1
        if left <= 0:
            raise NotHttp(f"its head has more than {MOST_HEAD_BYTES} bytes")
        if line[:1] in b" \t":
            if reply.fields:  # folded, as RFC 9112, 5.2 has it of old
                name, value = reply.fields[-1]
                reply.fields[-1] = (name, f"{value} {_text(line)}".strip())
            continue
        raw_name, colon, value_bytes = line.partition(b":")
        raw_name = raw_name.rstrip(b" \t")
        if colon and _NAME.fullmatch(raw_name):
            reply.fields.append((raw_name.decode().lower(), _text(value_bytes)))


async def _read_body(source: Source, reply: Reply, method: str, most: int) -> None:
    codings = [c.strip().lower() for v in reply.all("transfer-encoding") for c in v.split(",")]
    length = _length(reply)
    if method == "HEAD" or reply.status in (204, 304):
        reply.lost = ""
        reply.reusable = (method == "HEAD" or not (length or codings)) and _keeps(reply)
        return
    if codings and codings[-1] == "chunked":
        if await _begins_with_chunk(source):
            await _read_chunks(source, reply, most)
            reply.reusable = not reply.lost and length is None and len(codings) == 1 and _keeps(reply)
            return
        if not isinstance(length, int):
            reply.lost = "says that it comes in chunks and does not"
            return
        await _read_counted(source, reply, length, most)  # the other of two lengths then
        return
    if isinstance(length, int):
        await _read_counted(source, reply, length, most)
        reply.reusable = not reply.lost and not codings and _keeps(reply)
        return
    await _read_to_end(source, reply, most)


async def _read_counted(source: Source, reply: Reply, length: int, most: int) -> None:
    if length > most:
        reply.lost = f"is too long and was dropped; at most {most} bytes are read"
        return
    reply.body = await _exactly(source, length)
    reply.lost = ""


async def _begins_with_chunk(source: Source) -> bool:
    """Whether what comes can be the size of a chunk, as soon as that is sure."""
    while _CHUNK_LINE.match(source.buffer) is None:
        if len(source.buffer) > MOST_CHUNK_LINE_BYTES or _CHUNK_BEGUN.fullmatch(source.buffer) is None:
            return False
        if not await source.more():
            return False
    return True


async def _read_chunks(source: Source, reply: Reply, most: int) -> None:
    body = bytearray()
    while True:
        line = await _line(source)
        match = None if line is None else _CHUNK_LINE.match(line + b"\n")
        if match is None:
            reply.lost = "broke off" if line is None else "comes in chunks that cannot be read"
            return
        size = int(match[1], 16)
        if size == 0:
            break
        if len(body) + size > most:
            reply.lost = f"is too long and was dropped; at most {most} bytes are read"
            return
        body += await _exactly(source, size)
        end = await _exactly(source, 1)
        if end != b"\n" and end + await _exactly(source, 1) != b"\r\n":
            reply.lost = "comes in chunks that cannot be read"
            return
    reply.body, reply.lost = bytes(body), ""
    try:  # trailers: whatever they are, or if they never end, the body before them is whole
        async with asyncio.timeout(NO_LENGTH_S):
            ended = await _read_fields(source, Reply(status=reply.status))
    except (NotHttp, TimeoutError, OSError, EOFError):
        ended = False
    if not ended:
        reply.version = (1, 0)  # not to be used again


async def _read_to_end(source: Source, reply: Reply, most: int) -> None:
    try:
        async with asyncio.timeout(NO_LENGTH_S):
            while len(source.buffer) <= most and await source.more():
                pass
    except TimeoutError:
        # Nothing at all came: a server that means "no body" and does not say so.
        reply.lost = f"has no length and did not end within {NO_LENGTH_S:.0f} s" if source.buffer else ""
        return
    if len(source.buffer) > most:
        reply.lost = f"is too long and was dropped; at most {most} bytes are read"
        return
    reply.body, reply.lost = bytes(source.buffer), ""
    source.buffer.clear()


async def _exactly(source: Source, size: int) -> bytes:
    while len(source.buffer) < size:
        if not await source.more():
            raise EOFError
    data = bytes(source.buffer[:size])
    del source.buffer[:size]
    return data


def _length(reply: Reply) -> int | str | None:
    """``Content-Length``: a number, ``None`` where none is given, and what is written where it is no length."""
    values = {v.strip() for given in reply.all("content-length") for v in given.split(",")}
    if not values:
        return None
    value = values.pop()
    if not values and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value or "-"


def _keeps(reply: Reply) -> bool:
    """Whether the other side says nothing against another request on this connection."""
    said = {t.strip().lower() for v in reply.all("connection") for t in v.split(",")}
    if reply.status == 101 or "close" in said:
        return False
    return reply.version != (1, 0) or "keep-alive" in said


def _decode(reply: Reply, most: int) -> None:
    codings = [c.strip().lower() for v in reply.all("content-encoding") for c in v.split(",")]
    codings = [c for c in codings if c not in ("", "identity")]
    undo: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
    strange = next((c for c in codings if c not in undo), "")
    if strange or len(codings) > MOST_ENCODINGS:
        named = strange[:40] or f"{len(codings)} encodings"
        reply.body, reply.lost = (
            b"",
            f"is packed ({named}) as nobody asked for; only gzip and deflate are undone",
        )
        return
    for coding in reversed(codings):
        try:
            reply.body = undo[coding](reply.body, most)
        except (zlib.error, ValueError) as exc:
            reply.body, reply.lost = b"", f"says it is packed ({coding}) and cannot be unpacked: {exc}"
            return


def _gunzip(data: bytes, most: int) -> bytes:
    whole = b""
    while data:  # a stream may have several members (RFC 1952, 2.2); what follows the last one is padding
        if whole and data[:2] != b"\x1f\x8b":
            break
        part, data = _unpacked(data, 31, most - len(whole))
        whole += part
    return whole


def _inflate(data: bytes, most: int) -> bytes:
    """``deflate`` as RFC 9110, 8.4.1.2 has it (in zlib's wrapping) and as many send it (without)."""
    try:
        return _unpacked(data, 15, most)[0]
    except zlib.error:
        return _unpacked(data, -15, most)[0]


def _unpacked(data: bytes, wbits: int, most: int) -> tuple[bytes, bytes]:
    """The first stream in ``data`` unpacked, and what follows it."""
    unpacking = zlib.decompressobj(wbits)
    whole = unpacking.decompress(data, most + 1)
    if len(whole) > most:
        raise ValueError(f"it has more than {most} bytes then")
    if not unpacking.eof:
        raise ValueError("it breaks off")
    return whole, unpacking.unused_data


def _text(raw: bytes) -> str:
    return raw.strip(b" \t\r").decode("utf-8", "replace")
