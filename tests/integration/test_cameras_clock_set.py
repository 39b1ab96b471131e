"""The camera process's clock is set while evidence is taken: what is planned by the clock that never jumps comes as planned, and
a span named by the wall clock alone says what became of it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.box.film import film_of
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, covering, healthy, started
from tests.support.clock_set import SetClock


@pytest.mark.parametrize("by_s", [-86_400, -30, 30, 86_400])
def test_evidence_over_a_step_is_of_its_instants(
    by_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A still of before the step, a clip over it, and a still and a clip of after it: each claims what it holds."""
    clock = SetClock(tmp_path, monkeypatch)
    camera = SimulatedCamera(name="cam", width=320, height=180, fps=10)

    async def story() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path / "spool") as bank:
            await healthy(bank)
            await covering(bank, 4)
            pressed, pressed_s = datetime.now(UTC), time.monotonic()
            target = tmp_path / "spool" / "over.mp4"
            over = asyncio.create_task(
                bank.cut_clip(
                    "cam",
                    pressed - timedelta(seconds=2),
                    pressed + timedelta(seconds=4),
                    target,
                    span_s=(pressed_s - 2, pressed_s + 4),
                )
            )
            await asyncio.sleep(1.5)
            clock.set(by_s)
            await asyncio.sleep(1.5)  # the process looks at its clock every second
            still = await bank.take_still("cam", pressed, at_s=pressed_s)
            assert abs(still.offset_ms) < 500
            assert abs(still.taken_at - pressed) < timedelta(seconds=0.5)
            taken = await over
            assert taken.shortfall is None
            lasts_s = (taken.end - taken.start).total_seconds()
            assert lasts_s == pytest.approx(film_of(target).lasts_s, abs=0.3)
            assert 5.5 < lasts_s < 8
            assert abs(taken.end - pressed - timedelta(seconds=4)) < timedelta(seconds=0.5)

            if (
                by_s > 0
            ):  # named by the wall clock alone, from before the step until now: it was not as long as that clock says
                target = tmp_path / "spool" / "named.mp4"
                named = await bank.cut_clip(
                    "cam", pressed, datetime.now(UTC) + timedelta(seconds=by_s), target
                )
                lasts_s = (named.end - named.start).total_seconds()
                assert lasts_s == pytest.approx(film_of(target).lasts_s, abs=0.3)
                assert (
                    f"the clock was set by +{by_s:.0f}" in (named.shortfall or "").replace(".0 s", " s")[:60]
                )

    asyncio.run(story())
