"""Intake on the real database: a press is one alarm, committed before the broker hears of it.

One file, though long: its tests share one door.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drivers.contacts.formats import CODECS
from gateway.domain.contact import Signal, SignalKind
from gateway.ports.contacts import ContactMessage
from tests.support.builders import contact_message, point
from tests.support.clock import MORNING, ManualClock, run
from tests.support.door import door


def test_a_press_is_committed_before_it_is_acknowledged(tmp_path: Path) -> None:
    """While the database refuses, nothing is acknowledged and nothing is said; afterwards once."""

    async def story() -> None:
        async with door(tmp_path) as d:
            d.store.refuse = 2
            await d.send()
            await d.clock.advance(0.9)
            assert (d.acknowledged.mids, d.offered, await d.presses()) == ([], [], [])
            await d.clock.advance(5)
            assert (d.acknowledged.mids, len(d.offered), await d.presses()) == ([1], 1, [1])
            assert d.store.refused == 2

    run(story())


def test_everything_that_follows_is_in_the_same_commit(tmp_path: Path) -> None:
    """Alarm, message, evidence wanted and timeline stand together after one commit."""

    async def story() -> None:
        async with door(tmp_path) as d:
            before = d.store.commits
            await d.send({"event": "pressed", "id": "7"})
            assert d.store.commits == before + 1
            (alarm,) = await d.alarms()
            messages, items, timeline = await d.store.read(
                lambda tx: (
                    tx.messages.about(alarm.id),
                    tx.evidence.of(alarm.id),
                    tx.alarms.timeline(alarm.id),
                )
            )
            assert [(m.type.value, m.sequence) for m, _ in messages] == [("alarm.raised", 1)]
            assert len(items) == 2 * 5
            assert [(i.camera, i.moment.value) for i in items[:2]] == [("cam-a", "press"), ("cam-b", "press")]
            assert [t.what for t in timeline] == ["raised"]

    run(story())


def test_a_redelivery_of_a_committed_press_is_no_second_alarm(tmp_path: Path) -> None:
    """After a restart in the gap between commit and acknowledgement, the DUP is acknowledged and changes nothing."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(mid=5)
        async with door(tmp_path) as d:
            await d.clock.advance(30)
            await d.send(mid=5, redelivered=True)
            assert (await d.presses(), d.acknowledged.mids) == ([1], [5])

    run(story())


def test_an_acknowledgement_lost_on_the_way_makes_no_second_press(tmp_path: Path) -> None:
    """The connection broke after we acknowledged: the broker sends again, as often as it likes, and it is still one press."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(mid=5)
            await d.clock.advance(30)
            await d.send(mid=5, redelivered=True)
            await d.clock.advance(30)
            await d.send(mid=5, redelivered=True)
            assert await d.presses() == [1]

    run(story())


def test_a_redelivery_of_an_uncommitted_press_is_the_press(tmp_path: Path) -> None:
    """A DUP alone says nothing: what was never committed is an alarm."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(mid=5, redelivered=True)
            assert await d.presses() == [1]

    run(story())


@pytest.mark.parametrize("between", [{"event": "alive"}, {"event": "pressed"}, b"\xff"])
def test_a_packet_id_used_again_is_another_message(tmp_path: Path, between: dict[str, str] | bytes) -> None:
    """Once the broker has used the id for something else, a DUP under it is a press of its own."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(mid=5)
            await d.clock.advance(30)
            await d.send(between, mid=5)
            presses_before = sum(await d.presses())
            await d.clock.advance(30)
            if between == {"event": "pressed"}:
                await d.send({"event": "alive"}, mid=5)
            await d.send(mid=5, redelivered=True)
            assert sum(await d.presses()) == presses_before + 1

    run(story())


@pytest.mark.parametrize(("stands", "presses"), [(True, 2), (False, 1)])
def test_a_connection_that_stood_long_after_has_carried_the_acknowledgement(
    tmp_path: Path, stands: bool, presses: int
) -> None:
    """Then a DUP under the id is another message (the broker lost count); if it broke, it is the same one, days later too."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(mid=5, connected=lambda: stands)
            await d.clock.advance(200)
            # Deferred work is done beside other work: give it some.
            await d.send({"event": "alive"}, mid=6)
            await d.clock.advance(86400)
            await d.send(mid=5, redelivered=True)
            assert sum(await d.presses()) == presses

    run(story())


