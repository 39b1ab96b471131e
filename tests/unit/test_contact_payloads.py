"""Contact codecs on the payloads that real devices publish."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from drivers.contacts.formats import CODECS
from drivers.contacts.formats.document import MAX_PAYLOAD_BYTES
from drivers.contacts.formats.ours import decode as own
from drivers.contacts.formats.zigbee2mqtt import decode as z2m
from gateway.domain.contact import SignalKind
from gateway.domain.errors import Malformed


@pytest.mark.parametrize(
    ("device", "payload", "kind"),
    [
        (
            "TS0215A_sos",
            '{"action":"emergency","battery":100,"voltage":3000,"linkquality":120}',
            SignalKind.GESTURE,
        ),
        ("HS1EB", '{"action":"single","battery":51.5,"linkquality":192}', SignalKind.GESTURE),
        ("HS1EB", '{"action":"double"}', SignalKind.GESTURE),
        ("HS1EB", '{"action":"hold"}', SignalKind.GESTURE),
        ("HS1EB", '{"action":"off"}', SignalKind.UP),
        ("WXKG01LM", '{"action":"single","battery":100,"voltage":3062}', SignalKind.GESTURE),
        ("WXKG01LM", '{"action":"release","duration":1204}', SignalKind.UP),
        ("Climax", '{"action":"panic"}', SignalKind.GESTURE),
        ("before 1.20", '{"click":"single"}', SignalKind.GESTURE),
        ("contact", '{"contact":false,"battery":97}', SignalKind.OPENED),
        ("contact", '{"contact":true}', SignalKind.CLOSED),
        ("any", '{"action":null,"battery":100}', SignalKind.ALIVE),
        ("any", '{"action":"","battery":100}', SignalKind.ALIVE),
        ("any", '{"linkquality":80,"battery":3}', SignalKind.ALIVE),
        ("any", "{}", SignalKind.ALIVE),
        ("flag", '{"sos":true}', SignalKind.RAISED),
        ("flag", '{"emergency":true,"battery":88}', SignalKind.RAISED),
        ("flag", '{"panic":true}', SignalKind.RAISED),
        ("flag", '{"sos":false,"tamper":false}', SignalKind.LOWERED),
        ("keypad", '{"action":"arm_day_zones","action_code":"0000"}', SignalKind.OTHER_USE),
        ("another device", '{"occupancy":true,"illuminance":7}', SignalKind.UNREAD),
        # Telemetry beside it makes it no better understood.
        ("movement", '{"occupancy":false,"battery":90,"linkquality":9}', SignalKind.UNREAD),
        ("any zone", '{"alarm":true,"battery":90}', SignalKind.UNREAD),
        (
            "any zone",
            '{"alarm_1":false,"alarm_2":false,"tamper":false,"battery_low":false}',
            SignalKind.UNREAD,
        ),
        ("unknown", '{"panic_button":true,"battery":90}', SignalKind.UNREAD),
        ("two buttons", '{"action_left":"single","battery":90}', SignalKind.UNREAD),
        ("old", '{"button_right":"hold","battery":90}', SignalKind.UNREAD),
        ("settings", '{"battery":90,"supervision_reports":true,"click_mode":"fast"}', SignalKind.ALIVE),
        ("wall switch", '{"state":"ON","linkquality":9,"battery":90}', SignalKind.ALIVE),
        # Capitals, and words for nothing.
        ("by hand", '{"Action":"emergency","battery":90}', SignalKind.UNREAD),
        ("by hand", '{"SOS":true,"battery":90}', SignalKind.UNREAD),
        ("any", '{"action":"none","battery":90}', SignalKind.ALIVE),
        ("any", '{"action":"NULL","click":"single"}', SignalKind.GESTURE),
        ("tamper", '{"tamper":true}', SignalKind.TAMPER),
    ],
)
def test_a_documented_zigbee2mqtt_payload_means_one_thing(
    device: str, payload: str, kind: SignalKind
) -> None:
    """Each device's own words."""
    (signal,) = z2m(payload.encode())
    assert signal.kind is kind, device


