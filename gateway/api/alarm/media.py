"""Stills and clips, by signed link or by role, whole or in ranges."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.access import CENTRE, EVERYONE, Entry, link_or_role, parts_of
from gateway.api.descriptions import roled
from gateway.api.face import HEAD
from gateway.api.parts import ApiParts
from gateway.api.problems import Problem, unavailable
from gateway.api.ranges import Coverage, NoSuchBytes, wanted
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState
from gateway.domain.register import Act

log = structlog.get_logger(__name__)

router = APIRouter(tags=["media"])

PIECE_BYTES = 256 * 1024


@router.get(
    "/media/{key:path}",
    summary="A still or a clip",
    response_class=Response,
    **roled(EVERYONE, 404, 416, link=True),
)
async def media(request: Request, key: str) -> Response:
    """Answers ``Range`` requests; the ETag is the SHA-256. When the centre (its link or its token) has been sent the whole, at
    once or in ranges, the item counts as uploaded."""
    entry = link_or_role(request, EVERYONE)
    parts = parts_of(request)
    item = await parts.store.read(lambda tx: tx.evidence.at_key(key))
    if item is not None and item.state is EvidenceState.DELETED:
        raise Problem("deleted")
    if item is None or item.state is not EvidenceState.STORED:
        raise Problem(
            "not-found", "There is no such still or clip; ask GET /api/v1/alarms/{id} for what there is."
        )
    size = await _size(parts, item, key)
    etag = f'"{item.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Disposition": f'inline; filename="{item.id}.{item.suffix}"',
        "Content-Type": item.media_type or "application/octet-stream",
    }
    try:
        span = _span(request, size, etag)
    except NoSuchBytes:
        raise Problem("range-not-satisfiable", headers={"Content-Range": f"bytes */{size}"}) from None
    start, end = span or (0, size)
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    else:
        digest = base64.b64encode(bytes.fromhex(item.sha256 or "")).decode()
        headers["Repr-Digest"] = f"sha-256=:{digest}:"  # RFC 9530
    status = 200 if span is None else 206
    if request.scope.get(HEAD):
        return Response(None, status, headers)
    await parts.registering.opened(Act.VIEWED, entry.who(parts), item.id, alarm=item.alarm)
    return Sending(parts, request.app.state.coverage, entry, item, (start, end), size, status, headers)


async def _size(parts: ApiParts, item: Evidence, key: str) -> int:
    """The object's size, which has to be that of the record: what is missing or altered is not handed out as evidence."""
    try:
        size = await parts.objects.size(key, item.version)
    except (Refused, Unavailable) as error:
        log.warning("media.store_unavailable", key=key, reason=error.reason)
        again_s = error.retry_after_s if isinstance(error, Unavailable) else None
        raise unavailable("The store cannot give the item now; try again.", again_s) from None
    if size is None or size != item.bytes:
        log.error("media.not_as_recorded", evidence_id=item.id, bytes=size, recorded=item.bytes)
        raise unavailable("The stored item is not what its record says; tell the technician its name.")
    return size


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The range asked for, unless it is asked for on a condition that does not hold (RFC 9110 §13.1.5)."""
    condition = request.headers.get("if-range")
    if condition is not None and condition != etag:
        return None
    return wanted(request.headers.get("range"), size)


class Altered(Exception):
    """The object's bytes are not those of its record."""


class Sending(Response):
    """Sends an item piece by piece and knows whether it came to the end.

    The last piece of a whole item is held back until its SHA-256 is proved, so that altered evidence never arrives as complete.
    """

    def __init__(
        self,
        parts: ApiParts,
        coverage: Coverage,
        entry: Entry,
        item: Evidence,
        span: tuple[int, int],
        size: int,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(None, status, headers)
        self._parts, self._coverage, self._entry, self._item = parts, coverage, entry, item
        self._span, self._size = span, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._send(scope, receive, send)
        except Refused as error:
            log.warning("media.store_unavailable", key=self._item.key, reason=error.reason)
            raise unavailable("The store cannot give the item now; try again.") from None

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, end = self._span
        item = self._item  # its version: whoever has the store's keys can put another one over it
        async with self._parts.objects.read(item.key or "", start, end, version=item.version) as read:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            gone = asyncio.create_task(_until_gone(receive), name="media-disconnect")
            try:
                complete = await self._pieces(read, send, gone)
            finally:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone
        if complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            await self._sent()

    async def _pieces(
        self, read: Callable[[int], Awaitable[bytes]], send: Send, gone: asyncio.Task[None]
    ) -> bool:
        """Send all pieces; whether the other side was there until the last of them."""
        left, digest = self._span[1] - self._span[0], hashlib.sha256()
        while left > 0 and not gone.done():
            piece = await read(min(PIECE_BYTES, left))
            left -= len(piece)
            digest.update(piece)
            whole = self.status_code == 200 and left == 0
            if not piece or (whole and digest.hexdigest() != self._item.sha256):
                log.error("media.altered", evidence_id=self._item.id)
                raise Altered(f"the object of {self._item.id} is not what its record says")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._parts.clock.sleep(0)  # lets a disconnect that came with the last piece be seen
        return not gone.done()

    async def _sent(self) -> None:
        """Only the centre's taking counts: its own token, or a link that was made for an alarm's messages."""
        by_centre = self._entry.caller.role in CENTRE if self._entry.caller else bool(self._entry.alarm)
        if not by_centre or not self._coverage.add(self._item.id, *self._span, self._size):
            return
        if self._item.uploaded_at is None:
            try:
                await self._parts.answering.taken(self._item.id)
            except (
                Unavailable
            ) as error:  # it stays "not uploaded", which is itself a fault after five minutes
                log.warning("media.taken_not_recorded", evidence_id=self._item.id, reason=error.reason)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
