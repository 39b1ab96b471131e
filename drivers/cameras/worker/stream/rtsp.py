"""One camera's RTSP session: kept open, watched, opened again when it falls, its packets laid into the ring.

One thread a camera. A camera that is silent, slow or lying costs its own thread: every wait in here has an end.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import av

from drivers.cameras.codec.hevc import is_rasl
from drivers.cameras.codec.slices import order_of
from drivers.cameras.spec import REFUSED_BACK_OFF_S
from drivers.cameras.unforeseen import in_words
from drivers.cameras.worker.at_work import AT_WORK, OPENING, READING
from drivers.cameras.worker.bounds import (
    CHANGES_WITHIN_S,
    MOST_CHANGES,
    MOST_PICTURES,
    MOST_RECEIVED,
    PICTURES_WITHIN_S,
    RECEIVED_WITHIN_S,
    Rate,
    Volume,
)
from drivers.cameras.worker.frames.mp4 import (
    CODECS,
    SPOKEN,
    SoundFormat,
    VideoFormat,
    read_format,
    read_sound,
)
from drivers.cameras.worker.frames.pacing import WAITED_S, Pace
from drivers.cameras.worker.frames.timing import Arrival, HouseClock
from drivers.cameras.worker.stream.assembly import Assembly
from drivers.cameras.worker.stream.meter import Meter, Meters
from drivers.cameras.worker.stream.opening import (
    SILENCE_S,
    WRONG_STREAM_BACK_OFF_S,
    Address,
    Fallen,
    chosen,
    opened,
)
from drivers.cameras.worker.stream.reports import Reports
from drivers.cameras.worker.stream.ring import Ring
from drivers.cameras.worker.threads import THREADS
from gateway.domain.errors import Malformed

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0
LASTING_S = 30.0
"""A session that lasted this long was good: the back-off begins anew."""

KEYLESS_S = 60.0
"""Without a key frame for this long the stream is opened anew: it has become unreadable, or its groups are too long to keep."""

PICTURELESS_S = 2 * SILENCE_S
"""Bytes come, and no picture of them ends: as good as silence, with patience for one that is slow."""

AAC_SAMPLES = 1024

SOUND_NAMES = {
    "pcm_alaw": "G.711 (PCMA)",
    "pcm_mulaw": "G.711 (PCMU)",
    "adpcm_g722": "G.722",
    "adpcm_g726": "G.726",
    "adpcm_g726le": "G.726",
}

NUMBERS_SINCE = 1_735_689_600
"""2025-01-01 as Unix seconds: counted from there, segments' numbers fit 31 bits until 2059, as some players need."""

METERS = Meters()
"""One for the process: it watches the connections of all sessions."""

log = logging.getLogger(__name__)


def numbers_from() -> int:
    """Half-seconds of the clock: numbers of live segments never go back, not even over a restart."""
    return max(1, int((time.time() - NUMBERS_SINCE) * 2))


