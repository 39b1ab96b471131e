"""Which of a camera's two streams is recorded, and from which moment on: driven by hand, on real rings, without a camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.record.either import PATIENCE_S, STEADY_S, EitherStream
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.ring import Ring

FRAME_S = 0.1
GROUP = 10
WHERE = Address(url="rtsp://camera/sub")


@dataclass(frozen=True)
class Pictures:
    """A stream as a ring knows it."""

    tick_s: float = FRAME_S


@dataclass
class Stream:
    """A session that shows what it is fed."""

    id: str = "cam"
    cause: str = ""
    last_frame_s: float | None = None
    ring: Ring = field(default_factory=lambda: Ring(RingLimits(seconds=20, bytes=1 << 20)))
    ended: bool = False
    _pictures: Pictures = field(default_factory=Pictures)

    def show(self, frame: int) -> None:
        """Frame so and so of all time comes, at its moment."""
        at_s = frame * FRAME_S
        self.ring.append(self._pictures, None, frame, at_s, key=frame % GROUP == 0, size=10)
        self.last_frame_s = at_s

    def fall(self, cause: str) -> None:
        self.cause = cause
        self.ring.end_epoch()


@dataclass
class Scripted:
    """A recorder that writes all there is, and nothing of it down."""

    source: Stream
    first: Group | None
    substream: bool
    upto_s: float = inf
    reached: bool = False
    keys_only: bool = False
    cause: str = ""
    since_s: float | None = None
    until_s: float | None = None
    closed: bool = False
    disk_takes: bool = True

    def step(self, _now_s: float) -> None:
        newest_s = self.source.ring.newest_s()
        if newest_s is None:
            return
        if self.since_s is None:
            groups = [self.first] if self.first is not None else self.source.ring.groups()[-1:]
            self.since_s = groups[0].time_of(groups[0].frames[0])
        self.reached = newest_s >= self.upto_s
        self.until_s = min(newest_s, self.upto_s - FRAME_S)

    def hand_over(self, _now_s: float) -> None:
        self.closed = True
        self.cause = "" if self.disk_takes else "cannot be written: no space"

    end = sync = hand_over  # type: ignore[assignment]


class Sessions:
    """:class:`Beside` for one camera: gives out ``second``, and notes whether somebody has it."""

    def __init__(self, second: Stream) -> None:
        self.second = second
        self.opened = 0
        self.given: Stream | None = None

    @property
    def held(self) -> bool:
        return self.given is not None

    def open(self, _main: Any, _address: Address, _holder: str) -> Stream:
        self.opened, self.given = self.opened + 1, self.second
        return self.second

    def let_go(self, _camera: str, _address: Address, _holder: str) -> None:
        self.given = None


class Bench:
    """Two streams of ten frames a second, a key frame a second, and two looks a second."""

    def __init__(self) -> None:
        self.main, self.second = Stream(), Stream()
        self.sessions = Sessions(self.second)
        self.made: list[Scripted] = []
        self.frame = 0
        self.recorder = EitherStream(self.main, self.sessions, self._begin)  # type: ignore[arg-type]
        self.recorder.point_at(WHERE, "")

    def _begin(self, stream: Stream, first: Group | None, *, substream: bool) -> Any:
        self.made.append(Scripted(stream, first, substream))
        return self.made[-1]

    def run(self, seconds: float, *, main: bool = True, second: bool = True) -> None:
        """Time goes by, with what comes of either stream (of the second one only while its session is held)."""
        for _ in range(round(seconds / FRAME_S)):
            self.frame += 1
            if main:
                self.main.show(self.frame)
            if second and self.sessions.given is not None:
                self.sessions.given.show(self.frame)
            if self.frame % 5 == 0:
                self.recorder.step(self.frame * FRAME_S)

    @property
    def recorded(self) -> list[str]:
        """The streams whose recorders were handed the camera, in their order; one that was agreed on and never came is none."""
        return ["sub" if one.substream else "main" for one in self.made if one.since_s is not None]


def test_each_recorder_begins_where_the_one_before_it_was_told_to_end() -> None:
    """There and back: the moment is a key frame of the next stream, and the second session is held while it is needed."""
    bench = Bench()
    bench.run(3)
    assert not bench.sessions.held
    bench.recorder.substream = True
    bench.run(6)
    assert (bench.recorded, bench.sessions.held) == (["main", "sub"], True)
    bench.recorder.substream = False
    bench.run(4)
    assert (bench.recorded, bench.sessions.held) == (["main", "sub", "main"], False)
    main, sub, again = bench.made
    assert main.upto_s == sub.since_s
    assert sub.upto_s == again.since_s
    assert main.closed
    assert sub.closed
    assert not again.closed
    assert bench.sessions.opened == 1


def test_what_was_agreed_on_is_taken_back_when_it_is_no_longer_wanted() -> None:
    """The room comes back between the agreement and its moment: the main recorder goes on as if nothing had been."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    while bench.made[0].upto_s == inf:
        bench.run(0.5, main=False)  # so that its moment never comes
        bench.main.last_frame_s = bench.frame * FRAME_S
    bench.recorder.substream = False
    bench.run(0.5, main=False)
    assert bench.made[0].upto_s == inf
    bench.run(3)
    assert bench.recorded == ["main"]
    assert not bench.sessions.held


