"""What leaves a doubt about a contact stands where people look: faults, the point, the check of the site file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.fault import FaultKind
from gateway.domain.plan import Point
from gateway.watch.doubts import LOOK_EVERY_S, Doubting
from tests.support.builders import envelopes, point
from tests.support.clock import run
from tests.support.door import Door, door

SOS = point(format_="zigbee2mqtt")


@asynccontextmanager
async def doubting(d: Door, wired: Point = SOS) -> AsyncIterator[Doubting]:
    stage = Doubting(store=d.store, clock=d.clock, points=[wired], stamp=envelopes().stamp)
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


CONTACT: dict[bool, dict[str, Any] | bytes] = {True: {"contact": True}, False: {"contact": False}}
SWITCH: dict[bool, dict[str, Any] | bytes] = {
    True: b'{"Time":"1","Switch1":"ON"}',
    False: b'{"Time":"1","Switch1":"OFF"}',
}


@pytest.mark.parametrize("normally_open", [True, False], ids=["normally open", "normally closed"])
@pytest.mark.parametrize(("format_", "tells"), [("zigbee2mqtt", CONTACT), ("tasmota", SWITCH)])
def test_a_contact_that_stays_pressed_with_no_alarm_open_is_a_fault(
    tmp_path: Path, format_: str, tells: dict[bool, dict[str, Any] | bytes], normally_open: bool
) -> None:
    """A latching button that nobody reset, or one that was pressed when it was first seen: a further push makes no edge."""
    wired = point(format_=format_)
    assert wired.source is not None
    wired = replace(wired, source=replace(wired.source, normally_open=normally_open))
    pressed, free = tells[normally_open], tells[not normally_open]

    async def story() -> None:
        async with door(tmp_path, wired) as d, doubting(d, wired) as stage:
            await d.send(pressed)
            await looked(d)
            ((found, cause),) = stage.found()
            assert found == (FaultKind.CONTACT, "p-301 state")
            assert ("closed" if normally_open else "open") in cause
            await d.send(free)
            await looked(d)
            assert list(stage.found()) == []
            await d.send(pressed)
            await looked(d)
            assert (list(stage.found()), await d.presses()) == ([], [1])
            await d.close((await d.alarms())[0])
            await looked(d)
            assert [subject for (_, subject), _ in stage.found()] == ["p-301 state"]

    run(story())


@pytest.mark.parametrize(("presses", "faults"), [(("emergency",), []), (("SOS", "Contact"), ["p-301 state"])])
def test_a_contact_that_is_no_press_of_its_point_may_stay_as_it_is(
    tmp_path: Path, presses: tuple[str, ...], faults: list[str]
) -> None:
    """Where the site file names the words that are."""
    assert SOS.source is not None
    keypad = replace(SOS, source=replace(SOS.source, presses=presses))

    async def story() -> None:
        async with door(tmp_path, keypad) as d, doubting(d, keypad) as stage:
            await d.send({"contact": True})
            await looked(d)
            assert [subject for (_, subject), _ in stage.found()] == faults

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


@pytest.mark.parametrize(
    ("format_", "input_", "others", "words", "own"),
    [
        ("zigbee2mqtt", "left", [{"action": "single_right"}], ["single_right"], {"action": "single_left"}),
        # Named by hand, and not as the device does.
        ("zigbee2mqtt", "button_3", [{"action": "1_hold"}], ["1_hold"], {"action": "3_hold"}),
        (
            "tasmota",
            "Switch3",
            [{"Time": "1", "Switch1": "ON"}, {"Time": "2", "Switch1": "OFF"}],
            ["input switch1"],
            {"Time": "3", "Switch3": "OFF"},
        ),
        (
            "shelly-gen2",
            "bthomesensor:203",
            [{"method": "NotifyStatus", "params": {"bthomesensor:203": {"value": True}}}],
            ["bthomesensor:203 true"],
            None,
        ),
        (
            "shelly-gen2",
            "7",
            [{"ts": 1, "input:0": {"state": False, "counts": {"total": n}}} for n in (1, 2)],
            ["input input:0"],
            {"ts": 1, "input:7": {"state": False}},
        ),
    ],
)
def test_an_input_that_is_never_heard_while_its_device_reports_others_is_a_fault(
    tmp_path: Path,
    format_: str,
    input_: str,
    others: list[dict[str, object]],
    words: list[str],
    own: dict[str, object] | None,
) -> None:
    """A name that fits none of them would be deaf without a word. Once it was heard, the others are other buttons."""
    wired = point(format_=format_)
    assert wired.source is not None
    wired = replace(wired, source=replace(wired.source, input=input_))

    async def story() -> None:
        async with door(tmp_path, wired) as d, doubting(d, wired) as stage:
            for other in others:
                await d.clock.advance(5)
                await d.send(other)
            await looked(d)
            ((found, cause),) = stage.found()
            assert found == (FaultKind.CONTACT, "p-301 input")
            assert input_ in cause
            assert stage.words("p-301") == words
            assert await d.presses() == []
            if own is not None:
                await d.send(own)
                await looked(d)
                assert list(stage.found()) == []

    run(story())


def test_the_buttons_of_one_device_are_told_to_its_point(tmp_path: Path) -> None:
    """A point that names its words and hears a whole device."""
    assert SOS.source is not None
    picky = replace(SOS, source=replace(SOS.source, presses=("emergency",)))

    async def story() -> None:
        async with door(tmp_path, picky) as d, doubting(d, picky) as stage:
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


def listing(*presses: str, input_: str | None = None) -> Point:
    """The point with that list of presses."""
    wired = point(format_="zigbee2mqtt", input_=input_)
    assert wired.source is not None
    return replace(wired, source=replace(wired.source, presses=presses))


@pytest.mark.parametrize(
    ("presses", "said", "raised", "faulty"),
    [
        (("panick",), {"action": "panic"}, [], True),
        (("panick",), {"action": "emergency"}, [], True),
        (("emergency",), {"action": "panic"}, [], True),
        (("single",), {"sos": True}, [], True),
        (("single",), {"action": "1_fire"}, [], True),
        (("single",), {"action": "fire_alarm"}, [], True),
        (("single",), {"action": "Keypad-Duress"}, [], True),
        (("hold",), {"action": "single"}, [], False),
        (("hold",), {"action": "release"}, [], False),
        (("emergency",), {"action": "arm_all_zones"}, [], False),
        (("emergency",), {"action": "disarm"}, [], False),
        (("emergency",), {"action": "emergency"}, [1], False),
        # One push in two words: it raised the alarm.
        (("emergency",), {"action": "emergency", "sos": True}, [1], False),
        ((), {"action": "panic"}, [1], False),
    ],
)
def test_a_call_for_help_that_the_list_leaves_out_is_a_fault(
    tmp_path: Path, presses: tuple[str, ...], said: dict[str, object], raised: list[int], faulty: bool
) -> None:
    """It names the word and the list, stands over a restart, and goes with the list that left it out."""

    async def story() -> None:
        picky = listing(*presses)
        async with door(tmp_path, picky) as d, doubting(d, picky) as stage:
            await d.send(said)
            await looked(d)
            assert await d.presses() == raised
            assert [subject for (_, subject), _ in stage.found()] == ["p-301 words"] * faulty
        async with door(tmp_path, picky, clock=d.clock) as d, doubting(d, picky) as stage:
            await looked(d)
            causes = stage.causes("p-301")
            assert len(causes) == faulty
            assert all(presses[0] in c and stage.words("p-301")[0] in c for c in causes)
        async with door(tmp_path, SOS, clock=d.clock) as d, doubting(d) as stage:
            await looked(d)
            assert stage.causes("p-301") == []

    run(story())


@pytest.mark.parametrize(
    ("before", "said", "after", "words"),
    [
        (("emergency",), {"action": "panic"}, (), []),
        (("emergency",), {"action": "panic"}, ("panic",), []),
        (("emergency",), {"action": "panic"}, ("sos",), ["panic"]),
        (("hold",), {"action": "left_single"}, ("single",), []),
        (("hold",), {"action": "left_single"}, ("left_single",), []),
        (("hold",), {"action": "left_single"}, ("right_single",), ["left_single"]),
        (("hold",), {"sos": True}, ("sos",), []),
        (("hold",), {"contact": False}, ("hold",), []),
        (("emergency",), {"action": "arm_all_zones"}, (), ["arm_all_zones"]),
        (("emergency",), {"action": "arm_all_zones"}, ("arm_all_zones",), ["arm_all_zones"]),
    ],
)
def test_words_of_before_are_judged_by_the_list_of_now(
    tmp_path: Path, before: tuple[str, ...], said: dict[str, object], after: tuple[str, ...], words: list[str]
) -> None:
    """A word that is a press by now is not named among those that raise nothing; one of a keypad is, whatever is listed."""

    async def story() -> None:
        async with door(tmp_path, listing(*before)) as d:
            await d.send(said)
        now = listing(*after)
        async with door(tmp_path, now, clock=d.clock) as d, doubting(d, now) as stage:
            await looked(d)
            assert stage.words("p-301") == words

    run(story())


def test_a_word_of_an_input_that_another_point_hears_by_now_is_not_named(tmp_path: Path) -> None:
    """The site file of then named no point for it."""
    left, right = listing(input_="left"), replace(listing(input_="right"), id="p-302")

    async def story() -> None:
        async with door(tmp_path, left) as d, doubting(d, left) as stage:
            await d.send({"action": "right_single"})
            await looked(d)
            assert stage.words("p-301") == ["right_single"]
            both = Doubting(store=d.store, clock=d.clock, points=[left, right], stamp=envelopes().stamp)
            await both.look()
            assert (both.words("p-301"), both.causes("p-301")) == ([], [])

    run(story())
