"""Liveness as pure functions: where it is told, what its payloads say, and what is wrong with a contact."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from config.liveness import LivenessTopics, liveness_topics
from drivers.contacts.formats.liveness import decode
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed
from gateway.domain.liveness import BATTERY_LOW, BATTERY_WELL, OFFLINE_GRACE_S, TAMPER_HELD, Seen, Word, wrong
from gateway.domain.plan import Point
from tests.support.builders import point
from tests.support.clock import MORNING

Z2M = "zigbee2mqtt/bridge/state"


@pytest.mark.parametrize(
    ("format_", "topic", "device", "bridge"),
    [
        ("zigbee2mqtt", "zigbee2mqtt/sos-301", "zigbee2mqtt/sos-301/availability", Z2M),
        ("zigbee2mqtt", "zigbee2mqtt/sos-301/action", "zigbee2mqtt/sos-301/availability", Z2M),
        ("zigbee2mqtt", "zigbee2mqtt/floor-3/sos", "zigbee2mqtt/floor-3/sos/availability", Z2M),
        ("zigbee2mqtt", "zigbee2mqtt/action", "zigbee2mqtt/action/availability", Z2M),
        (
            "zigbee2mqtt",
            "school/zigbee2mqtt/sos",
            "school/zigbee2mqtt/sos/availability",
            f"school/{Z2M}",
        ),
        ("zigbee2mqtt", "z2m-east/sos", "z2m-east/sos/availability", "z2m-east/bridge/state"),
        ("zigbee2mqtt", "sos", None, None),
        ("tasmota", "stat/desk-301/RESULT", "tele/desk-301/LWT", None),
        ("tasmota", "tele/desk-301/SENSOR", "tele/desk-301/LWT", None),
        ("tasmota", "stat/desk-301/SWITCH1T", "tele/desk-301/LWT", None),
        ("tasmota", "desk-301/stat/RESULT", "desk-301/tele/LWT", None),
        ("tasmota", "school/b1/stat/desk-301/RESULT", "school/b1/tele/desk-301/LWT", None),
        ("tasmota", "desk-301/RESULT", None, None),
        ("shelly-gen1", "shellies/shellyix3-98CD/input_event/0", "shellies/shellyix3-98CD/online", None),
        ("shelly-gen1", "shellies/desk-301/input/0", "shellies/desk-301/online", None),
        ("shelly-gen1", "shellies/shellybutton1-8CAA/input_event/0", None, None),
        ("shelly-gen1", "shellies/shellydw2-8CAA/sensor/state", None, None),
        ("shelly-gen1", "desk-301/input/0", None, None),
        ("shelly-gen2", "shellyplusi4-a8032ab0c018/events/rpc", "shellyplusi4-a8032ab0c018/online", None),
        ("shelly-gen2", "school/desk-301/status/input:0", "school/desk-301/online", None),
        ("shelly-gen2", "status/events/rpc", "status/online", None),
        ("gateway", "campus/contacts/301", None, None),
    ],
)
def test_each_make_has_its_topics(format_: str, topic: str, device: str | None, bridge: str | None) -> None:
    """They follow from the press topic as the vendor documents it, with the base or prefix the school chose."""
    assert liveness_topics(format_, topic) == LivenessTopics(device, bridge)


def test_the_site_file_has_the_last_word_on_the_topic() -> None:
    """A given topic stands in place of the device's own, the bridge's stays; ``none`` turns both off."""
    given = liveness_topics("zigbee2mqtt", "zigbee2mqtt/sos", "school/sos/there")
    assert given.all == ("school/sos/there", Z2M)
    assert liveness_topics("zigbee2mqtt", "zigbee2mqtt/sos", "none").all == ()
    assert liveness_topics("gateway", "campus/301", "campus/301/online").all == ("campus/301/online",)


@pytest.mark.parametrize(
    ("payload", "there"),
    [
        (b"online", True),
        (b"offline", False),
        (b'{"state":"online"}', True),
        (b'{"state":"offline"}', False),
        (b"Online", True),
        (b"Offline", False),
        (b"true", True),
        (b"false", False),
        (b'"online"', True),
        (b' {"online": false} ', False),
        (b"1", True),
        (b"", None),
    ],
)
def test_a_documented_word_means_one_thing(payload: bytes, there: bool | None) -> None:
    """Zigbee2MQTT plain and as JSON, Tasmota, Shelly; an empty payload takes the kept one back."""
    assert decode(payload) is there


@pytest.mark.parametrize(
    "payload",
    [
        *(
            b"pressed",
            b"null",
            b"{}",
            b'{"state":null}',
            b'{"state":1}',
            b'{"state":',
            b"[true]",
            b"\xff\xfe",
        ),
        *(b"on" * 4000, b'{"action":"single"}', b'{"event":"pressed"}', b'{"state":"ON"}', b"   "),
        b'{"a":' * 50_000,
    ],
)
def test_an_unknown_word_is_taken_for_neither(payload: bytes) -> None:
    """Neither online nor offline, and never anything else."""
    with pytest.raises(Malformed):
        decode(payload)


def watched(**source: object) -> Point:
    """A point with a device's and a bridge's topic."""
    made = point(topic="zigbee2mqtt/sos", format_="zigbee2mqtt")
    assert made.source is not None
    changed = replace(made.source, liveness_topic="d", bridge_topic="b", **source)  # type: ignore[arg-type]
    return replace(made, source=changed)


def causes(of: Point, seen: Seen | None = None, **how: object) -> dict[str, str]:
    """What is wrong with it, by subject."""
    given = {"device": None, "bridge": None, "now": MORNING, "now_s": 1000.0, "listened_s": 0.0} | how
    return dict(wrong(of, seen or Seen(), **given))  # type: ignore[arg-type]


def word(online: bool, ago_s: float) -> Word:
    return Word(online=online, since_s=1000.0 - ago_s, at=MORNING - timedelta(seconds=ago_s))


def test_offline_is_a_fault_after_its_grace_and_the_bridge_is_named_first() -> None:
    """The cause says which of the two it is, where that is told, and what to do."""
    of = watched()
    assert causes(of) == {}
    assert causes(of, device=word(True, 99), bridge=word(True, 99)) == {}
    assert causes(of, device=word(False, OFFLINE_GRACE_S - 0.1)) == {}
    device = causes(of, device=word(False, OFFLINE_GRACE_S))[of.id]
    assert "offline (d)" in device
    assert "battery" in device
    bridge = causes(of, device=word(False, 60), bridge=word(False, 60))[of.id]
    assert "bridge is offline (b)" in bridge


def test_silence_counts_only_where_it_is_asked_for_and_can_be_judged() -> None:
    """By the listening clock, from the last message on."""
    of, seen = watched(silent_after_s=900), Seen(heard_s=5000.0)
    assert causes(of, seen, listened_s=5899.0) == {}
    assert "900 s" in causes(of, seen, listened_s=5900.0)[of.id]
    assert causes(of, seen, listened_s=None) == {}
    assert causes(watched(), seen, listened_s=1e9) == {}


def test_a_battery_is_low_below_15_until_20_is_told() -> None:
    """It does not flicker between, and a message without a reading changes nothing."""
    of, seen, low = watched(), Seen(), []
    for reading in (BATTERY_LOW, BATTERY_LOW - 1, None, BATTERY_WELL - 1, BATTERY_WELL, BATTERY_LOW):
        signal = Signal(kind=SignalKind.ALIVE, battery=reading)
        seen = seen.heard([signal], at=MORNING, qos=1, listened_s=0)
        low.append(f"{of.id} battery" in causes(of, seen))
    assert low == [False, True, True, True, False, False]


def test_tamper_stands_ten_minutes_and_until_the_contact_no_longer_tells_of_it() -> None:
    """Opened and closed within a second is still seen; what stays open stays a fault."""
    of = watched()
    opened = Seen().heard([Signal(kind=SignalKind.TAMPER)], at=MORNING, qos=1, listened_s=0)
    later = MORNING + TAMPER_HELD
    assert f"{of.id} tamper" in causes(of, opened, now=later)
    closed = opened.heard([Signal(kind=SignalKind.ALIVE)], at=MORNING, qos=1, listened_s=0)
    assert f"{of.id} tamper" in causes(of, closed, now=later - timedelta(seconds=1))
    assert causes(of, closed, now=later) == {}
