"""Stills: the frame nearest to an instant, decoded from the key frame before it, as JPEG.

What waits for a frame that is still on its way holds no thread. What is ready is taken by a small pool, stills of a press first;
requests for the same group of pictures are decoded together, one thread at a time works at a group, and the last pictures are
kept, so that a hundred alarms of one instant cost one or two decodings a camera.

A hundred alarms of two seconds ask for fifty pictures of each camera three times over, more than two processors make in time.
Who then waits takes what is there or soon made, near its instant (:func:`leeway_s`): a picture a moment off, which says so, is
worth more than none.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.cameras.worker.at_work import AT_WORK, DECODING
from drivers.cameras.worker.bounds import together
from drivers.cameras.worker.evidence.decoding import decode, encode_jpeg
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import SoundFormat
from drivers.cameras.worker.stream.ring import WIDEST_GAP_S, Found, Ring
from drivers.cameras.worker.threads import THREADS
from gateway.domain.errors import Unavailable

PATIENCE_S = 0.15
"""How long a frame that should be there is waited for, beside what the camera itself takes to send it whole."""

NOW_S = 1.0
"""A still of an instant this near to its asking is one of a press: it goes before stills of earlier and later instants, which may
take longer (2 s and 5 s) and are often ready sooner, because their frames are there already."""

LONGEST_PATIENCE_S = 1.5
"""The same for cameras of one or two frames a second."""

PICTURES_BYTES = 24 << 20
"""Pictures kept for the next who asks, their frames included: some three of each of 16 cameras at 1080p."""

CROWD = 12
"""More requests than these, ready for one camera at once, are those of many alarms: one asks for three."""

PUNCTUAL_S = 0.25
WIDENED_IN_S = 0.75
WIDEST_LEEWAY_S = 0.5
"""Half of the second between most cameras' key frames, each of which is a picture by itself."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """A camera as seen from here. ``cause`` says what is wrong with it, empty if nothing; ``sound_missing`` says the same of the
    sound that was asked for."""

    @property
    def id(self) -> str: ...
    @property
    def ring(self) -> Ring: ...
    @property
    def cause(self) -> str: ...
    @property
    def sound(self) -> SoundFormat | None: ...
    @property
    def sound_missing(self) -> str: ...
    def hurry(self, until_s: float) -> None:
        """Take pictures as they come up to this moment of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Still:
    """A picture taken; ``time_s`` is on the monotonic clock, mapped by ``clock``."""

    jpeg: bytes
    time_s: float
    clock: str


Answer = Callable[[Still | Unavailable], None]


@dataclass(slots=True, eq=False)
class Wanted:
    """One request; ``deadline_s`` is when it is answered with what there is, ``rank`` orders the work, ``ready_s`` is since when
    nothing but the work is waited for."""

    rank: tuple[bool, int]
    source: Source
    at_s: float
    deadline_s: float
    answer: Answer
    ready_s: float = 0.0


class Pictures:
    """The last pictures made, by their frame. Thread-safe; bounded in number and bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Frame, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, frame: Frame) -> bytes | None:
        """The JPEG of this frame, if it is kept."""
        with self._lock:
            return self._kept.get(frame)

    def keep(self, frame: Frame, jpeg: bytes) -> None:
        """Keep it for whoever asks next."""
        with self._lock:
            if frame in self._kept:
                return
            self._kept[frame] = jpeg
            self._bytes += len(jpeg) + frame.size
            while self._bytes > PICTURES_BYTES:
                gone, data = self._kept.popitem(last=False)
                self._bytes -= len(data) + gone.size

    def forget(self) -> None:
        """Give all memory back."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


