"""Tasmota's documented payloads, each in its right meaning."""

from __future__ import annotations

import json

import pytest

from drivers.contacts.formats.tasmota import decode
from gateway.domain.contact import SignalKind, Telling, heard_by
from gateway.domain.errors import Malformed
from tests.support.contact import Contact


def action(name: str, word: str) -> str:
    return json.dumps({name: {"Action": word}})


def sensor(**states: str) -> str:
    return json.dumps({"Time": "2021-01-01T00:00:00", **states})


@pytest.mark.parametrize(
    ("payload", "kind", "input_"),
    [
        (action("Button1", "SINGLE"), SignalKind.GESTURE, "Button1"),
        (action("Button1", "DOUBLE"), SignalKind.GESTURE, "Button1"),
        (action("Button2", "TRIPLE"), SignalKind.GESTURE, "Button2"),
        (action("Button2", "QUAD"), SignalKind.GESTURE, "Button2"),
        (action("Button2", "PENTA"), SignalKind.GESTURE, "Button2"),
        (action("Button1", "HOLD"), SignalKind.GESTURE, "Button1"),
        (action("Button1", "CLEAR"), SignalKind.UP, "Button1"),
        (action("Switch1", "ON"), SignalKind.CLOSED, "Switch1"),
        (action("Switch1", "OFF"), SignalKind.OPENED, "Switch1"),
        (action("Switch1", "TOGGLE"), SignalKind.GESTURE, "Switch1"),
        (action("Switch1", "HOLD"), SignalKind.GESTURE, "Switch1"),
        (action("Switch1", "POWER_INCREMENT"), SignalKind.UP, "Switch1"),
        (action("Switch1", "POWER_INV"), SignalKind.DOWN, "Switch1"),
        (action("Switch1", "POWER_CLEAR"), SignalKind.UP, "Switch1"),
        (action("Switch1", "POWER_RELEASE"), SignalKind.UP, "Switch1"),
        (action("Switch1", "POWER_100"), SignalKind.GESTURE, "Switch1"),
        (action("Switch1", "POWER_DELAYED"), SignalKind.UP, "Switch1"),
        (action("Door", "ON"), SignalKind.CLOSED, "Door"),
        ('{"ACTION":"SINGLE"}', SignalKind.GESTURE, None),
        (sensor(Switch1="ON"), SignalKind.CLOSED, "Switch1"),
        (sensor(Switch1="OFF"), SignalKind.OPENED, "Switch1"),
        (sensor(Garage_Door_State="ON"), SignalKind.CLOSED, "Garage_Door_State"),
        (f'{{"StatusSNS":{sensor(Switch1="ON")}}}', SignalKind.CLOSED, "Switch1"),
        ("ON", SignalKind.CLOSED, None),
        ("OFF", SignalKind.OPENED, None),
        ("TOGGLE", SignalKind.GESTURE, None),
        ("HOLD", SignalKind.GESTURE, None),
        ("1", SignalKind.CLOSED, None),
        ("0", SignalKind.OPENED, None),
        ("2", SignalKind.GESTURE, None),
        ("3", SignalKind.GESTURE, None),
        ("10", SignalKind.GESTURE, None),
        ("11", SignalKind.GESTURE, None),
        ("15", SignalKind.UP, None),
        ("Online", SignalKind.ALIVE, None),
    ],
)
def test_a_documented_payload_means_one_thing(payload: str, kind: SignalKind, input_: str | None) -> None:
    """Of SetOption73 and 114, SwitchMode 15, rules, SwitchTopic, StatusSNS, SwitchText and the last will."""
    (signal,) = decode(payload.encode())
    assert (signal.kind, signal.input) == (kind, input_)


@pytest.mark.parametrize(
    "payload",
    [
        '{"POWER":"ON"}',
        '{"POWER1":"TOGGLE"}',
        '{"SetOption114":"ON"}',
        '{"SwitchMode1":15}',
        '{"SwitchRetain":"ON"}',
        '{"SwitchText1":"Door"}',
        '{"Button1":{"Action":""}}',
        '{"Button1":{"Action":null}}',
        '{"Time":"2021-01-01T00:00:00","POWER1":"ON","ENERGY":{"Power":1}}',
        '{"Time":"2021-01-01T00:00:00","Counter":"1"}',
        '{"Time":"2021-01-01T00:00:00","Uptime":"0T01:00:11","POWER":"ON","Fade":"ON","LedTable":"ON",'
        '"Wifi":{"AP":1,"RSSI":70}}',
        '{"StatusSNS":null}',
        "{}",
    ],
)
def test_relays_settings_and_the_device_itself_are_signs_of_life(payload: str) -> None:
    """What looks like an input and is none."""
    assert [s.kind for s in decode(payload.encode())] == [SignalKind.ALIVE]


def test_the_last_will_says_nothing_of_the_contact() -> None:
    """Offline is no sign of life either."""
    assert decode(b"Offline") == []


@pytest.mark.parametrize(
    "payload", [b"maybe", b"16", b"", b"\xff", b"ON" * 40, b'{"Button1":{"Action":[1]}}', b"[]"]
)
def test_what_is_none_of_it_is_malformed_and_says_so(payload: bytes) -> None:
    """Kept to be looked at."""
    with pytest.raises(Malformed, match=r"\w"):
        decode(payload)


