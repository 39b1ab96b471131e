"""The ring without cameras: bounds, lookups and numbers."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.stream.ring import PACKET_OVERHEAD, Ring

TICKS_PER_S = 90_000
FRAME = TICKS_PER_S // 25


@dataclass(frozen=True)
class Stream:
    """What the ring needs to know of a stream."""

    tick_s: float = 1 / TICKS_PER_S


def filled(
    ring: Ring,
    *,
    seconds: float,
    first: int = 0,
    stream: Stream,
    size: int = 1000,
    gop: int = 25,
    at_s: float = 0.0,
) -> Ring:
    """Append ``seconds`` of 25 frames a second, each arriving 10 ms after it was made."""
    for i in range(first, first + int(seconds * 25)):
        ring.append(stream, f"packet {i}", i * FRAME, at_s + i * 0.04 + 0.01, key=i % gop == 0, size=size)
    return ring


def test_seconds_asked_for_are_covered_from_a_key_frame() -> None:
    """After any time the ring still begins with a key frame at least the asked seconds before its end."""
    ring = filled(Ring(RingLimits(seconds=5, bytes=1 << 30)), seconds=60, stream=Stream())

    groups = ring.groups()
    assert groups[0].frames[0].key
    covered = groups[-1].frames[-1].arrival_s - groups[0].frames[0].arrival_s
    assert 5 <= covered < 5 + 1.04


def test_bytes_are_bounded_before_seconds() -> None:
    """A ring that would grow beyond its bytes drops whole groups from its old end, packets' overhead counted."""
    limit = 100 * (1000 + PACKET_OVERHEAD)
    ring = filled(Ring(RingLimits(seconds=60, bytes=limit)), seconds=20, stream=Stream())

    assert ring.held()[1] <= limit
    assert [group.frames[0].key for group in ring.groups()] == [True] * len(ring.groups())
    assert len(ring.groups()) in (3, 4)


def test_group_larger_than_the_ring_is_given_up_and_the_next_key_frame_taken() -> None:
    """A camera with one key frame in ten minutes cannot make the ring exceed its bytes."""
    stream = Stream()
    ring = Ring(RingLimits(seconds=60, bytes=10_000))
    filled(ring, seconds=4, stream=stream, gop=1000)
    assert ring.held()[1] <= 10_000
    assert ring.dropped > 0

    ring.append(stream, "key", 1000 * FRAME, 40.0, key=True, size=100)
    assert [frame.packet for frame in ring.groups()[-1].frames] == ["key"]


def test_frames_before_the_first_key_frame_are_left() -> None:
    """What cannot be decoded is not kept."""
    ring = Ring(RingLimits(seconds=5, bytes=1 << 20))
    ring.append(Stream(), "delta", 0, 0.0, key=False, size=10)
    assert (ring.groups(), ring.dropped) == ([], 1)
    assert ring.nearest(0.0) is None
    assert ring.covering(0.0) is None


@pytest.mark.parametrize(("at_s", "expected"), [(2.019, 50), (2.021, 51), (-9.0, 0), (99.0, 99), (3.97, 99)])
def test_nearest_frame_is_found_by_time(at_s: float, expected: int) -> None:
    """Of two frames the nearer one is taken, over the border of groups and beyond both ends."""
    ring = filled(Ring(RingLimits(seconds=60, bytes=1 << 30)), seconds=4, stream=Stream())
    found = ring.nearest(at_s + 0.01)
    assert found is not None
    assert found.frame.packet == f"packet {expected}"
    assert found.time_s == pytest.approx(expected * 0.04 + 0.01, abs=1e-6)


def test_clip_begins_at_the_key_frame_before() -> None:
    """The covering group begins at or before the instant, or is the oldest there is."""
    ring = filled(Ring(RingLimits(seconds=60, bytes=1 << 30)), seconds=4, stream=Stream())
    for at_s, first in ((2.5, 50), (2.02, 50), (-5.0, 0), (50.0, 75)):
        group = ring.covering(at_s)
        assert group is not None
        assert group.frames[0].packet == f"packet {first}"


def test_reader_keeps_its_place_when_the_ring_moves_on() -> None:
    """Groups that left the ring stay linked for whoever still reads them."""
    stream = Stream()
    ring = filled(Ring(RingLimits(seconds=2, bytes=1 << 30)), seconds=2, stream=stream)
    group = ring.groups()[0]
    filled(ring, seconds=20, first=50, stream=stream)
    seen = []
    at = group
    while at is not None:
        seen += [frame.pts for frame in at.frames]
        at = at.after  # type: ignore[assignment]
    assert seen == [i * FRAME for i in range(550)]


