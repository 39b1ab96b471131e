"""One push, one press, whatever a contact publishes of it: stories of devices through codec, judgement and the real database.

Times are seconds after the message before; each story ends with the presses of each of its alarms.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain.flag import FlagIs
from gateway.domain.plan import Point
from tests.support.builders import point
from tests.support.clock import run
from tests.support.door import Door, door

Told = tuple[float, object]
BATTERY = {"battery": 100, "linkquality": 39, "voltage": 3022}


def wired(format_: str, **source: object) -> Point:
    made = point(format_=format_)
    assert made.source is not None
    return replace(made, source=replace(made.source, **source))  # type: ignore[arg-type]


async def tell(d: Door, story: list[Told]) -> None:
    for after_s, told in story:
        await d.clock.advance(after_s)
        await d.send(told.encode() if isinstance(told, str) else json.dumps(told).encode())


def heard(folder: Path, wired_point: Point, story: list[Told]) -> list[int]:
    """The presses of each alarm after a story."""

    async def tale() -> list[int]:
        async with door(folder, wired_point) as d:
            await tell(d, story)
            return await d.presses()

    return asyncio.run(tale())


def rpc(component: str, word: str, ts: float, **more: object) -> dict[str, object]:
    event = {"component": component, "id": 0, "event": word, "ts": ts, **more}
    return {"src": "shelly", "method": "NotifyEvent", "params": {"ts": ts, "events": [event]}}


@pytest.mark.parametrize(
    ("format_", "story", "presses"),
    [
        # The new and the old key, in two messages.
        (
            "zigbee2mqtt",
            [
                (0, {"action": "single", **BATTERY}),
                (0.02, {"click": "single", **BATTERY}),
                (0.02, {"action": "", **BATTERY}),
                (0.02, {"click": "", **BATTERY}),
            ],
            [1],
        ),
        ("zigbee2mqtt", [(0, {"click": "double"}), (0.1, {"action": "double"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "hold", "battery": 9}), (1.9, {"click": "hold"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "1_single"}), (0.1, {"click": "1_single", "battery": 9})], [1]),
        # The same words beside other telemetry.
        ("zigbee2mqtt", [(0, {"action": "sos", "battery": 9}), (1.5, {"action": "sos", "battery": 8})], [1]),
        # Under a key and as a flag, in either order, and called otherwise.
        ("zigbee2mqtt", [(0, {"action": "emergency"}), (0.1, {"sos": True})], [1]),
        ("zigbee2mqtt", [(0, {"sos": True, "battery": 9}), (0.5, {"action": "single"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "sos"}), (0.5, {"action": "panic"})], [1]),
        ("zigbee2mqtt", [(0, {"sos": True, "battery": 9}), (0.2, {"sos": True, "linkquality": 3})], [1]),
        # Down, gesture and up, each under both keys.
        (
            "zigbee2mqtt",
            [
                (0, {"action": "press"}),
                (0.05, {"click": "press"}),
                (0.2, {"action": "release"}),
                (0.05, {"click": "release"}),
                (0.2, {"action": "single"}),
                (0.05, {"click": "single"}),
            ],
            [1],
        ),
        # A hyphen parts words as an underscore does.
        ("zigbee2mqtt", [(0, {"action": "off-press"}), (0.3, {"action": "off-press-release"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "off-hold"}), (4, {"action": "off-hold-release"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "up-press"}), (0.3, {"action": "up-release"})], [1]),
        # An alarm that is reset, however late: free again, and no push.
        (
            "zigbee2mqtt",
            [(0, {"action": "emergency"}), (600, {"action": "off"}), (9, {"action": "sos"})],
            [2],
        ),
        ("zigbee2mqtt", [(0, {"action": "panic"}), (60, {"action": "release"})], [1]),
        ("zigbee2mqtt", [(0, {"action": "fire"}), (600, {"action": "off"}), (9, {"action": "fire"})], [2]),
        # … under the alarm's own word, at once or late, with the button's number or without.
        *(
            (
                "zigbee2mqtt",
                [(0, {"action": alarm}), (after_s, {"action": over}), (9, {"action": alarm})],
                [2],
            )
            for alarm, over in (
                ("emergency", "emergency_off"),
                ("emergency", "emergency-release"),
                ("sos", "sos_released"),
                ("panic", "panic_cancel"),
                ("fire", "fire_cleared"),
                ("medical", "medical_reset"),
                ("1_emergency", "1_emergency_release"),
                ("button_2_sos", "button_2_sos_off"),
                ("left_sos", "left_sos_release"),
                ("sos_press", "sos_release"),
                ("sos_single", "sos_off"),
            )
            for after_s in (0.5, 5, 600)
        ),
        # All that is heard of a push.
        ("zigbee2mqtt", [(0, {"action": "emergency_release"}), (9, {"action": "emergency"})], [2]),
        # What is another push.
        ("zigbee2mqtt", [(0, {"action": "single"}), (2.5, {"action": "single", "battery": 9})], [2]),
        ("zigbee2mqtt", [(0, {"action": "single"}), (0.5, {"action": "double"})], [2]),
        (
            "zigbee2mqtt",
            [(0, {"action": "press"}), (0.2, {"action": "release"}), (1.2, {"action": "press"})],
            [2],
        ),
        # Tasmota: the same word in another document, and beside a time.
        (
            "tasmota",
            [(0, {"Button1": {"Action": "SINGLE"}}), (0.3, {"Button1": {"Action": "SINGLE"}, "Time": "x"})],
            [1],
        ),
        # Shelly: one push of a Bluetooth button by two of its parts, and by the script beside them.
        (
            "shelly-gen2",
            [
                (0, rpc("bthomedevice:200", "single_push", 1772417707.1)),
                (0.1, rpc("bthomesensor:201", "single_push", 1772417707.2)),
            ],
            [1],
        ),
        # … told again 7 s later under the same time or the same packet number, and then pushed again.
        (
            "shelly-gen2",
            [
                (0, rpc("bthomedevice:200", "single_push", 1772417707.1, data={"pid": 7})),
                (7, rpc("bthomedevice:200", "single_push", 1772417707.1, data={"pid": 7})),
                (7, rpc("bthomedevice:200", "single_push", 1772417721.1, data={"pid": 7})),
                (7, rpc("bthomedevice:200", "single_push", 1772417728.1, data={"pid": 8})),
            ],
            [2],
        ),
        (
            "shelly-gen2",
            [
                (0, rpc("input:0", "single_push", 1772417707.1)),
                (7, rpc("input:0", "single_push", 1772417714.1)),
            ],
            [2],
        ),
        # By the device's own word two pushes, however close.
        (
            "shelly-gen2",
            [
                (0, rpc("input:0", "single_push", 1772417707.1)),
                (1.2, rpc("input:0", "single_push", 1772417708.3)),
            ],
            [2],
        ),
    ],
)
def test_one_push_in_several_messages_is_one_press(
    tmp_path: Path, format_: str, story: list[Told], presses: list[int]
) -> None:
    """The same gesture of one contact within two seconds, in whatever key and beside whatever telemetry."""
    assert heard(tmp_path, wired(format_), story) == presses


@pytest.mark.parametrize(
    "word",
    [
        *(
            "arm_day_zones",
            "arm_night_zones",
            "arm_all_zones",
            "arm_stay",
            "arm_away",
            "arm",
            "armed_home",
            "arming",
        ),
        *(
            "disarm",
            "disarmed",
            "already_disarmed",
            "exit_delay",
            "entry_delay",
            "invalid_code",
            "wrong_code",
        ),
        *("not_ready", "not-ready-to-arm", "Arm-All-Zones", "1_disarm", "keypad_2_arm_away", "code_invalid"),
        *("exit_delay_1", "entry-delay-2", "night_armed", "area_1_disarmed", "set_disarmed", "set_arm_away"),
    ],
)
def test_a_keypad_that_is_used_otherwise_presses_nothing(tmp_path: Path, word: str) -> None:
    """It is a sign of life, and its word is on record; help called on it is a press all the same."""

    async def story() -> None:
        async with door(tmp_path, wired("zigbee2mqtt")) as d:
            said = {"action": word, "action_code": "0000", "action_zone": 23, "battery": 100, "contact": None}
            await tell(d, [(0, said), (3, {"action": ""})])
            assert (await d.presses(), d.not_understood) == ([], [None, None])
            memory = await d.store.inner.read(lambda tx: tx.inbox.memory("contacts/p-301"))
            assert list(memory.words) == [word.lower()]
            await tell(d, [(0.5, {"action": "emergency"})])
            assert await d.presses() == [1]

    run(story())


@pytest.mark.parametrize(
    "word",
    [
        "panic",
        "emergency",
        "fire",
        "sos",
        "duress_disarm",
        "panic_armed",
        "set_panic",
        "panic_arm",
        "1_panic",
        "medical",
        "army",
        "alarm",
        "help",
    ],
)
def test_words_of_help_and_words_nobody_knows_stay_presses(tmp_path: Path, word: str) -> None:
    """A lost press is worse than a needless one."""
    assert heard(tmp_path, wired("zigbee2mqtt"), [(0, {"action": word})]) == [1]


@pytest.mark.parametrize(
    ("format_", "presses", "story", "counted", "left_out"),
    [
        (
            "zigbee2mqtt",
            ("emergency", "sos"),
            [(0, {"action": "single"}), (3, {"action": "emergency"})],
            [1],
            ["single"],
        ),
        ("zigbee2mqtt", ("emergency",), [(0, {"action": "1_emergency"}), (3, {"sos": True})], [1], ["sos"]),
        (
            "zigbee2mqtt",
            ("sos",),
            [(0, {"contact": False}), (3, {"contact": True}), (3, {"sos": True})],
            [1],
            ["contact true"],
        ),
        (
            "zigbee2mqtt",
            ("contact",),
            [(0, {"contact": False}), (3, {"contact": True}), (3, {"sos": True})],
            [1],
            ["sos"],
        ),
        (
            "zigbee2mqtt",
            ("left-single",),
            [(0, {"action": "left_single"}), (3, {"action": "right_single"})],
            [1],
            ["right_single"],
        ),
        (
            "tasmota",
            ("HOLD",),
            [(0, {"Button1": {"Action": "SINGLE"}}), (3, {"Button1": {"Action": "HOLD"}})],
            [1],
            ["single"],
        ),
        (
            "shelly-gen1",
            ("L",),
            [(0, {"event": "S", "event_cnt": 1}), (3, {"event": "L", "event_cnt": 2})],
            [1],
            ["s"],
        ),
        (
            "shelly-gen2",
            ("long_push",),
            [
                (0, rpc("input:0", "single_push", 1772417707.1)),
                (3, rpc("input:0", "long_push", 1772417710.1)),
            ],
            [1],
            ["single_push"],
        ),
    ],
)
def test_the_site_file_may_name_the_words_that_are_presses(
    tmp_path: Path,
    format_: str,
    presses: tuple[str, ...],
    story: list[Told],
    counted: list[int],
    left_out: list[str],
) -> None:
    """The other words raise nothing, and are on record."""

    async def tale() -> None:
        async with door(tmp_path, wired(format_, presses=presses)) as d:
            await tell(d, story)
            memories = await d.store.inner.read(lambda tx: tx.inbox.memories())
            words = [word for memory in memories.values() for word in memory.words]
            assert (await d.presses(), words) == (counted, left_out)

    run(tale())


@pytest.mark.parametrize(
    ("attribute", "story", "presses"),
    [
        ("action", [(0, "emergency"), (3, ""), (3, "single"), (3, "disarm"), (3, "\x00")], [2]),
        ("action", [(0, {"action": "emergency"})], [1]),
        ("click", [(0, "single")], [1]),
        ("sos", [(0, "false"), (3, "true"), (3, "true"), (3, "FALSE"), (3, "True")], [2]),
        ("emergency", [(0, "true")], [1]),
        ("panic", [(0, "true\x00")], [1]),
        ("contact", [(0, "false"), (3, "true"), (3, "true"), (3, "null"), (3, "false")], [1]),
        ("contact", [(0, {"contact": False}), (3, {"contact": True})], [1]),
    ],
)
def test_a_bare_value_on_the_topic_of_an_attribute_is_read(
    tmp_path: Path, attribute: str, story: list[Told], presses: list[int]
) -> None:
    """As Zigbee2MQTT publishes it for its older triggers, and where its output is `attribute`."""
    assert heard(tmp_path, wired("zigbee2mqtt", attribute=attribute), story) == presses


@pytest.mark.parametrize(("attribute", "word"), [("sos", "maybe"), ("contact", "open"), ("panic", "1")])
def test_a_bare_word_that_is_no_value_of_its_attribute_is_told(
    tmp_path: Path, attribute: str, word: str
) -> None:
    """Kept to be looked at, and told to who watches the contact."""

    async def story() -> None:
        async with door(tmp_path, wired("zigbee2mqtt", attribute=attribute)) as d:
            await tell(d, [(0, word)])
            (why,) = d.not_understood
            assert why is not None
            assert word in why

    run(story())


def test_flags_are_remembered_over_a_restart_and_follow_the_open_alarm(tmp_path: Path) -> None:
    """A device that never says false: repeated while its alarm is open; after closing its reports raise nothing."""

    async def story() -> None:
        async with door(tmp_path, wired("zigbee2mqtt")) as d:
            await tell(d, [(0, {"sos": True, "battery": 100}), (90, {"sos": True, "battery": 99})])
            (alarm,) = await d.alarms()
            assert alarm.presses == 2
            await d.close(alarm)
        async with door(tmp_path, wired("zigbee2mqtt"), clock=d.clock) as d:
            await tell(d, [(3600, {"sos": True, "battery": 98}), (3600, {"sos": True, "battery": 97})])
            assert await d.presses() == [2]
            await tell(d, [(60, {"sos": True, "battery": 97})])
            assert await d.presses() == [2, 1]

    run(story())


def test_a_flag_that_is_a_state_by_hand_raises_nothing_again(tmp_path: Path) -> None:
    """Whether its alarm is open or not."""

    async def story() -> None:
        async with door(tmp_path, wired("zigbee2mqtt", flag=FlagIs.STATE)) as d:
            await tell(d, [(0, {"sos": True}), (90, {"sos": True})])
            (alarm,) = await d.alarms()
            await d.close(alarm)
            await tell(d, [(90, {"sos": True, "linkquality": 3})])
            assert await d.presses() == [1]

    run(story())
