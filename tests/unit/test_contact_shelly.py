"""The documented payloads of both generations of Shelly, each in its right meaning."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.contacts.formats.shelly_gen1 import decode as gen1
from drivers.contacts.formats.shelly_gen2 import decode as gen2
from gateway.domain.contact import Signal, SignalKind, Telling, heard_by
from gateway.domain.errors import Malformed
from tests.support.contact import Contact


def pushed(event: str, count: int) -> str:
    return json.dumps({"event": event, "event_cnt": count})


def info(event: str, count: int, state: int = 0) -> str:
    inputs = [{"input": state, "event": event, "event_cnt": count}, {"input": 0, "event": "", "event_cnt": 0}]
    return json.dumps(
        {"wifi_sta": {"connected": True}, "bat": {"value": 88, "voltage": 4.1}, "inputs": inputs}
    )


def notified(*events: dict[str, Any], ts: float | None = 1678882095.02) -> str:
    source = "shellyplusi4-a8032ab0c018"
    params = {"ts": ts, "events": list(events)}
    return json.dumps({"src": source, "dst": f"{source}/events", "method": "NotifyEvent", "params": params})


def event(word: str, ts: float | None = 1678882095.02, n: int = 2) -> dict[str, Any]:
    return {"component": f"input:{n}", "id": n, "event": word, "ts": ts}


def status(state: object, method: str = "NotifyStatus", **more: Any) -> str:
    params = {"ts": 1678882095.02, "input:0": {"id": 0, "state": state, **more}}
    return json.dumps({"src": "shellyplus1-a8032ab0c018", "method": method, "params": params})


# Generation 1.


@pytest.mark.parametrize("word", ["S", "SS", "SSS", "L", "SL", "LS"])
def test_any_event_of_generation_1_is_a_press_by_its_number(word: str) -> None:
    """Also the very first: an event that is not retained always counts."""
    (signal,) = gen1(pushed(word, 7).encode())
    assert (signal.kind, signal.counter, signal.telling, signal.word) == (
        SignalKind.COUNTED,
        7,
        Telling.EVENT,
        word,
    )
    assert Contact("shelly-gen1").says(pushed(word, 7))


@pytest.mark.parametrize(
    ("payload", "kinds"),
    [
        ("0", [SignalKind.OPENED]),
        ("1", [SignalKind.CLOSED]),
        ("open", [SignalKind.OPENED]),
        ("close", [SignalKind.CLOSED]),
        ("true", [SignalKind.ALIVE]),
        ("false", []),
        ("on", [SignalKind.ALIVE]),
        ("off", [SignalKind.ALIVE]),
        ("97", [SignalKind.ALIVE]),
        ("-3.25", [SignalKind.ALIVE]),
        ('{"event":""}', [SignalKind.ALIVE]),
        ('{"event":"S"}', [SignalKind.PRESSED]),
        ('{"event":"S","event_cnt":-1}', [SignalKind.PRESSED]),
        ('{"event":"S","event_cnt":true}', [SignalKind.PRESSED]),
        ('{"event":"","event_cnt":3}', [SignalKind.COUNTED]),
        ('{"event":null,"event_cnt":3}', [SignalKind.COUNTED]),
        (
            '{"id":"shellybutton1-A4CF12F45174","model":"SHBTN-1","mac":"A4CF12F45174","ip":"192.168.86.53",'
            '"new_fw":false,"fw_ver":"20200625-102446/v1.7.3@2aa0993a"}',
            [SignalKind.ALIVE],
        ),
        ('{"sensor":{"state":"open","is_valid":true},"bat":{"value":90}}', [SignalKind.OPENED]),
        ('{"sensor":{"state":"close"}}', [SignalKind.CLOSED]),
        ('{"relays":[{"ison":true}],"inputs":[{"input":1}]}', [SignalKind.CLOSED]),
        ('{"inputs":[{"input":1,"event":"","event_cnt":0}]}', [SignalKind.COUNTED, SignalKind.CLOSED]),
        ('{"inputs":[{"input":1,"event":"S","event_cnt":4}]}', [SignalKind.COUNTED]),
        ('{"inputs":"none","relays":null}', [SignalKind.ALIVE]),
    ],
)
def test_a_documented_payload_of_generation_1_means_one_thing(payload: str, kinds: list[SignalKind]) -> None:
    """Inputs, door contacts, announcements, relays, measurements, the last will and the status document."""
    assert [s.kind for s in gen1(payload.encode())] == kinds


def test_a_counter_seen_before_is_the_same_press() -> None:
    """It is said again every 30 s, up to three times at once by a Button1, and after our absence."""
    contact = Contact("shelly-gen1")
    story = [(pushed("S", 7), 0.0), (pushed("S", 7), 0.15), (pushed("S", 7), 30.0), (pushed("S", 7), 86400.0)]
    assert contact.tells(story) == [True, False, False, False]
    assert contact.tells([(pushed("S", 8), 0.3), (pushed("L", 9), 0.3)]) == [True, True]


def test_a_device_that_began_to_count_anew_is_heard() -> None:
    """After a new battery or a restart the count is lower; it may run over, too."""
    contact = Contact("shelly-gen1")
    assert contact.tells([(pushed("S", 57), 0), (pushed("S", 1), 20), (pushed("S", 2), 3)]) == [
        True,
        True,
        True,
    ]
    assert contact.tells([(pushed("S", 65535), 60), (pushed("S", 0), 5)]) == [True, True]


def test_the_same_count_after_a_restart_is_another_press() -> None:
    """A device says at its start that it was not pushed since; what it counts from there is new."""
    contact = Contact("shelly-gen1")
    story = [(pushed("S", 1), 0.0), (pushed("", 0), 10.0), (pushed("S", 1), 5.0), (pushed("S", 1), 30.0)]
    assert contact.tells(story) == [True, False, True, False]


def test_what_a_device_sends_again_after_connecting_anew_is_no_press() -> None:
    """Its last messages were not answered: it repeats them, and the broker does not mark them."""
    contact = Contact("shelly-gen1")
    story = [(pushed("S", 7), 0.0), (pushed("SS", 8), 2.0), (pushed("S", 7), 9.0), (pushed("SS", 8), 0.1)]
    assert contact.tells([*story, (pushed("S", 9), 1.0)]) == [True, True, False, False, True]


def test_a_count_told_by_a_status_is_a_baseline_first_and_then_tells_of_what_was_missed() -> None:
    """Pushed while we were away: the next report shows a count never seen."""
    contact = Contact("shelly-gen1")
    story = [
        (pushed("", 5), 0),
        (pushed("", 5), 30),
        (pushed("", 6), 30),
        (pushed("", 0), 30),
        (pushed("", 2), 30),
    ]
    assert contact.tells([(p, float(s)) for p, s in story]) == [False, False, True, False, True]


def test_a_status_document_tells_of_a_push_once() -> None:
    """Baseline, nothing, a push while we were away, nothing; the state of its input is not a second one."""
    contact = Contact("shelly-gen1")
    story = [(info("S", 3), 0), (info("S", 3, 1), 9), (info("L", 4, 1), 9), (info("L", 4), 9)]
    assert contact.tells([(p, float(s)) for p, s in story]) == [False, False, True, False]
    signals = gen1(info("S", 3).encode())
    assert [(s.input, s.counter, s.battery) for s in signals[:2]] == [("0", 3, 88), ("1", 0, 88)]


def test_a_retained_count_is_a_baseline() -> None:
    """So that its live repetition is nothing, and the next one a press."""
    contact = Contact("shelly-gen1")
    assert not contact.says(pushed("S", 7), retained=True)
    assert contact.tells([(pushed("S", 7), 30), (pushed("S", 8), 5)]) == [False, True]
    assert not contact.says(pushed("S", 9), retained=True)
    assert contact.says(pushed("S", 9), after_s=1)


@pytest.mark.parametrize("normally_open", [True, False])
@pytest.mark.parametrize(("closed", "opened"), [("1", "0"), ("close", "open")])
def test_a_switch_of_generation_1_presses_at_its_edge(normally_open: bool, closed: str, opened: str) -> None:
    """The update period repeats the state; the site file says which way it is wired."""
    rest, pressed = (opened, closed) if normally_open else (closed, opened)
    contact = Contact("shelly-gen1", normally_open=normally_open)
    story = [(p, 30.0) for p in (rest, rest, pressed, pressed, rest, pressed)]
    assert contact.tells(story) == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    "payload", [b"", b"push", b"\xff", b'{"event":7}', b'{"event":["S"]}', b"null", b"[]"]
)
def test_what_generation_1_does_not_say_is_malformed(payload: bytes) -> None:
    """Kept to be looked at."""
    with pytest.raises(Malformed, match=r"\w"):
        gen1(payload)


# Generation 2.


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("btn_down", SignalKind.DOWN),
        ("btn_up", SignalKind.UP),
        ("single_push", SignalKind.GESTURE),
        ("double_push", SignalKind.GESTURE),
        ("triple_push", SignalKind.GESTURE),
        ("long_push", SignalKind.GESTURE),
        ("config_changed", SignalKind.ALIVE),
        ("ota_progress", SignalKind.ALIVE),
        ("sleep", SignalKind.ALIVE),
    ],
)
def test_an_event_of_generation_2_means_one_thing(word: str, kind: SignalKind) -> None:
    """Pushes by name, each under the time the device gave it; all else is a sign of life."""
    (signal,) = gen2(notified(event(word)).encode())
    assert signal.kind is kind
    if kind is not SignalKind.ALIVE:
        assert signal.input == "input:2"
        assert signal.at == datetime.fromtimestamp(1678882095.02, UTC)
        assert signal.event_id == f"input:2 {word} 1678882095020"


@pytest.mark.parametrize(
    ("payload", "kinds"),
    [
        (status(True), [SignalKind.CLOSED]),
        (status(False, "NotifyFullStatus"), [SignalKind.OPENED]),
        (status(None), [SignalKind.ALIVE]),
        (status("open"), [SignalKind.UNREAD]),  # of an input, and not understood
        (status(1), [SignalKind.CLOSED]),
        (status(None, counts={"total": 12}), [SignalKind.COUNTED]),
        ('{"id":0,"state":true}', [SignalKind.CLOSED]),
        ('{"id":1,"state":false}', [SignalKind.OPENED]),
        ('{"id":0,"state":null}', [SignalKind.ALIVE]),
        ('{"id":0,"source":"init","output":true,"temperature":{"tC":41.2}}', [SignalKind.ALIVE]),
        ('{"id":0,"state":1}', [SignalKind.UNREAD]),  # whose state is not said, and a switch's is a word
        ('{"id":0,"state":"open","current_pos":100}', [SignalKind.ALIVE]),
        ('{"component":"input:0","id":0,"event":"single_push","ts":1678882095.02}', [SignalKind.GESTURE]),
        (
            notified({"component": "bthomedevice:200", "event": "single_push", "ts": 1.0}),
            [SignalKind.GESTURE],
        ),
        (notified({"component": "bthomesensor:201", "event": "double_push"}), [SignalKind.GESTURE]),
        (notified({"component": "script:1", "event": "single_push"}), [SignalKind.ALIVE]),
        # Drawn buttons, radiator valves' and whatever else has one.
        (notified({"component": "button:200", "event": "single_push", "ts": 1.0}), [SignalKind.GESTURE]),
        (notified({"component": "blutrv:200", "event": "long_push", "ts": 1.0}), [SignalKind.GESTURE]),
        # Said of an input or a button, and not understood.
        (notified({"component": "input:0", "event": "toggle"}), [SignalKind.UNREAD]),
        (notified({"component": "button:200", "event": "pressed"}), [SignalKind.UNREAD]),
        (notified({"component": "input:0", "event": "analog_change"}), [SignalKind.ALIVE]),
        # A Bluetooth sensor does not say of what, nor a script's boolean: on record as a word, and no press.
        ('{"method":"NotifyStatus","params":{"bthomesensor:203":{"value":true}}}', [SignalKind.OTHER_USE]),
        ('{"method":"NotifyStatus","params":{"boolean:200":{"value":false}}}', [SignalKind.OTHER_USE]),
        ('{"method":"NotifyStatus","params":{"bthomesensor:204":{"value":21.5}}}', [SignalKind.ALIVE]),
        # What detects by itself: nobody pushed it, and it is not passed over either.
        ('{"method":"NotifyStatus","params":{"smoke:0":{"id":0,"alarm":true}}}', [SignalKind.OTHER_USE]),
        ('{"method":"NotifyStatus","params":{"flood:0":{"id":0,"alarm":false}}}', [SignalKind.OTHER_USE]),
        ('{"method":"NotifyStatus","params":{"smoke:0":{"id":0,"mute":true}}}', [SignalKind.ALIVE]),
        (notified({"component": "sys", "event": "scheduled_restart", "time_ms": 935}), [SignalKind.ALIVE]),
        # A push of a component that is missing or not named as components are: nobody can say whose, and it is told.
        (notified({"component": "input", "event": "single_push"}), [SignalKind.UNREAD]),
        (notified({"component": "Input:0", "event": "btn_down"}), [SignalKind.UNREAD]),
        (notified({"component": "input:", "event": "long_push"}), [SignalKind.UNREAD]),
        (notified({"component": "input:0", "event": 5}), [SignalKind.UNREAD]),
        (notified({"component": 0, "id": 0, "event": "single_push"}), [SignalKind.UNREAD]),
        ('{"id":0,"event":"single_push","ts":1678882095.02}', [SignalKind.UNREAD]),
        (notified({"component": "input", "event": "config_changed"}), [SignalKind.ALIVE]),
        (notified({"component": "sys", "event": "sleep"}), [SignalKind.ALIVE]),
        (notified({"event": "wake"}), [SignalKind.ALIVE]),
        # States of other components, told in any way.
        ('{"switch:0":{"output":true},"temperature:0":{"tC":41.2}}', [SignalKind.ALIVE]),
        ('{"cover:0":{"state":"open","current_pos":100}}', [SignalKind.ALIVE]),
        ('{"method":"NotifyStatus","params":{"cover:0":{"state":"closing"}}}', [SignalKind.ALIVE]),
        ('{"light:0":{"state":true},"input:1":{"id":1,"state":true}}', [SignalKind.CLOSED]),
        ('{"inputs":{"0":true}}', [SignalKind.UNREAD]),
        ('{"id":1,"src":"shelly1","dst":"user","result":{"output":true}}', [SignalKind.ALIVE]),
        ('{"method":"NotifyStatus","params":{"ts":1,"switch:0":{"output":true}}}', [SignalKind.ALIVE]),
        ('{"method":"NotifyStatus","params":null}', [SignalKind.ALIVE]),
        ("true", [SignalKind.ALIVE]),
        ("false", []),
        ("{}", [SignalKind.ALIVE]),
    ],
)
def test_a_documented_payload_of_generation_2_means_one_thing(payload: str, kinds: list[SignalKind]) -> None:
    """Status of switches and buttons, counters, Bluetooth devices, other components and the last will."""
    assert [s.kind for s in gen2(payload.encode())] == kinds


def test_a_bluetooth_button_by_the_vendors_script_is_a_push_of_its_address() -> None:
    """Button 1 to 4 is a push, 0 is the device being alive."""
    data = {"pid": 118, "battery": 97, "button": 1, "address": "60:ef:ab:42:e6:dc"}
    told = {"component": "script:1", "id": 1, "event": "shelly-blu", "data": data, "ts": 1678882095.02}
    (signal,) = gen2(notified(told).encode())
    assert (signal.kind, signal.input, signal.battery) == (SignalKind.GESTURE, "60:ef:ab:42:e6:dc", 97)
    (signal,) = gen2(notified({**told, "data": {**data, "button": 0}}).encode())
    assert signal.kind is SignalKind.ALIVE
    (signal,) = gen2(notified({**told, "data": {**data, "button": [0, 2]}}).encode())
    assert signal.kind is SignalKind.GESTURE


@pytest.mark.parametrize(
    "steps",
    [
        [("btn_down", 0.0), ("btn_up", 0.1), ("single_push", 0.3)],
        [("btn_down", 0.0), ("long_push", 1.0), ("btn_up", 40.0)],
        [("long_push", 0.0), ("btn_up", 40.0)],
        [("btn_up", 0.0), ("single_push", 0.3)],
        [("single_push", 0.0)],
    ],
)
def test_all_that_one_push_publishes_is_one_press(steps: list[tuple[str, float]]) -> None:
    """Whole, or with its beginning lost on the way."""
    contact, at = Contact("shelly-gen2"), 1678882095.0
    told = []
    for word, after_s in steps:
        at += after_s
        told.append(contact.says(notified(event(word, at)), after_s=after_s))
    assert told == [True] + [False] * (len(steps) - 1)


def test_what_a_sleeping_device_saved_up_is_one_message_and_one_press() -> None:
    """Down, up and single in one, at the time of the push and not of the message."""
    saved = [
        event("btn_down", 1678882095.02),
        event("btn_up", 1678882095.2),
        event("single_push", 1678882095.5),
    ]
    signals = gen2(notified(*saved, ts=1678882100.0).encode())
    assert [s.at and s.at.timestamp() for s in signals] == [1678882095.02, 1678882095.2, 1678882095.5]
    assert Contact("shelly-gen2").says(notified(*saved, ts=1678882100.0))


@pytest.mark.parametrize("ts", [None, 0, 12.5, "1678882095", True, 1e300, -1.0])
def test_a_time_that_is_none_is_no_identity_either(ts: Any) -> None:
    """A device without the time starts at 1970 each time: two presses must not look like one."""
    (signal,) = gen2(notified(event("single_push", ts), ts=None).encode())
    assert (signal.kind, signal.at, signal.event_id) == (SignalKind.GESTURE, None, None)


@pytest.mark.parametrize("normally_open", [True, False])
def test_a_switch_of_generation_2_presses_at_its_edge(normally_open: bool) -> None:
    """A full status is telemetry; a change that is told counts at first sight, told again it does not."""
    rest, pressed = (False, True) if normally_open else (True, False)
    contact = Contact("shelly-gen2", normally_open=normally_open)
    assert contact.tells([(status(pressed), 0), (status(pressed), 60), (status(rest), 5)]) == [
        True,
        False,
        False,
    ]
    full = "NotifyFullStatus"
    assert contact.tells([(status(rest, full), 60), (status(pressed, full), 60)]) == [False, True]
    assert not Contact("shelly-gen2", normally_open=normally_open).says(status(pressed, full))


def test_an_input_that_counts_tells_of_what_was_missed() -> None:
    """Type count: the first sight is a baseline, a reset is no press."""
    story = [(status(None, counts={"total": n}), 9.0) for n in (12, 12, 13, 0, 1)]
    assert Contact("shelly-gen2").tells(story) == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("wanted", "n", "hears"),
    [
        ("2", 2, True),
        ("input:2", 2, True),
        ("Input 2", 2, True),
        ("input_2", 2, True),
        ("0", 0, True),
        ("1", 2, False),
    ],
)
def test_an_input_of_generation_2_is_named_with_its_type_or_without(wanted: str, n: int, hears: bool) -> None:
    """The natural spellings."""
    (signal,) = gen2(notified(event("single_push", n=n)).encode())
    assert heard_by(["other", wanted], signal) == ([1] if hears else [])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1",
        b"on",
        b"\xff",
        b"[]",
        b'{"method":"NotifyEvent"}',
        b'{"method":"NotifyEvent","params":{"events":{}}}',
    ],
)
def test_what_generation_2_does_not_say_is_malformed(payload: bytes) -> None:
    """Kept to be looked at."""
    with pytest.raises(Malformed, match=r"\w"):
        gen2(payload)


def test_an_input_of_the_topic_needs_no_name() -> None:
    """`input_event/0` has the number in its topic: the point that names it hears it."""
    signal = Signal(kind=SignalKind.COUNTED, counter=1, telling=Telling.EVENT)
    assert heard_by(["0"], signal) == [0]


@pytest.mark.parametrize(("state", "kind"), [("opening", SignalKind.UNREAD), ("unknown", SignalKind.ALIVE)])
def test_a_door_contact_of_generation_1_with_another_word_is_told(state: str, kind: SignalKind) -> None:
    """All but the one that it has until it knows better."""
    (signal,) = gen1(json.dumps({"sensor": {"state": state}, "bat": {"value": 90}}).encode())
    assert signal.kind is kind
