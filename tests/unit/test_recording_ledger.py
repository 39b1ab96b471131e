"""The minute ledger: every instant is a segment's, a gap's, or a finding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.hold import Hold, held, kept_until
from gateway.domain.recording import (
    Gap,
    GapCause,
    Segment,
    holes,
    hour_shares,
    minutes,
    segment_key,
    stagger_s,
)

TEN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def segment(begin_s: float, end_s: float, *, frames: int = 1500, size: int = 30_000_000) -> Segment:
    start = TEN + s(begin_s)
    return Segment(
        id=f"seg_{begin_s}",
        camera="cam-a",
        start=start,
        end=TEN + s(end_s),
        frames=frames,
        bytes=size,
        key=segment_key("school", "cam-a", start),
        sha256="0" * 64,
        stored_at=TEN + s(end_s),
    )


def test_a_segments_place_tells_its_second() -> None:
    """In UTC, whatever the zone of the time given."""
    at = datetime.fromisoformat("2026-03-02T18:05:07.9+08:00")
    assert segment_key("school", "cam-a", at) == "school/recordings/cam-a/2026/03/02/100507Z.mp4"


def test_cameras_close_their_files_one_after_the_other() -> None:
    """Each at the same second of every minute, spread over it."""
    offsets = [stagger_s(n, 4) for n in range(4)]
    assert offsets == [0, 15, 30, 45]
    assert stagger_s(0, 1) == 0


def test_a_minute_says_what_it_has_and_what_it_lacks() -> None:
    """Segments that straddle minutes are shared out by time; a gap stands in every minute it touches."""
    segments = [segment(-45, 15), segment(15, 75), segment(100, 135)]
    gap = Gap(id="gap_1", camera="cam-a", start=TEN + s(75), end=TEN + s(100), cause=GapCause.NETWORK)
    first, second, third = minutes(segments, [gap], TEN, TEN + s(180))
    assert (first.covered_ms, first.frames) == (60_000, 375 + 1125)
    assert [x.id for x in first.segments] == ["seg_-45", "seg_15"]
    assert (second.covered_ms, second.gaps) == (35_000, (gap,))
    assert (third.covered_ms, third.gaps) == (15_000, ())


def test_overlapping_segments_cover_a_moment_once() -> None:
    """Two files of the same seconds, as after a restart, do not make a minute of more than a minute."""
    (line,) = minutes([segment(0, 40), segment(30, 60)], [], TEN, TEN + s(60))
    assert line.covered_ms == 60_000


@pytest.mark.parametrize(
    ("spans", "found"),
    [
        ([], [(0, 60)]),
        ([(0, 60)], []),
        ([(-5, 65)], []),
        ([(0, 20), (20.04, 60)], []),
        ([(0, 20), (25, 60)], [(20, 25)]),
        ([(25, 60), (0, 20)], [(20, 25)]),
        ([(10, 50)], [(0, 10), (50, 60)]),
        ([(0, 50), (10, 20)], [(50, 60)]),
    ],
)
def test_holes_are_what_nothing_covers(
    spans: list[tuple[float, float]], found: list[tuple[float, float]]
) -> None:
    """In any order, overlapping or beyond the span; a seam between two files is none."""
    given_spans = [(TEN + s(a), TEN + s(b)) for a, b in spans]
    assert list(holes(given_spans, TEN, TEN + s(60))) == [(TEN + s(a), TEN + s(b)) for a, b in found]


@given(st.floats(-7200, 7200), st.floats(0.04, 120))
def test_hours_share_a_segment_out_whole(begin_s: float, length_s: float) -> None:
    """Nothing of a segment's time, frames or bytes is lost or counted twice, but for rounding."""
    one = segment(begin_s, begin_s + length_s)
    shares = hour_shares(one)
    assert len(shares) <= 2
    assert abs(sum(x.covered_ms for x in shares) - length_s * 1000) <= 2
    assert abs(sum(x.frames for x in shares) - one.frames) <= 1
    assert abs(sum(x.bytes for x in shares) - one.bytes) <= 1


def hold(**changes: object) -> Hold:
    values = {
        "id": "hld_1",
        "reason": "案件",
        "placed_by": "李老师",
        "placed_unit": "第三中学",
        "placed_at": TEN,
        "review_at": TEN + timedelta(days=90),
        "camera": "cam-a",
        "start": TEN,
        "end": TEN + s(60),
    }
    return Hold(**(values | changes))  # type: ignore[arg-type]


def test_a_hold_covers_what_touches_its_span() -> None:
    """Any part of a segment is enough; another camera's is not; a hold of every camera covers all; released, none."""
    assert held([hold()], "cam-a", TEN + s(59), TEN + s(119))
    assert not held([hold()], "cam-a", TEN + s(60), TEN + s(120))
    assert not held([hold()], "cam-b", TEN, TEN + s(60))
    assert held([hold(camera=None)], "cam-b", TEN, TEN + s(60))
    assert not held([hold(released_at=TEN)], "cam-a", TEN, TEN + s(60))
    assert not held([hold(alarm="alm_1", camera=None, start=None, end=None)], "cam-a", TEN, TEN + s(60))


def test_nothing_goes_before_the_floor() -> None:
    """The period times 24 h, and 30 days even if a smaller period came through."""
    assert kept_until(TEN, 30) == TEN + timedelta(days=30)
    assert kept_until(TEN, 90) == TEN + timedelta(days=90)
    assert kept_until(TEN, 1) == TEN + timedelta(days=30)