def test_telemetry_that_repeats_a_state_is_no_press_and_its_edge_is_one() -> None:
    """SENSOR comes every five minutes with the state as it is; its time makes each payload another."""
    contact = Contact("tasmota")
    states = ["OFF", "OFF", "ON", "ON", "ON", "OFF", "ON"]
    told = [contact.says(sensor(Switch1=state), after_s=300) for state in states]
    assert told == [False, False, True, False, False, False, True]


def test_the_first_sight_of_telemetry_is_a_baseline() -> None:
    """A switch found closed was not pressed while we looked."""
    assert not Contact("tasmota").says(sensor(Switch1="ON"))


@pytest.mark.parametrize("normally_open", [True, False])
def test_an_action_is_the_edge_itself(normally_open: bool) -> None:
    """It counts at first sight and, where OFF is never told (SwitchMode 13) or was lost at QoS 0, each time."""
    pressed, freed = ("ON", "OFF") if normally_open else ("OFF", "ON")
    contact = Contact("tasmota", normally_open=normally_open)
    story = [(action("Switch1", w), 5.0) for w in (pressed, pressed, freed, pressed, freed, freed)]
    assert contact.tells(story) == [True, True, False, True, False, False]


def test_a_hold_and_its_clear_are_one_press() -> None:
    """CLEAR comes when the button is let go, however late."""
    contact = Contact("tasmota")
    assert contact.tells([(action("Button1", "HOLD"), 0), (action("Button1", "CLEAR"), 300)]) == [True, False]
    assert contact.says(action("Button1", "SINGLE"), after_s=5)


def test_a_clear_whose_hold_was_lost_counts() -> None:
    """Tasmota publishes at QoS 0: what is left of a push is the push."""
    assert Contact("tasmota").says(action("Button1", "CLEAR"))


def test_a_single_told_on_the_way_down_and_its_clear_are_one_press() -> None:
    """With SetOption13, SINGLE comes at once and CLEAR at the release."""
    contact = Contact("tasmota")
    assert contact.tells([(action("Button1", "SINGLE"), 0), (action("Button1", "CLEAR"), 0.4)]) == [
        True,
        False,
    ]


def test_a_dimming_switch_that_is_held_is_one_press() -> None:
    """SwitchMode 11: increments for as long as it is held, clear at the release."""
    words = [("POWER_INCREMENT", 0.0), *[("POWER_INCREMENT", 1.6)] * 5, ("POWER_CLEAR", 0.5)]
    told = Contact("tasmota").tells([(action("Switch1", w), s) for w, s in words])
    assert told == [True] + [False] * 6


def test_a_short_push_of_a_dimming_switch_is_one_press() -> None:
    """SwitchMode 11: TOGGLE at the release, POWER_DELAYED when no second push followed."""
    told = Contact("tasmota").tells(
        [(action("Switch1", "TOGGLE"), 0), (action("Switch1", "POWER_DELAYED"), 4)]
    )
    assert told == [True, False]


@pytest.mark.parametrize(
    ("wanted", "named", "hears"),
    [
        ("Switch1", "Switch1", True),
        ("switch1", "Switch1", True),
        ("SWITCH_1", "Switch1", True),
        ("1", "Switch1", True),
        ("1", "Button1", True),
        ("Button2", "Button2", True),
        ("button 2", "Button2", True),
        ("Switch2", "Button2", False),
        ("Switch1", "Switch11", False),
        ("11", "Switch1", False),
        ("garage_door_state", "Garage_Door_State", True),
        ("Garage_Door", "Garage_Door_State", False),
    ],
)
def test_an_input_may_be_named_as_the_device_does_or_by_its_number(
    wanted: str, named: str, hears: bool
) -> None:
    """Capitals and the character before the number make no difference; a switch is no button."""
    (signal,) = decode(action(named, "ON").encode())
    assert heard_by(["other", wanted], signal) == ([1] if hears else [])


def test_an_action_in_another_language_is_a_push() -> None:
    """StateText4 renames HOLD; any push counts."""
    (signal,) = decode(action("Button1", "GEHALTEN").encode())
    assert signal.kind is SignalKind.GESTURE
    assert signal.telling is Telling.STATE


@pytest.mark.parametrize(
    "payload",
    [
        sensor(Switch1="关"),  # StateText in the school's own letters
        sensor(Switch2="HOLD"),
        '{"Switch1":"ON"}',  # neither a report, which has its time, nor an action
        '{"Time":"2021-01-01T00:00:00","Switch1":1}',
        '{"Switch1":{"action":"ON"}}',
        '{"Button1":{"State":3}}',
        '{"Time":"2021-01-01T00:00:00","COUNTER":{"C1":4}}',
        '{"MCP230XX_INT":{"D0":1,"MS":3}}',
        '{"Time":"2021-01-01T00:00:00","PN532":{"UID":"B9"}}',
        '{"Wiegand":{"UID":"1234"}}',
        '{"Event":{"panic":1}}',
    ],
)
def test_an_input_in_a_form_that_is_not_read_is_told(payload: str) -> None:
    """No sign of life: a contact that is wired so would be deaf without a word."""
    assert [s.kind for s in decode(payload.encode())] == [SignalKind.UNREAD]
