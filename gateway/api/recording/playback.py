"""Playback: what was recorded of a span as an HLS playlist, for whoever said who they are and why (API.md, "Playback").

Opening is one POST and one line of the register; what it gives is a signed link to the span, so neither token nor reason is in
an address. Nothing is made for it: the playlist's entries are the recordings as they lie in the store, each cut in two on its way
out, because a player wants a file's head apart from its pictures.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.api.access import SCHOOL, UPKEEP, RoledRoute, by_link, parts_of
from gateway.api.bodies import PlaybackBody
from gateway.api.descriptions import linked, roled
from gateway.api.parts import ApiParts
from gateway.api.problems import Problem, invalid, unavailable
from gateway.api.recording.holds import person
from gateway.api.schemas import PlaybackOut
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fragmented import head_bytes
from gateway.domain.recording import SEAM, Segment
from gateway.domain.register import Act, RegisterLine

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1/cameras", tags=["recordings"], route_class=RoledRoute)
files = APIRouter(prefix="/recordings", tags=["recordings"])

LONGEST = timedelta(hours=1)
LINK_LIVES = timedelta(hours=3)  # the longest span, looked at slowly
PIECE_BYTES = 256 * 1024  # a head is about one kilobyte
_SPAN = re.compile(r"(\d{8}T\d{6}Z)-(\d{8}T\d{6}Z)")
_COMPACT = "%Y%m%dT%H%M%SZ"


@router.post(
    "/{camera}/playback",
    summary="Open a span to be played",
    response_model=PlaybackOut,
    status_code=201,
    **roled(SCHOOL | UPKEEP, 404, 413, 422),
)
async def opened(request: Request, camera: str, body: PlaybackBody) -> dict[str, Any]:
    """At most an hour. Each call is one line of the register, with the name, unit and reason given; ``playlist`` is a signed link
    that lives for three hours, for any player of HLS with fragmented MP4."""
    parts = parts_of(request)
    start, end = body.start.replace(microsecond=0), _up(body.end)  # the link names whole seconds
    now = parts.clock.now()
    if not body.start < body.end <= body.start + LONGEST or start >= now:
        raise invalid("body.to", body.end.isoformat(), "after from, at most an hour later; from in the past")
    segments = shown(await parts.store.read(lambda tx: tx.recordings.segments(camera, start, end)))
    if not segments:
        raise Problem("not-found", f"Nothing of camera {camera} is kept of that span; /recordings says why.")
    await parts.registering.write(
        RegisterLine(
            at=now,
            act=Act.PLAYED,
            who=person(request, body.by),
            content=camera,
            reason=body.reason,
            detail={"from": start.isoformat(), "to": end.isoformat()},
        )
    )
    expires_at = now + LINK_LIVES
    path = f"/recordings/{camera}/{start.astimezone(UTC):{_COMPACT}}-{end.astimezone(UTC):{_COMPACT}}.m3u8"
    stamp = parts.envelopes.stamp
    return {
        "camera": camera,
        "from": stamp(start),
        "to": stamp(end),
        "first": stamp(segments[0].start),
        "last": stamp(segments[-1].end),
        "bytes": sum(one.bytes for one in segments),
        "playlist": parts.links.url(path, expires_at=expires_at),
        "expires_at": stamp(expires_at),
    }


@files.get("/{camera}/{span}.m3u8", summary="The playlist of a span", response_class=Response, **linked(404))
async def playlist(request: Request, camera: str, span: str) -> Response:
    """HLS version 7, complete. Every recording is a file of its own, so each begins with a discontinuity; when it was is told by
    EXT-X-PROGRAM-DATE-TIME, and a gap before it by a comment."""
    expires_at = by_link(request).expires_at
    parts, match = parts_of(request), _SPAN.fullmatch(span)
    if match is None or expires_at is None:
        raise Problem("not-found")
    start, end = (datetime.strptime(text, _COMPACT).replace(tzinfo=UTC) for text in match.groups())
    segments = shown(await parts.store.read(lambda tx: tx.recordings.segments(camera, start, end)))
    if not segments:
        raise Problem("deleted")
    before = f"{parts.site.id}/recordings/{camera}/"

    def address(one: Segment, ending: str) -> str:
        name = one.key.removeprefix(before).removesuffix(".mp4") + ending
        signed = parts.links.query(f"/recordings/{camera}/{name}", expires_at=expires_at)
        return f"{quote(name)}?{signed}"

    text = written(segments, start, address, parts.envelopes.stamp)
    return Response(text, media_type="application/vnd.apple.mpegurl")


def shown(segments: Sequence[Segment]) -> list[Segment]:
    """Without those in which nothing is that an earlier one has not shown: where a second stream fell, the main one's recording
    began before its and goes on after it."""
    found: list[Segment] = []
    for one in segments:
        if not found or one.end > found[-1].end:
            found.append(one)
    return found


def written(
    segments: Sequence[Segment],
    start: datetime,
    address: Callable[[Segment, str], str],
    stamp: Callable[[datetime], str],
) -> str:
    """The playlist of recordings in their order, to be played from ``start`` on, as RFC 8216 has it."""
    longest_s = max((one.end - one.start).total_seconds() for one in segments)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest_s))}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f"#EXT-X-START:TIME-OFFSET={max(0.0, (start - segments[0].start).total_seconds()):.3f},PRECISE=YES",
    ]
    breaks = [False, *(b.start - a.end > SEAM for a, b in pairwise(segments))]
    for number, (one, gap) in enumerate(zip(segments, breaks, strict=True)):
        lines += [
            *(["#EXT-X-DISCONTINUITY"] if number else []),
            *([f"# gap: {(one.start - segments[number - 1].end).total_seconds():.3f} s"] if gap else []),
            f'#EXT-X-MAP:URI="{address(one, "-head.mp4")}"',
            f"#EXT-X-PROGRAM-DATE-TIME:{stamp(one.start)}",
            f"#EXTINF:{(one.end - one.start).total_seconds():.3f},",
            address(one, ".m4s"),
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


@files.get(
    "/{camera}/{year}/{month}/{day}/{name}-head.mp4",
    summary="The head of one recording",
    response_class=Response,
    **linked(404),
)
async def head(request: Request, camera: str, year: str, month: str, day: str, name: str) -> Response:
    """All of the file before its first fragment, as the playlist names it."""
    parts, one = await _asked_for(request, camera, f"{year}/{month}/{day}/{name}")
    return Response(await _head(parts, one), media_type="video/mp4")


@files.get(
    "/{camera}/{year}/{month}/{day}/{name}.m4s",
    summary="The pictures of one recording",
    response_class=Response,
    **linked(404),
)
async def pictures(request: Request, camera: str, year: str, month: str, day: str, name: str) -> Response:
    """The rest of it. The last piece is held back until the whole is proved to be what was recorded; what was altered breaks
    off."""
    parts, one = await _asked_for(request, camera, f"{year}/{month}/{day}/{name}")
    length = len(await _head(parts, one))

    async def pieces() -> AsyncIterator[bytes]:
        digest, held, skipped = hashlib.sha256(), b"", 0
        async with parts.objects.read(one.key, version=one.version) as read:
            while data := await read(PIECE_BYTES):
                digest.update(data)
                skip = min(len(data), length - skipped)
                skipped += skip
                if held:
                    yield held
                held = data[skip:]
        if digest.hexdigest() != one.sha256:
            log.error("playback.altered", key=one.key)
            raise Altered(f"{one.key} is not what was recorded")
        yield held

    headers = {"Content-Length": str(one.bytes - length)}
    return StreamingResponse(pieces(), media_type="video/mp4", headers=headers)


class Altered(Exception):
    """The object's bytes are not those of its row."""


