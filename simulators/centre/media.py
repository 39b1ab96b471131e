"""Fetching what the school offers: stills and clips, their hashes checked, and a look at the live picture."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import io
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from simulators.centre.ledger import Evidence, LiveLook

_TOGETHER = 8
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=3)
_RETRY_AFTER_S = (0.5, 1.0, 2.0)
_LARGEST_BYTES = 512 * 1024 * 1024
_SUFFIXES = {"image/jpeg": ".jpg", "video/mp4": ".mp4"}
_SAFE = re.compile(r"[^A-Za-z0-9_-]")
_LIVE_TRY_EVERY_S = 0.25
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file kept on disk, with the media type it was announced as."""

    file: Path
    media_type: str
    bytes: int


class MediaShelf:
    """Fetches evidence and keeps the files, oldest thrown away first once `keep_bytes` is passed.

    With `keep_bytes=None` nothing is thrown away.
    """

    def __init__(self, directory: Path, *, keep_bytes: int | None) -> None:
        self._directory = directory
        self._keep_bytes = keep_bytes
        self._kept: dict[str, Kept] = {}
        self._order: deque[str] = deque()
        self._held_bytes = 0
        self._gate = asyncio.Semaphore(_TOGETHER)

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def kept(self, evidence_id: str) -> Kept | None:
        """The kept file of one item, or None."""
        return self._kept.get(evidence_id)

    async def fetch(self, http: aiohttp.ClientSession, alarm_id: str, item: Evidence) -> None:
        """Fetch one item, at most eight at a time, and write into it what was found.

        A network failure, 429 and 5xx are tried four times in all; any other status is final.
        """
        async with self._gate:
            for wait_s in (*_RETRY_AFTER_S, None):
                item.tries += 1
                try:
                    content = await self._get(http, str(item.announced.get("url")))
                except _Final as error:
                    item.problem = str(error)
                    return
                except _Again as error:
                    item.problem = str(error)
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    item.problem = f"{type(error).__name__}: {error}"
                else:
                    await self._judge(alarm_id, item, content)
                    return
                if wait_s is not None:
                    await asyncio.sleep(wait_s)

    async def take_pushed(self, alarm_id: str, item: Evidence, file: Path) -> None:
        """Judge an item that the school has PUT, and keep it as if it had been fetched."""
        async with self._gate:
            try:
                content = await asyncio.to_thread(file.read_bytes)
            except OSError as error:
                item.problem = f"what was PUT is gone: {error}"
                return
            await self._judge(alarm_id, item, content)
            await asyncio.to_thread(file.unlink, missing_ok=True)

    async def _get(self, http: aiohttp.ClientSession, url: str) -> bytes:
        async with http.get(url, timeout=_TIMEOUT) as answer:
            if answer.status == 429 or answer.status >= 500:
                raise _Again(f"answered {answer.status}")
            if answer.status != 200:
                raise _Final(f"answered {answer.status}: {(await answer.text())[:200]}")
            content = bytearray()
            async for part in answer.content.iter_chunked(256 * 1024):
                content += part
                if len(content) > _LARGEST_BYTES:
                    raise _Final(f"more than {_LARGEST_BYTES} bytes")
            return bytes(content)

    async def _judge(self, alarm_id: str, item: Evidence, content: bytes) -> None:
        announced, fetched_s = item.announced, time.time()
        media_type = str(announced.get("media_type"))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        look = await asyncio.to_thread(_look, content, media_type)
        file = await self._keep(alarm_id, str(announced["id"]), media_type, content, item)
        # All at once and without waiting in between, so that nobody sees an item half judged.
        item.fetched_s, item.problem, item.file = fetched_s, None, str(file)
        item.bytes_right = len(content) == announced.get("bytes")
        item.sha256_right = digest == announced.get("sha256")
        item.decodes, item.what, item.clock_ms, item.clock_frame = look
        if not item.sha256_right:
            item.problem = f"sha256: announced {announced.get('sha256')}, found {digest}"
        elif not item.bytes_right:
            item.problem = f"bytes: announced {announced.get('bytes')}, found {len(content)}"
        elif item.decodes is False:
            item.problem = f"does not decode as {media_type}: {item.what}"

    async def _keep(
        self, alarm_id: str, evidence_id: str, media_type: str, content: bytes, item: Evidence
    ) -> Path:
        folder = self._directory / _SAFE.sub("_", alarm_id)[:_LONGEST_NAME]
        name = _SAFE.sub("_", f"{_camera_and_moment(item)}-{evidence_id}")[-_LONGEST_NAME:] + _SUFFIXES.get(
            media_type, ".bin"
        )
        file = folder / name

        def write() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

        await asyncio.to_thread(write)
        self._kept[evidence_id] = Kept(file=file, media_type=media_type, bytes=len(content))
        self._order.append(evidence_id)
        self._held_bytes += len(content)
        while self._keep_bytes is not None and self._held_bytes > self._keep_bytes and len(self._order) > 1:
            old = self._kept.pop(self._order.popleft())
            self._held_bytes -= old.bytes
            old.file.unlink(missing_ok=True)
        return file


