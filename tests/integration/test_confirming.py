"""Confirming on the real database: what became of an alarm is published once, whatever ends or is away meanwhile.

One file, though long: its tests share one desk and one lamp.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from amqtt.broker import Broker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.contacts.address import BrokerAddress
from drivers.contacts.embedded import EmbeddedBroker
from drivers.contacts.mqtt import MqttFeed
from gateway.alarm.confirming import Confirming
from gateway.box.clock import SystemClock
from gateway.domain.alarm import Alarm, Drill, State
from gateway.domain.errors import Unavailable
from gateway.domain.plan import Confirm, Point, Severity
from gateway.ports.contacts import ContactMessage
from tests.support.builders import alarm, point
from tests.support.clock import MORNING, ManualClock, run
from tests.support.mosquitto import running_mosquitto
from tests.support.signals import wait_until
from tests.support.stores import WatchedStore, opened

LAMP = Confirm(topic="cmnd/lamp/POWER", received="ON", accepted="BLINK", closed="OFF")


@dataclass(slots=True)
class Lamp:
    """:class:`gateway.ports.contacts.Publisher` that can be away."""

    away: str = ""
    lit: list[str] = field(default_factory=list)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        if self.away:
            raise Unavailable(self.away)
        self.lit.append(payload.decode())


@dataclass(slots=True)
class Desk:
    """Confirming at work."""

    store: WatchedStore
    clock: ManualClock
    confirming: Confirming
    lamp: Lamp

    async def note(self, id_: str, what: str, *, wake: bool = True, **detail: str) -> None:
        now = self.clock.now()
        await self.store.inner.write(lambda tx: tx.alarms.note(id_, now, what, detail))
        if wake:
            self.confirming.wake.set()
        await self.clock.settle()

    async def raise_(self, made: Alarm) -> None:
        await self.store.inner.write(lambda tx: tx.alarms.add(made))

    async def reply(self, made: Alarm, state: State) -> None:
        """As answering does it, in one commit."""
        now = self.clock.now()
        closed_at = now if state is State.CLOSED else None

        def work(tx: Any) -> None:
            tx.alarms.save(replace(made, state=state, closed_at=closed_at))
            tx.alarms.note(made.id, now, "replied", {"reply": state.value})

        await self.store.inner.write(work)
        self.confirming.wake.set()
        await self.clock.settle()

    def faults(self) -> list[str]:
        return [subject for (_, subject), _ in self.confirming.found()]


@asynccontextmanager
async def desk(
    folder: Path, *points: Point, clock: ManualClock | None = None, away: str = ""
) -> AsyncIterator[Desk]:
    """The stage on the database in ``folder``; opening it again is a restart."""
    clock, lamp = clock or ManualClock(), Lamp(away)
    wired = list(points) or [replace(point(), confirm=LAMP)]
    async with opened(folder) as store:
        clock.busy = store.busy
        stage = Confirming(store=store, clock=clock, points=wired, publisher=lamp)
        task = asyncio.create_task(stage.run())
        try:
            await clock.settle()
            yield Desk(store, clock, stage, lamp)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error


def test_an_alarm_is_told_as_received_accepted_and_closed_each_once(tmp_path: Path) -> None:
    """At once on the hint, and in the timeline with its step and topic."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            await d.raise_(alarm())
            await d.note("alm_1", "raised")
            assert d.lamp.lit == []
            await d.note("alm_1", "received", path="first")
            assert d.lamp.lit == ["ON"]
            await d.reply(alarm(), State.ACCEPTED)
            assert d.lamp.lit == ["ON", "BLINK"]
            await d.reply(alarm(), State.CLOSED)
            await d.clock.advance(60)
            assert d.lamp.lit == ["ON", "BLINK", "OFF"]
            timeline = await d.store.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert [dict(e.detail) for e in timeline if e.what == "confirmed"] == [
                {"step": step, "topic": LAMP.topic} for step in ("received", "accepted", "closed")
            ]

    run(story())


def test_a_lost_hint_costs_two_seconds(tmp_path: Path) -> None:
    """The timelines are read again."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            await d.raise_(alarm())
            await d.note("alm_1", "received", wake=False)
            await d.clock.advance(2)
            assert d.lamp.lit == ["ON"]

    run(story())


def test_a_broker_that_is_away_is_a_fault_and_the_confirmation_comes_when_it_is_back(tmp_path: Path) -> None:
    """After 30 s a fault that names the point; back within 10 min, it is published and the fault gone."""

    async def story() -> None:
        async with desk(tmp_path, away="the broker is not connected") as d:
            await d.raise_(alarm())
            await d.note("alm_1", "received")
            await d.clock.advance(29)
            assert (d.faults(), d.lamp.lit) == ([], [])
            await d.clock.advance(2)
            assert d.faults() == ["p-301 confirm"]
            d.lamp.away = ""
            await d.clock.advance(2)
            assert (d.faults(), d.lamp.lit) == ([], ["ON"])

    run(story())


def test_a_full_disk_makes_no_buzzer_sound_twice(tmp_path: Path) -> None:
    """What was published and could not be put on record is put on record later, and not published again."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            await d.raise_(alarm())
            d.store.refuse = 5
            await d.note("alm_1", "received")
            await d.clock.advance(20)
            assert (d.store.refused, d.lamp.lit, d.faults()) == (5, ["ON"], [])
            timeline = await d.store.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert [e.what for e in timeline] == ["received", "confirmed"]

    run(story())


