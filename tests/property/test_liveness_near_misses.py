"""What comes on a liveness topic is never a press: whatever its payload, kept or said now, and whichever door it takes."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.contacts.formats import CODECS, liveness
from gateway.alarm.intake import Intake
from gateway.domain.errors import Malformed
from gateway.ports.contacts import ContactMessage
from gateway.watch.contacts import Watching
from tests.property.test_contact_near_misses import TRUE_PRESSES, payloads
from tests.support.builders import contact_message, envelopes, point, site
from tests.support.cameras import ScriptedCameras
from tests.support.clock import ManualClock, run
from tests.support.stores import opened

WORDS = [b"online", b"offline", b"Online", b"true", b"false", b"", b'{"state":"online"}', b"ON", b"\xff"]
FORMATS = ["gateway", "zigbee2mqtt"]


@settings(max_examples=2000, deadline=None)
@given(payload=payloads() | st.sampled_from(WORDS + TRUE_PRESSES) | st.binary(max_size=40))
def test_a_payload_is_there_gone_not_told_or_malformed(payload: bytes) -> None:
    """The codec answers nothing else and raises nothing else."""
    with suppress(Malformed):
        assert liveness.decode(payload) in (True, False, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(
        st.tuples(
            st.sampled_from(["device", "bridge"]),
            payloads() | st.sampled_from(WORDS + TRUE_PRESSES),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    ),
    format_=st.sampled_from(FORMATS),
)
def test_liveness_never_raises_an_alarm_and_a_press_after_it_does(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, bytes, bool, bool]], format_: str
) -> None:
    """Neither in the stage meant for it nor in intake, should it ever get there; each is acknowledged, and stops nothing."""
    folder = tmp_path_factory.mktemp("liveness")

    async def story() -> None:
        clock, acknowledged = ManualClock(), list[int]()
        made = point(topic="press", format_=format_)
        assert made.source is not None
        source = replace(made.source, liveness_topic="device", bridge_topic="bridge")
        wired = replace(made, source=source)
        plan = site(wired)
        async with opened(folder) as store:
            clock.busy = store.busy
            watching = Watching(
                store=store,
                clock=clock,
                points=[wired],
                decode=liveness.decode,
                armed=lambda: True,
                refused=tuple,
            )
            intake = Intake(
                store=store,
                clock=clock,
                envelopes=envelopes(plan),
                cameras=ScriptedCameras(clock),
                codecs=CODECS,
                points=[wired],
                offer=lambda _: None,
                wake_gathering=lambda: None,
                saw=watching.saw,
            )
            tasks = [asyncio.create_task(watching.run()), asyncio.create_task(intake.run())]
            await clock.settle()
            messages: list[ContactMessage] = [
                contact_message(
                    payload,
                    topic=topic,
                    mid=mid,
                    retained=retained,
                    redelivered=redelivered,
                    acknowledge=lambda: acknowledged.append(1),
                )
                for mid, (topic, payload, retained, redelivered) in enumerate(told, 1)
            ]
            for message in messages:
                assert message.topic in watching.topics
                watching.receive(message)
                intake.receive(message)
            await clock.settle()
            assert await store.read(lambda tx: tx.alarms.listed()) == []
            assert len(acknowledged) == 2 * len(messages)
            press = {"event": "pressed"} if format_ == "gateway" else {"action": "single"}
            intake.receive(contact_message(json.dumps(press).encode(), topic="press", mid=99))
            await clock.settle()
            assert len(await store.read(lambda tx: tx.alarms.listed())) == 1
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(story())