def test_memory_held_by_a_slow_reader_is_bounded() -> None:
    """What readers hold outside the ring may not exceed the ring's own bytes: the oldest of it is emptied."""
    stream = Stream()
    limit = 50 * (1000 + PACKET_OVERHEAD)
    ring = filled(Ring(RingLimits(seconds=2, bytes=limit)), seconds=1, stream=stream)
    slow = ring.groups()[0]
    filled(ring, seconds=60, first=25, stream=stream)
    gc.collect()
    held, group = 0, slow
    while group.after is not None:
        held += sum(frame.size + PACKET_OVERHEAD for frame in group.frames)
        group = group.after
    assert slow.frames == []
    assert held <= 2 * limit


def test_another_stream_and_a_jump_of_time_open_a_new_epoch() -> None:
    """Reopening and a camera that moves its own timestamps are both told apart from a stream that goes on."""
    first, second = Stream(), Stream()
    ring = filled(Ring(RingLimits(seconds=60, bytes=1 << 30)), seconds=2, stream=first)
    filled(ring, seconds=2, first=50, stream=second)
    assert len({group.epoch for group in ring.groups()}) == 2

    ring.append(second, "jumped", 10_000_000, 4.05, key=True, size=10)
    assert len({group.epoch for group in ring.groups()}) == 3
    assert ring.groups()[-1].epoch_pts == 10_000_000


def test_how_a_stream_comes_is_told_of_what_came_since_it_was_broken_off() -> None:
    """What the ring holds of before an outage makes no stream slow: a thread that believed so would rest too long."""
    stream = Stream()
    ring = filled(Ring(RingLimits(seconds=60, bytes=1 << 30)), seconds=4, stream=stream)
    whole = ring.flow(4.0)
    assert whole is not None
    assert whole.bytes_per_s == pytest.approx(25 * (1000 + PACKET_OVERHEAD), rel=0.05)
    ring.end_epoch()
    filled(ring, seconds=0.9, first=1000, stream=stream)
    assert ring.flow(41.0) is None
    filled(ring, seconds=2, first=1022, stream=stream)
    assert len(ring.groups()) > 4
    after = ring.flow(43.0)
    assert after is not None
    assert after.bytes_per_s == pytest.approx(whole.bytes_per_s, rel=0.05)


def test_how_a_stream_comes_is_told_of_what_came_last() -> None:
    """A camera that sends little for a long group of pictures and then much: a second later its rate is what it is now, how
    unsteadily it comes is told, and a rate that runs wrong."""
    stream, ring = Stream(), Ring(RingLimits(seconds=600, bytes=1 << 30))
    for i in range(1000):
        at_s, size = i * 0.04, 500 if i < 975 else 40_000
        late_s = 0.03 * (i % 2) if i >= 500 else 0.0
        ring.append(stream, f"packet {i}", round(at_s * 90_000), at_s + late_s, key=i == 0, size=size)
        if i == 499:
            steady = ring.flow(at_s)
    assert steady is not None
    assert (steady.unsteady_s, steady.skew) == (pytest.approx(0.0, abs=1e-4), 0.0)
    newest = ring.flow(40.0)
    assert newest is not None
    assert newest.bytes_per_s == pytest.approx(25 * (40_000 + PACKET_OVERHEAD), rel=0.1)
    assert newest.unsteady_s == pytest.approx(0.015, abs=0.003)
    assert newest.skew == 0.0
    wrong = Ring(RingLimits(seconds=600, bytes=1 << 30))
    for i in range(500):
        wrong.append(stream, f"packet {i}", round(i * 0.04 * 90_000), i * 0.0404, key=i % 25 == 0, size=500)
    told = wrong.flow(20.0)
    assert told is not None
    assert told.skew == pytest.approx(0.01, rel=0.05)


def test_ended_epoch_takes_no_more_frames() -> None:
    """After the end of a session a frame without a key frame belongs to nothing."""
    stream = Stream()
    ring = filled(Ring(RingLimits(seconds=60, bytes=1 << 30)), seconds=1.4, stream=stream)
    ring.end_epoch()
    assert ring.open_group() is None
    filled(ring, seconds=1, first=35, stream=stream)
    assert len(ring.groups()[1].frames) == 10
    assert ring.groups()[2].frames[0].packet == "packet 50"


def test_short_groups_share_a_segment() -> None:
    """Segments last about a second at least, and their numbers count up from the first one given."""
    ring = filled(
        Ring(RingLimits(seconds=60, bytes=1 << 30), first_number=700), seconds=6, gop=10, stream=Stream()
    )
    numbers = [group.segment for group in ring.groups()]
    assert numbers == sorted(numbers)
    assert numbers[0] == 701
    for number in set(numbers[:-3]):
        frames = sum(len(group.frames) for group in ring.groups() if group.segment == number)
        assert frames == 30