@pytest.mark.parametrize(
    ("battery", "read"), [(100, 100), (51.5, 51), (-1, None), (101, None), (True, None), ("97", None)]
)
def test_a_battery_is_read_or_left_out_and_never_costs_a_press(battery: object, read: int | None) -> None:
    """Nonsense beside a press is only nonsense."""
    (signal,) = z2m(json.dumps({"action": "single", "battery": battery}).encode())
    assert (signal.kind, signal.battery) == (SignalKind.GESTURE, read)
    (signal,) = own(json.dumps({"event": "pressed", "battery": battery}).encode())
    assert (signal.kind, signal.battery) == (SignalKind.PRESSED, read)


@pytest.mark.parametrize("action", [7, True, ["single"], {"a": 1}])
def test_an_action_that_is_no_word_is_malformed(action: object) -> None:
    """It cannot be read, so it is kept to be looked at."""
    with pytest.raises(Malformed, match="action"):
        z2m(json.dumps({"action": action}).encode())


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("pressed", SignalKind.PRESSED),
        ("released", SignalKind.ALIVE),
        ("tamper", SignalKind.TAMPER),
        ("test", SignalKind.TEST),
        ("alive", SignalKind.ALIVE),
    ],
)
def test_our_own_events(event: str, kind: SignalKind) -> None:
    """Only the event is required."""
    (signal,) = own(json.dumps({"event": event}).encode())
    assert (signal.kind, signal.event_id, signal.at) == (kind, None, None)


def test_our_own_format_with_everything() -> None:
    """Identity, the contact's own time with its offset, battery."""
    payload = {"event": "pressed", "id": "a-1", "at": "2026-03-02T10:15:07.123+08:00", "battery": 97}
    (signal,) = own(json.dumps(payload).encode())
    assert signal.event_id == "a-1"
    assert signal.at == datetime.fromisoformat("2026-03-02T10:15:07.123+08:00")


@pytest.mark.parametrize("id_", [None, "", True, 1.5, [], "x" * 201])
def test_an_identity_that_is_none_is_left_out(id_: object) -> None:
    """The press counts without it."""
    (signal,) = own(json.dumps({"event": "pressed", "id": id_}).encode())
    assert (signal.kind, signal.event_id) == (SignalKind.PRESSED, None)


@pytest.mark.parametrize("at", ["now", "2026-03-02T10:15:07", "2026-13-40T00:00:00Z", 1772417707, None, ""])
def test_a_time_that_is_none_is_left_out(at: object) -> None:
    """No offset, no date, no text: the arrival stands in."""
    (signal,) = own(json.dumps({"event": "pressed", "at": at}).encode())
    assert (signal.kind, signal.at) == (SignalKind.PRESSED, None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"pressed",
        b"[]",
        b"null",
        b'"pressed"',
        b"\xff\xfe\x00",
        b'{"event":',
        b"[" * 60_000,
        b"1" * 5000,
        b'{"a":"' + b"x" * MAX_PAYLOAD_BYTES + b'"}',
    ],
)
@pytest.mark.parametrize("decode", [own, z2m], ids=["gateway", "zigbee2mqtt"])
def test_what_is_no_json_object_is_malformed_and_says_so(decode: object, payload: bytes) -> None:
    """Truncated, deep, huge, another type: one documented error with words in it."""
    with pytest.raises(Malformed, match=r"\w"):
        decode(payload)  # type: ignore[operator]


@pytest.mark.parametrize("payload", [b"{}", b'{"event":"PRESSED"}', b'{"event":7}', b'{"Event":"pressed"}'])
def test_an_event_nobody_knows_is_malformed(payload: bytes) -> None:
    """Our own format is exact, and the error names what was expected."""
    with pytest.raises(Malformed, match="expected one of pressed"):
        own(payload)


@pytest.mark.parametrize("event", ["pressed ", " pressed", "pressed\\r\\n", "pressed\\t"])
def test_blanks_around_our_own_word_cost_no_press(event: str) -> None:
    """A text of fixed width, or a line of a serial port."""
    (signal,) = CODECS["gateway"](f'{{"event":"{event}"}}'.encode())
    assert signal.kind is SignalKind.PRESSED


