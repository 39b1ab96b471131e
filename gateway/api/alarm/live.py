"""The live picture: HLS of fragmented MP4 by signed link or by role, and a bare page that plays it.

A playlist's entries are relative and each carries its own signature, so the playlist works behind any prefix and in any player.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.api.access import EVERYONE, Entry, live_entry, parts_of
from gateway.api.bodies import ViewerBody
from gateway.api.descriptions import roled
from gateway.api.parts import ApiParts
from gateway.api.problems import Problem, unavailable
from gateway.api.service.page import error_page, player_page, wants_page
from gateway.domain.camera import LivePlaylist
from gateway.domain.errors import NotPlayable, Unavailable
from gateway.domain.links import live_path
from gateway.domain.plan import Camera
from gateway.domain.register import Act

router = APIRouter(tags=["live"])

PLAYLIST = "index.m3u8"
#: Entries live for half an hour to an hour, and never longer than the link their playlist was asked for with. They are rounded to
#: the half hour so that an entry keeps its address from one playlist to the next: players take a new address for a new file.
ENTRY_STEP_S = 1800


@router.get(
    "/live/{camera}",
    summary="A page that plays one camera",
    response_class=HTMLResponse,
    **roled(EVERYONE, 404, link=True),
)
async def page(request: Request, camera: str) -> Response:
    """The link in the page is good for as long as the page's own."""
    try:
        entry = await live_entry(request, EVERYONE)
        parts = parts_of(request)
        known = _known(parts, camera)
    except Problem as problem:
        if wants_page(request):
            return error_page(problem)
        raise
    if entry.caller is not None:  # the playlist will be asked for by the page's link, which names nobody
        await parts.registering.opened(Act.WATCHED, entry.who(parts), camera)
    expires_at = entry.expires_at or _entry_expiry(parts, entry)
    signed = parts.links.query(live_path(camera, PLAYLIST), expires_at=expires_at, alarm=entry.alarm)
    return player_page(parts.site, known, f"{quote(camera)}/{PLAYLIST}?{signed}")


@router.post(
    "/live/{camera}",
    summary="Say who watches",
    status_code=204,
    response_class=Response,
    **roled(EVERYONE, 404, 413, 422, link=True),
)
async def viewer(request: Request, camera: str, body: ViewerBody) -> Response:
    """To the page's own address. The name stands in the register beside the opening, with the unit the link was given to."""
    entry = await live_entry(request, EVERYONE)
    parts = parts_of(request)
    _known(parts, camera)
    who = replace(entry.who(parts), name=body.name)
    await parts.registering.opened(Act.NAMED, who, camera, alarm=entry.alarm or None)
    return Response(None, 204)


@router.get(
    "/live/{camera}/index.m3u8",
    summary="The live playlist",
    response_class=Response,
    **roled(EVERYONE, 404, link=True),
)
async def playlist(request: Request, camera: str) -> Response:
    """HLS version 7, the newest segments, with the codec and what is to be said of it as comments. 503 while the camera gives no
    picture, with the reason; ``playable`` is false in it where the camera has no stream that browsers play."""
    entry = await live_entry(request, EVERYONE)
    parts = parts_of(request)
    _known(parts, camera)
    try:
        newest = await parts.cameras.live_playlist(camera)
    except NotPlayable as error:
        raise unavailable(
            f"This camera cannot be watched live: {error.reason}.", 30, playable=False
        ) from None
    except Unavailable as error:
        raise unavailable(
            f"The camera gives no picture now: {error.reason}; try again.", error.retry_after_s
        ) from None
    if not newest.segments:
        raise unavailable("The camera's picture is just beginning; try again.", 1)
    if entry.caller is not None or entry.alarm:
        await parts.registering.opened(Act.WATCHED, entry.who(parts), camera, alarm=entry.alarm or None)
    expires_at = _entry_expiry(parts, entry)

    def address(name: str) -> str:
        signed = parts.links.query(live_path(camera, name), expires_at=expires_at, alarm=entry.alarm)
        return f"{quote(name)}?{signed}"

    reopened = request.app.state.epochs.count(camera, newest.epoch)
    text = written(newest, reopened, address, parts.envelopes.stamp)
    return Response(text, media_type="application/vnd.apple.mpegurl")


@router.get(
    "/live/{camera}/{name}.{suffix}",
    summary="One part of the live picture",
    response_class=Response,
    **roled(EVERYONE, 404, link=True),
)
async def live_part(request: Request, camera: str, name: str, suffix: str) -> Response:
    """The initialisation or one segment, as the playlist names them."""
    await live_entry(request, EVERYONE)
    parts = parts_of(request)
    _known(parts, camera)
    try:
        data = await parts.cameras.live_part(camera, f"{name}.{suffix}")
    except Unavailable:
        raise Problem("not-found", "That part is no longer kept; read the playlist again.") from None
    return Response(data, media_type="video/mp4")


class Epochs:
    """Counts how often each camera's stream was seen reopened.

    An epoch's own number is of the driver's choosing and may be huge, and players walk through all discontinuities from zero on:
    with ten digits hls.js hangs.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def count(self, camera: str, epoch: int) -> int:
        last, reopened = self._seen.get(camera, (epoch, 0))
        self._seen[camera] = (epoch, reopened + (epoch != last))
        return self._seen[camera][1]


def written(
    newest: LivePlaylist, reopened: int, address: Callable[[str], str], stamp: Callable[[datetime], str]
) -> str:
    """The playlist as RFC 8216 has it.

    All its segments are of one epoch, so a discontinuity never stands between two of them: it went with the last segment of
    the epoch before, which is what counting EXT-X-DISCONTINUITY-SEQUENCE on says (§6.2.2).
    """
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(max(s.duration_s for s in newest.segments)))}",
        f"#EXT-X-MEDIA-SEQUENCE:{newest.segments[0].sequence}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{reopened}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f"# codec: {newest.codec}",
        *([f"# note: {newest.note}"] if newest.note else []),
        f'#EXT-X-MAP:URI="{address(newest.init)}"',
    ]
    for segment in newest.segments:
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{stamp(segment.begins_at)}",
            f"#EXTINF:{segment.duration_s:.3f},",
            address(segment.name),
        ]
    return "\n".join([*lines, ""])


def _entry_expiry(parts: ApiParts, entry: Entry) -> datetime:
    now = parts.clock.now()
    seconds = (math.floor(now.timestamp() / ENTRY_STEP_S) + 2) * ENTRY_STEP_S
    rounded = datetime.fromtimestamp(seconds, now.tzinfo)
    return rounded if entry.expires_at is None else min(rounded, entry.expires_at)


def _known(parts: ApiParts, camera: str) -> Camera:
    known = parts.site.cameras.get(camera)
    if known is None:
        raise Problem("not-found", "There is no such camera; GET /api/v1/cameras lists them.")
    return known
