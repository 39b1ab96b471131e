"""Payloads that devices in the field were seen to publish, and their kin, in order through codec, judgement and database.

A row: whose they are, the format, what comes (seconds after the one before), the presses of each alarm, and how many of the
messages nobody understood.

One file, though long: it is a table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import point
from tests.support.clock import run
from tests.support.door import door

S = "2025-01-04T00:31:"


@dataclass(frozen=True)
class Sample:
    whose: str
    format: str
    story: list[tuple[float, Any]]
    presses: list[int]
    not_understood: int = 0
    input: str | None = None
    normally_open: bool = True


def _rf(**told: object) -> dict[str, object]:
    return {"Time": "2024-08-17T19:35:09", "RfReceived": {"Sync": 18836, "Low": 650, "High": 1840, **told}}


def _raw(data: str) -> dict[str, object]:
    return {"Time": "2024-08-17T19:35:09", "RfRaw": {"Data": data}}


def _blu(event: str, data: object, ts: float = 1772417707.1, script: str = "script:1") -> dict[str, object]:
    events = [{"component": script, "id": 1, "event": event, "data": data, "ts": ts}]
    return {
        "src": "shellyplus1-aa",
        "dst": "s/events",
        "method": "NotifyEvent",
        "params": {"ts": ts, "events": events},
    }


def _shbtn(count: int, **more: object) -> dict[str, object]:
    inputs = [{"input": 0, "event": "S", "event_cnt": count}]
    return {"inputs": inputs, "bat": {"value": 53, "voltage": 3.79}, **more}


BUTTON = {"battery": 100, "last_seen": S + "54", "linkquality": 120}
DOOR = {"battery": 100, "battery_low": False, "linkquality": 102, "tamper": False, "voltage": 3000}
ADDR = "aa:bb:cc:dd:ee:01"

SAMPLES = [
    # Zigbee2MQTT
    Sample(
        "SOS button, battery null",
        "zigbee2mqtt",
        [
            (0, {"action": "emergency", "battery": None, "linkquality": 90}),
            (1, {"action": "", "battery": None, "linkquality": 90}),
        ],
        [1],
    ),
    Sample(
        "TS0601_sos",
        "zigbee2mqtt",
        [
            (0, {"action": None, **BUTTON}),
            (9, {"action": "emergency", **BUTTON}),
            (1, {"action": "", **BUTTON}),
        ],
        [1],
    ),
    Sample(
        "TS0601 _TZE284_2baujqot",
        "zigbee2mqtt",
        [
            (n * 60, {"battery": 80, "emergency": e, "last_seen": f"{S}5{n}+01:00", "linkquality": 25})
            for n, e in enumerate([False, True, True, False])
        ],
        [1],
    ),
    Sample(
        "HS1EB-E, never false",
        "zigbee2mqtt",
        [
            (0, {"sos": True, "battery": 100, "linkquality": 60}),
            (90, {"sos": True, "battery": 99, "linkquality": 63}),
            (30, {"sos": True, "battery": 99, "linkquality": 63}),
        ],
        [3],
    ),
    Sample(
        "HS1EB-E with filtered_cache",
        "zigbee2mqtt",
        [(0, {"sos": True, "battery": 100}), (90, {"battery": 99}), (30, {"sos": True, "battery": 99})],
        [2],
    ),
    Sample(
        "WL-19DWZ contact",
        "zigbee2mqtt",
        [*[(60, {"contact": False, **DOOR})] * 3, (60, {"contact": True, **DOOR})],
        [1],
    ),
    Sample(
        "WL-19DWZ contact, normally closed",
        "zigbee2mqtt",
        [
            (0, {"contact": True, **DOOR}),
            (60, {"contact": False, **DOOR}),
            (60, {"contact": False, **DOOR, "voltage": 2900}),
        ],
        [1],
        normally_open=False,
    ),
    Sample(
        "SNZB-04 contact",
        "zigbee2mqtt",
        [
            (0, {"battery": 60, "contact": True, "linkquality": 23}),
            (9, {"battery": 60, "contact": False, "linkquality": 23}),
        ],
        [1],
        normally_open=False,
    ),
    Sample(
        "IKEA remote, twice the same",
        "zigbee2mqtt",
        [
            (
                0,
                {
                    "rate": 195,
                    "linkquality": 117,
                    "update_available": False,
                    "brightness": 255,
                    "battery": 60,
                    "action": "toggle",
                },
            )
        ]
        * 2,
        [1],
    ),
    Sample(
        "WXKG11LM, its report",
        "zigbee2mqtt",
        [
            (
                0,
                {
                    "battery": 100,
                    "device_temperature": 29,
                    "linkquality": 200,
                    "power_outage_count": 15,
                    "voltage": 3055,
                    "action": "",
                },
            )
        ],
        [],
    ),
    *[
        Sample(f"MIR-SO100 {word}", "zigbee2mqtt", [(0, {"action": word})], [1])
        for word in ("single", "double", "hold")
    ],
    Sample(
        "Hue remote",
        "zigbee2mqtt",
        [(0, {"action": "off-press"}), (0.4, {"action": "off-press-release"})],
        [1],
    ),
    Sample(
        "Hue remote, up",
        "zigbee2mqtt",
        [(0, {"action": "up-press"}), (0.4, {"action": "up-press-release"}), (9, {"action": "down-press"})],
        [2],
    ),
    Sample("BT400B", "zigbee2mqtt", [(0, {"action": "emergency"})], [1]),
    Sample(
        "keypad, its arming",
        "zigbee2mqtt",
        [
            (
                0,
                {
                    "action": "arm_day_zones",
                    "action_code": "",
                    "action_transaction": 84,
                    "action_zone": 0,
                    "battery": 100,
                    "tamper": False,
                    "voltage": 5000,
                },
            ),
            (9, {"action": "disarm", "action_code": "0000"}),
            (9, {"action": ""}),
            (9, {"action": "panic"}),
        ],
        [1],
    ),
    Sample("a motion sensor by mistake", "zigbee2mqtt", [(0, {"occupancy": True, "illuminance": 7})], [], 1),
    Sample(
        "a lamp by mistake",
        "zigbee2mqtt",
        [(0, {"state": "ON", "brightness": 200}), (9, {"state": "OFF", "color_mode": "xy"})],
        [],
        2,
    ),
    Sample("a flag as a text", "zigbee2mqtt", [(0, {"sos": "true", "battery": 9})], [], 1),
    Sample("a flag as a number", "zigbee2mqtt", [(0, {"emergency": 1})], [], 1),
    Sample("a contact as a word", "zigbee2mqtt", [(0, {"contact": "open"}), (9, {"contact": None})], [], 1),
    # Shelly, generation 1
    Sample("SHBTN info", "shelly-gen1", [(0, _shbtn(2820)), (30, _shbtn(2821))], [1]),
    Sample(
        "SHBTN info that a push woke, at first sight",
        "shelly-gen1",
        [(0, _shbtn(2820, act_reasons=["button"])), (1, _shbtn(2820, act_reasons=["button"]))],
        [1],
    ),
    Sample(
        "SHBTN info, for another reason", "shelly-gen1", [(0, _shbtn(2820, act_reasons=["periodic"]))], []
    ),
    Sample(
        "SHDW-2 that its opening woke, at first sight",
        "shelly-gen1",
        [(0, {"sensor": {"state": "open"}, "bat": {"value": 90}, "act_reasons": ["sensor"]})],
        [1],
        normally_open=False,
    ),
    Sample(
        "a thermostat by mistake",
        "shelly-gen1",
        [(0, {"thermostats": [{"pos": 3}], "calibrated": True})],
        [],
        1,
    ),
    # Shelly, generation 2
    Sample(
        "status document without method",
        "shelly-gen2",
        [
            (0, {"ts": 1656519645.48, "input:0": {"id": 0, "state": False}}),
            (9, {"ts": 1656519655.48, "input:0": {"id": 0, "state": True}}),
        ],
        [1],
    ),
    Sample(
        "answer to GetStatus",
        "shelly-gen2",
        [
            (0, {"id": 7, "src": "shelly", "result": {"input:1": {"id": 1, "state": False}, "sys": {}}}),
            (9, {"id": 8, "src": "shelly", "result": {"input:1": {"id": 1, "state": True}, "sys": {}}}),
        ],
        [1],
    ),
    Sample(
        "status document of another input",
        "shelly-gen2",
        [
            (0, {"input:0": {"id": 0, "state": False}, "input:1": {"id": 1, "state": False}}),
            (9, {"input:0": {"id": 0, "state": False}, "input:1": {"id": 1, "state": True}}),
        ],
        [],
        input="0",
    ),
    Sample("script status", "shelly-gen2", [(0, {"id": 1, "running": True})], []),
    Sample(
        "switch status", "shelly-gen2", [(0, {"id": 0, "source": "init", "output": False, "apower": 0.0})], []
    ),
    Sample(
        "BLU button by a script",
        "shelly-gen2",
        [(0, _blu("BLU_BUTTON", {"addr": ADDR, "rssi": -62, "Button": 1, "Battery": 100}))],
        [1],
    ),
    Sample(
        "BLU button by the vendor's script",
        "shelly-gen2",
        [
            (
                0,
                _blu(
                    "shelly-blu",
                    {
                        "encryption": False,
                        "BTHome_version": 2,
                        "pid": 118,
                        "battery": 100,
                        "button": 1,
                        "rssi": -59,
                        "address": ADDR,
                    },
                ),
            ),
            (5, _blu("shelly-blu", {"pid": 118, "battery": 100, "button": 1, "address": ADDR}, 1772417712.1)),
            (5, _blu("shelly-blu", {"pid": 119, "battery": 100, "button": 1, "address": ADDR}, 1772417717.1)),
        ],
        [2],
    ),
    Sample(
        "BLU button, several buttons",
        "shelly-gen2",
        [(0, _blu("blu-rc", {"address": ADDR, "button": [0, 0, 1, 0]}))],
        [1],
    ),
    Sample(
        "BLU button, its beacon",
        "shelly-gen2",
        [(0, _blu("BLU_BUTTON", {"addr": ADDR, "Button": 0, "Battery": 100}))],
        [],
    ),
    Sample(
        "BLU button of another point",
        "shelly-gen2",
        [(0, _blu("b", {"addr": ADDR, "Button": 1}))],
        [],
        input="aa:bb:cc:dd:ee:02",
    ),
    Sample(
        "BLU door by a script",
        "shelly-gen2",
        [
            (0, _blu("BLU_DW", {"addr": ADDR, "Window": 0})),
            (9, _blu("BLU_DW", {"addr": ADDR, "Window": 1}, 1772417717.1)),
        ],
        [1],
        normally_open=False,
    ),
    Sample(
        "a thermometer by a script",
        "shelly-gen2",
        [(0, _blu("shelly-blu", {"address": ADDR, "temperature": 21.5, "humidity": 40}))],
        [],
        1,
    ),
    Sample("a script that tells a bare value", "shelly-gen2", [(0, _blu("BLU_BUTTON", "pushed"))], [], 1),
    Sample(
        "a script with another button", "shelly-gen2", [(0, _blu("BLU_BUTTON", {"button": {"0": 1}}))], [], 1
    ),
    Sample("a script of the school's own", "shelly-gen2", [(0, _blu("my_alarm", {"what": "pushed"}))], [], 1),
    Sample("another device by mistake", "shelly-gen2", [(0, {"temperature": 21.5, "hum": 40})], [], 1),
    # Tasmota
    Sample(
        "RF button, three times a push",
        "tasmota",
        [
            (0, _rf(Data="93CF64", RfKey=2)),
            (0.6, _rf(Data="93CF64", RfKey=2)),
            (0.6, _rf(Data="93CF64", RfKey=2)),
        ],
        [1],
    ),
    Sample(
        "RF button, two pushes",
        "tasmota",
        [(0, _rf(Data="93CF64", RfKey=2)), (9, _rf(Data="93CF64", RfKey=2))],
        [2],
    ),
    Sample("RF button, its key as input", "tasmota", [(0, _rf(Data="93CF64", RfKey=2))], [1], input="RfKey2"),
    Sample(
        "RF button, its code as input",
        "tasmota",
        [(0, _rf(Data="93CF64", RfKey="None"))],
        [1],
        input="93cf64",
    ),
    Sample(
        "RF button of the neighbours", "tasmota", [(0, _rf(Data="93CF65", RfKey="None"))], [], input="93CF64"
    ),
    Sample(
        "RF receiver without a bridge",
        "tasmota",
        [(0, {"RfReceived": {"Data": "0x7028D5", "Bits": 24, "Protocol": 1, "Pulse": 238}})],
        [1],
        input="7028D5",
    ),
    Sample("RF code as a number", "tasmota", [(0, _rf(Data=0x93CF64))], [1], input="93CF64"),
    Sample(
        "RF raw, a code of 24 bits",
        "tasmota",
        [(0, {"RfRaw": {"Data": "AAA436BA01CC0546336D0E55"}}), (0.4, _raw("AA A4 36BC 01CE 0544 336D0E 55"))],
        [1],
        input="336D0E",
    ),
    Sample("RF raw of another form", "tasmota", [(0, _raw("AA B1 03 0F32 02FA 00E6 21 3C33 55"))], [], 1),
    Sample("RF raw, cut", "tasmota", [(0, _raw("AAA436BA01CC"))], [], 1),
    Sample(
        "infrared",
        "tasmota",
        [(0, {"IrReceived": {"Protocol": "NEC", "Bits": 32, "Data": "0x20DF10EF"}})],
        [],
        1,
    ),
    Sample("Zigbee by Tasmota", "tasmota", [(0, {"ZbReceived": {"0x1234": {"Power": 1}}})], [], 1),
    Sample(
        "its own state",
        "tasmota",
        [(0, {"Time": "x", "Uptime": "0T01:00:11", "POWER": "ON", "Wifi": {"RSSI": 70}})],
        [],
    ),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.format} {sample.whose}")
def test_what_the_field_sends(tmp_path: Path, sample: Sample) -> None:
    """Presses as wanted, and what is not understood is told."""

    async def tale() -> None:
        wired = point(format_=sample.format, input_=sample.input, normally_open=sample.normally_open)
        async with door(tmp_path, wired) as d:
            for after_s, said in sample.story:
                await d.clock.advance(after_s)
                await d.send(json.dumps(said).encode())
            assert await d.presses() == sample.presses
            assert sum(why is not None for why in d.not_understood) == sample.not_understood

    run(tale())
