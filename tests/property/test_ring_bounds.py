"""The ring under any stream: its bounds hold, and what it holds can be decoded."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.stream.ring import PACKET_OVERHEAD, Ring


class Stream:
    """What the ring needs to know of a stream."""

    tick_s = 1 / 1000


frames = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(1, 5000),
        st.one_of(st.integers(1, 80), st.integers(-100_000, 100_000)),
        st.floats(0, 0.5),
        st.integers(0, 40),
    ),
    max_size=250,
)


@settings(max_examples=150, deadline=None)
@example(  # time counted back inside a group: its first and last frame are not its earliest and latest
    frames=[
        (True, 1, 1, 0.0, 0),
        (False, 1, 1, 0.03125, 0),
        (True, 1, 1, 0.0, 0),
        (False, 1, -32, 0.0, 2),
    ],
    seconds=1.0,
    limit=3000,
)
@given(frames=frames, seconds=st.floats(0.5, 5), limit=st.integers(3000, 60_000))
def test_bounds_hold_and_groups_begin_with_key_frames(
    frames: list[tuple[bool, int, int, float, int]], seconds: float, limit: int
) -> None:
    """Bytes stay below the limit, whole groups beyond the seconds go, and every lookup answers, after every packet."""
    ring = Ring(RingLimits(seconds=seconds, bytes=limit))
    pts, now_s, stream = 0, 0.0, Stream()
    for key, size, step, passed_s, turn in frames:
        pts, now_s = pts + step, now_s + passed_s
        if turn == 0:
            stream = Stream()
        if turn == 1:
            ring.end_epoch()
        ring.append(stream, object(), pts, now_s, key=key, size=size)

        groups = ring.groups()
        held = sum(frame.size + PACKET_OVERHEAD for group in groups for frame in group.frames)
        assert held == ring.held()[1] <= limit
        assert all(group.frames and group.frames[0].key for group in groups)
        assert all(not frame.key for group in groups for frame in group.frames[1:])
        assert [group.segment for group in groups] == sorted(group.segment for group in groups)
        if len(groups) > 1:
            assert groups[-1].frames[-1].arrival_s - groups[1].frames[0].arrival_s <= seconds
        found = ring.nearest(now_s)
        assert (found is None) == (not groups)
        if found is not None:
            best = min(abs(ring.time_of(group, frame) - now_s) for group in groups for frame in group.frames)
            assert abs(found.time_s - now_s) <= best + 1e-9
