"""Which camera the camera process dies of: found by what it was at, left out for growing pauses, told until it is well."""

from __future__ import annotations

import pytest

from drivers.cameras.parent.suspects import FIRST_PAUSE_S, LONGEST_PAUSE_S, OFTEN, WELL_S, Suspects

CAMERAS = ("gate", "hall", "yard", "bad")


class Process:
    """A camera process that opens all cameras it is given, and dies of some of them."""

    def __init__(self, *deadly: str, away: tuple[str, ...] = (), rest_s: int = 2) -> None:
        """Those ``away`` are opened in vain, again and again, eight seconds each time with a rest between."""
        self.deadly, self.away, self.again_s = deadly, away, 8 + rest_s
        self.suspects = Suspects()
        self.now_s = 1000.0
        self.deaths = 0

    def live(self, seconds: float) -> None:
        """Second by second: it is started, opens what it may, and dies while a deadly one is among that."""
        opened: set[str] = set()
        until_s = self.now_s + seconds
        trying: dict[str, float] = {}
        while self.now_s < until_s:
            left_out = self.suspects.left_out(self.now_s)
            for camera, began_s in list(trying.items()):
                if self.now_s - began_s == 8:
                    self.suspects.ended(camera, "opening the stream of")
                if self.now_s - began_s >= self.again_s or (self.now_s - began_s >= 8 and camera in left_out):
                    del trying[camera]
            opening = [c for c in CAMERAS if c not in left_out and c not in opened and c not in trying]
            for camera in opening:
                self.suspects.begun(camera, "opening the stream of")
            if any(camera in self.deadly for camera in opening):
                self.suspects.fell("signal 9, Killed", self.now_s)
                self.deaths += 1
                opened, trying = set(), {}
            else:
                for camera in opening:
                    if camera in self.away:
                        trying[camera] = self.now_s
                    else:
                        self.suspects.ended(camera, "opening the stream of")
                opened |= set(opening) - set(self.away)
            opened -= self.suspects.left_out(self.now_s)
            self.now_s += 1
            self.suspects.looked({c: c in opened for c in CAMERAS}, self.now_s)

    def named(self) -> set[str]:
        return {c for c in CAMERAS if "times while it was" in self.suspects.cause(c, self.now_s)}


@pytest.mark.parametrize("deadly", [("gate",), ("hall",), ("bad",), ("gate", "bad"), ("hall", "yard"), ()])
def test_the_deadly_ones_are_named_and_the_others_go_on(deadly: tuple[str, ...]) -> None:
    """Though all are opened at once: within a minute and a half nobody but them is left out, and deaths become rare."""
    process = Process(*deadly)
    process.live(90)
    assert process.named() == set(deadly)
    known = process.deaths
    assert known <= 4 + 4 * len(deadly)
    process.live(3600)
    assert process.deaths - known <= len(deadly) * (3600 / LONGEST_PAUSE_S + 6)
    assert process.named() == set(deadly)
    for camera in set(CAMERAS) - set(deadly):
        assert process.suspects.cause(camera, process.now_s) == ""


@pytest.mark.parametrize(
    ("deadly", "away"),
    [
        (("bad",), ("gate",)),
        (("bad",), ("hall", "yard")),
        (("gate",), ("hall", "yard")),
        (("gate",), ("bad",)),
        (("hall", "bad"), ("gate",)),
        (("gate", "hall"), ("yard", "bad")),
        ((), ("gate",)),
    ],
)
@pytest.mark.parametrize("rest_s", [0, 2, 3, 30])
def test_one_that_is_away_keeps_nobodys_turn(
    deadly: tuple[str, ...], away: tuple[str, ...], rest_s: int
) -> None:
    """It is being opened at nearly any moment, so also as the process dies, and is suspected with the deadly one."""
    process = Process(*deadly, away=away, rest_s=rest_s)
    process.live(150)
    assert process.named() == set(deadly)
    known = process.deaths
    assert known <= 4 + 4 * len(deadly)
    process.live(3600)
    assert process.named() == set(deadly)
    assert process.deaths - known <= len(deadly) * (3600 / LONGEST_PAUSE_S + 6)
    for camera in set(CAMERAS) - set(deadly):
        assert process.suspects.cause(camera, process.now_s) == ""
        assert camera not in process.suspects.left_out(process.now_s)


def test_pauses_grow_and_the_fault_stays_until_the_camera_is_well() -> None:
    """Told also while it is tried again; it goes once it delivered for half a minute."""
    process = Process("bad")
    process.live(1200)
    assert "left out" in process.suspects.cause("bad", process.now_s)
    assert "opening the stream of this camera (signal 9, Killed)" in process.suspects.cause(
        "bad", process.now_s
    )
    process.deadly = ()
    told = []
    for _ in range(int(LONGEST_PAUSE_S + WELL_S) + 10):
        process.live(1)
        told.append(process.suspects.cause("bad", process.now_s))
    assert any("tried again now" in text for text in told)
    assert told[-1] == ""
    assert told.index("") > told.index(next(t for t in told if "tried again now" in t)) + WELL_S - 3


@pytest.mark.parametrize("at", [(), ("gate",), CAMERAS])
def test_one_death_is_nobodys_fault(at: tuple[str, ...]) -> None:
    """A kill by chance, whatever it was at: everything is opened at once again."""
    suspects = Suspects()
    for camera in at:
        suspects.begun(camera, "decoding pictures of")
    suspects.fell("signal 9, Killed", 1000.0)
    assert suspects.left_out(1000.1) == frozenset()
    assert {suspects.cause(camera, 1000.1) for camera in CAMERAS} == {""}
    assert suspects.often(1000.1) == ""


def test_what_was_done_with_is_not_suspected() -> None:
    """Twice it died while it was at one camera, having been at others before."""
    suspects = Suspects()
    for now_s in (1000.0, 1030.0):
        for camera in CAMERAS:
            suspects.begun(camera, "opening the stream of")
            suspects.ended(camera, "opening the stream of")
        suspects.begun("hall", "decoding pictures of")
        suspects.fell("signal 11, Segmentation fault", now_s)
    assert suspects.left_out(1031.0) == {"hall"}
    assert "2 times while it was decoding pictures of this camera (signal 11" in suspects.cause(
        "hall", 1031.0
    )
    assert suspects.left_out(1030.0 + FIRST_PAUSE_S) == frozenset()


def test_a_process_that_keeps_dying_is_told_though_no_camera_is_known() -> None:
    """Killed for want of memory, say, while it was at nothing in particular."""
    suspects = Suspects()
    for n in range(OFTEN):
        assert suspects.often(1000.0 + 60 * n) == ""
        suspects.fell("signal 9, Killed", 1000.0 + 60 * n)
    assert "died 3 times in 5 minutes, and no camera is known" in suspects.often(1150.0)
    assert suspects.often(2000.0) == ""
