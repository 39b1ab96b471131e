"""Stills when many alarms ask for them at once: who waits long takes a picture near its instant, and one alarm never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.stills import CROWD, WIDEST_LEEWAY_S, Still, Stills, Wanted, leeway_s
from drivers.cameras.worker.frames.mp4 import SoundFormat
from drivers.cameras.worker.stream.ring import Ring
from gateway.domain.errors import Unavailable
from tests.support.h264_packets import FPS, lay, packets_of

FILMED_S = 4
PATIENCE_S = 20.0


@dataclass(slots=True)
class Filmed:
    """A camera whose ring holds the last seconds."""

    id: str
    ring: Ring
    begins_s: float
    cause: str = ""
    sound: SoundFormat | None = None
    sound_missing: str = ""
    hurried: list[float] = field(default_factory=list)

    def hurry(self, until_s: float) -> None:
        self.hurried.append(until_s)


@dataclass(slots=True)
class Asked:
    """A request and what came of it."""

    at_s: float
    answered: threading.Event = field(default_factory=threading.Event)
    still: Still | Unavailable | None = None
    wanted: Wanted | None = None

    def answer(self, still: Still | Unavailable) -> None:
        self.still = still
        self.answered.set()

    def got(self) -> Still:
        assert self.answered.wait(PATIENCE_S)
        assert isinstance(self.still, Still), self.still
        return self.still


@pytest.fixture(scope="module")
def packets() -> list[Any]:
    return packets_of(FILMED_S)


def filmed(name: str, packets: list[Any]) -> Filmed:
    """A camera that has filmed until now."""
    ring, begins_s = Ring(RingLimits(seconds=60, bytes=1 << 24)), time.monotonic() - FILMED_S
    lay(ring, packets, 1, begins_s)
    return Filmed(name, ring, begins_s)


class Held:
    """One thread that takes stills, kept busy until :meth:`go`."""

    def __init__(self, packets: list[Any]) -> None:
        self.stills = Stills(threads=1)
        self._gate, self._entered = threading.Event(), threading.Event()
        busy = filmed("busy", packets)

        def hold(_: Still | Unavailable) -> None:
            self._entered.set()
            assert self._gate.wait(PATIENCE_S)

        self.stills.take(busy, busy.begins_s + 1, hold)
        assert self._entered.wait(PATIENCE_S)

    def ask(self, camera: Filmed, ats: list[float], *, waited_s: float) -> list[Asked]:
        """Ask for these instants, as if so long ago; below 0 they have not waited however slow the machine is."""
        asked = [Asked(camera.begins_s + at) for at in ats]
        for each in asked:
            each.wanted = self.stills.take(camera, each.at_s, each.answer)
            each.wanted.ready_s -= waited_s
        return asked

    def go(self) -> None:
        self._gate.set()


@pytest.fixture
def held(packets: list[Any]) -> Iterator[Held]:
    held = Held(packets)
    yield held
    held.go()


def off_s(asked: Asked) -> float:
    """How far the picture given lies from the instant asked for, by its own word."""
    return abs(asked.got().time_s - asked.at_s)


def test_who_waits_for_a_picture_has_its_camera_read_at_once(packets: list[Any]) -> None:
    """Up to the moment at which the picture is given up; what the ring holds already hurries nobody."""
    stills, camera = Stills(threads=1), filmed("cam", packets)
    there = Asked(camera.begins_s + 1)
    stills.take(camera, there.at_s, there.answer)
    there.got()
    assert camera.hurried == []
    waited = stills.take(camera, time.monotonic() + 60, lambda _: None)
    assert camera.hurried == [waited.deadline_s]
    stills.forget(waited)


def test_crowd_that_waits_shares_pictures_near_its_instants(held: Held, packets: list[Any]) -> None:
    """A hundred instants of two seconds are answered with a few pictures, each within the leeway and of its true time."""
    camera = filmed("cam", packets)
    asked = held.ask(camera, [0.5 + 2 * n / 100 for n in range(100)], waited_s=10)
    held.go()
    assert max(off_s(each) for each in asked) <= WIDEST_LEEWAY_S
    pictures = {each.got().jpeg: each.got().time_s for each in asked}
    assert len(pictures) <= 6
    for jpeg, time_s in pictures.items():
        exact = Asked(time_s)
        held.stills.pictures.forget()
        held.stills.take(camera, time_s, exact.answer)
        assert exact.got().jpeg == jpeg
        assert exact.got().time_s == pytest.approx(time_s)


@pytest.mark.parametrize(("count", "waited_s"), [(CROWD, 10.0), (100, -10.0)])
def test_few_and_punctual_requests_get_the_nearest_frame(
    count: int, waited_s: float, held: Held, packets: list[Any]
) -> None:
    """As many as a few alarms ask for get their own frame however long they waited; of a crowd, so does who did not wait."""
    camera = filmed("cam", packets)
    asked = held.ask(camera, [0.5 + 2 * n / count for n in range(count)], waited_s=waited_s)
    held.go()
    assert max(off_s(each) for each in asked) <= 0.5 / FPS + 0.001


def test_leeway_grows_with_the_wait_and_ends() -> None:
    """Nothing at first, and never more than its limit."""
    assert leeway_s(0.0) == leeway_s(0.2) == 0.0
    assert 0 < leeway_s(0.6) < WIDEST_LEEWAY_S
    assert leeway_s(60.0) == WIDEST_LEEWAY_S