def test_what_comes_too_late_is_given_up(tmp_path: Path) -> None:
    """After 10 minutes nothing is published any more and the fault ends; the next step still is."""

    async def story() -> None:
        async with desk(tmp_path, away="not connected") as d:
            await d.raise_(alarm())
            await d.note("alm_1", "received")
            await d.clock.advance(605)
            d.lamp.away = ""
            await d.clock.advance(5)
            assert (d.faults(), d.lamp.lit) == ([], [])
            await d.reply(alarm(), State.ACCEPTED)
            assert d.lamp.lit == ["BLINK"]

    run(story())


def test_a_restart_tells_what_was_not_told_and_nothing_twice(tmp_path: Path) -> None:
    """Received was told, accepted was not when the gateway ended; closed while it was down."""

    async def story() -> None:
        clock = ManualClock()
        async with desk(tmp_path, clock=clock) as d:
            await d.raise_(alarm())
            await d.note("alm_1", "received")
            d.lamp.away = "not connected"
            await d.reply(alarm(), State.ACCEPTED)
        async with desk(tmp_path, clock=clock) as d:
            assert d.lamp.lit == ["BLINK"]
        async with opened(tmp_path) as store:
            closed = alarm(state=State.CLOSED, closed_at=clock.now())
            await store.write(lambda tx: tx.alarms.save(closed))
            await store.write(lambda tx: tx.alarms.note("alm_1", clock.now(), "replied", {"reply": "closed"}))
        await clock.advance(60)
        async with desk(tmp_path, clock=clock) as d:
            assert d.lamp.lit == ["OFF"]
        async with desk(tmp_path, clock=clock) as d:
            assert d.lamp.lit == []

    run(story())


def test_a_shared_lamp_stays_lit_until_the_last_alarm_is_closed(tmp_path: Path) -> None:
    """One alarm's end does not put out what another lit."""
    first, second = replace(point(), confirm=LAMP), replace(point("p-302"), confirm=LAMP)

    async def story() -> None:
        async with desk(tmp_path, first, second) as d:
            one, other = alarm(), alarm("alm_2", point="p-302")
            for made in (one, other):
                await d.raise_(made)
                await d.note(made.id, "received")
            await d.reply(one, State.CLOSED)
            assert d.lamp.lit == ["ON", "ON"]
            await d.reply(other, State.CLOSED)
            await d.clock.advance(10)
            assert d.lamp.lit == ["ON", "ON", "OFF"]

    run(story())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.sampled_from(
            ["received", "accepted", "dispatched", "arrived", "rejected", "closed", "restart", "wait"]
        ),
        max_size=8,
    ),
    made=st.sampled_from(
        [
            ("alm_1", Severity.DURESS, None),
            ("drl_1", Severity.PANIC, Drill.DRILL),
            ("drl_2", Severity.PANIC, Drill.SELF_TEST),
            ("drl_3", Severity.DURESS, Drill.DRILL),
        ]
    ),
    confirm=st.sampled_from([LAMP, Confirm(topic="lamp"), Confirm(topic="lamp", retain=True, qos=0)]),
)
def test_nothing_is_ever_published_of_duress_or_of_a_drill(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    made: tuple[str, Severity, Drill | None],
    confirm: Confirm,
) -> None:
    """Whatever happens to such an alarm, in whatever order, over restarts, even if a plan wrongly gave its point a lamp."""
    folder = tmp_path_factory.mktemp("duress")
    wrongly = replace(point(), severity=made[1], confirm=confirm)
    stood = alarm(made[0], severity=made[1], drill=made[2])

    async def story() -> None:
        clock, lit = ManualClock(), list[str]()
        days = "".join("\n" if w == "restart" else w + " " for w in words).split("\n")
        async with opened(folder) as store:
            await store.write(lambda tx: tx.alarms.add(stood))
        for day in days:
            async with desk(folder, wrongly, clock=clock) as d:
                for word in day.split():
                    if word == "wait":
                        await d.clock.advance(5)
                    elif word == "received":
                        await d.note(stood.id, word, path="first")
                    else:
                        await d.reply(stood, State(word))
                await d.clock.advance(3)
                lit += d.lamp.lit
        assert lit == []

    run(story())


def feed_at(url: str, clock: SystemClock, *topics: str, beside: tuple[str, ...] = ()) -> MqttFeed:
    host, _, port = url.removeprefix("mqtt://").rpartition(":")
    address = BrokerAddress(host=host, port=int(port), client_id=f"test-{MORNING:%f}-{topics}")
    return MqttFeed(address, topics, clock, beside=beside)


