"""What a device tells of its inputs just after its start, before they have settled, is believed only if it still stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.liveness import announcements, liveness_topics
from drivers.contacts.formats import liveness
from gateway.alarm.starts import Starts
from gateway.domain.plan import ContactSource, Point
from tests.support.builders import contact_message, point
from tests.support.clock import run
from tests.support.door import Door, door


def wired(topic: str, format_: str, *, normally_open: bool) -> Point:
    made = point(topic=topic)
    told = liveness_topics(format_, topic)
    device, announced = announcements(format_, topic)
    source = ContactSource(
        topic=topic,
        format=format_,
        normally_open=normally_open,
        liveness_topic=told.device,
        bridge_topic=told.bridge,
        device=device,
        announce_topics=announced,
    )
    return Point(id=made.id, name=made.name, zone=made.zone, cameras=made.cameras, source=source)


SHELLY = wired("shellies/shelly1-A1/input/0", "shelly-gen1", normally_open=False)
TASMOTA = wired("stat/door/RESULT", "tasmota", normally_open=True)
TASMOTA_CLOSED = wired("stat/door/RESULT", "tasmota", normally_open=False)
GEN2_CLOSED = wired("plus1/status/input:0", "shelly-gen2", normally_open=False)
GEN2 = wired("plus1/status/input:0", "shelly-gen2", normally_open=True)

ONLINE = ("shellies/shelly1-A1/online", b"true")
ANNOUNCED = ("shellies/announce", b'{"id":"shelly1-A1","mac":"A1","ip":"192.0.2.7","new_fw":false}')
OWN_ANNOUNCED = ("shellies/shelly1-A1/announce", b"{}")
OTHERS = ("shellies/announce", b'{"id":"shelly1-B2","mac":"B2"}')


async def heard_after(
    d: Door,
    starts: Starts,
    start: tuple[str, bytes],
    story: list[tuple[float, bytes]],
    *,
    retained: bool = False,
) -> int:
    """How many presses come of what a device says, so many seconds after each other, after its start."""
    assert d.intake.topics
    topic, payload = start
    starts.hear(contact_message(payload, topic=topic, at=d.clock.now(), retained=retained))
    before = len(d.offered)
    for after_s, said in story:
        await d.clock.advance(after_s)
        await d.send(said, topic=d.intake.topics[0])
    await d.clock.advance(2)
    return len(d.offered) - before


@pytest.mark.parametrize(
    ("one", "start", "before", "story", "presses"),
    [
        # The input settles within a moment: nobody pressed.
        (SHELLY, ONLINE, b"1", [(0.1, b"0"), (0.2, b"1")], 0),
        (SHELLY, ANNOUNCED, b"1", [(5, b"0"), (0.9, b"1")], 0),
        (SHELLY, OWN_ANNOUNCED, b"1", [(9, b"0"), (0.5, b"1")], 0),
        (TASMOTA_CLOSED, ("tele/door/LWT", b"Online"), b'{"Switch1":{"Action":"ON"}}',
         [(1, b'{"Switch1":{"Action":"OFF"}}'), (0.2, b'{"Switch1":{"Action":"ON"}}')], 0),
        (GEN2_CLOSED, ("plus1/online", b"true"), b'{"id":0,"state":true}',
         [(1, b'{"id":0,"state":false}'), (0.3, b'{"id":0,"state":true}')], 0),
        # An input that has not settled reads open. A short closing of a normally open contact is a push, also just after a start:
        # devices come online anew whenever the broker restarts, and those that sleep whenever they are pushed.
        (TASMOTA, ("tele/door/LWT", b"Online"), b'{"Switch1":{"Action":"OFF"}}',
         [(1, b'{"Switch1":{"Action":"ON"}}'), (0.2, b'{"Switch1":{"Action":"OFF"}}')], 1),
        (GEN2, ("plus1/online", b"true"), b'{"id":0,"state":false}',
         [(1, b'{"id":0,"state":true}'), (0.3, b'{"id":0,"state":false}')], 1),
        # It flutters, and settles as pressed.
        (SHELLY, ONLINE, b"1", [(0.1, b"0"), (0.2, b"1"), (0.2, b"0")], 1),
        # It still stands a second later, told once or again: somebody presses.
        (SHELLY, ONLINE, b"1", [(0.1, b"0")], 1),
        (SHELLY, ONLINE, b"1", [(0.1, b"0"), (0.5, b"0"), (1, b"0")], 1),
        (SHELLY, ONLINE, b"1", [(0.1, b"0"), (1.5, b"1")], 1),
        (TASMOTA, ("tele/door/LWT", b"Online"), b'{"Switch1":{"Action":"OFF"}}', [(1, b'{"Switch1":{"Action":"ON"}}')], 1),
        # Long after a start, or after that of another device, a short edge is a press.
        (SHELLY, ONLINE, b"1", [(11, b"0"), (0.2, b"1")], 1),
        (SHELLY, OTHERS, b"1", [(1, b"0"), (0.2, b"1")], 1),
        (SHELLY, ("shellies/shelly1-A1/online", b"false"), b"1", [(1, b"0"), (0.2, b"1")], 1),
        # A push is no state: it waits for nothing.
        (TASMOTA, ("tele/door/LWT", b"Online"), b'{"Switch1":{"Action":"OFF"}}', [(1, b'{"Button1":{"Action":"SINGLE"}}')], 1),
    ],
)  # fmt: skip
def test_an_edge_just_after_a_start_counts_if_it_still_stands(
    tmp_path: Path,
    one: Point,
    start: tuple[str, bytes],
    before: bytes,
    story: list[tuple[float, bytes]],
    presses: int,
) -> None:
    """Within ten seconds of a live word of the device's start, for a second."""

    async def tale() -> None:
        starts = Starts([one], liveness.decode)
        async with door(tmp_path, one, starts=starts) as d:
            await d.send(before, topic=d.intake.topics[0])
            await d.clock.advance(60)
            assert await heard_after(d, starts, start, story) == presses
            assert len(d.acknowledged.mids) == len(story) + 1

    run(tale())


