"""`campus-simulators button`: press one button, or a thousand, of any make, well-behaved or not."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime

from simulators.button import (
    EVENTS,
    ButtonError,
    ButtonFault,
    Pending,
    Press,
    SimulatedButton,
    gateway_payload,
    zigbee2mqtt_payload,
)
from simulators.hardware import FORMATS, GESTURES, Hardware, hardware

DESCRIPTION = """\
Publishes presses to an MQTT broker as contact hardware does, waits for the broker's acknowledgement (PUBACK)
and prints one JSON line per publication with both times. Exit status: 0 everything acknowledged, 1 not,
2 wrong arguments. The password is read from the environment variable MQTT_PASSWORD.
"""
EXAMPLES = """\
examples
  one press, as our own hardware sends it:
    campus-simulators button --broker mqtt://127.0.0.1:1883 --topic campus/p-301
  a Zigbee SOS button; a door contact that opens:
    campus-simulators button --topic zigbee2mqtt/sos-301 --format zigbee2mqtt
    campus-simulators button --topic zigbee2mqtt/door-301 --format zigbee2mqtt --contact false
  the same as a whole device would, push by push, and what it says at other times:
    campus-simulators button --device --topic stat/p-301/RESULT --format tasmota
    campus-simulators button --device --topic shellies/p-301/input_event/0 --format shelly-gen1 --gesture long
    campus-simulators button --device --topic p-301/events/rpc --format shelly-gen2 --telemetry 3
    campus-simulators button --device --kind switch --normally-closed --topic tele/p-301/SENSOR --format tasmota
  a device that loses its power: the broker publishes its last will
    campus-simulators button --device --topic p-301/events/rpc --format shelly-gen2 --die

testing a system that receives presses: what should happen
  --bounce 4                 five equal publications within 50 ms are ONE press
  --no-id --bounce 4         the same without an event id: still one press
  --repeat 3 --every-s 2     three presses; while the alarm is open the 2nd and 3rd repeat it
  --retain                   a retained copy, delivered again at every reconnect, must never raise an alarm
  --at 2026-01-01T08:00:00+08:00   a hardware clock that is wrong by months
  --storm 1000 --topic 'campus/p-{n}'   a thousand buttons at once: a thousand alarms, none twice
  --raw '{"event": "pres'    broken payload: put aside and shown, the next press still gets through
  --raw-size 100000000       100 MB of junk: likewise
  --event test               a test press stays inside the school