def test_a_redelivered_state_does_not_move_the_memory_back(tmp_path: Path) -> None:
    """Opened and closed, both unacknowledged, are sent again: no edge, and none at the next telemetry either."""

    async def story() -> None:
        sensor = point(format_="zigbee2mqtt")
        async with door(tmp_path, sensor) as d:
            await d.send({"contact": False}, mid=1)
            await d.clock.advance(5)
            await d.send({"contact": True}, mid=2)
            assert await d.presses() == [1]
            await d.clock.advance(10)
            await d.send({"contact": False}, mid=1, redelivered=True)
            await d.send({"contact": True}, mid=2, redelivered=True)
            await d.clock.advance(10)
            await d.send({"contact": True}, mid=3)
            assert await d.presses() == [1]

    run(story())


def test_a_redelivered_release_is_no_press(tmp_path: Path) -> None:
    """A release that was committed and comes again belongs to the push it ended."""

    async def story() -> None:
        async with door(tmp_path, point(format_="zigbee2mqtt")) as d:
            await d.send({"action": "press"}, mid=1)
            await d.send({"action": "release"}, mid=2)
            await d.clock.advance(30)
            await d.send({"action": "release"}, mid=2, redelivered=True)
            assert await d.presses() == [1]

    run(story())


@pytest.mark.parametrize(("after_s", "presses"), [(0.0, 1), (0.99, 1), (1.5, 2)])
def test_the_same_within_a_second_is_bounce(tmp_path: Path, after_s: float, presses: int) -> None:
    """Same topic and payload within 1 s and no identity: the same press."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send()
            await d.clock.advance(after_s)
            await d.send()
            assert await d.presses() == [presses]

    run(story())


def test_a_clock_set_back_does_not_make_presses_bounce(tmp_path: Path) -> None:
    """An hour after NTP took an hour away, a press is still heard."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send()
            d.clock.step_wall(-3600)
            await d.clock.advance(60)
            await d.send()
            assert await d.presses() == [2]

    run(story())


def test_a_known_identity_is_the_same_press_however_late(tmp_path: Path) -> None:
    """The hardware's own id counts once, over a restart too; another id within the second counts."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send({"event": "pressed", "id": "a"})
            await d.send({"event": "pressed", "id": "b"})
            assert await d.presses() == [2]
        async with door(tmp_path) as d:
            await d.clock.advance(7200)
            await d.send({"event": "pressed", "id": "a"})
            assert await d.presses() == [2]
            assert d.acknowledged.mids == [1]

    run(story())


def test_the_same_identity_at_another_point_is_another_press(tmp_path: Path) -> None:
    """Two contacts that both count from 1 do not silence each other."""

    async def story() -> None:
        async with door(tmp_path, point("p-1"), point("p-2")) as d:
            await d.send({"event": "pressed", "id": "1"}, topic="contacts/p-1")
            await d.send({"event": "pressed", "id": "1"}, topic="contacts/p-2")
            assert await d.presses() == [1, 1]

    run(story())


def test_a_press_while_the_alarm_is_open_repeats_it_and_after_closing_raises_another(tmp_path: Path) -> None:
    """alarm.repeated counts on; after closing, a new alarm."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send()
            await d.clock.advance(5)
            await d.send()
            (first,) = await d.alarms()
            assert (first.presses, first.sequence) == (2, 2)
            await d.close(first)
            await d.clock.advance(5)
            await d.send()
            alarms = await d.alarms()
            assert [a.presses for a in alarms] == [2, 1]
            assert alarms[0].id != alarms[1].id
            assert [m.type.value for m in d.offered] == ["alarm.raised", "alarm.repeated", "alarm.raised"]

    run(story())


