"""The wall clock is set while an alarm is open: what is planned goes on in its time, and nothing is claimed that is not there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from tests.integration.test_gathering import Yard, yard
from tests.support.clock import MORNING, run

STEPS = [timedelta(seconds=sign * s) for s in (1.7, 40, 7200, 86_400) for sign in (1, -1)]


def begun_s(y: Yard, what: str) -> list[float]:
    """When clips or stills of cam-a that were asked for begin, in seconds of the monotonic clock since the press."""
    return [
        round(at_s - 1000.0, 1) for kind, _, at_s in y.cameras.asked_s if kind == what and at_s is not None
    ]


async def stored(y: Yard) -> list[Evidence]:
    items = await y.items()
    return [i for i in items if i.state is EvidenceState.STORED]


def lasts(item: Evidence) -> float:
    return (item.end - item.start).total_seconds()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after_s", [0.0, 1.0, 15.0, 29.0])
def test_the_window_of_a_press_is_gathered_in_its_time(
    after_s: float, step: timedelta, tmp_path: Path
) -> None:
    """Whenever the clock is set within it: each item once, of its own instants, with the times of the clock of the press."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press(cameras=("cam-a",))
            await y.clock.advance(after_s)
            y.clock.step_wall(step.total_seconds())
            await y.clock.advance(70 - after_s)
            assert begun_s(y, "still") == [0.0, -2.0, 2.0]
            assert begun_s(y, "clip")[:2] == [-30.0, -30.0]
            items = [i for i in await stored(y) if i.moment is not Moment.DURING]
            assert {(i.kind, i.moment, (i.start - MORNING).total_seconds(), lasts(i)) for i in items} == {
                (Kind.STILL, Moment.PRESS, 0.0, 0.0),
                (Kind.STILL, Moment.BEFORE, -2.0, 0.0),
                (Kind.STILL, Moment.AFTER, 2.0, 0.0),
                (Kind.CLIP, Moment.BEFORE, -30.0, 30.0),
                (Kind.CLIP, Moment.WHOLE, -30.0, 60.0),
            }
            whole = next(i for i in items if i.moment is Moment.WHOLE)
            assert whole.reason is not None
            assert f"set by {step.total_seconds():+.1f} s" in whole.reason
            told = await y.said("alarm.manifest")
            assert told
            assert len([i for i in told[-1]["items"] if i["moment"] != "during"]) == 5

    run(story())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after_s", [31.0, 95.0])
def test_during_clips_go_on_by_the_clock_that_was_set(
    after_s: float, step: timedelta, tmp_path: Path
) -> None:
    """One every 30 s, back to back, until half an hour after the press: none is asked for twice, none waits for an old date, and
    those that begin after the step have its times."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press(cameras=("cam-a",))
            await y.clock.advance(after_s)
            y.clock.step_wall(step.total_seconds())
            await y.clock.advance(2400 - after_s)
            begun = [at for at in begun_s(y, "clip") if at >= 0]
            assert begun == [30.0 * n for n in range(60)]
            during = [i for i in await stored(y) if i.moment is Moment.DURING]
            assert len(during) == 60
            assert {lasts(i) for i in during} == {30.0}
            shown = [MORNING + timedelta(seconds=30 * n) for n in range(60)]
            due = [at + step if 30 * n > after_s else at for n, at in enumerate(shown)]
            assert sorted(item.start for item in during) == sorted(due)
            # The one that was under way as the clock was set says so.
            assert [item.start for item in during if item.reason] == [shown[int(after_s // 30)]]

    run(story(), timeout_s=120)


@pytest.mark.parametrize(("holds_s", "wrong"), [(1.5, True), (29.0, True), (86_400.0, True), (29.7, False)])
def test_a_claim_that_the_file_does_not_bear_out_is_not_told(
    holds_s: float, wrong: bool, tmp_path: Path
) -> None:
    """A camera process that names 30 s for a file of 1.5: the item ends where the file ends, and says so."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.holds_s = holds_s
            await y.press(cameras=("cam-a",))
            await y.clock.advance(29)
            item = next(i for i in await y.items() if i.kind is Kind.CLIP and i.moment is Moment.BEFORE)
            assert item.state is EvidenceState.STORED
            assert lasts(item) == pytest.approx(holds_s if wrong else 30.0)
            assert (item.reason is not None and f"the file holds {holds_s:.1f} s" in item.reason) is wrong

    run(story())