#: What other makes, network servers, bridges and cameras publish where somebody named their topic by mistake.
FOREIGN = [
    b'{"deduplicationId":"x","time":"2026-03-02T02:15:00Z","fPort":2,"data":"AQ==","object":{"button":1}}',
    b'{"end_device_ids":{"device_id":"b1"},"uplink_message":{"decoded_payload":{"button_pressed":true}}}',
    b'{"state":"on","attributes":{"device_class":"safety"}}',
    b'{"event_type":"zha_event","data":{"command":"emergency"}}',
    b'{"Action":"Start","Code":"AlarmLocal","Index":0}',
    b'{"EventNotificationAlert":{"eventType":"IO","eventState":"active","inputIOPortID":"1"}}',
    b'{"devId":"x","status":[{"code":"sos_state","value":true}]}',
    b'{"dps":{"1":true}}',
    b'{"model":"sensor_switch","sid":"158d","data":"{}"}',
    b'{"type":"new","before":{},"after":{"label":"person"}}',
]


@pytest.mark.parametrize("format_", sorted(CODECS))
@pytest.mark.parametrize("payload", FOREIGN)
def test_a_document_of_another_make_is_told_and_is_no_sign_of_life(format_: str, payload: bytes) -> None:
    """Whichever format the point has: a press lies in it that is not read."""
    try:
        signals = CODECS[format_](payload)
    except Malformed:
        return
    assert [signal.kind for signal in signals] == [SignalKind.UNREAD]


@pytest.mark.parametrize(
    ("format_", "payload"),
    [
        ("tasmota", b'{"POWER":"ON"}'),
        ("tasmota", b'{"Time":"2026-03-02T10:15:07","Uptime":"0T00:00:09","Wifi":{"RSSI":70}}'),
        ("tasmota", b'{"Info1":{"Module":"Generic","Version":"14.0.0"}}'),
        ("tasmota", b'{"SwitchMode1":15}'),
        ("tasmota", b'{"StatusSNS":{"Time":"2026-03-02T10:15:07"}}'),
        ("tasmota", b"{}"),
        (
            "shelly-gen1",
            b'{"id":"shelly1-AABBCC","model":"SHSW-1","mac":"AABBCC","ip":"1.2.3.4","new_fw":false}',
        ),
        ("shelly-gen1", b'{"id":"shelly1-AABBCC","model":"SHSW-1"}'),
        ("shelly-gen1", b'{"time":"10:15","unixtime":1772417707}'),
    ],
)
def test_what_a_device_tells_of_itself_is_a_sign_of_life(format_: str, payload: bytes) -> None:
    """It is told of no riddle."""
    assert [signal.kind for signal in CODECS[format_](payload)] == [SignalKind.ALIVE]


@pytest.mark.parametrize(
    "said",
    [
        {"sos_alarm": "ON"},
        {"sos_state": "normal"},
        {"emergency_button": 1},
        {"panic_status": "pressed"},
        {"keypad_sos": "on"},
        {"help": "call"},
        {"click_type": "single"},
        {"press_count": 3},
    ],
)
def test_another_name_of_a_push_beside_telemetry_is_told(said: dict[str, object]) -> None:
    """Whatever its value; a setting that sounds like one is telemetry."""
    (signal,) = z2m(json.dumps({**said, "battery": 90, "linkquality": 60}).encode())
    assert (signal.kind, next(iter(said)) in signal.word) == (SignalKind.UNREAD, True)


@pytest.mark.parametrize(
    "setting", ["click_mode", "press_mode", "sos_duration", "alarm_volume", "state", "push_notification"]
)
def test_a_setting_that_sounds_like_a_push_is_telemetry(setting: str) -> None:
    """A device that tells its settings with each report is heard."""
    (signal,) = z2m(json.dumps({setting: "fast", "battery": 90, "linkquality": 60}).encode())
    assert signal.kind is SignalKind.ALIVE
