"""Evidence and live pictures on their way to the 110 centre: PUT below one address, with a token and a digest.

What the other side or the network does is an answer, never an exception. A large item may take long, so an attempt is not bounded
as a whole: it is given up when nothing has moved for 10 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

from drivers.uplinks.fields import seconds
from drivers.uplinks.replies import Reply
from drivers.uplinks.streaming import Read, Streamed
from drivers.uplinks.wire import CONNECT_S, NoReply, Wire
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.message import PAGE_BYTES, Answer
from gateway.domain.upload import Put, Upload

STALLED_S = 10.0  # nothing has moved for so long: the attempt is over
ANSWER_S = 20.0  # after the last byte: the system's own buffer may still hold 256 KiB for a thin line
ASKED_S = 5.0  # for what an earlier attempt left; the whole is sent if that is not told in time
PART_WITHIN_S = 10.0  # a part of a live picture is of no use later
REST_S = 5.0  # for what follows a status line: it says what there is to know
KEPT_ANSWER_BYTES = 4 * 1024
SEND_BUFFER_BYTES = 128 * 1024  # doubled by the kernel; with more, what "moves" would be our own memory
MOST_CONNECTIONS = 64
#: What an earlier attempt must have been worth asking for: one more round trip.
RESUMED_FROM_BYTES = 64 * 1024
#: The receiver does not know PATCH, or not this one: then the whole is put.
NO_RESUMPTION = frozenset({400, 404, 405, 409, 415, 422, 501})


class MediaPush:
    """:class:`gateway.ports.centre.MediaUplink` by HTTP. Open it in a running loop, close it when done."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._folder = urlsplit(self._url).path
        self._token = token
        self._tls = tls
        self._wire: Wire | None = None

    async def start(self) -> None:
        """Prepare the kept connections; nothing is sent yet. Again: the old ones are closed."""
        await self.stop()
        self._wire = Wire(self._url, self._tls, most=MOST_CONNECTIONS, send_buffer_bytes=SEND_BUFFER_BYTES)

    async def stop(self) -> None:
        """Close the connections."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def put(
        self, upload: Upload, read: Read, *, resume: bool, give_way: Callable[[], Awaitable[None]]
    ) -> Put:
        """See :meth:`gateway.ports.centre.MediaUplink.put`."""
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
        """See :meth:`gateway.ports.centre.MediaUplink.put_part`."""
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

    async def _ask(
        self,
        method: str,
        place: str,
        within_s: float,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> Answer:
        reply = await self._reply(method, place, within_s, headers, data)
        return reply if isinstance(reply, Answer) else _answer(reply)

    async def _reply(
        self,
        method: str,
        place: str,
        within_s: float,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> Reply | Answer:
        """A small request's reply, or an answer that says why there is none."""
        if self._wire is None:
            return Answer(status=None, detail="the uplink is closed")
        try:
            return await self._wire.ask(
                method,
                self._at(place),
                {**self._authorization, **(headers or {})},
                data,
                whole_s=within_s,
                most=KEPT_ANSWER_BYTES,
            )
        except NoReply as exc:
            return Answer(status=None, detail=str(exc)[:300])

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
        reply = await self._reply("HEAD", upload.place, ASKED_S, {"Want-Repr-Digest": "sha-256=10"})
        if isinstance(reply, Answer):
            return 0, False
        offset = reply.first("upload-offset")
        usable = offset.isascii() and offset.isdigit() and len(offset) < 19
        if usable and reply.first("upload-complete") == "?0":
            return int(offset), False
        digest = reply.first("repr-digest")
        same = digest_field(upload.sha256) in digest
        if reply.status != 200 or reply.first("content-length") != str(upload.bytes) or (digest and not same):
            return 0, False
        return upload.bytes, same

    async def _send(
        self, method: str, upload: Upload, read: Read, start: int, give_way: Callable[[], Awaitable[None]]
    ) -> Put:
        """One request with the bytes from ``start`` on."""
        if self._wire is None:
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
        headers |= {"Content-Type": content_type, "Content-Digest": digest_field(sha256)}
        limit = asyncio.timeout(CONNECT_S + STALLED_S)

        def moved() -> None:
            if limit.when() is None:
                return  # answered
            with suppress(RuntimeError):  # the attempt is over, and its last piece still on its way
                limit.reschedule(loop.time() + (ANSWER_S if body.complete else STALLED_S))

        body = Streamed(read, start, upload.bytes, sha256=sha256, before_each=give_way, moved=moved)
        try:
            async with limit:
                reply = await self._wire.ask(
                    method,
                    self._at(upload.place),
                    {**self._authorization, **headers},
                    body,
                    whole_s=None,
                    rest_s=REST_S,
                    most=KEPT_ANSWER_BYTES,
                    # From here on it is answered, and what comes late takes nothing of that back.
                    answering=lambda _status: limit.reschedule(None),
                )
        except TimeoutError:
            waited = "no answer" if body.complete else "nothing moved"
            detail = f"{waited} within {ANSWER_S if body.complete else STALLED_S:.0f} s"
            return _broke_off(detail, body, upload, start)
        except (NoReply, Refused, Unavailable) as exc:
            return _broke_off(str(exc), body, upload, start)
        answer = _answer(reply)
        good = answer.status is not None and 200 <= answer.status < 300
        if good and not body.complete:
            detail = f"answered {answer.status} before the whole had been sent"
            return Put(answer=Answer(status=None, detail=detail), whole=False)
        return Put(answer=answer, whole=good)

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _at(self, place: str) -> str:
        return f"{self._folder}/{quote(place)}"


def _answer(reply: Reply) -> Answer:
    """The status and a few words; of what may be a web page its beginning."""
    words = [reply.reason, reply.body.decode("utf-8", "replace")] if reply.status >= 300 else []
    return Answer(
        status=reply.status,
        detail=": ".join(word.strip() for word in words if word.strip())[:300],
        body=reply.body[:PAGE_BYTES],
        content_type=reply.first("content-type"),
        retry_after_s=seconds(reply.first("retry-after")),
        sent=True,
    )


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