def test_a_word_that_the_broker_kept_tells_of_no_start(tmp_path: Path) -> None:
    """It says that the device is there, not since when."""

    async def tale() -> None:
        starts = Starts([SHELLY], liveness.decode)
        async with door(tmp_path, SHELLY, starts=starts) as d:
            await d.send(b"1", topic=d.intake.topics[0])
            story = [(0.1, b"0"), (0.2, b"1")]
            assert await heard_after(d, starts, ONLINE, story, retained=True) == 1

    run(tale())


def test_what_waits_is_not_acknowledged_before_it_is_kept(tmp_path: Path) -> None:
    """Should the gateway end within that second, the broker sends it again."""

    async def tale() -> None:
        starts = Starts([SHELLY], liveness.decode)
        async with door(tmp_path, SHELLY, starts=starts) as d:
            await d.send(b"1", topic=d.intake.topics[0])
            starts.hear(contact_message(ONLINE[1], topic=ONLINE[0], at=d.clock.now()))
            await d.send(b"0", topic=d.intake.topics[0])
            await d.clock.advance(0.9)
            assert (d.acknowledged.mids, d.offered) == ([1], [])
            await d.clock.advance(0.2)
            assert (d.acknowledged.mids, len(d.offered)) == ([1, 2], 1)

    run(tale())


@pytest.mark.parametrize("normally_open", [True, False])
@pytest.mark.parametrize(
    "start",
    [
        ("zigbee2mqtt/door/availability", b"online"),
        ("zigbee2mqtt/door/availability", b'{"state":"online"}'),
        ("zigbee2mqtt/bridge/state", b"online"),
    ],
)
def test_what_a_bridge_says_of_a_contact_is_no_start_of_it(
    tmp_path: Path, start: tuple[str, bytes], normally_open: bool
) -> None:
    """Zigbee2MQTT calls it available again because it was pressed: the shortest edge counts, in either polarity."""
    zigbee = wired("zigbee2mqtt/door", "zigbee2mqtt", normally_open=normally_open)
    starts = Starts([zigbee], liveness.decode)
    rest, pressed = (b'{"contact":false}', b'{"contact":true}')[:: 1 if normally_open else -1]

    async def tale() -> None:
        async with door(tmp_path, zigbee, starts=starts) as d:
            await d.send(rest, topic="zigbee2mqtt/door")
            assert await heard_after(d, starts, start, [(0.1, pressed), (0.2, rest)]) == 1

    run(tale())


def test_a_contact_that_sleeps_is_heard_at_once() -> None:
    """It says that it is online because somebody opened it."""
    for name in ("shellydw2-A1", "shellybutton1-A1"):
        assert announcements("shelly-gen1", f"shellies/{name}/sensor/state") == ("", ())
    assert announcements("zigbee2mqtt", "zigbee2mqtt/sos") == ("", ())
