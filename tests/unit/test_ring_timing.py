"""When a frame was: the mapping of cameras' timestamps to the gateway's clock, under all that networks and cameras do."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cameras.worker.frames.pacing import LONGEST_S
from drivers.cameras.worker.frames.timing import HouseClock, Run

LATENCY_S = 0.02


def feed(run: Run, frames: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Observe ``(media, arrival)`` pairs and return them."""
    kept = list(frames)
    for media_s, arrival_s in kept:
        assert run.continues(media_s, arrival_s), (media_s, arrival_s)
        run.observe(media_s, arrival_s)
    return kept


def stream(
    seconds: float,
    *,
    delay: Callable[[int], float] = lambda i: 0.0,
    rate: float = 1.0,
    origin_s: float = 1000.0,
) -> list[tuple[float, float]]:
    """25 frames a second made at ``origin_s + i/25``, told as media time, arriving in order with their delays."""
    frames, last = [], 0.0
    for i in range(int(seconds * 25)):
        last = max(last, origin_s + i * 0.04 + LATENCY_S + delay(i))
        frames.append((i * 0.04 / rate, last))
    return frames


def in_turns(
    frames: Iterable[tuple[float, float]], rest_s: Callable[[], float]
) -> Iterator[tuple[float, float, bool]]:
    """The same frames as a thread finds them that rests after each one it has waited for: media time, when, whether promptly."""
    now_s, late = 0.0, False
    for media_s, came_s in frames:
        waited = came_s > now_s
        now_s, late = max(now_s, came_s), late and not waited
        yield media_s, now_s, not late
        if waited and (resting_s := rest_s()):
            now_s, late = now_s + resting_s, True


def test_jitter_does_not_move_frames() -> None:
    """Delays between 0 and 100 ms are taken off: every frame is placed within 2 ms."""
    run = Run()
    feed(run, stream(30, delay=lambda i: 0.1 * ((i * 7919) % 25) / 25))
    for i in (100, 400, 740):
        assert i * 0.04 + run.offset_at(i * 0.04) == pytest.approx(1000 + i * 0.04 + LATENCY_S, abs=0.002)
    error_s, skew = run.quality()
    assert 0.01 < error_s < 0.1
    assert skew == 0.0


def test_burst_on_connect_is_laid_back_to_where_it_was() -> None:
    """Two seconds of old frames that arrive at once get the times at which they were made."""
    run = Run()
    feed(run, stream(10, delay=lambda i: max(0.0, 2.0 - i * 0.04)))
    assert run.offset_at(0.0) == pytest.approx(1000 + LATENCY_S, abs=0.002)
    assert run.offset_at(9.0) == pytest.approx(1000 + LATENCY_S, abs=0.002)


def test_long_burst_is_not_taken_for_a_wrong_rate() -> None:
    """Eight buffered seconds at once and eight live ones: a rate is read from the live ones only."""
    run = Run()
    feed(run, stream(16, delay=lambda i: max(0.0, 8.0 - i * 0.04)))
    assert run.quality()[1] == 0.0
    for media_s in (0.0, 4.0, 8.0, 15.0):
        assert run.offset_at(media_s) == pytest.approx(1000 + LATENCY_S, abs=0.002)


def test_stall_of_the_network_is_delay_and_no_jump() -> None:
    """Three seconds in which nothing comes and then everything at once do not break the run."""
    run = Run()
    feed(run, stream(20, delay=lambda i: max(0.0, 3.0 - (i - 250) * 0.04) if i >= 250 else 0.0))
    assert run.offset_at(11.0) == pytest.approx(1000 + LATENCY_S, abs=0.002)


@pytest.mark.parametrize("rate", [1.02, 0.98, 1.19])
def test_camera_whose_time_runs_wrong_is_followed(rate: float) -> None:
    """Timestamps counted at a nominal rate the camera does not keep (25 named, 21 sent) are stretched to real time."""
    run = Run()
    feed(run, stream(40, rate=rate, delay=lambda i: 0.01 * (i % 3)))
    for i in (500, 700, 990):
        media_s = i * 0.04 / rate
        assert media_s + run.offset_at(media_s) == pytest.approx(1000 + i * 0.04 + LATENCY_S, abs=0.03)
    assert run.quality()[1] == pytest.approx(rate - 1, rel=0.1)


