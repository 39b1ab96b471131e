"""One contact floods the broker: others' presses are not held up by it. A real mosquitto, the real feed and the real database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.contacts.address import BrokerAddress
from drivers.contacts.formats import CODECS
from drivers.contacts.mqtt import MqttFeed
from gateway.alarm.intake import Intake
from gateway.box.clock import SystemClock
from gateway.domain.message import Message, MessageType
from tests.support.builders import envelopes, point, site
from tests.support.cameras import ScriptedCameras
from tests.support.mosquitto import running_mosquitto
from tests.support.signals import wait_until
from tests.support.stores import opened

pytestmark = pytest.mark.alone  # times of pictures or alerts, on a machine that nobody else uses


A_SECOND = 1000
OTHERS = 100
#: The flood is measured again where the box itself stood still meanwhile; without the mending no round ever ends.
ROUNDS = ("flood-a", "flood-b", "flood-c")
#: Ours: on a slow box that others share a quiet press takes some tens of milliseconds now and then.
NOISE_S = 0.3


@dataclass
class School:
    """A loud contact, others, and when each alert was ready to leave."""

    intake: Intake
    port: int
    alerts: dict[str, float] = field(default_factory=dict)
    messages: int = 0

    def offer(self, message: Message) -> None:
        self.messages += 1
        if message.type is MessageType.ALARM_RAISED:
            self.alerts[json.loads(message.body)["data"]["point"]["id"]] = time.monotonic()


@contextlib.asynccontextmanager
async def school(folder: Path, port: int) -> AsyncIterator[School]:
    points = [
        point("p-loud"),
        *(point(f"p-{kind}-{n}") for kind in ("quiet", *ROUNDS) for n in range(OTHERS)),
    ]
    clock = SystemClock()
    plan = site(*points)
    async with opened(folder) as store:
        made: list[School] = []
        intake = Intake(
            store=store,
            clock=clock,
            envelopes=envelopes(plan),
            cameras=ScriptedCameras(clock),
            codecs=CODECS,
            points=points,
            offer=lambda message: made[0].offer(message),
            wake_gathering=lambda: None,
        )
        made.append(School(intake, port))
        feed = MqttFeed(BrokerAddress(host="127.0.0.1", port=port, client_id="gateway"), intake.topics, clock)
        tasks = [asyncio.create_task(intake.run()), asyncio.create_task(feed.run(intake.receive))]
        try:
            await asyncio.wait_for(feed.wait_armed(), 20)
            yield made[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class Publisher:
    """A client of the broker, in its own thread."""

    def __init__(self, port: int, name: str) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def press(self, id_: str, payload: object, qos: int = 1) -> None:
        self._client.publish(f"contacts/{id_}", json.dumps(payload), qos)

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Loud(threading.Thread):
    """Publishes `payloads` in turn, so many a second, until it is ended."""

    def __init__(self, port: int, payloads: list[dict[str, object]], qos: int) -> None:
        super().__init__(daemon=True)
        self._publisher = Publisher(port, "loud")
        self._payloads, self._qos = payloads, qos
        self._over = threading.Event()
        self.sent = 0

    def run(self) -> None:
        began_s = time.monotonic()
        while not self._over.wait(0.01):
            while self.sent < (time.monotonic() - began_s) * A_SECOND:
                told = self._payloads[self.sent % len(self._payloads)] | {"n": self.sent}
                self._publisher.press("p-loud", told, self._qos)
                self.sent += 1

    def end(self) -> None:
        self._over.set()
        self.join(10)
        self._publisher.end()


async def latencies(s: School, publisher: Publisher, kind: str) -> list[float]:
    """Publish a press of each of the others, one at a time, and see how long its alert takes."""
    taken = []
    for n in range(OTHERS):
        id_, began_s = f"p-{kind}-{n}", time.monotonic()
        publisher.press(id_, {"event": "pressed"})
        await wait_until(lambda id_=id_: id_ in s.alerts, 60, f"the alert of {id_}")  # type: ignore[misc]
        taken.append(s.alerts[id_] - began_s)
    return sorted(taken)


def p99(taken: list[float]) -> float:
    return taken[math.ceil(len(taken) * 0.99) - 1]


@pytest.mark.parametrize(
    ("payloads", "qos"),
    [
        ([{"event": "pressed"}], 1),
        ([{"event": "pressed"}, {"event": "alive"}, {"event": "nonsense"}], 1),
        ([{"event": "pressed"}], 0),
    ],
    ids=["presses", "presses, telemetry and junk", "presses at QoS 0"],
)
def test_a_contact_at_a_thousand_a_second_delays_no_other(
    tmp_path: Path, payloads: list[dict[str, object]], qos: int
) -> None:
    """Others' alerts are ready as soon as without it, it is a fault, and what it says costs few messages."""

    async def story(port: int) -> None:
        async with school(tmp_path, port) as s:
            publisher = Publisher(port, "others")
            loud = Loud(port, payloads, qos)
            try:
                quiet = await latencies(s, publisher, "quiet")
                loud.start()
                await wait_until(lambda: any(s.intake.found()), 20, "the flood is noticed")
                for round_ in ROUNDS:
                    flooded = await latencies(s, publisher, round_)
                    if p99(flooded) <= 3 * p99(quiet) + NOISE_S:
                        break
            finally:
                loud.end()
                publisher.end()
            print(
                f"\n{len(quiet)} presses, p99 quiet {p99(quiet) * 1000:.1f} ms, beside {loud.sent} messages of one contact "
                f"{p99(flooded) * 1000:.1f} ms; messages to the centre {s.messages}"
            )
            assert p99(flooded) <= 3 * p99(quiet) + NOISE_S
            assert [subject for (_, subject), _ in s.intake.found()] == ["p-loud flood"]
            assert "p-loud" in s.alerts

    with running_mosquitto(tmp_path, config="allow_anonymous true\nmax_queued_messages 100000\n") as url:
        asyncio.run(story(int(url.rpartition(":")[2])))