class Session:
    """A camera's session over its whole life. ``start`` once; ``point_at`` whenever the address changes; ``end`` for good.

    ``audio`` asks for its sound: ``sound`` is what comes of it, ``sound_missing`` says why there is none in clips.
    """

    def __init__(
        self,
        camera: str,
        ring: Ring,
        clock: HouseClock,
        *,
        on_frame: Callable[[Session], None],
        on_change: Callable[[], None],
        audio: bool = False,
    ) -> None:
        self.id = camera
        self.ring = ring
        self.cause = "waiting for its address"
        self.since_s = time.monotonic()
        self.sessions = 0
        self.refused = False
        self.reached = True
        self.clock_offset_s: float | None = None
        self.video: VideoFormat | None = None
        self.sound: SoundFormat | None = None
        self.sound_missing = "sound left out: the camera's stream was not open" if audio else ""
        self.last_frame_s: float | None = None
        self._audio = audio
        self._pace = Pace()
        self._changes = Rate(MOST_CHANGES, CHANGES_WITHIN_S)
        self._key_pts = 0
        self._opening = False
        self._ended = threading.Event()
        self._clock = clock
        self._on_frame = on_frame
        self._on_change = on_change
        self._address: Address | None = None
        self._woken = threading.Event()

    @property
    def audio(self) -> bool:
        """Whether its sound was asked for."""
        return self._audio

    def start(self) -> None:
        """Begin; without an address it waits for one."""
        THREADS.begin(f"camera-{self.id}", self._run, camera=self.id)

    def end(self) -> None:
        """Close the session, soon, and for good."""
        self._ended.set()
        self._woken.set()

    def hurry(self, until_s: float) -> None:
        """Take pictures as they come up to this moment of the monotonic clock: somebody waits for one."""
        self._pace.hurry(until_s)

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
        while not self._ended.is_set():
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
                self.reached = exc.reached
            except Exception as exc:  # a camera that breaks the code costs itself only, and is tried again
                log.exception("camera %s: the session broke", self.id)
                cause = f"the stream stopped: {in_words(exc)}"
            self.ring.end_epoch()
            self.refused = pause == REFUSED_BACK_OFF_S
            if time.monotonic() - began > LASTING_S:
                back_off = FIRST_BACK_OFF_S
            if self._ended.is_set():
                return
            log.warning("camera %s: %s", self.id, cause)
            self._say(cause)
            self._pause(pause or back_off * random.uniform(0.8, 1.2))
            back_off = min(LONGEST_BACK_OFF_S, 2 * back_off)

    def _pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def _receive(self, address: Address) -> None:
        AT_WORK.begin(self.id, OPENING)
        self._opening = True
        try:
            self._receive_from(address)
        finally:
            self._opened()

    def _opened(self) -> None:
        """A first picture is described, or the session is over."""
        if self._opening:
            self._opening = False
            AT_WORK.end(self.id, OPENING)

    def _receive_from(self, address: Address) -> None:
        with (
            METERS.metered() as meter,
            opened(address, audio=self._audio, connecting=meter.connecting) as container,
        ):
            self.sessions += 1
            self.refused = False
            video = chosen(container)
            sound = self._choose_sound(container) if self._audio else None
            try:
                self._demux(container, video, sound, meter)
            except (av.error.ExitError, av.error.TimeoutError):
                raise Fallen(
                    f"no frame for {SILENCE_S:.0f} s: the picture stands still or the network is cut"
                ) from None
            except av.FFmpegError as exc:
                raise Fallen(f"the session broke off: {exc.strerror}") from None
            except Malformed as exc:
                raise Fallen(str(exc), pause_s=WRONG_STREAM_BACK_OFF_S) from exc

    def _choose_sound(self, container: Any) -> Any | None:
        """The camera's sound if a clip can carry it; ``sound_missing`` says why not."""
        streams = list(container.streams.audio)
        self.sound, self.sound_missing = None, "sound left out: the camera sends none"
        if not streams:
            return None
        codec = streams[0].codec_context.name if streams[0].codec_context else "of an unknown kind"
        if codec != "aac":
            self.sound_missing = (
                f"sound left out: {SOUND_NAMES.get(codec, codec.upper())} does not go into MP4; "
                "set the camera's sound to AAC"
            )
            return None
        try:
            self.sound, self.sound_missing = read_sound(streams[0]), ""
        except Malformed as exc:
            self.sound_missing = f"sound left out: {exc}"
            return None
        return streams[0]

    def _demux(self, container: Any, video: Any, sound: Any | None, meter: Meter) -> None:
        codec = video.codec_context.name
        described = bytes(video.codec_context.extradata or b"")
        assembly = Assembly(order_of(codec, described))
        reports = Reports(self.ring, self._clock)
        paired: set[int] = set()
        # A picture is whole when the next one begins, and its time is told best by when its own first byte came. What came
        # while this thread rested is found late, up to the first byte that is waited for again.
        late = False
        self._changes = Rate(MOST_CHANGES, CHANGES_WITHIN_S)
        rate = Rate(MOST_PICTURES, PICTURES_WITHIN_S)
        asked_s = self._frame_s = self._key_s = time.monotonic()
        volume = Volume(MOST_RECEIVED, RECEIVED_WITHIN_S, asked_s)
        self._pace.begin()
        for packet in container.demux(*(each for each in (video, sound) if each is not None)):
            emitted_s = time.monotonic()
            waited = emitted_s - asked_s > WAITED_S
            late = late and not waited
            if self._ended.is_set():
                raise Fallen("closed: nobody looks any more")
            if packet.size == 0 or packet.pts is None:
                if packet.stream_index == video.index and packet.size == 0:
                    break
                continue
            if (
                sound is not None
                and (index := packet.stream_index) not in paired
                and packet.has_sidedata("prft")
            ):
                paired.add(index)
            if packet.stream_index != video.index:
                self._hear(packet, Arrival(emitted_s, not late), paired=len(paired) == 2)
                if emitted_s - self._frame_s > SILENCE_S:
                    raise Fallen(f"no frame for {SILENCE_S:.0f} s: only sound comes")
                asked_s = time.monotonic()
                continue
            piece, pts = bytes(packet), packet.pts
            if assembly.goes_on(piece, pts):  # nine pieces of ten; no more is done for them
                asked_s = time.monotonic()
                continue
            whole = assembly.take(piece, pts, Arrival(emitted_s, not late, reports.of(packet, emitted_s)))
            for picture, at, came in whole:
                self._lay(picture, at, came, codec, described, video.time_base)
                if (off_s := reports.tell(at, came, emitted_s)) is not None:
                    self.clock_offset_s = off_s
            if not whole:
                if emitted_s - self._frame_s > PICTURELESS_S:
                    raise Fallen(
                        f"no picture ended for {PICTURELESS_S:.0f} s: not {SPOKEN[codec]} as it should be"
                    )
                asked_s = time.monotonic()
                continue
            self._frame_s = emitted_s
            meter.picture()
            if volume.exceeded(sum(picture.size for picture, _, _ in whole), emitted_s):
                raise Fallen(
                    f"it sent more than {MOST_RECEIVED >> 20} MB in {RECEIVED_WITHIN_S:.0f} s: no camera does",
                    pause_s=WRONG_STREAM_BACK_OFF_S,
                )
            if rate.exceeded(emitted_s):
                raise Fallen(
                    f"it sent more than {MOST_PICTURES} pictures in {PICTURES_WITHIN_S:.0f} s: no camera does",
                    pause_s=WRONG_STREAM_BACK_OFF_S,
                )
            if emitted_s - self._key_s > KEYLESS_S:
                raise Fallen(f"no key frame for {KEYLESS_S:.0f} s: the stream is opened anew to ask for one")
            self.last_frame_s = emitted_s
            self._say("" if self.video is not None else "frames come, but no key frame yet")
            self._on_frame(self)
            asked_s = time.monotonic()
            if waited and (flow := self.ring.flow(asked_s)) is not None and self._pace.rest(flow):
                late = True
                asked_s = time.monotonic()
        raise Fallen("the camera ended the session")

    def _hear(self, packet: Any, came: Arrival, *, paired: bool) -> None:
        if packet.pts is None or self.sound is None:
            return
        duration = packet.duration or AAC_SAMPLES
        tick_s = float(packet.time_base)
        begins_s = packet.pts * tick_s
        self.ring.append_sound(
            packet,
            begins_s,
            begins_s + duration * tick_s,
            came.at_s,
            size=packet.size,
            paired=paired,
            prompt=came.prompt,
        )

    def _lay(
        self, packet: Any, pts: int, came: Arrival, codec: str, described: bytes, time_base: Any
    ) -> None:
        leading = False
        if packet.is_keyframe:
            self._key_s, self._key_pts = time.monotonic(), pts
            data, video = bytes(packet), self.video
            try:
                parameters = CODECS[codec].parameter_sets(data) or described
                fresh = video
                if video is None or video.session != self.sessions or video.parameters != parameters:
                    with AT_WORK.at(self.id, READING):
                        fresh = read_format(codec, parameters, data, time_base, self.sessions)
            except Malformed as exc:
                raise Fallen(f"the stream cannot be read: {exc}") from exc
            if fresh is not video:
                if self._changes.exceeded(time.monotonic()):
                    raise Fallen(
                        f"it changed its parameter sets more than {MOST_CHANGES} times in {CHANGES_WITHIN_S:.0f} s",
                        pause_s=WRONG_STREAM_BACK_OFF_S,
                    )
                if video is not None and video.codec != codec:
                    self.ring.renumber(numbers_from())
                self.video = fresh
                self._opened()
        elif pts < self._key_pts:
            leading = codec == "h264" or is_rasl(bytes(packet))
        if self.video is None or self.video.session != self.sessions:
            self.ring.dropped += 1
            return
        self.ring.append(
            self.video,
            packet,
            pts,
            came.at_s,
            key=packet.is_keyframe,
            size=packet.size,
            leading=leading,
            prompt=came.prompt,
        )
