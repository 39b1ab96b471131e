"""Drills on the real database: by command, by an armed press, and the self-test nobody has to think of."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import time, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm.answering import Answering, Operator
from gateway.alarm.delivering import Delivering
from gateway.alarm.drilling import Drilling
from gateway.app.operator_socket import SOCKET, OperatorDoor, ask, tell_drill
from gateway.domain.alarm import Drill, State
from gateway.domain.drill import DrillWindow
from gateway.domain.errors import NotFound, Refused
from gateway.domain.plan import SelfTest
from tests.support.builders import envelopes, point, site
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run
from tests.support.hearing import ear
from tests.support.paths import REFUSED, ScriptedPath
from tests.support.stores import WatchedStore, opened

#: MORNING is 10:15:07 in Shanghai; the self-test's turn is two minutes later.
SELF_TEST = SelfTest(point="p-301", at=time(10, 17), answered_within_s=60)


@dataclass
class Box:
    """The stages a drill passes, at work."""

    store: WatchedStore
    clock: ManualClock
    drilling: Drilling
    answering: Answering
    path: ScriptedPath

    async def drills(self) -> list[Any]:
        return await self.store.read(lambda tx: tx.alarms.listed(drills=True))


@asynccontextmanager
async def box(folder: Path, *, clock: ManualClock | None = None, can_sign: bool = True) -> AsyncIterator[Box]:
    """Drilling and delivering on the database in ``folder``."""
    clock = clock or ManualClock()
    made = envelopes(site(point(), self_test=SELF_TEST))
    async with opened(folder) as store:
        clock.busy = store.busy
        path = ScriptedPath(clock)
        delivering = Delivering(
            store=store,
            clock=clock,
            paths=[path],
            chance=random.Random(1),
            hear=ear(store, clock).hearing.hear,
        )
        wakes: dict[str, Any] = {"wake_delivering": delivering.wake.set, "wake_gathering": lambda: None}
        drilling = Drilling(
            store=store,
            clock=clock,
            envelopes=made,
            cameras=ScriptedCameras(clock),
            can_sign=can_sign,
            **wakes,
        )
        answering = Answering(store=store, clock=clock, envelopes=made, **wakes)
        tasks = [asyncio.create_task(delivering.run()), asyncio.create_task(drilling.run())]
        try:
            yield Box(store, clock, drilling, answering, path)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def test_the_self_test_is_raised_at_its_hour_and_answered(tmp_path: Path) -> None:
    """One self-test a day, under the drill secret, marked as such; an answered one is no fault."""

    async def story() -> None:
        async with box(tmp_path) as b:
            await b.clock.advance(100)
            assert await b.drills() == []
            await b.clock.advance(20)
            (test,) = await b.drills()
            assert (test.drill, test.point) == (Drill.SELF_TEST, "p-301")
            (tried,) = b.path.tried
            assert (tried.type, tried.drill) == ("drill.raised", True)
            assert json.loads(tried.body)["data"]["drill"]["kind"] == "self-test"
            await b.answering.reply(test.id, State.ACCEPTED, Operator(name="系统", unit="110"))
            await b.clock.advance(120)
            assert b.drilling.causes == {}
            assert len(await b.drills()) == 1

    run(story())


@pytest.mark.parametrize(
    ("refusing", "how"), [(True, "not even received"), (False, "received but not answered")]
)
def test_a_self_test_without_an_answer_is_a_fault(tmp_path: Path, refusing: bool, how: str) -> None:
    """After the seconds agreed, saying which way is broken; a late answer takes it away."""

    async def story() -> None:
        async with box(tmp_path) as b:
            if refusing:
                b.path.answer = lambda _: REFUSED
            await b.clock.advance(120)
            (test,) = await b.drills()
            assert b.drilling.causes == {}
            await b.clock.advance(62)
            assert how in b.drilling.causes["self-test"]
            assert test.id in b.drilling.causes["self-test"]
            await b.answering.reply(test.id, State.ACCEPTED, Operator(name="系统", unit="110"))
            await b.clock.advance(3)
            assert b.drilling.causes == {}

    run(story())


def test_a_turn_missed_while_off_is_made_up_for_once(tmp_path: Path) -> None:
    """The gateway was off at the hour: it tests half a minute after its start, and then not again that day."""

    async def story() -> None:
        async with box(tmp_path) as b:
            await b.clock.advance(120)
            assert len(await b.drills()) == 1
        later = ManualClock(MORNING + timedelta(days=3, hours=5))
        async with box(tmp_path, clock=later) as b:
            await b.clock.advance(20)
            assert len(await b.drills()) == 1
            await b.clock.advance(600)
            assert len(await b.drills()) == 2

    run(story())


def test_a_drill_films_less_than_an_alarm(tmp_path: Path) -> None:
    """The press evidence is the same; `during` ends after a minute, and a self-test has none."""

    async def story() -> None:
        async with box(tmp_path) as b:
            drill = await b.drilling.drill("p-301", "维护")
            assert drill.during_until == MORNING + timedelta(seconds=60)
            items = await b.store.read(lambda tx: tx.evidence.of(drill.id))
            assert len(items) == 2 * 5
            await b.clock.advance(120)
            test = (await b.drills())[0]
            assert (test.drill, test.during_next_at) == (Drill.SELF_TEST, None)

    run(story())


def test_what_cannot_be_drilled_is_refused_in_words(tmp_path: Path) -> None:
    """An unknown point, a double click, no drill secret, and a point that has an open alarm."""

    async def story() -> None:
        async with box(tmp_path) as b:
            with pytest.raises(NotFound, match=r"p-999.*(its points are|meant)"):
                await b.drilling.drill("p-999", "维护")
            with pytest.raises(NotFound, match=r"'p-30'.*is p-301 meant"):
                await b.drilling.drill("p-30", "维护")
            await b.drilling.drill("p-301", "维护")
            with pytest.raises(Refused, match="raised just now"):
                await b.drilling.drill("p-301", "维护")
            with pytest.raises(Refused, match="5 to 60"):
                await b.drilling.arm("p-301", 61, "维护")
        async with box(tmp_path, can_sign=False) as b:
            with pytest.raises(Refused, match="drill_secret"):
                await b.drilling.drill("p-301", "维护")

    run(story())


@asynccontextmanager
async def door(b: Box, folder: Path) -> AsyncIterator[Path]:
    """The operator's door of the box, open; in a folder whose name is too long for a socket's."""
    data = folder / ("d" * 120)
    data.mkdir()
    serving = asyncio.create_task(OperatorDoor(data, b.drilling, b.clock).run())
    await b.clock.settle()
    assert (data / SOCKET).exists()
    try:
        yield data
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        assert not (data / SOCKET).exists()


def test_the_operators_command_waits_until_the_centre_has_it(tmp_path: Path) -> None:
    """Through a socket that only the gateway's own user can open, however long the data folder's name is."""

    async def story() -> None:
        async with box(tmp_path) as b, door(b, tmp_path) as data:
            assert stat.S_IMODE(os.stat(data / SOCKET).st_mode) == 0o600
            out = StringIO()
            asking = asyncio.create_task(asyncio.to_thread(tell_drill, data, "p-301", None, out))
            while not asking.done():
                await b.clock.advance(0.1)
            assert await asking is True
            assert "raised at p-301, 2 cameras" in out.getvalue()
            assert "received by the centre after" in out.getvalue()
            with pytest.raises(Refused, match="no point"):
                await asyncio.to_thread(tell_drill, data, "p-999", None, out)

    run(story())


def test_the_operators_command_gives_up_after_thirty_seconds(tmp_path: Path) -> None:
    """The centre refuses: not received, and what the last attempt came to."""

    async def story() -> None:
        async with box(tmp_path) as b, door(b, tmp_path) as data:
            b.path.answer = lambda _: REFUSED
            out = StringIO()
            asking = asyncio.create_task(asyncio.to_thread(tell_drill, data, "p-301", None, out))
            began_s = b.clock.monotonic()
            while not asking.done():
                await b.clock.advance(0.5)
            assert await asking is False
            assert 30 <= b.clock.monotonic() - began_s < 40
            assert "NOT RECEIVED within 30 s" in out.getvalue()
            assert "connection refused" in out.getvalue()

    run(story())


def test_no_gateway_is_said_and_nonsense_is_answered(tmp_path: Path) -> None:
    """Without a gateway the command says so; what is no question gets an answer and does nothing."""

    async def story() -> None:
        with pytest.raises(Refused, match="no gateway runs on"):
            tell_drill(tmp_path, "p-301", None, StringIO())
        async with box(tmp_path) as b, door(b, tmp_path) as data:
            for question in ({}, {"point": None, "arm_s": "x"}, {"point": "p-301", "arm_s": []}):
                (answer,) = await asyncio.to_thread(lambda q=question: list(ask(data, q, 5.0)))
                assert answer["error"]
                assert answer["done"]
            assert await b.drills() == []

    run(story())


def test_asking_whether_a_point_is_armed_takes_nothing_away(tmp_path: Path) -> None:
    """Intake asks on the database's thread: between its look at a window that is over and its answer another may be announced."""

    class LateClock(ManualClock):
        """Announces a window while the time is being looked up, as another thread may."""

        meanwhile: Any = None

        def monotonic(self) -> float:
            now_s = super().monotonic()
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            return now_s

    async def story() -> None:
        clock = LateClock()
        async with box(tmp_path, clock=clock) as b:
            await b.drilling.arm("p-301", 5, "a technician")
            await clock.advance(6)
            now = clock.now()
            window = DrillWindow(
                id="wnd_2", point="p-301", by="a technician", armed_at=now, until=now + timedelta(seconds=60)
            )
            clock.meanwhile = lambda: b.drilling._may_be_armed(window, now)
            b.drilling.armed("p-301")
            assert b.drilling.armed("p-301")
            await clock.advance(61)
            assert not b.drilling.armed("p-301")

    run(story())
