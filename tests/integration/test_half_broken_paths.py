"""Paths that take some of what is sent: the schedule holds, the rate is bounded, the second path is tried, and order is kept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.domain.message import Answer, MessageType
from tests.support.clock import ManualClock, run
from tests.support.paths import OK, REFUSED, ScriptedPath, Tried
from tests.support.post import AWAY, Post, post

BEAT_S = 2.0
CUT = Answer(status=None, detail="cut", sent=True)
Says = Callable[[Tried], Answer]


async def beats(p: Post, seconds: float, answers: Callable[[int], Answer]) -> None:
    """Let time pass with a heartbeat every 2 s over the first path."""
    for number in range(int(seconds / BEAT_S)):
        p.delivering.heartbeat_answered(0, answers(number))
        await p.clock.advance(BEAT_S)


#: What the centre takes, what it answers to the rest, what heartbeats get, and how many attempts an alert has in 90 s.
HALVES: list[tuple[str, Answer, Callable[[int], Answer], int]] = [
    ("heartbeats only, 503", AWAY, lambda _: OK, 9),
    ("heartbeats only, cut", CUT, lambda _: OK, 9),
    ("heartbeats only, refused", REFUSED, lambda _: OK, 9),
    ("heartbeats only, 429", Answer(status=429), lambda _: OK, 9),
    ("heartbeats only, 400", Answer(status=400), lambda _: OK, 9),
    ("heartbeats only, 409", Answer(status=409), lambda _: OK, 9),
    ("nothing", AWAY, lambda _: AWAY, 9),
    ("every other heartbeat", AWAY, lambda n: OK if n % 2 else AWAY, 12),
    ("every other heartbeat, cut", CUT, lambda n: OK if n % 2 else CUT, 12),
]


@pytest.mark.parametrize(
    ("rest", "heart", "attempts"), [row[1:] for row in HALVES], ids=[row[0] for row in HALVES]
)
@pytest.mark.parametrize("alarms", [1, 100])
def test_the_schedule_holds_where_only_heartbeats_are_answered(
    tmp_path: Path, rest: Answer, heart: Callable[[int], Answer], attempts: int, alarms: int
) -> None:
    """Nine attempts in 90 s, at most one more in 30 s where heartbeats come and go; a hundred alarms are no storm."""

    async def story() -> None:
        async with post(tmp_path, answer=rest) as p:
            await beats(p, 20, heart)
            await p.put(*[MessageType.ALARM_RAISED] * alarms)
            await beats(p, 92, heart)
            tried = Counter(t.message for t in p.paths[0].tried)
            assert max(tried.values()) <= attempts
            assert min(tried.values()) >= 8
            seconds = Counter(int(t.at_s) for t in p.paths[0].tried)
            print(f"{len(p.paths[0].tried)} attempts in 92 s, at most {max(seconds.values())} in a second")
            # The first attempts go out at once, whatever else is on its way.
            assert max(n for second, n in seconds.items() if second > min(seconds)) <= 101
            if alarms == 1 and attempts == 9:
                (message,) = tried
                assert p.paths[0].times_s(message) == [0, 1, 2, 4, 8, 15, 30, 60, 90]
            assert p.delivering.health[0].failing_since is not None
            if heart(0) is OK and heart(1) is OK:
                assert "takes heartbeats and no alarms" in p.delivering.health[0].cause

    run(story())


def small(tried: Tried) -> bool:
    return tried.type != "alarm.raised"


@pytest.mark.parametrize("rest", [AWAY, CUT, Answer(status=400)], ids=["503", "cut", "400"])
def test_the_second_path_is_tried_where_the_first_takes_all_but_alarms(tmp_path: Path, rest: Answer) -> None:
    """After 20 s, and the next alarm at once, however well heartbeats and faults go over the first."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda tried: OK if small(tried) else rest
            await p.put(MessageType.ALARM_RAISED)
            for _ in range(11):
                await p.put(MessageType.FAULT_RAISED)
                await beats(p, BEAT_S, lambda _: OK)
            assert p.paths[1].types() == ["alarm.raised"]
            assert p.delivering.undelivered == 0
            assert p.paths[0].types().count("alarm.raised") <= 7
            await p.put(MessageType.ALARM_RAISED)
            assert p.paths[1].types() == ["alarm.raised"] * 2

    run(story())