@pytest.mark.parametrize("rate", [1.02, 1.0, 0.98])
@pytest.mark.parametrize("rest_s", [0.06, LONGEST_S])
def test_a_thread_that_rests_finds_the_same_times(rate: float, rest_s: float) -> None:
    """Frames taken together after a rest came late by our doing: they move no frame, hide no wrong rate, and are not counted to
    what is not known of the times."""
    frames = stream(40, rate=rate, delay=lambda i: 0.01 * (i % 3))
    run, at_once = Run(), Run()
    feed(at_once, frames)
    for media_s, found_s, prompt in in_turns(frames, lambda: rest_s):
        assert run.continues(media_s, found_s), (media_s, found_s)
        run.observe(media_s, found_s, prompt=prompt)
    assert run.interval_s == pytest.approx(at_once.interval_s)
    for i in (500, 700, 990):
        media_s = i * 0.04 / rate
        assert media_s + run.offset_at(media_s) == pytest.approx(1000 + i * 0.04 + LATENCY_S, abs=0.03)
    assert run.quality()[1] == pytest.approx(rate - 1, rel=0.1, abs=1e-9)
    assert run.quality()[0] == pytest.approx(at_once.quality()[0], abs=0.02)


def test_what_chance_makes_of_few_prompt_frames_is_no_wrong_rate() -> None:
    """Delays between 0 and 40 ms, and of each second four or five frames that are found as they come: the seconds' least delays
    differ by chance. Taken for a wrong rate half the time, that moved one in ten of the newest frames by more than 6 ms."""
    moved_s, believed = [], 0
    for seed in range(10):
        chance, run, last_s, sent = random.Random(seed), Run(), 0.0, []
        for i in range(1500):
            last_s = max(last_s, 1000 + i * 0.04 + LATENCY_S + chance.uniform(0.0, 0.04))
            sent.append((i * 0.04, last_s))
        for media_s, found_s, prompt in in_turns(sent, partial(chance.uniform, 0.14, LONGEST_S)):
            run.observe(media_s, found_s, prompt=prompt)
            if media_s > 20:
                moved_s.append(abs(run.offset_at(media_s) - 1000 - LATENCY_S))
                believed += run.quality()[1] != 0
    assert sorted(moved_s)[len(moved_s) * 9 // 10] < 0.004
    assert believed < 0.06 * len(moved_s)


@pytest.mark.parametrize("seed", range(3))
def test_a_rate_that_changes_is_followed_as_soon_while_a_thread_rests(seed: int) -> None:
    """A camera that sends 25 pictures a second by day and names as many at dusk, when it sends 21: the newest frames are moved as
    far and as long as where each is taken as it comes, and no more."""
    chance = random.Random(seed)
    true_s = list(accumulate([0.04] * 1500 + [1 / 21] * 1500, initial=1000.0))
    sent = [(i * 0.04, at_s + LATENCY_S + chance.uniform(0.0, 0.01)) for i, at_s in enumerate(true_s)]

    def moved_s(rest_s: float) -> list[float]:
        run, moved = Run(), []
        for at_s, (media_s, found_s, prompt) in zip(true_s, in_turns(sent, lambda: rest_s), strict=True):
            run.observe(media_s, found_s, prompt=prompt)
            moved.append(abs(media_s + run.offset_at(media_s) - at_s - LATENCY_S))
        return moved

    at_once, resting = moved_s(0.0), moved_s(LONGEST_S)
    assert max(resting) < 1.2 * max(at_once)
    assert sum(each > 0.1 for each in resting) < 1.2 * sum(each > 0.1 for each in at_once)


def test_a_pause_after_a_rest_does_not_end_the_run() -> None:
    """A frame found late makes the next one's way look short: half a second without frames right after it, of which the network
    takes a tenth off, is no moved timestamp; for a frame found at once it is."""
    for late_s, goes_on in ((LONGEST_S, True), (0.0, False)):
        run = Run()
        feed(run, stream(4))
        arrival_s = 1000 + 4.0 + LATENCY_S + LONGEST_S
        run.observe(4.0, arrival_s, prompt=not late_s)
        assert run.continues(4.5, arrival_s + 0.5 - LONGEST_S - 0.1) is goes_on


def test_quartz_drift_is_not_taken_for_a_wrong_rate() -> None:
    """100 ppm is left alone: over the window it is less than jitter, and the placing stays within 2 ms."""
    run = Run()
    feed(run, stream(120, rate=1.0001, delay=lambda i: 0.03 * ((i * 31) % 10) / 10))
    assert run.quality()[1] == 0.0
    media_s = 2900 * 0.04 / 1.0001
    assert media_s + run.offset_at(media_s) == pytest.approx(1000 + 2900 * 0.04 + LATENCY_S, abs=0.002)


@pytest.mark.parametrize(("media_s", "arrival_s"), [(5.0, 1004.06), (0.0, 1004.06), (60_000.0, 1004.06)])
def test_moved_timestamps_end_the_run(media_s: float, arrival_s: float) -> None:
    """A timestamp that goes ahead of its arrival, or back, was moved by the camera."""
    run = Run()
    feed(run, stream(4))
    assert not run.continues(media_s, arrival_s)


@pytest.mark.parametrize(("media_s", "arrival_s"), [(9.0, 1009.1), (3.99, 1004.06), (4.0, 1031.0)])
def test_pauses_late_frames_and_reordering_do_not(media_s: float, arrival_s: float) -> None:
    """A gap that arrival confirms, a frame told twice or late, and a very late one belong to the run."""
    run = Run()
    feed(run, stream(4))
    assert run.continues(media_s, arrival_s)


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.floats(0, 0.4), min_size=50, max_size=500),
    origin_s=st.floats(0, 1e6),
    media_origin_s=st.floats(0, 1e5),
)
def test_no_frame_is_placed_after_its_arrival(
    delays: list[float], origin_s: float, media_origin_s: float
) -> None:
    """Whatever the delays, order and distances of frames are kept and none is placed later than it arrived."""
    run, last, frames = Run(), 0.0, []
    for i, delay in enumerate(delays):
        last = max(last, origin_s + i * 0.04 + delay)
        frames.append((media_origin_s + i * 0.04, last))
        run.observe(*frames[-1])
    for media_s, arrival_s in frames:
        assert media_s + run.offset_at(media_s) <= arrival_s + 1e-6
    least = min(delays)
    spread = max(run.offset_at(m) for m, _ in frames) - min(run.offset_at(m) for m, _ in frames)
    assert spread <= max(delays) - least + 1e-6