async def _asked_for(request: Request, camera: str, name: str) -> tuple[ApiParts, Segment]:
    by_link(request)
    parts = parts_of(request)
    key = f"{parts.site.id}/recordings/{camera}/{name}.mp4"
    one = await parts.store.read(lambda tx: tx.recordings.at_key(key))
    if one is None:
        raise Problem("deleted")  # the link is ours, so it was there
    return parts, one


async def _head(parts: ApiParts, one: Segment) -> bytes:
    """A recording's bytes before its first fragment."""
    wanted, data = min(one.bytes, PIECE_BYTES), b""
    try:
        async with parts.objects.read(one.key, 0, wanted, version=one.version) as read:
            while len(data) < wanted and (piece := await read(wanted - len(data))):
                data += piece
    except (Refused, Unavailable) as error:
        log.warning("playback.store_unavailable", key=one.key, reason=error.reason)
        again_s = error.retry_after_s if isinstance(error, Unavailable) else None
        raise unavailable("The store cannot give the recording now; try again.", again_s) from None
    length = head_bytes(data)
    if length is None:
        log.error("playback.not_as_recorded", key=one.key)
        raise unavailable("The stored recording is not what its row says; tell the technician its time.")
    return data[:length]


def _up(at: datetime) -> datetime:
    return at if at.microsecond == 0 else at.replace(microsecond=0) + timedelta(seconds=1)