@asynccontextmanager
async def running(feed: MqttFeed, heard: list[ContactMessage]) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run(heard.append))
    try:
        await asyncio.wait_for(feed.wait_armed(), 10)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def publish_and_hear(url: str, heard_at_0: int = 0) -> None:
    """What one feed publishes another hears, as it was published; amqtt gives out QoS 0 at the subscription's."""
    clock, heard = SystemClock(), list[ContactMessage]()
    lamp, feed = feed_at(url, clock, "lamp/301"), feed_at(url, clock, "contacts/301")
    with pytest.raises(Unavailable):
        await feed.publish("lamp/301", b"ON", qos=1, retain=False)
    async with running(lamp, heard), running(feed, []):
        await feed.publish("lamp/301", b"ON", qos=1, retain=False)
        await feed.publish("lamp/301", b"OFF", qos=0, retain=False)
        await wait_until(lambda: len(heard) == 2, what="both publishes")
        assert [(m.payload, m.qos, m.retained) for m in heard] == [
            (b"ON", 1, False),
            (b"OFF", heard_at_0, False),
        ]
    with pytest.raises(Unavailable):
        await feed.publish("lamp/301", b"ON", qos=1, retain=False)


def test_a_publish_reaches_mosquitto_and_fails_while_it_is_away(tmp_path: Path) -> None:
    """At both qualities of service; before it is connected and after it ended it is refused, not kept for later."""
    with running_mosquitto(tmp_path) as url:
        run(publish_and_hear(url))


def test_what_is_refused_while_the_broker_is_away_does_not_go_out_when_it_is_back(tmp_path: Path) -> None:
    """A lamp is not lit by a publish of before: only by one made again."""

    async def story() -> None:
        clock, heard = SystemClock(), list[ContactMessage]()
        broker = running_mosquitto(tmp_path)
        url = broker.__enter__()
        port = int(url.rpartition(":")[2])
        feed = feed_at(url, clock, "contacts/301")
        async with running(feed, []):
            await asyncio.to_thread(broker.__exit__, None, None, None)
            await wait_until(lambda: not feed.armed, what="the loss is noticed")
            with pytest.raises(Unavailable, match="broker"):
                await asyncio.wait_for(feed.publish("lamp/301", b"old", qos=1, retain=False), 1)
            with running_mosquitto(tmp_path, port=port):
                async with running(feed_at(url, clock, "lamp/301"), heard):
                    await wait_until(lambda: feed.armed, 20, what="the feed is back")
                    await feed.publish("lamp/301", b"new", qos=1, retain=False)
                    await wait_until(lambda: len(heard) > 0, what="the publish made again")
        assert [m.payload for m in heard] == [b"new"]

    run(story())


def test_a_publish_reaches_the_embedded_broker() -> None:
    """The same with the broker of the demo."""

    async def story() -> None:
        broker = EmbeddedBroker()
        await broker.start()
        try:
            await publish_and_hear(f"mqtt://127.0.0.1:{broker.private_port}", heard_at_0=1)
        finally:
            await broker.stop()

    run(story())


def test_topics_heard_beside_come_kept_and_live(tmp_path: Path) -> None:
    """Liveness topics are subscribed as well, and a new connection hears what the broker kept with its QoS."""

    async def story(url: str) -> None:
        clock, heard = SystemClock(), list[ContactMessage]()
        feed = feed_at(url, clock, "contacts/301", beside=("tele/301/LWT", "contacts/301"))
        other = feed_at(url, clock, "x")
        async with running(other, []):
            await other.publish("tele/301/LWT", b"Offline", qos=0, retain=True)
            async with running(feed, heard):
                await wait_until(lambda: len(heard) == 1, what="the kept word")
                await other.publish("tele/301/LWT", b"Online", qos=1, retain=True)
                await wait_until(lambda: len(heard) == 2, what="the live word")
        assert [(m.payload, m.qos, m.retained) for m in heard] == [
            (b"Offline", 0, True),
            (b"Online", 1, False),
        ]
        assert feed.refused == frozenset()

    with running_mosquitto(tmp_path) as url:
        run(story(url))


def test_a_broker_that_refuses_what_is_heard_beside_still_arms_the_gateway() -> None:
    """Presses are taken all the same, and the refused topic is named. (amqtt's own list forbids the topic `prohibited`.)"""

    async def story() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        plugins = {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
            "amqtt.plugins.topic_checking.TopicTabooPlugin": {},
        }
        listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
        broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
        await broker.start()
        try:
            feed = feed_at(f"mqtt://127.0.0.1:{port}", SystemClock(), "contacts/301", beside=("prohibited",))
            async with running(feed, []):
                await wait_until(lambda: feed.refused == {"prohibited"}, what="the refusal")
                assert (feed.armed, feed.cause) == (True, "")
        finally:
            await broker.shutdown()

    run(story())
