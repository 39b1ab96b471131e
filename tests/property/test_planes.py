"""Alarms and drills never turn into one another, whatever is done in whatever order.

One walk presses (with and without the hardware's time, redelivered, retained), arms points, lets the centre hear of it or
not, raises drills and self-tests, replies and asks on both planes, restarts and lets time pass. After each step everything
on record is held against a small model that knows only the contract.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.contacts.formats import CODECS
from gateway.alarm.answering import Answering, Operator
from gateway.alarm.delivering import Delivering
from gateway.alarm.drilling import Drilling
from gateway.alarm.intake import Intake
from gateway.domain.alarm import Drill, State
from gateway.domain.errors import NotAllowed, NotFound, Refused
from gateway.domain.message import Answer, Message
from tests.support.builders import contact_message, envelopes, point, site
from tests.support.cameras import ScriptedCameras
from tests.support.clock import ManualClock, run
from tests.support.hearing import ear
from tests.support.paths import OK, REFUSED, ScriptedPath, Tried
from tests.support.stores import WatchedStore, opened

STEPS = 60
SEEDS = range(40)
POINTS = ("p-301", "p-gate")
CENTRE = Operator(name="王警官", unit="110")


@dataclass
class Model:
    """What the contract says should be: how many alarms and drills were raised, and which points are armed."""

    alarms: int = 0
    drills: int = 0
    repeats: int = 0
    open_alarm: Counter[str] = field(default_factory=Counter)
    armed: dict[str, list[tuple[datetime | None, datetime]]] = field(default_factory=dict)

    def press(
        self,
        at_point: str,
        pressed_at: datetime,
        now: datetime,
        redelivered: bool,
        connected_at: datetime,
    ) -> None:
        windows = [(known, until) for known, until in self.armed.pop(at_point, []) if now < until]
        counts = any(
            known is not None and known <= pressed_at and connected_at <= known <= now for known, _ in windows
        )
        if counts and not redelivered and not self.open_alarm[at_point]:
            self.drills += 1
        elif self.open_alarm[at_point]:
            self.repeats += 1
        else:
            self.alarms += 1
            self.open_alarm[at_point] = 1


class World:
    """A gateway's stages on one database, and the centre at the other end of a path."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.clock = ManualClock()
        self.model = Model()
        self.path = ScriptedPath(self.clock)
        self.stack = AsyncExitStack()
        self.presses = 0
        self.connected_at = self.clock.now()
        self.plan = site(*(point(p, topic=f"contacts/{p}") for p in POINTS))
        self.waiting_windows: dict[str, tuple[str, datetime]] = {}
        self.centre_hears = True
        self.path.answer = self._answer

    def _answer(self, tried: Tried) -> Answer:
        if not self.centre_hears:
            return REFUSED
        if tried.type == "drill.window":
            subject = json.loads(tried.body)["subject"]
            at_point, until = self.waiting_windows.pop(subject, ("", self.clock.now()))
            if at_point:
                windows = self.model.armed.setdefault(at_point, [])
                windows[:] = [w for w in windows if w != (None, until)] + [(self.clock.now(), until)]
        return OK

    async def start(self) -> None:
        await self.stack.__aenter__()
        self.store: WatchedStore = await self.stack.enter_async_context(opened(self.folder))
        self.clock.busy = self.store.busy
        made, cameras = envelopes(self.plan), ScriptedCameras(self.clock)
        self.delivering = Delivering(
            store=self.store,
            clock=self.clock,
            paths=[self.path],
            chance=random.Random(1),
            hear=ear(self.store, self.clock).hearing.hear,
        )
        common: dict[str, Any] = {"store": self.store, "clock": self.clock, "envelopes": made}
        wakes: dict[str, Any] = {
            "wake_delivering": self.delivering.wake.set,
            "wake_gathering": lambda: None,
        }
        self.answering = Answering(**common, **wakes)
        self.drilling = Drilling(**common, **wakes, cameras=cameras, can_sign=True)
        self.intake = Intake(
            **common,
            cameras=cameras,
            codecs=CODECS,
            points=list(self.plan.points.values()),
            offer=self.delivering.offer,
            wake_gathering=lambda: None,
            armed=self.drilling.armed,
        )
        self.tasks = [
            asyncio.create_task(work)
            for work in (self.intake.run(), self.delivering.run(), self.drilling.run())
        ]
        await self.clock.settle()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        for task in self.tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        await self.stack.aclose()
        self.stack = AsyncExitStack()

    # The steps. Each does one thing to the gateway and to the model.

    async def press(self) -> None:
        self.presses += 1
        at_point = self.chance.choice(POINTS)
        now = self.clock.now()
        back_s = self.chance.choice((None, None, 0, 3, 40))
        pressed_at = now if back_s is None else now - timedelta(seconds=back_s)
        payload: dict[str, Any] = {"event": "pressed", "id": f"press-{self.presses}"}
        if back_s is not None:
            payload["at"] = pressed_at.isoformat()
        redelivered = self.chance.random() < 0.15
        retained = self.chance.random() < 0.1
        if self.chance.random() < 0.1:
            self.connected_at = (
                now  # a connection made anew: what comes over it may have waited at the broker
            )
        self.intake.receive(
            contact_message(
                payload,
                topic=f"contacts/{at_point}",
                at=now,
                mid=self.presses,
                retained=retained,
                redelivered=redelivered,
                connected_at=self.connected_at,
            )
        )
        if not retained:
            self.model.press(at_point, pressed_at, now, redelivered, self.connected_at)
        await self.clock.settle()

    async def arm(self) -> None:
        at_point = self.chance.choice(POINTS)
        for_s = self.chance.choice((5.0, 30.0, 60.0, 61.0, 0.0))
        until = self.clock.now() + timedelta(seconds=for_s)
        refused = not 5 <= for_s <= 60 or self.model.open_alarm[at_point]
        try:
            window = await self.drilling.arm(at_point, for_s, "technician")
        except Refused:
            assert refused, "an arming was refused without need"
            return
        assert not refused, "a point was armed that must not be"
        self.waiting_windows[window.id] = (at_point, until)
        self.model.armed.setdefault(at_point, []).append((None, until))
        await self.clock.settle()

    async def drill(self) -> None:
        kind = self.chance.choice(list(Drill))
        with suppress(Refused):
            await self.drilling.drill(self.chance.choice(POINTS), "technician", kind)
            self.model.drills += 1
        await self.clock.settle()

    async def reply(self) -> None:
        drills = self.chance.random() < 0.5
        found = await self.store.read(lambda tx: tx.alarms.listed(drills=drills, limit=500))
        if not found:
            return
        target, word = self.chance.choice(found), self.chance.choice(list(State))
        with suppress(NotAllowed, Refused):
            after, changed = await self.answering.reply(target.id, word, CENTRE, "reason")
            if changed and after.state is State.CLOSED and not drills:
                self.model.open_alarm[target.point] = 0
        with suppress(NotFound):
            await self.answering.request_still(target.id, "cam-a", CENTRE, "look")
            await self.answering.note(target.id, "text", "guard", withdraw=True)
        await self.clock.settle()

    async def wait(self) -> None:
        await self.clock.advance(self.chance.choice((0.2, 2.5, 12.0, 70.0)))

    async def centre_goes(self) -> None:
        self.centre_hears = not self.centre_hears

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def check(self) -> None:
        """Everything on record, against the model and against the rules that hold at any time."""
        alarms, drills, messages = await self.store.read(
            lambda tx: (
                tx.alarms.listed(limit=5000),
                tx.alarms.listed(limit=5000, drills=True),
                [
                    m
                    for a in [*tx.alarms.listed(limit=5000), *tx.alarms.listed(limit=5000, drills=True)]
                    for m, _ in tx.messages.about(a.id)
                ],
            )
        )
        assert (len(alarms), len(drills)) == (self.model.alarms, self.model.drills)
        assert all(a.id.startswith("alm_") and a.drill is None for a in alarms)
        assert all(d.id.startswith("drl_") and d.drill is not None and d.presses == 1 for d in drills)
        assert sum(a.presses - 1 for a in alarms) == self.model.repeats
        for message in messages:
            self._check_message(message)
        for tried in self.path.tried:
            assert tried.drill is tried.type.startswith("drill."), tried.type

    @staticmethod
    def _check_message(message: Message) -> None:
        body = json.loads(message.body)
        plane = "drill" if body["subject"].startswith("drl_") else "alarm"
        if body["type"] != "request.result":
            assert body["type"].startswith(f"{plane}."), body["type"]
            assert body["data"][plane]["id"] == body["subject"]
            assert ({"alarm", "drill"} - {plane}).isdisjoint(body["data"])
        assert message.drill is body["type"].startswith("drill.")
        other = "alm_" if plane == "drill" else "drl_"
        assert other not in message.body.decode()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_way_leads_from_one_plane_to_the_other(seed: int) -> None:
    """Sixty steps by chance: as many alarms, drills and repeats as the contract says, each on its own plane in every message."""

    async def walk(folder: Path) -> None:
        chance = random.Random(seed)
        world = World(folder, chance)
        await world.start()
        steps = [world.press] * 8 + [world.arm] * 5 + [world.wait] * 5 + [world.reply] * 4
        steps += [world.drill] * 2 + [world.centre_goes, world.restart]
        done = []
        try:
            for _ in range(STEPS):
                step = chance.choice(steps)
                done.append(step.__name__)
                await step()
                await world.check()
        except AssertionError as failed:
            raise AssertionError(f"seed {seed}, after {done}: {failed}") from failed
        finally:
            await world.stop()

    with tempfile.TemporaryDirectory() as folder:
        run(walk(Path(folder)))
