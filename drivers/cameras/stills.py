"""Stills: the frame nearest to an instant, decoded from the key frame before it, as JPEG.

What waits for a frame that is still on its way holds no thread. What is ready is taken by a small pool, stills of a press first;
requests for the same group of pictures are decoded together, so that a hundred alarms cost one decoding a camera.

JPEG is made by the media library's own encoder. Measured at 1080p against OpenCV's at quality 90: the same size and PSNR,
6 ms a picture slower, and 30 MB of memory and 0.7 s of importing cheaper.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from drivers.cameras.mp4 import VideoFormat
from drivers.cameras.ring import WIDEST_GAP_S, Found, Frame, Ring
from gateway.domain.errors import Unavailable

PATIENCE_S = 0.15
"""How long a frame that should be there is waited for, beside the two frames' time it takes to arrive whole."""

NOW_S = 1.0
"""A still of an instant this near to its asking is one of a press: it goes before stills of earlier and later instants, which may
take longer (2 s and 5 s) and are often ready sooner, because their frames are there already."""

LONGEST_PATIENCE_S = 1.5
"""The same for cameras of one or two frames a second."""

QUANTISER = "2"
"""The JPEG encoder's finest useful step, about quality 90 in libjpeg's counting."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """A camera as seen from here. ``cause`` says what is wrong with it, empty if nothing."""

    @property
    def id(self) -> str: ...
    @property
    def ring(self) -> Ring: ...
    @property
    def cause(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Still:
    """A picture taken; ``time_s`` is on the monotonic clock."""

    jpeg: bytes
    time_s: float


Answer = Callable[[Still | Unavailable], None]


@dataclass(slots=True, eq=False)
class Wanted:
    """One request; ``deadline_s`` is when it is answered with what there is, ``rank`` orders the work."""

    rank: tuple[bool, int]
    source: Source
    at_s: float
    deadline_s: float
    answer: Answer


class Stills:
    """Takes stills for all cameras. ``answer`` is called once a request, from one of its threads.

    ``calm`` is set while no press waits for its stills: what can wait does, until then.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Wanted] = []
        self._awaited: Counter[str] = Counter()
        self._ready: list[Wanted] = []
        self._turns = itertools.count()
        self._urgent = 0
        self.calm = threading.Event()
        self.calm.set()
        for i in range(threads or max(2, min(4, os.cpu_count() or 2))):
            threading.Thread(target=self._work, name=f"still-{i}", daemon=True).start()
        threading.Thread(target=self._keep_deadlines, name="still-deadlines", daemon=True).start()

    def take(self, source: Source, at_s: float, answer: Answer) -> Wanted:
        """Ask for the frame nearest to ``at_s``; returns at once."""
        now = time.monotonic()
        patience = min(LONGEST_PATIENCE_S, PATIENCE_S + 2.5 * source.ring.interval_s())
        rank = (abs(now - at_s) > NOW_S, next(self._turns))
        wanted = Wanted(rank, source, at_s, max(at_s, now) + patience, answer)
        with self._changed:
            if not rank[0]:
                self._urgent += 1
                self.calm.clear()
            if source.ring.reaches(at_s):
                self._ready.append(wanted)
            else:
                self._waiting.append(wanted)
                self._awaited[source.id] += 1
            self._changed.notify_all()
        return wanted

    def forget(self, wanted: Wanted) -> None:
        """Nobody waits for this answer any more."""
        with self._changed:
            if wanted in self._waiting:
                self._leave(wanted)
            elif wanted in self._ready:
                self._ready.remove(wanted)
            else:
                return
            self._settle(wanted)

    def frame_arrived(self, source: Source) -> None:
        """To be called for each new frame: whoever waited for it is served."""
        if source.id not in self._awaited:  # the usual case, without the lock
            return
        with self._changed:
            served = [w for w in self._waiting if w.source is source and source.ring.reaches(w.at_s)]
            self._serve(served)

    def _keep_deadlines(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                self._serve([w for w in self._waiting if w.deadline_s <= now])
                next_s = min((w.deadline_s for w in self._waiting), default=None)
                self._changed.wait(None if next_s is None else max(0.001, next_s - now))

    def _serve(self, served: Sequence[Wanted]) -> None:
        for wanted in served:
            self._leave(wanted)
            self._ready.append(wanted)
        if served:
            self._changed.notify_all()

    def _leave(self, wanted: Wanted) -> None:
        self._waiting.remove(wanted)
        self._awaited[wanted.source.id] -= 1
        if not self._awaited[wanted.source.id]:
            del self._awaited[wanted.source.id]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ready:
                    self._changed.wait()
                batch = self._next_batch()
                alone = not self._ready
            for wanted, answer in _take(batch, every_core=alone):
                try:
                    wanted.answer(answer)
                except Exception:  # this thread serves all cameras
                    log.exception("a still of camera %s could not be handed over", wanted.source.id)
                with self._changed:
                    self._settle(wanted)

    def _next_batch(self) -> list[tuple[Wanted, Found | None]]:
        """The most urgent request, and all others that want the same group of pictures."""
        first = min(self._ready, key=lambda wanted: wanted.rank)
        found = first.source.ring.nearest(first.at_s)
        batch = [(first, found)]
        for other in self._ready:
            if other is not first and found is not None and other.source is first.source:
                also = other.source.ring.nearest(other.at_s)
                if also is not None and also.group is found.group:
                    batch.append((other, also))
        for wanted, _ in batch:
            self._ready.remove(wanted)
        return batch

    def _settle(self, wanted: Wanted) -> None:
        self._urgent -= not wanted.rank[0]
        if not self._urgent:
            self.calm.set()


def _take(
    batch: Sequence[tuple[Wanted, Found | None]], *, every_core: bool
) -> list[tuple[Wanted, Still | Unavailable]]:
    """Answer requests for one group of pictures by decoding it once."""
    answers: list[tuple[Wanted, Still | Unavailable]] = []
    near: list[tuple[Wanted, Found]] = []
    for wanted, found in batch:
        if found is None:
            cause = wanted.source.cause or "it has sent no key frame yet"
            answers.append((wanted, Unavailable(f"no frame of this camera: {cause}")))
        elif abs(found.time_s - wanted.at_s) > WIDEST_GAP_S:
            off = found.time_s - wanted.at_s
            side = "later, the ring begins there" if off > 0 else "earlier, none came since"
            cause = f" ({wanted.source.cause})" if wanted.source.cause else ""
            answers.append((wanted, Unavailable(f"the nearest frame is {abs(off):.1f} s {side}{cause}")))
        else:
            near.append((wanted, found))
    if not near:
        return answers
    try:
        pictures = _decode({found.index for _, found in near}, near[0][1], every_core=every_core)
    except Exception as exc:  # a stream no decoder can read costs this picture only
        log.exception("decoding a still of camera %s failed", near[0][0].source.id)
        return answers + [(w, Unavailable(f"the frame cannot be decoded: {exc}")) for w, _ in near]
    for wanted, found in near:
        still = pictures.get(found.index)
        answers.append((wanted, still or Unavailable("the decoder gave no picture for this frame")))
    return answers


def _decode(indices: set[int], found: Found, *, every_core: bool) -> dict[int, Still]:
    """JPEG of the frames with these indices of a group; what cannot be decoded is replaced by its nearest neighbour."""
    group = found.group
    frames: list[Frame] = group.frames[: max(indices) + 1]
    if not frames:
        raise Unavailable("the group of pictures has left the ring")
    video: VideoFormat = group.stream
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = video.parameters
    decoder.thread_type = "AUTO" if every_core else "SLICE"
    decoder.thread_count = 0 if every_core else 1
    wanted_pts = {frames[i].pts: i for i in indices if i < len(frames)}
    pictures: dict[int, Any] = {}
    latest: tuple[int, Any] | None = None
    for frame in [*frames, None]:
        packet = None
        if frame is not None:
            packet = Packet(frame.packet)  # the camera's own may have no time yet: some tell it only later
            packet.pts = frame.pts
            packet.time_base = video.time_base
        try:
            decoded: list[Any] = decoder.decode(packet)
        except av.error.InvalidDataError:
            continue
        for picture in decoded:
            if picture.pts in wanted_pts:
                pictures[wanted_pts[picture.pts]] = picture
            latest = (picture.pts, picture)
    offset = group.offset_s()
    stills: dict[int, Still] = {}
    for index in indices:
        picture = pictures.get(index, latest[1] if latest else None)
        if picture is not None:
            stills[index] = Still(encode_jpeg(picture), picture.pts * video.tick_s + offset)
    return stills


def encode_jpeg(picture: Any) -> bytes:
    """One decoded picture as baseline JPEG, in JFIF's colours (full range, ITU-R BT.601) whatever the camera's were."""
    full = VideoReformatter().reformat(
        picture,
        format="yuvj420p",
        src_color_range=picture.color_range or ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
    )
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = full.width, full.height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qmin": QUANTISER, "qmax": QUANTISER}
    full.pts = 0
    full.time_base = encoder.time_base
    full.pict_type = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(full), *encoder.encode(None)])
