"""The thread that records all cameras: whatever one of them does, the others are recorded, and its files are taken up."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.cameras.unforeseen import UNFORESEEN
from drivers.cameras.worker.record import recorders
from drivers.cameras.worker.record.recorders import Recorders
from drivers.cameras.worker.record.segment_file import Facts

PATIENCE_S = 20.0


@dataclass
class Source:
    """A camera by name."""

    id: str


@dataclass
class Scripted:
    """A recorder that does what it is told to, and notes what is done with it. Of mending, too."""

    camera: str
    fails: list[Exception] = field(default_factory=list)
    fails_at_end: list[Exception] = field(default_factory=list)
    ending: bool = False
    cause: str = ""
    done: list[str] = field(default_factory=list)
    seen: threading.Condition = field(default_factory=threading.Condition)

    @property
    def source(self) -> Source:
        return Source(self.camera)

    @property
    def folder(self) -> Path:
        return Path("/spool") / self.camera

    def _note(self, what: str) -> None:
        with self.seen:
            self.done.append(what)
            self.seen.notify_all()

    def step(self, _now_s: float) -> None:
        self._note("step")
        if self.fails:
            raise self.fails.pop(0)
        self.cause = ""

    def end(self) -> None:
        self._note("end")
        if self.fails_at_end:
            raise self.fails_at_end.pop(0)

    def give_up(self, cause: str, _now_s: float) -> None:
        self.cause = cause
        self._note(f"given up: {cause}")

    def sync(self) -> None:
        pass

    def mend(self) -> list[Facts]:
        self._note("mend")
        return []

    def until(self, holds: Callable[[list[str]], bool]) -> None:
        with self.seen:
            assert self.seen.wait_for(lambda: holds(self.done), PATIENCE_S), self.done


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorders]:
    """Their threads run for good: what they record is stopped at the end."""
    monkeypatch.setattr(recorders, "AFTER_TROUBLE_S", 0.05)
    monkeypatch.setattr(recorders, "STEP_S", 0.02)
    running = Recorders(closed=lambda _: None)
    yield running
    for camera in ("cam-a", "cam-b"):
        running.stop(camera)


def record(running: Recorders, one: Scripted) -> None:
    running.record(one, one.mend)  # type: ignore[arg-type]


def test_what_breaks_one_recorder_ends_no_other(at_work: Recorders) -> None:
    """Its file is given up before it is mended, and mended before the next step; the other one is stepped all the while."""
    broken, other = Scripted("cam-a", fails=[ValueError("a muxer")]), Scripted("cam-b")
    record(at_work, broken)
    record(at_work, other)
    broken.until(lambda done: done.count("step") >= 3)
    assert broken.done[:5] == [
        "mend",
        "step",
        f"given up: cannot be recorded: {UNFORESEEN}",
        "mend",
        "step",
    ]
    steps = other.done.count("step")
    other.until(lambda done: done.count("step") > steps + 3)


def test_a_file_the_disk_did_not_close_at_the_end_is_mended(at_work: Recorders) -> None:
    """The camera is let go of only then."""
    full = Scripted("cam-a", fails_at_end=[OSError(errno.ENOSPC, "No space left on device")])
    record(at_work, full)
    full.until(lambda done: "step" in done)
    at_work.stop("cam-a")
    full.until(lambda done: done.count("end") == 2)
    assert full.done[-4:] == [
        "end",
        "given up: the spool /spool/cam-a cannot be used: No space left on device",
        "mend",
        "end",
    ]


def test_who_is_recorded_again_before_it_was_let_go_of_goes_on(at_work: Recorders) -> None:
    """What the recorder holds (a second session, an open file) would else be left open with nobody to close it."""
    held, freed = threading.Event(), threading.Event()
    one, again = Scripted("cam-a"), Scripted("cam-a")
    record(at_work, one)
    one.until(lambda done: "step" in done)
    step = one.step

    def slow(now_s: float) -> None:
        held.set()
        freed.wait(PATIENCE_S)
        step(now_s)

    one.step = slow  # type: ignore[method-assign]
    assert held.wait(PATIENCE_S)
    at_work.stop("cam-a")
    record(at_work, again)
    freed.set()
    steps = one.done.count("step")
    one.until(lambda done: done.count("step") > steps + 2)
    assert (again.done, "end" in one.done) == ([], False)