def _camera_and_moment(item: Evidence) -> str:
    return f"{item.announced.get('camera')}-{item.announced.get('moment')}"


async def look_live(http: aiohttp.ClientSession, url: str, look: LiveLook, *, within_s: float) -> None:
    """Open a live link as a player would: playlist, initialisation segment, first video segment.

    Tries every 0.25 s for `within_s`, because a playlist may name no segment yet.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            if await _open_playlist(http, url, look):
                look.problem = None
                return
            look.problem = "the playlist names no segment"
        except _Again as error:
            look.problem = str(error)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            look.problem = f"{type(error).__name__}: {error}"
        if time.monotonic() + _LIVE_TRY_EVERY_S > deadline_s:
            return
        await asyncio.sleep(_LIVE_TRY_EVERY_S)


async def _open_playlist(http: aiohttp.ClientSession, url: str, look: LiveLook) -> bool:
    for _ in range(2):  # a master playlist, then its first variant
        async with http.get(url, timeout=_TIMEOUT) as answer:
            if answer.status != 200:
                raise _Again(f"playlist answered {answer.status}")
            text = await answer.text()
        if not text.startswith("#EXTM3U"):
            raise _Again("playlist does not begin with #EXTM3U")
        addresses = [line for line in text.splitlines() if line and not line.startswith("#")]
        if "#EXT-X-STREAM-INF" not in text or not addresses:
            break
        url = urljoin(url, addresses[0])
    look.playlist_s = look.playlist_s or time.time()
    start = re.search(r'#EXT-X-MAP:.*?URI="([^"]+)"', text)
    parts = re.findall(r'#EXT-X-PART:.*?URI="([^"]+)"', text)
    newest = addresses[-1:] or parts[-1:]
    if not newest:
        return False
    for address in ([start[1]] if start else []) + newest:
        async with http.get(urljoin(url, address), timeout=_TIMEOUT) as answer:
            if answer.status != 200:
                raise _Again(f"segment answered {answer.status}")
            first = await answer.content.readany()
            if address == newest[0]:
                look.first_bytes_s = time.time()
            look.bytes += len(first) + len(await answer.read())
    return look.first_bytes_s is not None


class _Again(Exception):
    """An answer that may be another the next time."""


class _Final(Exception):
    """An answer that no further try will change."""


def _look(content: bytes, media_type: str) -> tuple[bool | None, str | None, int | None, int | None]:
    """Decode superficially: (decodes, what it is, clock in unix ms, frame number of the clock)."""
    if media_type == "image/jpeg":
        return _look_at_still(content)
    if media_type == "video/mp4":
        return _look_at_clip(content)
    return None, f"nothing here reads {media_type}", None, None


def _look_at_still(content: bytes) -> tuple[bool | None, str | None, int | None, int | None]:
    try:
        cv2: Any = importlib.import_module("cv2")
        numpy: Any = importlib.import_module("numpy")
    except ImportError as error:
        return None, f"not looked at: {error}", None, None
    if not content:
        return False, "empty", None, None
    image = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return False, "not a picture", None, None
    what = f"{image.shape[1]}×{image.shape[0]}"
    return True, what, *_clock(image)


def _look_at_clip(content: bytes) -> tuple[bool | None, str | None, int | None, int | None]:
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        return None, f"not looked at: {error}", None, None
    try:
        with av.open(io.BytesIO(content), format="mp4") as container:
            video = container.streams.video[0]
            first = next(container.decode(video))
            length_s = float(video.duration * video.time_base) if video.duration else None
            length = f", {length_s:.1f} s" if length_s is not None else ""
            what = f"{video.codec_context.name} {first.width}×{first.height}{length}"
            return True, what, *_clock(first.to_ndarray(format="gray"))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        return False, f"{type(error).__name__}: {error}", None, None


def _clock(image: Any) -> tuple[int | None, int | None]:
    """Read the clock that a simulated camera draws; a foreign camera's picture shows none."""
    try:
        picture: Any = importlib.import_module("simulators.camera.picture")
    except ImportError:
        return None, None
    try:
        reading = picture.read(image)
    except ValueError:
        return None, None
    return reading.unix_ms or None, reading.frame
