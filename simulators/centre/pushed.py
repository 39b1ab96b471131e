"""What a school PUTs at the centre: stills and clips with their digests, and live pictures. Believed only as far as checked.

An item is kept once its bytes are those of its Content-Digest. Of one that broke off the part that came is kept too: HEAD
tells how much (Upload-Offset), PATCH goes on from there. A live picture is kept in memory, as much of it as its playlist names.
One file: what is believed of an item and of a live picture is one question.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from aiohttp import web

from simulators.centre.put_faults import PutFaults, PutPlan

MEDIA_PATH = "/media"
"""The place for PUTs, below the address for messages."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):")
_KINDS = {"jpg": "still", "mp4": "clip"}
_LIVE_TYPES = {"m3u8": "application/vnd.apple.mpegurl", "m4s": "video/mp4", "mp4": "video/mp4"}
_LARGEST_ITEM_BYTES = 512 * 1024 * 1024
_LARGEST_PART_BYTES = 16 * 1024 * 1024
_LIVE_BYTES = 256 * 1024 * 1024
_LIVE_PARTS = 64
_READ_BYTES = 64 * 1024
_BROKEN = (OSError, web.RequestPayloadError, asyncio.IncompleteReadError)

Happened = Callable[..., Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class PushedItem:
    """One item at its place. `whole_s` is when the last of it had come and its digest was right; until then `bytes` of it are
    kept. `puts` counts the requests, `resumed` those that went on where an earlier one broke off."""

    alarm: str
    name: str
    file: Path
    first_s: float
    bytes: int = 0
    sha256: str = ""
    wanted_sha256: str = ""
    whole_s: float | None = None
    puts: int = 0
    resumed: int = 0
    judged: bool = False

    @property
    def evidence(self) -> str:
        return self.name.partition(".")[0]


@dataclass(slots=True, kw_only=True)
class PushedLive:
    """One camera's live picture as it comes. `problem` is the first thing that was wrong with it."""

    alarm: str
    camera: str
    first_s: float
    parts: dict[str, bytes] = field(default_factory=dict)
    playlist: str = ""
    playlist_s: float | None = None
    segments: int = 0
    bytes: int = 0
    ended_s: float | None = None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain values, without the picture."""
        names = ("camera", "first_s", "playlist_s", "segments", "bytes", "ended_s", "problem")
        return {name: getattr(self, name) for name in names}


class PushedMedia:
    """The place for PUTs. `token` is what they must bear; `folder` takes the files."""

    def __init__(self, token: str, happened: Happened) -> None:
        self._token = token
        self._happened = happened
        self._folder: Path | None = None
        self._gates: dict[str, asyncio.Lock] = {}
        self.plan = PutPlan(PutFaults())
        self.items: dict[str, PushedItem] = {}
        self.live: dict[tuple[str, str], PushedLive] = {}
        self.refusals: list[str] = []

    def begin(self, folder: Path) -> None:
        """Take files from now on."""
        self._folder = folder

    def add_routes(self, app: web.Application) -> None:
        """Add the place."""
        prefix = MEDIA_PATH
        app.router.add_route("PUT", prefix + "/{alarm}/{name}", self._put_item)
        app.router.add_route("PATCH", prefix + "/{alarm}/{name}", self._patch_item)
        app.router.add_route("HEAD", prefix + "/{alarm}/{name}", self._head_item)
        app.router.add_route("PUT", prefix + "/{alarm}/live/{camera}/{name}", self._put_live)

    def names(self, url: str, alarm: str, evidence: str) -> bool:
        """Whether an address announced by the school is an item's at this place."""
        parts = urlsplit(url)
        places = {f"{MEDIA_PATH}/{alarm}/{evidence}.{suffix}" for suffix in _KINDS}
        return not parts.query and parts.path in places

    def false_claims(self, alarm: str, manifest: dict[str, Any]) -> list[str]:
        """What a manifest says was uploaded and was not, for a school that PUTs."""
        if not self.of(alarm):
            return []
        items = manifest.get("items")
        return [
            f"manifest: {item.get('evidence')} is claimed as uploaded at {item.get('uploaded_at')}, and was not PUT"
            for item in (items if isinstance(items, list) else [])
            if isinstance(item, dict)
            and item.get("uploaded_at") is not None
            and self.whole(str(item.get("evidence"))) is None
        ]

    def whole(self, evidence: str) -> PushedItem | None:
        """The item of that id, if the whole of it is here."""
        item = self.items.get(evidence)
        return item if item is not None and item.whole_s is not None else None

    def of(self, alarm: str) -> list[PushedItem]:
        """What came for one alarm, in the order in which it first came."""
        return [item for item in self.items.values() if item.alarm == alarm]

    def live_part(self, alarm: str, camera: str, name: str) -> tuple[str, bytes] | None:
        """Media type and bytes of a part of a live picture, or None."""
        live = self.live.get((alarm, camera))
        if live is None:
            return None
        data = live.playlist.encode() if name == "index.m3u8" else live.parts.get(name)
        return None if not data else (_LIVE_TYPES[name.rpartition(".")[2]], data)

    # --- items

    async def _put_item(self, request: web.Request) -> web.StreamResponse:
        refused, alarm, name = self._admit(request, _KINDS)
        if refused is not None:
            return await self._refuse(request, *refused)
        wanted = _digest_of(request, "Content-Digest")
        if wanted is None:
            return await self._refuse(request, 400, "Content-Digest: expected sha-256=:…:")
        async with self._gate(name):
            item = self.items.get(name.partition(".")[0])
            if item is not None and item.whole_s is not None and item.sha256 != wanted:
                return await self._refuse(request, 409, "there are other bytes at this place")
            if item is None:
                item = self._new_item(alarm, name)
            item.puts += 1
            faults = self.plan.for_one(_KINDS[name.rpartition(".")[2]])
            if item.whole_s is not None:
                item = self._new_item(alarm, name, keep=False)
            item.bytes, item.wanted_sha256 = 0, _digest_of(request, "Repr-Digest") or wanted
            return await self._receive(request, item, wanted, faults)

    async def _patch_item(self, request: web.Request) -> web.StreamResponse:
        refused, _, name = self._admit(request, _KINDS)
        if refused is not None:
            return await self._refuse(request, *refused)
        async with self._gate(name):
            item = self.items.get(name.partition(".")[0])
            if item is None or item.whole_s is not None or not self.plan.faults.resumable:
                return await self._refuse(request, 404, "nothing was left here to go on with")
            offset, wanted = request.headers.get("Upload-Offset"), _digest_of(request, "Content-Digest")
            if offset != str(item.bytes) or wanted is None:
                text = f"Upload-Offset: expected {item.bytes}, and a Content-Digest of what is sent"
                return await self._refuse(request, 409, text, {"Upload-Offset": str(item.bytes)})
            item.puts += 1
            item.resumed += 1
            faults = self.plan.for_one(_KINDS[name.rpartition(".")[2]])
            return await self._receive(request, item, wanted, faults)

    async def _head_item(self, request: web.Request) -> web.StreamResponse:
        refused, _, name = self._admit(request, _KINDS)
        if refused is not None:
            return web.Response(status=refused[0])
        item = self.items.get(name.partition(".")[0])
        if item is not None and item.whole_s is not None:
            digest = base64.b64encode(bytes.fromhex(item.sha256)).decode()
            headers = {"Repr-Digest": f"sha-256=:{digest}:", "Upload-Complete": "?1"}
            return web.Response(headers={**headers, "Content-Length": str(item.bytes)})
        if item is not None and item.bytes and self.plan.faults.resumable:
            headers = {"Upload-Offset": str(item.bytes), "Upload-Complete": "?0", "Cache-Control": "no-store"}
            return web.Response(status=204, headers=headers)
        return web.Response(status=404)

    async def _receive(
        self, request: web.Request, item: PushedItem, wanted: str, faults: PutFaults
    ) -> web.StreamResponse:
        """Take the body from `item.bytes` on. `wanted` is the digest of this body, `item.wanted_sha256` that of the whole."""
        start, began_s = item.bytes, time.time()
        digest = hashlib.sha256()
        if faults.answer == "drop":
            return self._reset(request)
        if faults.answer == "early":
            early = web.StreamResponse(headers={"Connection": "close", "Content-Length": "0"})
            await early.prepare(request)
            return early
        stop_at = (request.content_length or 0) * faults.percent / 100 if faults.answer == "cut" else None
        file = item.file.with_name(item.file.name + ".part")
        try:
            with _opened(file, start) as out:
                async for data in request.content.iter_chunked(_READ_BYTES):
                    if faults.bytes_per_s is not None:
                        await asyncio.sleep(len(data) / faults.bytes_per_s)
                    room = len(data) if stop_at is None else int(stop_at) - (item.bytes - start)
                    digest.update(data[:room])
                    out.write(data[:room])
                    item.bytes += min(room, len(data))
                    if room < len(data) or item.bytes > _LARGEST_ITEM_BYTES:
                        out.flush()
                        await self._told(request, item, 0, start)
                        return self._reset(request)
        except _BROKEN:
            await self._told(request, item, 0, start)
            return self._reset(request)
        if faults.answer == "cut":  # of a body so short that all of it came at once
            await self._told(request, item, 0, start)
            return self._reset(request)
        if faults.answer == "status":
            item.bytes = start
            return await self._refuse(request, faults.status, "fault of the simulated centre")
        if digest.hexdigest() != wanted:
            item.bytes = start
            return await self._refuse(
                request, 400, f"Content-Digest: found {digest.hexdigest()} in hexadecimal"
            )
        whole = digest.hexdigest() if not start else await asyncio.to_thread(_sha256_of, file)
        if whole != item.wanted_sha256:
            item.bytes = 0
            return await self._refuse(
                request, 400, "the whole is not what the first request said it would be"
            )
        file.replace(item.file)
        item.sha256, item.whole_s = whole, time.time()
        self.items[item.evidence] = item
        await self._told(request, item, 201, start, took_s=item.whole_s - began_s)
        return web.Response(status=201)

    def _new_item(self, alarm: str, name: str, *, keep: bool = True) -> PushedItem:
        assert self._folder is not None
        folder = self._folder / "pushed" / alarm
        folder.mkdir(parents=True, exist_ok=True)
        item = PushedItem(alarm=alarm, name=name, file=folder / name, first_s=time.time())
        if keep:
            self.items[item.evidence] = item
        else:  # put once more: what is here stays until that has come
            old = self.items[item.evidence]
            item.first_s, item.puts, item.judged = old.first_s, old.puts, old.judged
        return item

    # --- live pictures

    async def _put_live(self, request: web.Request) -> web.StreamResponse:
        refused, alarm, name = self._admit(request, _LIVE_TYPES)
        camera = request.match_info["camera"]
        if refused is None and not _NAME.fullmatch(camera):
            refused = 400, f"camera: {camera!r} is no name"
        if refused is not None:
            return await self._refuse(request, *refused)
        faults = self.plan.for_one("live")
        if faults.answer == "drop":
            return self._reset(request)
        data = bytearray()
        try:
            async for piece in request.content.iter_chunked(_READ_BYTES):
                if faults.bytes_per_s is not None:
                    await asyncio.sleep(len(piece) / faults.bytes_per_s)
                data += piece
                if len(data) > _LARGEST_PART_BYTES:
                    return await self._refuse(request, 413, f"more than {_LARGEST_PART_BYTES} bytes")
        except _BROKEN:
            return self._reset(request)
        if faults.answer == "cut":
            return self._reset(request)
        if faults.answer == "status":
            return await self._refuse(request, faults.status, "fault of the simulated centre")
        if _digest_of(request, "Content-Digest") != hashlib.sha256(data).hexdigest():
            return await self._refuse(request, 400, "Content-Digest: missing, or not that of the bytes")
        live = self.live.get((alarm, camera))
        if live is None:
            live = self.live[alarm, camera] = PushedLive(alarm=alarm, camera=camera, first_s=time.time())
        if name == "index.m3u8":
            await self._take_playlist(live, bytes(data).decode("utf-8", "replace"))
        else:
            live.parts.pop(name, None)
            live.parts[name] = bytes(data)
            live.segments += name.endswith(".m4s")
            live.bytes += len(data)
            self._bound_live()
        return web.Response(status=201)

    async def _take_playlist(self, live: PushedLive, text: str) -> None:
        first, ended = not live.playlist, "#EXT-X-ENDLIST" in text
        named = [line for line in text.splitlines() if line and not line.startswith("#")]
        named += re.findall(r'#EXT-X-MAP:.*?URI="([^"]+)"', text)
        missing = [name for name in named if name not in live.parts]
        if not text.startswith("#EXTM3U"):
            live.problem = live.problem or "the playlist does not begin with #EXTM3U"
        elif missing:
            live.problem = live.problem or f"the playlist names {missing[0]}, which has not come"
        live.playlist, live.playlist_s = text, time.time()
        for name in [name for name in live.parts if name not in named][
            : max(0, len(live.parts) - _LIVE_PARTS)
        ]:
            del live.parts[name]
        if ended and live.ended_s is None:
            live.ended_s = time.time()
        elif not ended:
            live.ended_s = None
        if first or ended:
            await self._happened(
                "live-ended" if ended else "live-pushed", alarm=live.alarm, look=live.as_json()
            )

    def _bound_live(self) -> None:
        held = sum(len(part) for live in self.live.values() for part in live.parts.values())
        for live in sorted(self.live.values(), key=lambda one: one.playlist_s or one.first_s):
            while held > _LIVE_BYTES and len(live.parts) > 1:
                held -= len(live.parts.pop(next(iter(live.parts))))

    # --- both

    def _admit(
        self, request: web.Request, suffixes: dict[str, str]
    ) -> tuple[tuple[int, str] | None, str, str]:
        """Why this request is refused (None: it is not), its alarm and its name."""
        alarm, name = request.match_info["alarm"], request.match_info["name"]
        given = request.headers.get("Authorization", "")
        if not given.startswith("Bearer "):
            return (401, "Authorization: expected Bearer and a token"), alarm, name
        if not hmac.compare_digest(given.removeprefix("Bearer ").encode(), self._token.encode()):
            return (403, "Authorization: not the token of this centre"), alarm, name
        if not (_NAME.fullmatch(alarm) and _NAME.fullmatch(name)):
            return (400, f"{request.path!r} is no place of this centre"), alarm, name
        if name.rpartition(".")[2] not in suffixes:
            return (415, f"{name!r}: expected one of {', '.join(suffixes)}"), alarm, name
        return None, alarm, name

    def _gate(self, name: str) -> asyncio.Lock:
        return self._gates.setdefault(name, asyncio.Lock())

    def _reset(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # goes nowhere: the connection is gone

    async def _told(
        self, request: web.Request, item: PushedItem, status: int, start: int, took_s: float = 0.0
    ) -> None:
        await self._happened(
            "put",
            alarm=item.alarm,
            name=item.name,
            method=request.method,
            status=status,
            bytes=item.bytes,
            resumed_from=start,
            took_s=round(took_s, 3),
        )

    async def _refuse(
        self, request: web.Request, status: int, text: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        self.refusals.append(f"{request.method} {request.path} {status}: {text}")
        await self._happened("put-refused", path=request.path, status=status, problem=text)
        return web.json_response(
            {"title": text}, status=status, headers=headers, content_type="application/problem+json"
        )


def _digest_of(request: web.Request, header: str) -> str | None:
    """The SHA-256 in a digest field (RFC 9530), in hexadecimal; None if there is none that can be read."""
    found = _DIGEST.search(request.headers.get(header, ""))
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None


def _opened(file: Path, start: int) -> BinaryIO:
    out = file.open("r+b" if start else "wb")
    out.truncate(start)
    out.seek(start)
    return out


def _sha256_of(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