class Stills:
    """Takes stills for all cameras. ``answer`` is called once a request, from one of its threads.

    ``calm`` is set while no press waits for its stills: what can wait does, until then.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, list[Wanted]] = {}
        self._ready: list[Wanted] = []
        self._busy: set[Group] = set()
        self._turns = itertools.count()
        self._urgent = 0
        self.pictures = Pictures()
        self.calm = threading.Event()
        self.calm.set()
        for i in range(threads or max(2, min(4, os.cpu_count() or 2))):
            THREADS.begin(f"still-{i}", self._work)
        THREADS.begin("still-deadlines", self._keep_deadlines)

    def take(self, source: Source, at_s: float, answer: Answer) -> Wanted:
        """Ask for the frame nearest to ``at_s``; returns at once."""
        now = time.monotonic()
        patience = min(LONGEST_PATIENCE_S, PATIENCE_S + source.ring.patience_s())
        rank = (abs(now - at_s) > NOW_S, next(self._turns))
        wanted = Wanted(rank, source, at_s, max(at_s, now) + patience, answer)
        with self._changed:
            if not rank[0]:
                self._urgent += 1
                self.calm.clear()
            if source.ring.reaches(at_s):
                wanted.ready_s = now
                self._ready.append(wanted)
            else:
                self._waiting.setdefault(source.id, []).append(wanted)
                source.hurry(wanted.deadline_s)
            self._changed.notify_all()
        return wanted

    def forget(self, wanted: Wanted) -> None:
        """Nobody waits for this answer any more."""
        with self._changed:
            if wanted in self._waiting.get(wanted.source.id, ()):
                self._leave(wanted)
            elif wanted in self._ready:
                self._ready.remove(wanted)
            else:
                return
            self._settle(wanted)

    def frame_arrived(self, source: Source) -> None:
        """To be called for each new frame: whoever waited for it is served."""
        if source.id not in self._waiting:  # the usual case, without the lock
            return
        with self._changed:
            waiting = self._waiting.get(source.id, [])
            self._serve([w for w in waiting if source.ring.reaches(w.at_s)])

    def _keep_deadlines(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                waiting = [w for each in self._waiting.values() for w in each]
                self._serve([w for w in waiting if w.deadline_s <= now])
                next_s = min((w.deadline_s for w in waiting if w.deadline_s > now), default=None)
                self._changed.wait(None if next_s is None else max(0.001, next_s - now))

    def _serve(self, served: Sequence[Wanted]) -> None:
        for wanted in served:
            self._leave(wanted)
            wanted.ready_s = time.monotonic()
            self._ready.append(wanted)
        if served:
            self._changed.notify_all()

    def _leave(self, wanted: Wanted) -> None:
        waiting = self._waiting[wanted.source.id]
        waiting.remove(wanted)
        if not waiting:
            del self._waiting[wanted.source.id]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (batch := self._next_batch()):
                    self._changed.wait()
                alone = not self._ready
                group = batch[0][1].group if batch[0][1] is not None else None
                if group is not None:
                    self._busy.add(group)
            try:
                for wanted, answer in _take(batch, self.pictures, every_core=alone):
                    try:
                        wanted.answer(answer)
                    except Exception:  # this thread serves all cameras
                        log.exception("a still of camera %s could not be handed over", wanted.source.id)
                    with self._changed:
                        self._settle(wanted)
            finally:
                with self._changed:
                    if group is not None:
                        self._busy.discard(group)
                    self._changed.notify_all()

    def _next_batch(self) -> list[tuple[Wanted, Found | None]]:
        """The most urgent request nobody works for, and all others for the same group of pictures; empty if there is none."""
        now = time.monotonic()
        asked = Counter(wanted.source.id for wanted in self._ready)
        for first in sorted(self._ready, key=lambda wanted: wanted.rank):
            crowded = asked[first.source.id] > CROWD
            found = self._found(first, leeway_s(now - first.ready_s) if crowded else 0.0)
            if found is not None and found.group in self._busy:
                continue  # what is being made now may be just that picture
            batch = [(first, found)]
            if found is not None:
                mine = [wanted for wanted in self._ready if wanted.source is first.source]
                mine.remove(first)
                batch += _joining(mine, found, now if crowded else None)
            taken = {id(wanted) for wanted, _ in batch}
            self._ready = [wanted for wanted in self._ready if id(wanted) not in taken]
            return batch
        return []

    def _found(self, wanted: Wanted, leeway: float) -> Found | None:
        """The frame nearest to the instant, or one within ``leeway`` seconds of it whose picture is there or soonest made."""
        ring = wanted.source.ring
        nearest = ring.nearest(wanted.at_s)
        if nearest is None or leeway <= 0 or self.pictures.get(nearest.frame) is not None:
            return nearest
        costs = [
            (
                0 if self.pictures.get(found.frame) is not None else place + 1,
                abs(found.time_s - wanted.at_s),
                found,
            )
            for place, found in ring.around(wanted.at_s, leeway)
            if not found.frame.leading
        ]
        return min(costs, key=lambda cost: cost[:2])[2] if costs else nearest

    def _settle(self, wanted: Wanted) -> None:
        self._urgent -= not wanted.rank[0]
        if not self._urgent:
            self.calm.set()


def _joining(
    others: Sequence[Wanted], found: Found, crowded_s: float | None
) -> Iterator[tuple[Wanted, Found]]:
    """Who of these is served with this picture, and with further ones of its group. In a crowd (``crowded_s`` is the present) no
    two pictures are made for those who can do with one."""
    made = [found]
    for other in others:
        near_s = leeway_s(crowded_s - other.ready_s) if crowded_s is not None else 0.0
        shared = min(made, key=lambda each: abs(each.time_s - other.at_s))
        if abs(shared.time_s - other.at_s) < near_s:
            yield other, shared
            continue
        also = other.source.ring.nearest(other.at_s)
        if (
            also is not None
            and also.group is found.group
            and len(made) < together(found.group.stream.picture)
        ):
            yield other, also
            made.append(also)


def leeway_s(waited_s: float) -> float:
    """How far a picture may lie from the instant asked for by one of a crowd that has waited so long."""
    return WIDEST_LEEWAY_S * min(1.0, max(0.0, (waited_s - PUNCTUAL_S) / WIDENED_IN_S))


def _take(
    batch: Sequence[tuple[Wanted, Found | None]], kept: Pictures, *, every_core: bool
) -> Iterator[tuple[Wanted, Still | Unavailable]]:
    """Answer requests for one group of pictures by decoding it once, and not at all for pictures that are kept."""
    near: list[tuple[Wanted, Found, Frame]] = []
    for wanted, found in batch:
        if found is None:
            cause = wanted.source.cause or "it has sent no key frame yet"
            yield wanted, Unavailable(f"no frame of this camera: {cause}")
        elif abs(found.time_s - wanted.at_s) > WIDEST_GAP_S:
            off = found.time_s - wanted.at_s
            side = "later, the ring begins there" if off > 0 else "earlier, none came since"
            cause = f" ({wanted.source.cause})" if wanted.source.cause else ""
            yield wanted, Unavailable(f"the nearest frame is {abs(off):.1f} s {side}{cause}")
        else:
            frame = found.frame
            jpeg = kept.get(frame)
            if jpeg is not None:
                yield wanted, _still(jpeg, found.group, frame)
            else:
                near.append((wanted, found, frame))
    if not near:
        return
    try:
        with AT_WORK.at(near[0][0].source.id, DECODING):
            pictures = decode(near[0][1].group, {frame for _, _, frame in near}, every_core=every_core)
    except Exception as exc:  # a stream no decoder can read costs this picture only
        log.exception("decoding a still of camera %s failed", near[0][0].source.id)
        for wanted, _, _ in near:
            yield wanted, Unavailable(f"the frame cannot be decoded: {exc}")
        return
    made: dict[Frame, bytes] = {}
    for wanted, found, frame in near:
        shown = pictures.get(frame)
        if shown is None:
            yield wanted, Unavailable("the decoder gave no picture for this frame")
            continue
        try:
            if shown.frame not in made:
                made[shown.frame] = kept.get(shown.frame) or encode_jpeg(shown.picture)
                kept.keep(shown.frame, made[shown.frame])
        except Exception as exc:
            log.exception("making a JPEG for camera %s failed", wanted.source.id)
            yield wanted, Unavailable(f"the picture cannot be made a JPEG: {exc}")
            continue
        yield wanted, _still(made[shown.frame], found.group, shown.frame)


def _still(jpeg: bytes, group: Group, frame: Frame) -> Still:
    return Still(jpeg, group.time_of(frame), group.clock())
