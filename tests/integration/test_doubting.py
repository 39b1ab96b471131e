"""What leaves a doubt about a contact stands where people look: faults, the point, the check of the site file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from gateway.domain.fault import FaultKind
from gateway.doubting import LOOK_EVERY_S, Doubting
from tests.support.builders import envelopes, point
from tests.support.clock import run
from tests.support.door import Door, door

SOS = point(format_="zigbee2mqtt")


@asynccontextmanager
async def doubting(d: Door) -> AsyncIterator[Doubting]:
    stage = Doubting(store=d.store, clock=d.clock, points=[SOS], stamp=envelopes().stamp)
    task = asyncio.create_task(stage.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


async def looked(d: Door) -> None:
    await d.clock.advance(LOOK_EVERY_S + 0.1)


def test_a_flag_that_stands_becomes_a_fault_when_its_alarm_is_closed_and_is_known_after_a_restart(
    tmp_path: Path,
) -> None:
    """And it is gone once the button is released."""

    async def story() -> None:
        async with door(tmp_path, SOS) as d, doubting(d) as stage:
            await d.send({"sos": False})
            await d.send({"sos": True})
            await looked(d)
            assert list(stage.found()) == []
            await d.close((await d.alarms())[0])
            await looked(d)
            ((found, cause),) = stage.found()
            assert found == (FaultKind.CONTACT, "p-301 flag")
            assert "2026-03-02T10:15:07.123+08:00" in cause
            assert stage.causes("p-301") == [cause]
        async with door(tmp_path, SOS, clock=d.clock) as d, doubting(d) as stage:
            await looked(d)
            assert stage.causes("p-301") == [cause]
            await d.send({"sos": False})
            await looked(d)
            assert (list(stage.found()), stage.causes("p-301")) == ([], [])

    run(story())


def test_words_that_raise_nothing_are_named_newest_first(tmp_path: Path) -> None:
    """Each once, of the point and of each button of its device; at most twenty are kept."""

    async def story() -> None:
        async with door(tmp_path, SOS) as d, doubting(d) as stage:
            for word in ("arm_all_zones", "disarm", "ARM_ALL_ZONES", "exit_delay"):
                await d.clock.advance(60)
                await d.send({"action": word})
            await looked(d)
            assert stage.words("p-301") == ["exit_delay", "disarm", "arm_all_zones"]
            for n in range(30):
                await d.clock.advance(60)
                await d.send({"action": f"arm_{n}"})
            await looked(d)
            assert len(stage.words("p-301")) == 20
            assert stage.words("p-301")[0] == "arm_29"

    run(story())


def test_the_buttons_of_one_device_are_told_to_its_point(tmp_path: Path) -> None:
    """A point that names its words and hears a whole device."""
    assert SOS.source is not None
    picky = replace(SOS, source=replace(SOS.source, presses=("emergency",)))

    async def story() -> None:
        async with door(tmp_path, picky) as d, doubting(d) as stage:
            await d.send({"action": "1_single"})
            await d.send({"action": "2_single"})
            await looked(d)
            assert sorted(stage.words("p-301")) == ["1_single", "2_single"]
            assert await d.presses() == []

    run(story())


def test_a_press_taken_for_a_copy_is_told_with_its_time(tmp_path: Path) -> None:
    """Also one that came so soon that it is no fault."""
    own = point()

    async def story() -> None:
        async with door(tmp_path, own) as d, doubting(d) as stage:
            await d.send({"event": "pressed", "id": "7"})
            await looked(d)
            assert stage.copied_at("p-301") is None
            await d.send({"event": "pressed", "id": "7", "battery": 90})
            copied_at = d.clock.now()
            await looked(d)
            assert (stage.copied_at("p-301"), stage.causes("p-301")) == (copied_at, [])
            await d.clock.advance(120)
            await d.send({"event": "pressed", "id": "7", "battery": 91})
            await looked(d)
            (cause,) = stage.causes("p-301")
            assert "number or id 7" in cause

    run(story())
