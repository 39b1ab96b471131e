"""Devices of every make, simulated whole, at a real broker and the running gateway: one press is one alarm, all else is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulators.button import ButtonFault, SimulatedButton
from simulators.hardware import Hardware, hardware
from tests.support.mosquitto import running_mosquitto
from tests.support.processes import Campus, Gateway, site_yaml, topic, wait_for

#: Point → how it is wired: format, topic, and what the site file and the device must agree on.
MAKES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "p-0": ("gateway", topic(0), {}, ""),
    "p-1": ("zigbee2mqtt", "zigbee2mqtt/sos-301", {}, ""),
    "p-2": ("tasmota", "stat/t-301/RESULT", {}, ""),
    "p-3": ("shelly-gen1", "shellies/s1-301/input_event/0", {}, ""),
    "p-4": ("shelly-gen2", "s2-301/events/rpc", {}, ""),
    "p-5": ("tasmota", "tele/t-302/SENSOR", {"switch": True}, ""),
    "p-6": (
        "zigbee2mqtt",
        "zigbee2mqtt/door-301",
        {"switch": True, "normally_closed": True},
        ", contact: normally-closed",
    ),
    "p-7": ("shelly-gen1", "shellies/s1-302/input/0", {"switch": True}, ""),
    "p-8": (
        "shelly-gen2",
        "s2-302/events/rpc",
        {"switch": True, "normally_closed": True},
        ", contact: normally-closed",
    ),
}


def school(broker: str, centre: str) -> str:
    """A site with a point of each make."""
    text = site_yaml(broker=broker, centre=centre, points=len(MAKES))
    for number, (format_, where, _, more) in enumerate(MAKES.values()):
        text = text.replace(
            f"mqtt: {{topic: {topic(number)}}}", f"mqtt: {{topic: {where}, format: {format_}{more}}}"
        )
    return text


def devices() -> dict[str, Hardware]:
    """One device for each point."""
    return {point: hardware(format_, where, **kind) for point, (format_, where, kind, _) in MAKES.items()}


def presses(gateway: Gateway) -> dict[str, int]:
    """How often each point that has an alarm was pressed."""
    return {alarm["point"]["id"]: alarm["presses"] for alarm in gateway.alarms()}


@pytest.mark.parametrize("fault", ["none", "duplicate=2"])
def test_a_press_of_each_make_is_one_alarm_and_all_else_it_says_is_none(tmp_path: Path, fault: str) -> None:
    """Greeting, telemetry and a last will raise no alarm, the will a fault; one push raises one alarm, however often each
    message of it comes; what is said about it afterwards adds nothing."""
    with (
        running_mosquitto(tmp_path) as broker,
        Campus(tmp_path) as campus,
        Gateway(tmp_path, school(broker, campus.centre_url)) as gateway,
        SimulatedButton(broker) as button,
    ):
        made = devices()
        for device in made.values():
            for pending in button.play([*device.hello(), *device.telemetry(), *device.telemetry()]):
                pending.wait()
        assert presses(gateway) == {}

        with SimulatedButton(broker, faults=[ButtonFault.read(fault)] * 100) as faulty:
            for id_, device in made.items():
                # They have just started: a switch is believed if its edge still stands a second later.
                held_s = 1.3 if MAKES[id_][2].get("switch") else 0.1
                for pending in faulty.play(device.push(held_s=held_s)):
                    pending.wait()
        wait_for(lambda: len(presses(gateway)) == len(MAKES), within_s=15, what="an alarm of each make")
        for device in made.values():
            for pending in button.play(device.telemetry()):
                pending.wait()
        for device in made.values():
            will = device.will()
            if will is None:
                continue
            with SimulatedButton(broker, will=will[:2]) as dying:
                dying.drop_dead()
        gone = {("contact", point) for point, device in made.items() if device.will() is not None}
        wait_for(lambda: gone <= gateway.faults().keys(), within_s=20, what="a fault for each that is gone")
        button.press(topic(0))  # what comes after all of it, on the same connection of the gateway
        wait_for(lambda: presses(gateway)["p-0"] == 2, within_s=10, what="the press after all of it")
        assert presses(gateway) == {**dict.fromkeys(MAKES, 1), "p-0": 2}