def test_a_path_that_takes_every_other_request_makes_no_storm(tmp_path: Path) -> None:
    """A hundred alarms are through soon, with at most three attempts each on average."""

    async def story() -> None:
        async with post(tmp_path, answer=AWAY) as p:
            await p.put(*[MessageType.ALARM_RAISED] * 100)
            await p.clock.advance(3)
            before = len(p.paths[0].tried)
            p.paths[0].answer = lambda _: OK if len(p.paths[0].tried) % 2 else AWAY
            await beats(p, 70, lambda n: OK if n % 2 else AWAY)
            assert p.delivering.undelivered == 0
            assert len(p.paths[0].tried) - before <= 300

    run(story())


def test_a_centre_that_can_take_little_at_a_time_is_not_flooded(tmp_path: Path) -> None:
    """One that takes ten a second and refuses the rest gets all of a thousand in the end, and no more than 100 a second."""

    async def story() -> None:
        async with post(tmp_path, answer=AWAY) as p:
            await p.put(*[MessageType.ALARM_RAISED] * 300)
            await p.clock.advance(20)
            p.paths[0].tried.clear()
            taken: Counter[int] = Counter()

            def some(tried: Tried) -> Answer:
                taken[int(tried.at_s)] += 1
                return OK if taken[int(tried.at_s)] <= 10 else AWAY

            p.paths[0].answer = some
            await beats(p, 90, lambda _: OK)
            assert p.delivering.undelivered == 0
            assert max(taken.values()) <= 100

    run(story())


@pytest.mark.parametrize("seed", range(12))
def test_after_an_outage_nothing_overtakes_an_alert_that_waits(tmp_path: Path, seed: int) -> None:
    """Fifty alarms with their evidence and faults, an outage that ends at any moment, answers that take their time: what is
    received before the last alert is alerts."""
    chance = random.Random(seed)

    async def story() -> None:
        async with post(tmp_path) as p:
            path: ScriptedPath = p.paths[0]
            down = REFUSED if seed % 2 else AWAY
            path.answer = lambda _: down
            for _ in range(50):
                await p.put(MessageType.ALARM_RAISED)
                await p.put(*[MessageType.ALARM_EVIDENCE] * chance.randrange(4))
                if chance.random() < 0.2:
                    await p.put(MessageType.FAULT_RAISED)
                await p.clock.advance(chance.random() * 0.4)
            await beats(p, chance.randrange(4, 60), lambda _: down)
            await p.clock.advance(chance.random() * 2)
            path.answer = lambda _: OK
            path.holds = lambda _: chance.random() * chance.choice([0.01, 0.5, 3.0])
            await beats(p, 70, lambda _: OK)
            assert p.delivering.undelivered == 0
            # An answer that takes seconds may find the message sent again meanwhile: the first receipt counts.
            received = {tried.message: tried.type for tried, answer in path.answered if answer is OK}
            assert list(received.values())[:50] == ["alarm.raised"] * 50

    run(story(), timeout_s=120)


def test_an_alert_that_hangs_holds_up_nothing_for_long(tmp_path: Path) -> None:
    """Order is kept for as long as an attempt may take, and no longer."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            alert, *_ = await p.put(MessageType.ALARM_RAISED, *[MessageType.ALARM_EVIDENCE] * 5)
            await p.clock.advance(40)
            p.paths[0].answer = lambda tried: CUT if tried.message == alert.id else OK
            p.paths[0].holds = lambda tried: 10.0 if tried.message == alert.id else 0.0
            await beats(p, 14, lambda _: OK)
            assert p.delivering.undelivered == 1

    run(story())


def test_a_restart_in_an_outage_keeps_order(tmp_path: Path) -> None:
    """What waits from before goes out in order of class, whatever the answers take."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            for _ in range(10):
                await p.put(MessageType.ALARM_EVIDENCE, MessageType.ALARM_RAISED, MessageType.FAULT_RAISED)
        clock = ManualClock()
        async with post(tmp_path, clock=clock, answer=REFUSED) as p:
            p.paths[0].answer = lambda _: OK
            p.paths[0].holds = lambda tried: 0.5 if tried.type == "alarm.raised" else 0.0
            await p.clock.advance(5)
            received = [tried.type for tried, answer in p.paths[0].answered if answer is OK]
            assert received[:10] == ["alarm.raised"] * 10

    run(story())


def test_what_the_second_path_took_is_no_fault_of_the_first_for_ever(tmp_path: Path) -> None:
    """Ten minutes after the last alarm that it did not take, with heartbeats answered, nothing is known against it."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: AWAY
            await p.put(MessageType.ALARM_RAISED)
            await beats(p, 300, lambda _: OK)
            assert p.delivering.health[0].failing_since is not None
            await beats(p, 400, lambda _: OK)
            assert p.delivering.health[0].failing_since is None

    run(story())
