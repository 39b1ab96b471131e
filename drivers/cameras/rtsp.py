"""One camera's RTSP session: kept open, watched, opened again when it falls, its packets laid into the ring.

One thread a camera. A camera that is silent, slow or lying costs its own thread: every wait in here has an end.
"""

from __future__ import annotations

import logging
import random
import re
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import av
from av.packet import Packet

from drivers.cameras.mp4 import VideoFormat, read_format
from drivers.cameras.ring import Ring
from drivers.cameras.sps import parameter_sets
from drivers.cameras.timing import HouseClock
from gateway.domain.errors import Malformed

OPEN_TIMEOUT_S = 8.0
SILENCE_S = 5.0
"""Without a frame for this long, the session is taken for dead and opened again."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0
WRONG_STREAM_BACK_OFF_S = 30.0
REFUSED_BACK_OFF_S = 600.0
"""After a 401: cameras lock an account after a few wrong passwords, commonly for 30 minutes."""

LASTING_S = 30.0
"""A session that lasted this long was good: the back-off begins anew."""

OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "100000",  # µs; with probesize (bytes) this opens in 0.26 s instead of 1.0 to 1.7 s
    "probesize": "50000",
    "timeout": str(int(SILENCE_S * 1e6)),  # µs, of each wait on the socket
}

log = logging.getLogger(__name__)


class Fallen(Exception):
    """The session cannot go on; ``pause_s`` is how long to leave the camera alone, ``None`` for the usual back-off."""

    def __init__(self, cause: str, *, pause_s: float | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the stream is, its credentials apart."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)

    def with_credentials(self) -> str:
        """The URL as the media library wants it; never to be logged or shown."""
        if not self.username:
            return self.url
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        user, password = quote(self.username, safe=""), quote(self.password, safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


class Session:
    """A camera's session over its whole life. ``start`` once; ``point_at`` whenever the address changes."""

    def __init__(
        self,
        camera: str,
        ring: Ring,
        clock: HouseClock,
        *,
        on_frame: Callable[[Session], None],
        on_change: Callable[[], None],
    ) -> None:
        self.id = camera
        self.ring = ring
        self.cause = "waiting for its address"
        self.since_s = time.monotonic()
        self.sessions = 0
        self.refused = False
        self.clock_offset_s: float | None = None
        self.video: VideoFormat | None = None
        self.last_frame_s: float | None = None
        self._clock = clock
        self._on_frame = on_frame
        self._on_change = on_change
        self._address: Address | None = None
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera}", daemon=True)

    def start(self) -> None:
        """Begin; without an address it waits for one."""
        self._thread.start()

    def point_at(self, address: Address | None, cause: str = "") -> None:
        """Use this address from the next opening on; ``None`` with a cause while there is none."""
        changed = address != self._address
        self._address = address
        if self.sessions == 0 and address is None:
            self._say(cause)
        elif self.sessions == 0 and changed:
            self._say("being opened; no frame has come yet")
        if changed:
            self._woken.set()

    def _say(self, cause: str) -> None:
        if cause != self.cause:
            self.cause = cause
            self.since_s = time.monotonic()
            self._on_change()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        back_off = FIRST_BACK_OFF_S
        while True:
            address = self._address
            if address is None:
                self._pause(LONGEST_BACK_OFF_S)
                continue
            began = time.monotonic()
            pause: float | None = None
            try:
                self._receive(address)
            except Fallen as exc:
                cause, pause = exc.cause, exc.pause_s
            except Exception as exc:  # a camera that breaks the code costs itself only, and is tried again
                log.exception("camera %s: the session broke", self.id)
                cause = f"unexpected {type(exc).__name__}: {scrub(str(exc))}"
            self.ring.end_epoch()
            self.refused = pause == REFUSED_BACK_OFF_S
            if time.monotonic() - began > LASTING_S:
                back_off = FIRST_BACK_OFF_S
            log.warning("camera %s: %s", self.id, cause)
            self._say(cause)
            self._pause(pause or back_off * random.uniform(0.8, 1.2))
            back_off = min(LONGEST_BACK_OFF_S, 2 * back_off)

    def _pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def _receive(self, address: Address) -> None:
        try:
            container = av.open(
                address.with_credentials(), options=dict(OPTIONS), timeout=(OPEN_TIMEOUT_S, SILENCE_S)
            )
        except av.FFmpegError as exc:
            raise _fallen_opening(exc, address) from None  # the original names the URL with its password
        with container:
            self.sessions += 1
            self.refused = False
            stream = _choose(container)
            try:
                self._demux(container, stream)
            except (av.error.ExitError, av.error.TimeoutError):
                raise Fallen(
                    f"no frame for {SILENCE_S:.0f} s: the picture stands still or the network is cut"
                ) from None
            except av.FFmpegError as exc:
                raise Fallen(f"the session broke off: {exc.strerror}") from None

    def _demux(self, container: Any, stream: Any) -> None:
        described = bytes(stream.codec_context.extradata or b"")
        # The parser gives a frame out when the next one begins to arrive. So that moment is the arrival of the
        # *next* frame's first byte, and the least biased statement of its time there is.
        arrival_s = time.monotonic()
        early: list[tuple[Any, float]] = []
        kept: tuple[Any, int, float] | None = None
        last_pts: int | None = None
        in_pieces = False
        for packet in container.demux(stream):
            emitted_s = time.monotonic()
            if packet.size == 0:
                break
            came_s, arrival_s = arrival_s, emitted_s
            if packet.pts is None:  # some servers tell the time of their first frames only afterwards
                early = [*early[-99:], (packet, came_s)]
                continue
            arrived = [*_dated(early, packet, stream.time_base), (packet, packet.pts, came_s)]
            early = []
            for each, pts, at_s in arrived:
                if kept is not None and pts == kept[1]:
                    kept = (_joined(kept[0], each), pts, kept[2])
                elif kept is None and pts == last_pts:
                    in_pieces = True
                    self._complete(each)
                else:
                    if kept is not None:
                        self._lay(*kept, described, stream.time_base)
                        kept = None
                    if in_pieces:  # what else belongs to this picture is known when the next one has begun
                        kept = (each, pts, at_s)
                    else:
                        self._lay(each, pts, at_s, described, stream.time_base)
                    last_pts = pts
            self.last_frame_s = emitted_s
            self._say("" if self.video is not None else "frames come, but no key frame yet")
            self._on_frame(self)
        raise Fallen("the camera ended the session")

    def _complete(self, rest: Any) -> None:
        """A stream that repeats its parameter sets before each slice of a picture: the parser takes each for a picture.

        The first time this is seen the beginning is in the ring already; from then on pieces are joined before.
        """
        groups = self.ring.groups()
        if groups and self.ring.open_group() is groups[-1]:
            whole = _joined(groups[-1].frames[-1].packet, rest)
            self.ring.complete_last(whole, whole.size)

    def _lay(self, packet: Any, pts: int, came_s: float, described: bytes, time_base: Any) -> None:
        if packet.is_keyframe:
            data = bytes(packet)
            parameters = parameter_sets(data) or described
            video = self.video
            if video is None or video.session != self.sessions or video.parameters != parameters:
                try:
                    self.video = read_format(parameters, data, time_base, self.sessions)
                except Malformed as exc:
                    raise Fallen(f"the stream cannot be read: {exc}") from exc
        if self.video is None or self.video.session != self.sessions:
            self.ring.dropped += 1
            return
        self.ring.append(self.video, packet, pts, came_s, key=packet.is_keyframe, size=packet.size)
        if packet.has_sidedata("rtcp_sr") and packet.has_sidedata("prft"):
            self._compare_clocks(packet)

    def _compare_clocks(self, packet: Any) -> None:
        """The camera's own time of this frame, from its RTCP sender reports, against ours. It is told, never used."""
        (camera_us,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
        newest_s = self.ring.newest_s()
        if newest_s is not None and camera_us > 0:
            self.clock_offset_s = camera_us / 1e6 - self._clock.to_wall(newest_s)


def _dated(early: list[tuple[Any, float]], first: Any, time_base: Any) -> list[tuple[Any, int, float]]:
    """Give packets that came without a time the times before the first one that has one."""
    step = first.duration or round(0.04 / time_base)
    dated: list[tuple[Any, int, float]] = []
    pts, after = first.pts, first
    for packet, came_s in reversed(early):
        if not (packet.is_keyframe and after.is_keyframe):  # two key frames in a row are one in pieces
            pts -= step
        dated.insert(0, (packet, pts, came_s))
        after = packet
    return dated


def _joined(first: Any, second: Any) -> Any:
    """One packet of two pieces of a picture."""
    data = bytes(first) + bytes(second)
    whole: Any = Packet(len(data))
    whole.update(data)
    whole.is_keyframe = first.is_keyframe
    return whole


def _choose(container: Any) -> Any:
    videos = list(container.streams.video)
    if not videos:
        found = ", ".join(f"{s.type} {s.name or 'unknown'}" for s in container.streams) or "nothing"
        raise Fallen(
            f"the address serves no video (found: {found}); H.264 was expected: check the stream path",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    codec = videos[0].codec_context.name if videos[0].codec_context else "an unknown codec"
    if codec != "h264":
        raise Fallen(
            f"the camera sends {codec.upper()} where H.264 was expected: choose its H.264 stream, or set it to H.264",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    return videos[0]


def _fallen_opening(exc: av.FFmpegError, address: Address) -> Fallen:
    """What an error on opening means, in words a technician can act on."""
    where = urlsplit(address.url).netloc.rpartition("@")[2]
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return Fallen(
            "the camera refuses user name or password (401): correct them in the site file; "
            f"not tried again for {REFUSED_BACK_OFF_S / 60:.0f} min, so that it does not lock the account",
            pause_s=REFUSED_BACK_OFF_S,
        )
    if isinstance(exc, av.error.HTTPForbiddenError):
        return Fallen(
            "the camera forbids this stream (403): too many sessions, or the account lacks the right"
        )
    if isinstance(exc, av.error.HTTPNotFoundError):
        return Fallen(f"the camera has no stream at {scrub(address.url)} (404): check the path")
    if isinstance(exc, av.error.ConnectionRefusedError):
        return Fallen(f"nothing listens at {where}: is the camera on, and is the port right?")
    if isinstance(exc, (av.error.ExitError, av.error.TimeoutError)):
        return Fallen(f"{where} takes the connection but sends nothing within {OPEN_TIMEOUT_S:.0f} s")
    return Fallen(f"{where} cannot be opened: {scrub(exc.strerror or type(exc).__name__)}")


def scrub(text: str) -> str:
    """Text without the credentials of any URL in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)
