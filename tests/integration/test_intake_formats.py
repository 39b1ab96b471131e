"""Makes of contacts at the intake and the real database: what was last seen survives, and one push is one press."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_intake import door
from tests.support.builders import point
from tests.support.clock import run


def gen1(count: int, event: str = "S") -> dict[str, Any]:
    return {"event": event, "event_cnt": count}


def gen2(*words: str, n: int = 0, ts: float = 1772417707.0) -> dict[str, Any]:
    """Events a tenth of a second apart, as one message."""
    events = [
        {"component": f"input:{n}", "id": n, "event": word, "ts": round(ts + 0.1 * i, 2)}
        for i, word in enumerate(words)
    ]
    return {
        "src": "shellyplusi4-a8032ab0c018",
        "method": "NotifyEvent",
        "params": {"ts": ts, "events": events},
    }


def sensor(time: str, **states: str) -> dict[str, str]:
    return {"Time": f"2026-03-02T10:{time}", **states}


def test_a_counter_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Said again after the restart it is the same press; a count that moved on meanwhile, told by a report, is one."""

    async def story() -> None:
        shelly = point(format_="shelly-gen1")
        async with door(tmp_path, shelly) as d:
            await d.send(gen1(7))
            assert await d.presses() == [1]
        async with door(tmp_path, shelly) as d:
            await d.clock.advance(3600)
            await d.send(gen1(7))
            assert await d.presses() == [1]
            await d.send(gen1(8, ""))
            assert await d.presses() == [2]

    run(story())


def test_a_device_that_counts_anew_is_not_silenced_by_what_it_counted_before(tmp_path: Path) -> None:
    """Counts are compared with the last one only: no list of all counts ever seen takes a press for an old one."""

    async def story() -> None:
        async with door(tmp_path, point(format_="shelly-gen1")) as d:
            for count in (1, 2, 3):
                await d.send(gen1(count))
                await d.clock.advance(5)
            await d.send(gen1(0, ""))
            for count in (1, 2, 3):
                await d.clock.advance(5)
                await d.send(gen1(count))
            assert await d.presses() == [6]

    run(story())


def test_counters_sent_again_are_one_press_each(tmp_path: Path) -> None:
    """A DUP of both, whichever of them was acknowledged, moves nothing."""

    async def story() -> None:
        async with door(tmp_path, point(format_="shelly-gen1")) as d:
            await d.send(gen1(7), mid=1)
            await d.send(gen1(8), mid=2)
            await d.clock.advance(90)
            await d.send(gen1(7), mid=1, redelivered=True)
            await d.send(gen1(8), mid=2, redelivered=True)
            await d.send(gen1(8), mid=3)
            assert await d.presses() == [2]

    run(story())


@pytest.mark.parametrize(("contact", "rest", "pressed"), [(True, "OFF", "ON"), (False, "ON", "OFF")])
def test_an_edge_during_our_absence_is_seen_in_the_next_telemetry(
    tmp_path: Path, contact: bool, rest: str, pressed: str
) -> None:
    """SENSOR comes at QoS 0: what happened while we were away shows in the state we find."""

    async def story() -> None:
        switch = point(format_="tasmota", input_="Switch1", normally_open=contact)
        async with door(tmp_path, switch) as d:
            await d.send(sensor("15:00", Switch1=rest), mid=0)
        async with door(tmp_path, switch) as d:
            await d.clock.advance(600)
            await d.send(sensor("20:00", Switch1=pressed), mid=0)
            await d.send(sensor("25:00", Switch1=pressed), mid=0)
            assert await d.presses() == [1]

    run(story())


def test_a_point_that_names_no_input_hears_each_input_with_its_own_past(tmp_path: Path) -> None:
    """One switch that stands closed beside one that stands open is no edge at each report; either closing is a press."""

    async def story() -> None:
        async with door(tmp_path, point(format_="tasmota")) as d:
            for minute in (15, 20, 25):
                await d.send(sensor(f"{minute}:00", Switch1="OFF", Switch2="ON"))
                await d.clock.advance(300)
            assert await d.presses() == []
            await d.send(sensor("30:00", Switch1="ON", Switch2="ON"))
            assert await d.presses() == [1]
            await d.clock.advance(5)
            await d.send(sensor("30:05", Switch1="ON", Switch2="OFF"))
            await d.clock.advance(5)
            await d.send(sensor("30:10", Switch1="ON", Switch2="ON"))
            assert await d.presses() == [2]

    run(story())


def test_inputs_of_one_device_are_points_of_their_own(tmp_path: Path) -> None:
    """Each hears its own input, however the site file spells it, and nobody hears the third."""

    async def story() -> None:
        points = [point("p-a", topic="s/events/rpc", format_="shelly-gen2", input_="input:0")]
        points += [point("p-b", topic="s/events/rpc", format_="shelly-gen2", input_="1")]
        async with door(tmp_path, *points) as d:
            await d.send(gen2("btn_down", "btn_up", "single_push", n=1), topic="s/events/rpc")
            await d.send(gen2("btn_down", n=2, ts=1772417708.0), topic="s/events/rpc")
            assert [(a.point, a.presses) for a in await d.alarms()] == [("p-b", 1)]
            await d.send(gen2("btn_down", n=0, ts=1772417709.0), topic="s/events/rpc")
            assert sorted((a.point, a.presses) for a in await d.alarms()) == [("p-a", 1), ("p-b", 1)]

    run(story())