def test_instant_named_before_the_clock_was_set_is_found() -> None:
    """A wall time read before a step of 5 s leads to the same moment after it, and new frames carry new times."""
    clock = HouseClock(100.0, 5000.0)
    clock.observe(110.0, 5010.0)
    pressed_at = clock.to_wall(110.0)
    clock.observe(111.0, 5016.0)  # set forward by 5 s
    assert clock.to_monotonic(pressed_at) == pytest.approx(110.0)
    assert clock.to_wall(109.0) == pytest.approx(5009.0)
    assert clock.to_wall(112.0) == pytest.approx(5017.0)
    assert clock.to_monotonic(5020.0) == pytest.approx(115.0)


def test_wall_time_shown_twice_is_the_later_moment() -> None:
    """After the clock was set back an instant means the one that is nearer to now."""
    clock = HouseClock(100.0, 5000.0)
    clock.observe(120.0, 5010.0)  # set back by 10 s
    assert clock.to_monotonic(5015.0) == pytest.approx(125.0)


def test_wall_time_that_was_never_shown_is_the_step_itself() -> None:
    """An instant inside the hour the clock leapt over is the moment of the leap."""
    clock = HouseClock(100.0, 5000.0)
    clock.observe(120.0, 8620.0)
    assert clock.to_monotonic(6000.0) == pytest.approx(120.0)
