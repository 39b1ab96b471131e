"""Where frames lie in a clip's file when the stream behind it begins anew: each at its own time, whatever its neighbours are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.clip_file import ClipFile
from drivers.cameras.worker.evidence.film import FilmWriter
from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.stream.ring import Ring
from tests.support.h264_packets import FPS, lay, packets_of

BEGINS_S = 1000.0


@pytest.fixture(scope="module")
def packets() -> list[Any]:
    """Two seconds of H.264, a key frame each second."""
    return packets_of(2)


def times_in(target: Path) -> list[float]:
    """When each frame of a file is shown, in the order they lie in it."""
    with av.open(str(target)) as container:
        return [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size]


def written(target: Path, sessions: list[list[Group]]) -> FilmWriter:
    """A file of these sessions, one behind the other."""
    first = sessions[0][0]
    file = ClipFile(target, first, first.frames[0], sound=None, progress=None)
    for groups in sessions:
        if groups is not sessions[0]:
            file.film.rebase(groups[0], groups[0].time_of(groups[0].frames[0]))
        for group in groups:
            file.film.add(group, group.frames, float("inf"))
    file.finish()
    return file.film


@pytest.mark.parametrize("after_s", [0.002, 0.04, 3.0])
def test_stream_that_begins_anew_keeps_its_time(after_s: float, packets: list[Any], tmp_path: Path) -> None:
    """However soon after the last frame the next session's first one was, the whole session lies at its own time."""
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    last_s = BEGINS_S + (2 * FPS - 1) / FPS
    sessions = [lay(ring, packets, 1, BEGINS_S), lay(ring, packets, 2, last_s + after_s)]
    writing = written(tmp_path / "clip.mp4", sessions)
    times = times_in(tmp_path / "clip.mp4")
    assert times[: 2 * FPS] == pytest.approx([n / FPS for n in range(2 * FPS)], abs=0.001)
    again_s = last_s - BEGINS_S + after_s
    assert times[2 * FPS :] == pytest.approx([again_s + n / FPS for n in range(2 * FPS)], abs=0.001)
    assert writing.complaints == []


def test_pictures_sent_twice_do_not_move_those_after_them(packets: list[Any], tmp_path: Path) -> None:
    """A camera that begins a session with half a second it has kept: what is there already comes in a moment, what is new at its
    own time, and the clip says so; no frame is left out."""
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    last_s = BEGINS_S + (2 * FPS - 1) / FPS
    sessions = [lay(ring, packets, 1, BEGINS_S), lay(ring, packets, 2, last_s - 0.5)]
    writing = written(tmp_path / "clip.mp4", sessions)
    times = times_in(tmp_path / "clip.mp4")
    assert len(times) == 4 * FPS
    assert all(later > earlier for earlier, later in pairwise(times))
    due = [last_s - BEGINS_S - 0.5 + n / FPS for n in range(2 * FPS)]
    assert times[2 * FPS + 6 :] == pytest.approx(due[6:], abs=0.001)
    assert times[2 * FPS + 5] == pytest.approx(last_s - BEGINS_S, abs=0.001)
    assert len(writing.complaints) == 1
    assert writing.last_s == pytest.approx(last_s - 0.5 + (2 * FPS - 1) / FPS, abs=0.001)


def test_error_of_the_clocks_is_no_complaint(packets: list[Any], tmp_path: Path) -> None:
    """A session whose first frame seems a few milliseconds before the last one of the session before comes right after it."""
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    last_s = BEGINS_S + (2 * FPS - 1) / FPS
    sessions = [lay(ring, packets, 1, BEGINS_S), lay(ring, packets, 2, last_s - 0.01)]
    writing = written(tmp_path / "clip.mp4", sessions)
    times = times_in(tmp_path / "clip.mp4")
    assert times[2 * FPS :] == pytest.approx([last_s - BEGINS_S + n / FPS for n in range(2 * FPS)], abs=0.001)
    assert writing.complaints == []