def test_an_event_told_again_under_its_own_time_is_the_same_press(tmp_path: Path) -> None:
    """A device that was not answered sends again, unmarked and late; the next push counts."""

    async def story() -> None:
        shelly = point(format_="shelly-gen2")
        async with door(tmp_path, shelly) as d:
            for words in (("btn_down",), ("btn_up",), ("single_push",)) * 2:
                await d.send(gen2(*words, ts=1772417707.0))
                await d.clock.advance(0.3)
            assert await d.presses() == [1]
        async with door(tmp_path, shelly) as d:
            await d.clock.advance(600)
            await d.send(gen2("btn_down", ts=1772417707.0))
            assert await d.presses() == [1]
            await d.send(gen2("btn_up", ts=1772417707.1))
            await d.clock.advance(5)
            await d.send(gen2("btn_down", ts=1772418320.0))
            assert await d.presses() == [2]

    run(story())


def test_what_a_push_says_of_itself_is_no_push_when_it_comes_once_more(tmp_path: Path) -> None:
    """Each message of a push twice in a row, as from a device that hears no answer, and two of them once more much later."""

    async def story() -> None:
        async with door(tmp_path, point(format_="shelly-gen2")) as d:
            for n, word in enumerate(("btn_down", "btn_up", "single_push")):
                for _ in range(2):
                    await d.send(gen2(word, ts=1772417707.0 + n))
                    await d.clock.advance(0.2)
            await d.clock.advance(60)
            await d.send(gen2("btn_up", ts=1772417708.0))
            await d.clock.advance(60)
            await d.send(gen2("single_push", ts=1772417709.0))
            assert await d.presses() == [1]
            await d.send(gen2("btn_down", ts=1772418000.0))
            assert await d.presses() == [2]

    run(story())


def test_a_press_a_sleeping_device_saved_up_is_of_its_own_time(tmp_path: Path) -> None:
    """Evidence is for the push, not for the message that tells of it."""

    async def story() -> None:
        async with door(tmp_path, point(format_="shelly-gen2")) as d:
            pushed = d.clock.now().timestamp() - 90
            await d.send(gen2("btn_down", "btn_up", "single_push", ts=round(pushed, 2)))
            (alarm,) = await d.alarms()
            assert alarm.presses == 1
            assert abs((alarm.raised_at - alarm.pressed_at).total_seconds() - 90) < 0.02

    run(story())


def test_what_a_sleeping_device_saved_up_of_two_pushes_is_two_presses(tmp_path: Path) -> None:
    """One message, an hour apart by the device's own times: the alarm and its repetition, each at its time, once."""

    async def story() -> None:
        async with door(tmp_path, point(format_="shelly-gen2")) as d:
            now = d.clock.now().timestamp()
            first, second = (
                gen2("btn_down", "btn_up", "single_push", ts=round(now - s, 2)) for s in (3630, 30)
            )
            first["params"]["events"] += second["params"]["events"]
            await d.send(first)
            (alarm,) = await d.alarms()
            assert (alarm.presses, d.intake.admitted_total) == (2, 2)
            assert abs(now - alarm.pressed_at.timestamp() - 3630) < 0.02
            assert abs(now - alarm.last_press_at.timestamp() - 30) < 0.02
            assert [m.type.value for m in d.offered] == ["alarm.raised", "alarm.repeated"]
            await d.clock.advance(5)
            await d.send(first)
            assert await d.presses() == [2]

    run(story())


def test_what_a_make_keeps_at_the_broker_raises_nothing_and_is_a_baseline(tmp_path: Path) -> None:
    """ButtonRetain and the retain setting of a Shelly leave presses with the broker: they come again at each connection."""

    async def story() -> None:
        points = [point("p-t", format_="tasmota"), point("p-1", format_="shelly-gen1")]
        async with door(tmp_path, *points) as d:
            for _ in range(3):
                await d.send({"Button1": {"Action": "SINGLE"}}, topic="contacts/p-t", retained=True)
                await d.send(gen1(7), topic="contacts/p-1", retained=True)
                await d.clock.advance(30)
            await d.send(gen1(7), topic="contacts/p-1")
            assert await d.presses() == []
            await d.send({"Button1": {"Action": "SINGLE"}}, topic="contacts/p-t")
            await d.send(gen1(8), topic="contacts/p-1")
            assert await d.presses() == [1, 1]

    run(story())


def test_a_push_of_another_input_is_told_as_such(tmp_path: Path) -> None:
    """Whoever asks whether a point was heard must not take another button of its device for it; what names none is of all."""

    async def story() -> None:
        left, right = (
            point(f"p-{n}", topic="zigbee2mqtt/pad", format_="zigbee2mqtt", input_=n)
            for n in ("left", "right")
        )
        async with door(tmp_path, left, right) as d:
            for said in (
                {"action": "left_single"},
                {"action": "middle_single"},
                {"battery": 90},
                {"action": None},
            ):
                await d.send(said, topic="zigbee2mqtt/pad")
                await d.clock.advance(5)
            assert d.elsewhere == {
                "p-left": [False, True, False, False],
                "p-right": [True, True, False, False],
            }

    run(story())


def test_a_message_in_the_words_of_another_make_names_it(tmp_path: Path) -> None:
    """Whoever named the wrong format in the site file is told the right one, whether the codec refuses it or finds nothing."""

    async def story() -> None:
        async with door(tmp_path, point()) as d:
            await d.send({"action": "single"})
            assert [str(why).partition(":")[0] for why in d.not_understood] == ["it reads as zigbee2mqtt"]
        async with door(tmp_path, point(format_="zigbee2mqtt")) as d:
            await d.send({"Button1": {"Action": "SINGLE"}})
            assert [str(why).partition(":")[0] for why in d.not_understood] == ["it reads as tasmota"]

    run(story())
