"""What the simulated button publishes."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from simulators.button import SimulatedButton, gateway_payload, zigbee2mqtt_payload


def test_gateway_format() -> None:
    """Only what was given is in the payload, and the time carries its offset."""
    assert json.loads(gateway_payload()) == {"event": "pressed"}
    at = datetime.fromisoformat("2026-03-02T10:15:07.123456+08:00")
    assert json.loads(gateway_payload("tamper", press_id="7", at=at, battery=0)) == {
        "event": "tamper",
        "id": "7",
        "at": "2026-03-02T10:15:07.123+08:00",
        "battery": 0,
    }
    with pytest.raises(ValueError, match="time zone"):
        gateway_payload(at=at.replace(tzinfo=None))


def test_zigbee2mqtt_format() -> None:
    """An SOS button says its action, a contact sensor its contact; neither can say what it has no word for."""
    assert json.loads(zigbee2mqtt_payload())["action"] == "emergency"
    assert json.loads(zigbee2mqtt_payload(action="hold"))["action"] == "hold"
    assert json.loads(zigbee2mqtt_payload(contact=False))["contact"] is False
    assert "action" not in json.loads(zigbee2mqtt_payload("alive"))
    assert json.loads(zigbee2mqtt_payload("tamper"))["tamper"] is True
    with pytest.raises(ValueError, match="--contact"):
        zigbee2mqtt_payload("released")
    with pytest.raises(ValueError, match="--raw"):
        zigbee2mqtt_payload("test", contact=True)


@pytest.mark.parametrize("broker", ["127.0.0.1:1883", "mqtts://127.0.0.1", "mqtt://"])
def test_broker_address(broker: str) -> None:
    """An address that is not mqtt://host is refused, with what was expected."""
    with pytest.raises(ValueError, match="expected mqtt://host:port"):
        SimulatedButton(broker)
