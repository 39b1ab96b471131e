"""Odd presses through the running gateway, a real mosquitto and a simulated centre: as many alarms as there were pushes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.processes import Broker, Campus, Gateway, run_gateway, site_yaml, wait_for

#: Point → how it is wired.
POINTS = {
    "p-twice": "topic: zigbee2mqtt/twice, format: zigbee2mqtt",
    "p-action": "topic: zigbee2mqtt/old/action, format: zigbee2mqtt",
    "p-bare": "topic: zigbee2mqtt/values/contact, format: zigbee2mqtt, contact: normally-closed",
    "p-sos": "topic: zigbee2mqtt/sos, format: zigbee2mqtt",
    "p-state": "topic: zigbee2mqtt/state, format: zigbee2mqtt",
    "p-keypad": 'topic: zigbee2mqtt/keypad, format: zigbee2mqtt, press: [emergency, "panic"]',
    "p-end": "topic: campus/contacts/end",
    "p-nan": "topic: tele/nan/SENSOR, format: tasmota",
    "p-start": "topic: shellies/shelly1-A1/input/0, format: shelly-gen1, contact: normally-closed",
    "p-radio": 'topic: tele/bridge/RESULT, format: tasmota, input: "93CF64"',
    "p-count": "topic: campus/contacts/count",
}


def school(broker: str, centre: str) -> str:
    plain = site_yaml(broker=broker, centre=centre)
    head, _, rest = plain.partition("points:\n")
    points = "".join(
        f"  - {{id: {id_}, name: 触点, zone: b1-301, mqtt: {{{mqtt}}}}}\n" for id_, mqtt in POINTS.items()
    )
    return f"{head}points:\n{points}{rest[rest.index('centre:') :]}"


def presses(gateway: Gateway) -> dict[str, list[int]]:
    """The presses of each alarm of each point, newest alarm first."""
    told: dict[str, list[int]] = {}
    for alarm in gateway.alarms():
        told.setdefault(alarm["point"]["id"], []).append(alarm["presses"])
    return told


def of_point(gateway: Gateway, id_: str) -> dict[str, Any]:
    (point,) = [p for p in gateway.get("/api/v1/points")["points"] if p["id"] == id_]
    health: dict[str, Any] = point["health"]
    return health


def pushes(press: Callable[..., object]) -> None:
    """One push of each point but the last few, as its hardware tells it."""
    for said in (
        b'{"action":"single","battery":100}',
        b'{"battery":100,"click":"single","voltage":3022}',
        b'{"action":""}',
    ):
        press("zigbee2mqtt/twice", said)
    press("zigbee2mqtt/old/action", b"emergency")
    press("zigbee2mqtt/old/action", b"")
    press("zigbee2mqtt/values/contact", b"true")
    press("zigbee2mqtt/values/contact", b"false")
    press("zigbee2mqtt/sos", b'{"sos":true,"battery":100,"linkquality":60}')
    press("zigbee2mqtt/state", b'{"sos":false,"battery":100}')
    press("zigbee2mqtt/state", b'{"sos":true,"battery":100}')
    press("zigbee2mqtt/state", b'{"sos":true,"battery":99}')
    for word in (b"arm_all_zones", b"single", b"panic"):
        press("zigbee2mqtt/keypad", b'{"action":"' + word + b'"}')
    press("campus/contacts/end", b'{"event":"pressed"}\x00')
    press("tele/nan/SENSOR", b'{"Time":"x","Switch1":"OFF","DHT11":{"Temperature":nan}}')
    press("tele/nan/SENSOR", b'{"Time":"x","Switch1":"ON","DHT11":{"Temperature":nan}}\r\n')
    press("shellies/shelly1-A1/input/0", b"1")
    press("shellies/announce", b'{"id":"shelly1-A1","mac":"A1"}')
    press("shellies/shelly1-A1/input/0", b"0")
    press("shellies/shelly1-A1/input/0", b"1")
    for _ in range(3):
        press("tele/bridge/RESULT", b'{"Time":"x","RfReceived":{"Data":"93CF64","RfKey":2}}')
        press("tele/bridge/RESULT", b'{"Time":"x","RfReceived":{"Data":"00CF64","RfKey":3}}')
    press("campus/contacts/count", b'{"event":"pressed","id":1}')


ONE_EACH = {id_: [1] for id_ in POINTS if id_ != "p-start"}


@pytest.mark.slow
def test_odd_presses_are_as_many_alarms_as_there_were_pushes(tmp_path: Path) -> None:
    """And over a restart; what stands, what was left out and what is guessed is said on the point, at the centre, by check."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, school(broker.url, campus.centre_url))
        with gateway, SimulatedButton(broker.url) as button:
            pushes(button.press)
            wait_for(
                lambda: set(presses(gateway)) == set(ONE_EACH), within_s=20, what="an alarm of each push"
            )
            wait_for(lambda: len(campus.alarms()) == len(ONE_EACH), within_s=20, what="all at the centre")
            assert presses(gateway) == ONE_EACH
            for alarm in campus.alarms():
                campus.reply(alarm["id"], "accepted")
                campus.reply(alarm["id"], "closed")
            # Reports of what stands; nobody pressed.
            button.press("zigbee2mqtt/sos", b'{"sos":true,"battery":99,"linkquality":63}')
            button.press("zigbee2mqtt/state", b'{"sos":true,"battery":98}')
            wait_for(
                lambda: (
                    {s for s in faults(campus) if s.startswith("p-s")} == {"p-sos reports", "p-state flag"}
                ),
                within_s=30,
                what="both are faults at the centre",
            )
            assert "filtered_cache: [sos]" in gateway.faults()["contact", "p-sos reports"]
            assert of_point(gateway, "p-state")["healthy"] is False
            assert sorted(of_point(gateway, "p-keypad")["other_words"]) == ["arm_all_zones", "single"]
        with gateway, SimulatedButton(broker.url) as button:
            # What the bridge kept, told at its start.
            button.press("zigbee2mqtt/bridge/state", b'{"state":"online"}', retain=True)
            button.press("zigbee2mqtt/sos", b'{"sos":true,"battery":99,"linkquality":63}')
            button.press("zigbee2mqtt/state", b'{"sos":true,"battery":98}')
            # The end of all that, in order: a push that is one.
            button.press("zigbee2mqtt/state", b'{"sos":false,"battery":98}')
            button.press("zigbee2mqtt/state", b'{"sos":true,"battery":98}')
            button.press("zigbee2mqtt/keypad", b'{"action":"disarm"}')
            wait_for(
                lambda: len(presses(gateway).get("p-state", [])) == 2, within_s=20, what="the second push"
            )
            assert presses(gateway) == {**ONE_EACH, "p-state": [1, 1]}
            wait_for(
                lambda: ("contact", "p-state flag") not in gateway.faults(),
                within_s=30,
                what="released and pressed",
            )
            # Beside the running gateway.
            checked = run_gateway("check", "--config", str(gateway.config), "--data-dir", str(gateway.data))
            assert "p-keypad: heard " in checked.stdout
            assert "arm_all_zones" in checked.stdout
            assert "p-radio: heard rfkey3: no press" in checked.stdout  # of an input that no point names
            assert checked.stdout.count(": heard ") == 2


def faults(campus: Campus) -> set[str]:
    return {fault["subject"] for fault in campus.faults() if fault["kind"] == "contact"}