"""

_ONLY_OF_A_DEVICE = ("kind", "input", "gesture", "held_s", "normally_closed", "telemetry", "die")
_ONLY_OF_A_PAYLOAD = (
    "event",
    "retain",
    "id",
    "no_id",
    "at",
    "action",
    "contact",
    "raw",
    "raw_size",
    "bounce",
    "storm",
)
_SEVERAL_INPUTS = ("tasmota", "shelly-gen2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--broker", default="mqtt://127.0.0.1:1883", help="mqtt://host:port (default %(default)s)"
    )
    parser.add_argument("--username", help="the password comes from MQTT_PASSWORD")
    parser.add_argument(
        "--topic", required=True, help="where the press is published; {n} is numbered by --storm"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="gateway",
        help="the make, as the site file names it (default %(default)s)",
    )
    parser.add_argument(
        "--event", choices=EVENTS, default="pressed", help="gateway, zigbee2mqtt (default %(default)s)"
    )
    parser.add_argument(
        "--qos", type=int, choices=(0, 1, 2), help="default: 1, and with --device what the make comes with"
    )
    parser.add_argument("--retain", action="store_true", help="ask the broker to keep it")
    parser.add_argument("--timeout-s", type=float, default=10.0, help="for each PUBACK (default %(default)s)")
    payload = parser.add_argument_group("payload")
    payload.add_argument("--id", help="gateway: id of the physical event (default: a fresh one per press)")
    payload.add_argument("--no-id", action="store_true", help="gateway: leave the id out")
    payload.add_argument("--at", type=_instant, help="gateway: the hardware's own time, RFC 3339")
    payload.add_argument("--battery", type=int, help="per cent")
    payload.add_argument(
        "--action", default="emergency", help="zigbee2mqtt: single, hold … (default %(default)s)"
    )
    payload.add_argument(
        "--contact", choices=("true", "false"), help="zigbee2mqtt: a contact sensor; false is open"
    )
    payload.add_argument("--raw", help="publish these bytes instead")
    payload.add_argument(
        "--raw-size", type=_count, metavar="BYTES", help="publish so much random junk instead"
    )
    device = parser.add_argument_group("a whole device (always so with tasmota and shelly-…)")
    device.add_argument(
        "--device", action="store_true", help="everything the device publishes, on all its topics"
    )
    device.add_argument(
        "--kind", choices=("button", "switch"), default="button", help="a push, or a contact with a state"
    )
    device.add_argument(
        "--input",
        type=int,
        metavar="N",
        help="which one of its inputs: tasmota from 1, shelly-gen2 from 0 (shelly-gen1 has it in the topic)",
    )
    device.add_argument(
        "--gesture", choices=GESTURES, default="single", help="of a button (default %(default)s)"
    )
    device.add_argument(
        "--held-s", type=float, default=0.2, metavar="S", help="how long it is held (default %(default)s)"
    )
    device.add_argument(
        "--normally-closed", action="store_true", help="a switch that is closed while nobody presses"
    )
    device.add_argument(
        "--telemetry",
        type=_count,
        metavar="N",
        help="press nothing; say N times what it says though nothing happened",
    )
    device.add_argument("--die", action="store_true", help="at the end lose the connection without a word")
    faults = parser.add_argument_group("faults on the way")
    faults.add_argument(
        "--fault",
        action="append",
        type=_fault,
        default=[],
        metavar="WORDS",
        help="of the next publication, in turn for each --fault given: drop, delay=S, duplicate=N, bounce=N, "
        "reorder, retained-copy, cut=BYTES, several with commas, or none; a device's greeting is left alone",
    )
    often = parser.add_argument_group("how often")
    often.add_argument(
        "--repeat", type=_count, default=1, metavar="N", help="N presses, each with its own id"
    )
    often.add_argument(
        "--every-s", type=float, default=1.0, metavar="S", help="between them (default %(default)s)"
    )
    often.add_argument(
        "--bounce", type=int, default=0, metavar="N", help="publish each press N times more, 10 ms apart"
    )
    often.add_argument("--storm", type=_count, metavar="N", help="press N buttons at once, --topic with {n}")


def run(args: argparse.Namespace) -> int:
    """Press as asked. 0 all acknowledged, 1 not, 2 wrong arguments."""
    try:
        if args.storm and "{n}" not in args.topic:
            raise ValueError("--storm: the topic needs {n}, as in campus/p-{n}")
        device = _device(args)
        if device is None:
            _payload(args)
        will = device.will() if device is not None else None
        greetings = len(device.hello()) if device is not None else 0  # faults are for what was asked for
        button = SimulatedButton(
            args.broker,
            username=args.username,
            password=os.environ.get("MQTT_PASSWORD"),
            faults=[*([ButtonFault()] * greetings if args.fault else ()), *args.fault],
            will=will[:2] if will is not None else None,
        )
    except ValueError as error:
        print(f"campus-simulators button: {error}", file=sys.stderr)
        return 2
    number = 0
    try:
        with button:
            for pending in _played(button, device, args) if device else _publications(button, args):
                for publication in pending:
                    number += 1
                    _print(number, publication.wait(args.timeout_s))
            if args.die:
                button.drop_dead()
    except ButtonError as error:
        print(f"campus-simulators button: {error}", file=sys.stderr)
        return 1
    return 0


def _device(args: argparse.Namespace) -> Hardware | None:
    """The device to simulate, if one was asked for. Raises ValueError where the options do not fit."""
    if not args.device and args.format in ("gateway", "zigbee2mqtt"):
        given = _given(args, _ONLY_OF_A_DEVICE)
        if given:
            raise ValueError(f"{given}: only of a whole device: give --device")
        return None
    given = _given(args, _ONLY_OF_A_PAYLOAD)
    if given:
        raise ValueError(f"{given}: of single payloads, not of a whole device; for faults of one see --fault")
    settings = {"qos": args.qos, "battery": args.battery, "number": args.input}
    if args.input is not None and args.format not in _SEVERAL_INPUTS:
        raise ValueError(
            f"--input: with {args.format} the topic says which; of: {', '.join(_SEVERAL_INPUTS)}"
        )
    return hardware(
        args.format,
        args.topic,
        switch=args.kind == "switch",
        normally_closed=args.normally_closed,
        **{name: value for name, value in settings.items() if value is not None},
    )


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """Those of the options that were given; what would be passed over in silence misleads whoever gave it."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    given = [name for name in names if getattr(args, name) != parser.get_default(name)]
    return ", ".join("--" + name.replace("_", "-") for name in given)


def _played(button: SimulatedButton, device: Hardware, args: argparse.Namespace) -> Iterator[list[Pending]]:
    yield button.play(device.hello())
    for turn in range(args.telemetry or args.repeat):
        if turn:
            time.sleep(args.every_s)
        yield button.play(
            device.telemetry() if args.telemetry else device.push(args.gesture, held_s=args.held_s)
        )


def _publications(button: SimulatedButton, args: argparse.Namespace) -> Iterator[list[Pending]]:
    for press in range(args.repeat):
        if press:
            time.sleep(args.every_s)
        topics = [args.topic.replace("{n}", str(n + 1)) for n in range(args.storm or 1)]
        payloads = [_payload(args) for _ in topics]
        pending: list[Pending] = []
        for again in range(args.bounce + 1):
            if again:
                time.sleep(0.01)
            pending += [
                button.publish(topic, payload, qos=1 if args.qos is None else args.qos, retain=args.retain)
                for topic, payload in zip(topics, payloads, strict=True)
            ]
        yield pending


def _payload(args: argparse.Namespace) -> bytes:
    if args.raw is not None:
        return str(args.raw).encode()
    if args.raw_size is not None:
        return secrets.token_bytes(args.raw_size)
    if args.format == "zigbee2mqtt":
        contact = None if args.contact is None else args.contact == "true"
        battery = 100 if args.battery is None else args.battery
        return zigbee2mqtt_payload(args.event, action=args.action, contact=contact, battery=battery)
    press_id = None if args.no_id else args.id or str(uuid.uuid4())
    return gateway_payload(args.event, press_id=press_id, at=args.at, battery=args.battery)


def _print(number: int, press: Press) -> None:
    acknowledged_s = press.acknowledged_s
    line = {
        "n": number,
        "topic": press.topic,
        "payload": press.payload[:200].decode("utf-8", "replace"),
        "bytes": len(press.payload),
        "qos": press.qos,
        "retain": press.retain,
        "fault": press.fault,
        "published_s": round(press.published_s, 6),
        "acknowledged_s": None if acknowledged_s is None else round(acknowledged_s, 6),
        "puback_ms": None
        if acknowledged_s is None
        else round((acknowledged_s - press.published_s) * 1000, 3),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _fault(text: str) -> ButtonFault:
    try:
        return ButtonFault.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 or more")
    return value


def _instant(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected RFC 3339") from error
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an offset such as +08:00")
    return value
