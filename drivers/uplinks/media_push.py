"""Evidence and live pictures on their way to the 110 centre: PUT below one address, with a token and a digest.

What the other side or the network does is an answer, never an exception. A large item may take long, so an attempt is not bounded
as a whole: it is given up when nothing has moved for 10 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.message import Answer
from gateway.domain.upload import Put, Upload

if TYPE_CHECKING:
    import aiohttp

    from drivers.uplinks.streaming import Read, Streamed

CONNECT_S = 3.0  # API.md, "Messages": as for messages
STALLED_S = 10.0  # nothing has moved for so long: the attempt is over
ANSWER_S = 20.0  # after the last byte: the system's own buffer may still hold 256 KiB for a thin line
ASKED_S = 5.0  # for what an earlier attempt left; the whole is sent if that is not told in time
PART_WITHIN_S = 10.0  # a part of a live picture is of no use later
KEPT_ANSWER_BYTES = 4 * 1024
SEND_BUFFER_BYTES = 128 * 1024  # doubled by the kernel; with more, what "moves" would be our own memory
MOST_CONNECTIONS = 64
#: What an earlier attempt must have been worth asking for: one more round trip.
RESUMED_FROM_BYTES = 64 * 1024
#: The receiver does not know PATCH, or not this one: then the whole is put.
NO_RESUMPTION = frozenset({400, 404, 405, 409, 415, 422, 501})


class MediaPush:
    """:class:`gateway.ports.MediaUplink` by HTTP. Open it in a running loop, close it when done."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._streamed: type[Streamed] | None = None

    async def start(self) -> None:
        """Prepare the kept connections; nothing is sent yet. Again: the old ones are closed."""
        await self.stop()
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        streaming = await asyncio.to_thread(importlib.import_module, "drivers.uplinks.streaming")
        self._streamed = streaming.Streamed
        self._failures = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)
        connector = aiohttp.TCPConnector(
            limit=MOST_CONNECTIONS,
            keepalive_timeout=60,
            ssl=self._tls if self._tls is not None else True,
            socket_factory=_small_buffer,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            headers={"Authorization": f"Bearer {self._token}", "User-Agent": "campus-gateway"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def stop(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def put(
        self, upload: Upload, read: Read, *, resume: bool, give_way: Callable[[], Awaitable[None]]
    ) -> Put:
        """See :meth:`gateway.ports.MediaUplink.put`."""
        if resume and upload.bytes > RESUMED_FROM_BYTES:
            kept, proved = await self._kept(upload)
            if proved:
                return Put(answer=Answer(status=200, detail="the whole was there already"), whole=True)
            if 0 < kept < upload.bytes:
                done = await self._send("PATCH", upload, read, kept, give_way)
                if done.answer.status not in NO_RESUMPTION:
                    return done
        done = await self._send("PUT", upload, read, 0, give_way)
        if done.answer.status == 409:
            # Something is there and is not replaced. Nobody but us knows the item's name: of the right size it is ours.
            kept, _ = await self._kept(upload)
            if kept == upload.bytes:
                return Put(answer=done.answer, whole=True)
            if await self._make_folders(upload.place):
                return await self._send("PUT", upload, read, 0, give_way)
        return done

    async def put_part(self, place: str, data: bytes, media_type: str) -> Answer:
        """See :meth:`gateway.ports.MediaUplink.put_part`."""
        headers = {
            "Content-Type": media_type,
            "Content-Digest": digest_field(hashlib.sha256(data).hexdigest()),
        }
        answer = await self._ask("PUT", place, PART_WITHIN_S, headers=headers, data=data)
        if answer.status == 409 and await self._make_folders(place):
            return await self._ask("PUT", place, PART_WITHIN_S, headers=headers, data=data)
        return answer

    async def look(self, place: str) -> Answer:
        """Ask for what is at a place, without taking it: whether the address and the token are right."""
        return await self._ask("HEAD", place, ASKED_S)

    async def _ask(self, method: str, place: str, within_s: float, **what: Any) -> Answer:
        if self._session is None:
            return Answer(status=None, detail="the uplink is closed")
        try:
            async with (
                asyncio.timeout(within_s),
                self._session.request(method, self._at(place), allow_redirects=False, **what) as response,
            ):
                return await self._answer(response)
        except TimeoutError:
            return Answer(status=None, detail=f"no answer within {within_s:.0f} s")
        except self._failures as exc:
            return Answer(status=None, detail=f"{type(exc).__name__}: {exc}"[:300])

    async def _make_folders(self, place: str) -> bool:
        """Make the folders above a place at a WebDAV server, which answers 409 to a PUT without them (RFC 4918 §9.7.1). Whether
        one was made."""
        made = False
        steps = place.split("/")
        for depth in range(1, len(steps)):
            answer = await self._ask("MKCOL", "/".join(steps[:depth]) + "/", ASKED_S)
            made = made or answer.status == 201
        return made

    async def _kept(self, upload: Upload) -> tuple[int, bool]:
        """How many bytes of this item the receiver has: what it says it kept of an attempt that broke off (``Upload-Offset``), or
        the whole if something of that size is there; and whether a digest it told proves that it is this item. ``(0, False)`` if
        it says nothing of the kind."""
        if self._session is None:
            return 0, False
        headers = {"Want-Repr-Digest": "sha-256=10"}
        try:
            async with (
                asyncio.timeout(ASKED_S),
                self._session.head(
                    self._at(upload.place), headers=headers, allow_redirects=False
                ) as response,
            ):
                told, status = response.headers, response.status
        except self._failures:  # a time-out is an OSError
            return 0, False
        offset = told.get("Upload-Offset", "")
        if offset.isascii() and offset.isdigit() and told.get("Upload-Complete") == "?0":
            return int(offset), False
        digest = told.get("Repr-Digest")
        same = digest is not None and digest_field(upload.sha256) in digest
        if status != 200 or told.get("Content-Length") != str(upload.bytes) or (digest and not same):
            return 0, False
        return upload.bytes, same

    async def _send(
        self, method: str, upload: Upload, read: Read, start: int, give_way: Callable[[], Awaitable[None]]
    ) -> Put:
        """One request with the bytes from ``start`` on."""
        if self._session is None or self._streamed is None:
            return Put(answer=Answer(status=None, detail="the uplink is closed"), whole=False)
        loop = asyncio.get_running_loop()
        headers = {}
        sha256, content_type = upload.sha256, upload.media_type
        try:
            if start:
                sha256, content_type = await _digest(read, start, upload.bytes), "application/partial-upload"
                headers = {"Upload-Offset": str(start), "Upload-Complete": "?1"}
            else:
                headers = {"Repr-Digest": digest_field(upload.sha256)}
        except (Refused, Unavailable) as exc:
            return _unread(exc.reason)
        headers["Content-Digest"] = digest_field(sha256)
        limit = asyncio.timeout(CONNECT_S + STALLED_S)

        def moved() -> None:
            with suppress(RuntimeError):  # the attempt is over, and its last piece still on its way
                limit.reschedule(loop.time() + (ANSWER_S if body.complete else STALLED_S))

        body = self._streamed(
            read,
            start,
            upload.bytes,
            sha256=sha256,
            content_type=content_type,
            before_each=give_way,
            moved=moved,
        )
        try:
            async with (
                limit,
                self._session.request(
                    method, self._at(upload.place), data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                answer = await self._answer(response)
        except TimeoutError:
            waited = "no answer" if body.complete else "nothing moved"
            detail = f"{waited} within {ANSWER_S if body.complete else STALLED_S:.0f} s"
            return _broke_off(detail, body, upload, start)
        except self._failures as exc:
            return _broke_off(f"{type(exc).__name__}: {exc}", body, upload, start)
        good = answer.status is not None and 200 <= answer.status < 300
        if good and not body.complete:
            detail = f"answered {answer.status} before the whole had been sent"
            return Put(answer=Answer(status=None, detail=detail), whole=False)
        return Put(answer=answer, whole=good)

    async def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        """The status and a few words; a body that breaks off takes nothing of it back."""
        try:
            said = await response.content.read(KEPT_ANSWER_BYTES)
        except self._failures:
            said = b""
        words = [response.reason or "", said.decode("utf-8", "replace")] if response.status >= 300 else []
        detail = ": ".join(word.strip() for word in words if word.strip())
        return Answer(
            status=response.status,
            # A stranger's bytes: what is no text is shown as such, or it could not be put on record.
            detail=detail.encode("utf-8", "replace").decode()[:300],
            retry_after_s=_seconds(response.headers.get("Retry-After")),
        )

    def _at(self, place: str) -> str:
        return f"{self._url}/{quote(place)}"


def digest_field(sha256: str) -> str:
    """``Content-Digest`` or ``Repr-Digest`` of bytes with this SHA-256 (RFC 9530 §2: a dictionary of byte sequences)."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"


def _broke_off(detail: str, body: Streamed, upload: Upload, start: int) -> Put:
    if body.failure:
        return _unread(body.failure)
    if body.sent:
        detail = f"broke off at {start + body.sent} of {upload.bytes} bytes: {detail}"
    return Put(answer=Answer(status=None, detail=detail[:300]), whole=False, broke_off=body.sent > 0)


def _unread(reason: str) -> Put:
    answer = Answer(status=None, detail=f"the object store: {reason}"[:300])
    return Put(answer=answer, whole=False, unread=True)


async def _digest(read: Read, start: int, end: int) -> str:
    digest = hashlib.sha256()
    async with read(start, end) as piece:
        while data := await piece(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _small_buffer(address: tuple[Any, ...]) -> socket.socket:
    family, type_, protocol = address[:3]
    made = socket.socket(family, type_, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return made


def _seconds(value: str | None) -> float | None:
    """``Retry-After`` in seconds; its date form is not taken, since the other side's clock may lie."""
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None