def test_a_second_stream_that_falls_is_left_from_where_it_was_and_not_taken_again_before_it_is_steady() -> (
    None
):
    """However often it comes and goes within that time, there is one change and no more; it says why meanwhile."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    fell_s = bench.frame * FRAME_S
    bench.run(3, second=False)
    assert bench.recorded == ["main", "sub", "main"]
    since_s = bench.made[-1].since_s
    assert since_s is not None
    assert fell_s - 1.0 - FRAME_S <= since_s <= fell_s
    assert "no frame" in bench.recorder.missing
    for _ in range(6):
        bench.run(STEADY_S - 5)
        bench.run(3, second=False)
        assert bench.recorded == ["main", "sub", "main"]
        assert bench.recorder.missing
    bench.run(STEADY_S + 3)
    assert bench.recorded == ["main", "sub", "main", "sub"]
    assert bench.recorder.missing == ""
    assert bench.made[2].upto_s == bench.made[3].since_s


def test_a_second_stream_whose_session_breaks_is_left_at_once() -> None:
    """Its cause is the camera's word, told as such."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    bench.second.fall("503: too many sessions")
    bench.run(0.5, second=False)
    assert bench.recorded == ["main", "sub", "main"]
    assert bench.recorder.missing == "503: too many sessions"


def test_a_second_stream_that_never_comes_is_told_after_its_patience_and_costs_nothing() -> None:
    """Not before: opening a stream takes its time. Where there is none at all, at once."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(PATIENCE_S - 1, second=False)
    assert bench.recorder.missing == ""
    bench.run(2, second=False)
    assert bench.recorder.missing
    assert bench.recorded == ["main"]
    bench.recorder.point_at(None, "it has none")
    bench.run(0.5)
    assert bench.recorder.missing == "it has none"
    assert not bench.sessions.held
    bench.recorder.substream = False
    bench.run(0.5)
    assert bench.recorder.missing == ""


def test_with_the_main_stream_away_the_second_one_goes_on() -> None:
    """Also where room is there again; and when both are away nothing is changed for the sake of it."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    bench.run(3, main=False)
    bench.recorder.substream = False
    bench.run(20, main=False)
    assert bench.recorded == ["main", "sub"]
    bench.run(10, main=False, second=False)
    assert bench.recorded == ["main", "sub"]
    bench.run(4, second=False)
    assert bench.recorded == ["main", "sub", "main"]


def test_a_second_stream_at_another_address_is_another_one() -> None:
    """What is written of the old one ends; nothing is lost while the new one is opened."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    bench.sessions.second = bench.second = Stream()
    bench.recorder.point_at(Address(url="rtsp://camera/other"), "")
    bench.run(3)
    assert bench.recorded == ["main", "sub", "main"]
    bench.run(STEADY_S + 3)
    assert bench.recorded == ["main", "sub", "main", "sub"]
    assert bench.made[-1].source is bench.second


def test_a_second_stream_at_another_address_that_comes_already_is_no_reason_to_read_the_old_one() -> None:
    """It may be open for the live picture; with the main stream away it is gone on with at once."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    other = Stream()
    for frame in range(bench.frame - 30, bench.frame + 1):
        other.show(frame)
    bench.run(3, main=False)
    for frame in range(bench.frame - 30, bench.frame + 1):
        other.show(frame)
    bench.sessions.second = bench.second = other
    bench.recorder.point_at(Address(url="rtsp://camera/other"), "")
    bench.run(6, main=False)
    assert bench.recorded == ["main", "sub", "sub"]
    assert bench.made[-1].source is other


def test_a_change_back_that_was_agreed_on_is_taken_back_as_well() -> None:
    """Room is short again before its moment: the second stream goes on in its file."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6.6)  # up to where the next key frame of the main stream lies ahead
    second = bench.made[-1]
    bench.recorder.substream = False
    while second.upto_s == inf:
        bench.run(0.5, second=False)
        bench.second.last_frame_s = bench.frame * FRAME_S
    bench.recorder.substream = True
    bench.run(0.5, second=False)
    assert second.upto_s == inf
    bench.run(3)
    assert bench.recorded == ["main", "sub"]


def test_key_frames_only_is_of_the_main_stream() -> None:
    """The second stream is kept whole, or not at all."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    bench.run(6)
    bench.recorder.substream, bench.recorder.keys_only = False, True
    bench.run(4)
    assert bench.recorded == ["main", "sub", "main"]
    assert not bench.made[1].keys_only
    assert bench.made[2].keys_only


def test_a_group_that_goes_on_already_is_not_the_one() -> None:
    """The change is asked for shortly after a key frame whose moment is written: the next one is waited for, and nothing is shown
    twice."""
    bench = Bench()
    bench.recorder.substream = True

    def looked(seconds: float) -> None:
        for _ in range(round(seconds / FRAME_S)):
            bench.frame += 1
            bench.main.show(bench.frame)
            if bench.sessions.given is not None:
                bench.second.show(bench.frame)
            if bench.frame % 5 == 2:
                bench.recorder.step(bench.frame * FRAME_S)

    looked(5.4)  # the last look was 0.2 s after a key frame
    assert bench.recorded == ["main", "sub"]
    bench.recorder.substream = False
    looked(3.0)
    assert bench.recorded == ["main", "sub", "main"]
    assert bench.made[-1].since_s == pytest.approx(6.0)


@pytest.mark.parametrize("falls", [False, True], ids=["as agreed", "the second stream fell"])
def test_a_file_that_could_not_be_closed_at_a_change_is_mended_before_the_next_one_is_begun(
    falls: bool,
) -> None:
    """The disk refuses as one stream takes over from the other: that is told, and in that turn nothing new is begun, for mending
    takes up whatever lies open there."""
    bench = Bench()
    bench.run(3)
    bench.recorder.substream = True
    if falls:
        bench.run(6)
    before = bench.made[-1]
    before.disk_takes = False
    for _ in range(20):
        bench.run(0.5, second=not falls)
        if before.closed:
            break
    assert before.closed
    assert bench.recorder.cause == "cannot be written: no space"
    assert bench.made[-1].since_s is None
    bench.run(0.5, second=not falls)
    assert bench.recorder.cause == ""
    assert bench.made[-1].since_s is not None