def test_a_late_press_does_not_shorten_what_is_recorded_of_a_newer_one(tmp_path: Path) -> None:
    """A repeated press that tells of 20 hours ago leaves the during clips of the present alarm alone."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send()
            (before,) = await d.alarms()
            await d.clock.advance(5)
            late = (MORNING - timedelta(hours=20)).isoformat()
            await d.send({"event": "pressed", "id": "old", "at": late})
            (after,) = await d.alarms()
            assert after.presses == 2
            assert after.during_until == before.during_until
            assert after.last_press_at == before.last_press_at

    run(story())


def test_a_press_that_arrives_hours_late_films_no_past(tmp_path: Path) -> None:
    """Its stills and clips are of its own instant; what is filmed while the alarm is open begins with the alarm."""

    async def story() -> None:
        async with door(tmp_path) as d:
            late = MORNING - timedelta(hours=3)
            await d.send({"event": "pressed", "id": "late", "at": late.isoformat()})
            (raised,) = await d.alarms()
            assert raised.pressed_at == late
            assert raised.during_next_at is not None
            assert raised.during_next_at >= MORNING - timedelta(seconds=5)
            assert raised.during_until is not None
            assert raised.during_until > MORNING + timedelta(minutes=29)

    run(story())


def test_what_nobody_can_read_is_kept_visibly_and_blocks_nothing(tmp_path: Path) -> None:
    """Garbage is quarantined and acknowledged, and the press behind it counts."""

    async def story() -> None:
        async with door(tmp_path) as d:
            garbage = b"\x00\xff" * 100_000
            await d.send(garbage)
            await d.send()
            rows = await d.store.read(lambda tx: tx.inbox.quarantined(10))
            assert [(r["topic"], r["size"], len(r["head"])) for r in rows] == [
                ("contacts/p-301", len(garbage), 1024)
            ]
            assert (d.acknowledged.mids, await d.presses()) == ([1, 2], [1])
            assert d.intake.quarantined_total == 1

    run(story())


def test_who_watches_a_contact_hears_of_what_nobody_understood(tmp_path: Path) -> None:
    """A payload that cannot be read, and a form that is known and not read, are told apart from a word that was understood."""

    def codec(payload: bytes) -> list[Signal]:
        if payload == b"a radio code":
            return [Signal(kind=SignalKind.UNREAD, word="a raw radio code")]
        return CODECS["gateway"](payload)

    async def story() -> None:
        async with door(tmp_path, codecs={"gateway": codec}) as d:
            for payload in (b"garbage", b"a radio code", b'{"event":"alive"}', b'{"event":"pressed"}'):
                await d.send(payload)
            first, *rest = d.not_understood
            assert first is not None
            assert "not JSON" in first
            assert rest == ["a raw radio code", None, None]
            assert await d.presses() == [1]

    run(story())


def test_a_codec_that_fails_costs_its_message_only(tmp_path: Path) -> None:
    """A fault in a codec must not end the process again and again over the same message."""

    def clumsy(payload: bytes) -> list[Signal]:
        if b"1" in payload:
            raise KeyError("clumsy")
        return CODECS["gateway"](payload)

    async def story() -> None:
        async with door(tmp_path, codecs={"gateway": clumsy}) as d:
            await d.send(b"1")
            await d.send()
            rows = await d.store.read(lambda tx: tx.inbox.quarantined(10))
            assert "KeyError" in rows[0]["reason"]
            assert (d.acknowledged.mids, await d.presses()) == ([1, 2], [1])

    run(story())


@pytest.mark.parametrize(
    ("format_", "payload"),
    [
        ("gateway", rb'{"event":"pressed","id":"\ud800"}'),
        ("gateway", rb'{"event":"pressed","id":"\u0000"}'),
        ("zigbee2mqtt", rb'{"action":"\udfff"}'),
    ],
)
def test_half_a_character_costs_no_press(tmp_path: Path, format_: str, payload: bytes) -> None:
    """JSON can spell what no database keeps; the press counts all the same."""

    async def story() -> None:
        async with door(tmp_path, point(format_=format_)) as d:
            await d.send(payload)
            assert (await d.presses(), d.acknowledged.mids) == ([1], [1])

    run(story())


def test_an_unknown_topic_is_acknowledged_and_forgotten(tmp_path: Path) -> None:
    """A subscription of an earlier site file does not block the queue."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(topic="contacts/long-gone")
            assert (d.acknowledged.mids, await d.presses()) == ([1], [])

    run(story())


