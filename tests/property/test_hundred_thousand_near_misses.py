"""A hundred thousand near misses through the real intake and the real database: no alarm, and the queue goes on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from drivers.contacts.formats import CODECS
from gateway.alarm.intake import Intake
from gateway.ports.contacts import ContactMessage
from gateway.ports.store import Store
from tests.support.builders import contact_message, envelopes, point, site
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run
from tests.support.near_misses import MAKES, NearMiss, baselines, near_misses, raw
from tests.support.stores import opened

SEED = 20260302
COUNT = 100_000
#: As many as are handed in before their acknowledgements are waited for; commits are shared among them.
WAVE = 2_000
PACKET_IDS = 65_535
POINTS = [
    point(m.name, topic=m.topic, format_=m.format, input_=m.input, normally_open=m.normally_open)
    for m in MAKES
]


class Paced(ManualClock):
    """Three seconds go by with each message: what is handed in at once is no flood of one contact."""

    handed_in = 0

    def monotonic(self) -> float:
        return 3.0 * self.handed_in


@dataclass(slots=True)
class Queue:
    """Hands messages to the intake as the broker would, each three seconds after the last, and waits until all of a wave are
    acknowledged."""

    intake: Intake
    clock: Paced
    sent: int = 0
    acknowledged: int = 0
    _all: asyncio.Event = field(default_factory=asyncio.Event)

    def hand_in(self, miss: NearMiss) -> None:
        self.sent += 1
        self.clock.handed_in = self.sent
        message: ContactMessage = contact_message(
            miss.payload,
            topic=miss.topic,
            at=MORNING + timedelta(seconds=3 * self.sent),
            mid=0 if self.sent % 3 == 0 else self.sent % PACKET_IDS + 1,
            retained=miss.retained,
            redelivered=miss.redelivered and self.sent % 3 != 0,
        )
        self.intake.receive(replace(message, acknowledge=self._acknowledge))

    async def through(self, seed: int) -> None:
        """Until everything handed in is acknowledged; AssertionError if the queue stands still."""
        if self.acknowledged < self.sent:
            self._all.clear()
            try:
                await asyncio.wait_for(self._all.wait(), 60)
            except TimeoutError:
                pytest.fail(f"seed {seed}: the queue stands at {self.acknowledged} of {self.sent}")

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        if self.acknowledged == self.sent:
            self._all.set()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line for each message would be most of the work."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


async def alarms_of(store: Store) -> dict[str, int]:
    found = await store.read(lambda tx: tx.alarms.listed(limit=1000))
    assert len({a.point for a in found}) == len(found), "two alarms of one point"
    return {a.point: a.presses for a in found}


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_hundred_thousand_near_misses_raise_nothing_and_then_every_press_does(tmp_path: Path) -> None:
    """Retained, repeated, cut, in another language, deep, huge, null and junk, of every format and polarity: each is
    acknowledged and none is an alarm; then one press of each contact is one alarm each."""

    async def story() -> None:
        clock = Paced()
        plan = site(*POINTS)
        async with opened(tmp_path) as store:
            intake = Intake(
                store=store.inner,
                clock=clock,
                envelopes=envelopes(plan),
                cameras=ScriptedCameras(clock),
                codecs=CODECS,
                points=POINTS,
                offer=lambda _: None,
                wake_gathering=lambda: None,
            )
            task = asyncio.create_task(intake.run())
            queue = Queue(intake, clock)
            for topic, payload in baselines():
                queue.hand_in(NearMiss(kind="baseline", topic=topic, payload=payload))
            await queue.through(SEED)
            kinds: Counter[str] = Counter()
            for miss in near_misses(SEED, COUNT):
                kinds[miss.kind] += 1
                queue.hand_in(miss)
                if queue.sent % WAVE == 0:
                    await queue.through(SEED)
                    assert intake.admitted_total == 0, (
                        f"seed {SEED}, before {queue.sent}: {await alarms_of(store.inner)}"
                    )
            await queue.through(SEED)
            assert await alarms_of(store.inner) == {}, f"seed {SEED}"
            assert kinds.total() == COUNT
            assert min(kinds.values()) > 100, kinds
            refused = await store.inner.read(lambda tx: tx.inbox.quarantined(COUNT))
            assert len(refused) == intake.quarantined_total > 0
            assert not [r for r in refused if r["reason"].startswith("the codec")], f"seed {SEED}"

            for make in MAKES:
                queue.hand_in(NearMiss(kind="press", topic=make.topic, payload=raw(make.presses[0])))
            await queue.through(SEED)
            assert await alarms_of(store.inner) == {make.name: 1 for make in MAKES}, f"seed {SEED}"

            # And again with an alarm open at each, where no count may go up. Left out is what tells of another state or a
            # lower count than the press left: that would be news.
            for miss in near_misses(SEED + 1, WAVE):
                if miss.kind not in ("repeated", "idle") and b"event_cnt" not in miss.payload:
                    queue.hand_in(miss)
            await queue.through(SEED + 1)
            assert await alarms_of(store.inner) == {make.name: 1 for make in MAKES}, f"seed {SEED + 1}"
            task.cancel()
            await asyncio.wait([task])

    run(story(), timeout_s=600)