def test_a_retained_copy_is_acknowledged_and_no_alarm(tmp_path: Path) -> None:
    """The broker's memory of a press is not a press."""

    async def story() -> None:
        async with door(tmp_path) as d:
            await d.send(retained=True)
            assert (d.acknowledged.mids, await d.presses()) == ([1], [])

    run(story())


def test_an_edge_while_the_gateway_was_down_is_an_alarm(tmp_path: Path) -> None:
    """The state before the restart is remembered; the first report after it tells of the press."""

    async def story() -> None:
        sensor = point(format_="zigbee2mqtt")
        async with door(tmp_path, sensor) as d:
            await d.send({"contact": False})
        async with door(tmp_path, sensor) as d:
            await d.clock.advance(3600)
            await d.send({"contact": True})
            await d.clock.advance(60)
            await d.send({"contact": True})
            assert await d.presses() == [1]

    run(story())


def test_two_buttons_of_one_device_are_two_points(tmp_path: Path) -> None:
    """Each input raises its own point's alarm; the device's own SOS is never lost and never doubled."""

    async def story() -> None:
        left = point("p-left", topic="z/remote", format_="zigbee2mqtt", input_="left")
        right = point("p-right", topic="z/remote", format_="zigbee2mqtt", input_="right")
        async with door(tmp_path, left, right) as d:
            await d.send({"action": "single_right"}, topic="z/remote")
            assert [a.point for a in await d.alarms()] == ["p-right"]
            await d.clock.advance(5)
            await d.send({"sos": True}, topic="z/remote")
            assert [a.point for a in await d.alarms()] == ["p-right", "p-left"]

    run(story())


def test_the_hardwares_own_time_is_believed_if_it_can_be_true(tmp_path: Path) -> None:
    """pressed_at is the contact's time, raised_at the arrival, and the message says how late it is."""

    async def story() -> None:
        async with door(tmp_path) as d:
            pressed = MORNING - timedelta(minutes=3)
            await d.send({"event": "pressed", "at": pressed.isoformat()})
            (alarm,) = await d.alarms()
            assert (alarm.pressed_at, alarm.raised_at) == (pressed, MORNING)

    run(story())


def test_a_thousand_presses_of_a_thousand_points_are_a_thousand_alarms(tmp_path: Path) -> None:
    """A burst is admitted whole, each press once, and acknowledged."""

    async def story() -> None:
        points = [point(f"p-{n}", cameras=()) for n in range(1000)]
        clock = ManualClock()
        async with door(tmp_path, *points, clock=clock) as d:
            order = list(range(1000))
            random.Random(7).shuffle(order)
            for mid, n in enumerate(order, 1):
                message: ContactMessage = contact_message(topic=f"contacts/p-{n}", mid=mid)
                d.intake.receive(replace(message, acknowledge=d.acknowledged.for_(mid)))
            await clock.settle()
            alarms = await d.store.read(lambda tx: tx.alarms.listed(limit=2000))
            assert len({a.point for a in alarms}) == len(alarms) == 1000
            assert sorted(d.acknowledged.mids) == list(range(1, 1001))
            assert len({m.id for m in d.offered}) == 1000

    run(story())
