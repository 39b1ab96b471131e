"""`campus-simulators faults`: play a plan of faults on running simulators, or only print it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from simulators.fault_kinds import KINDS, kind_of
from simulators.faults import LONGEST_S, Plan, as_json_lines, as_table, make_plan, read_plan
from simulators.lifetime import stop_asked

_WORDS = sorted({fault for kinds in KINDS.values() for fault in kinds} - {"none"})
DESCRIPTION = """\
Makes a plan of faults from a seed, prints it, and plays it on simulators that are running: on cameras, a centre and what
is PUT to it over their control addresses, on a button by pressing it. The same seed gives the same plan for ever; its
print (either form) can be kept, changed by hand and played again. At the end, at SIGTERM too, all is in good order again.

The plan goes to standard output, what is being done to standard error. Exit status: 0 all of it was done, 1 something
was not (it says what), 2 wrong arguments or nobody at an address. The broker's password is read from MQTT_PASSWORD.
"""
EXAMPLES = """\
examples
  campus-simulators faults --print --seed 7 --minutes 5               look at a plan of all, with one camera
  campus-simulators campus > campus.json                              in another terminal: cameras and a centre
  campus-simulators faults --seed 7 --minutes 5 --campus campus.json --broker mqtt://127.0.0.1:1883 --topic campus/p-301
  campus-simulators faults --centre http://127.0.0.1:9111 --only refuse,freeze,slow     a bad day of the centre's
  campus-simulators faults --print --seed 7 > plan; campus-simulators faults --replay plan --campus campus.json …

what each can play
""" + "\n".join(
    f"  {simulator:8} {fault:15} {about.what}{f' ({about.unit})' if about.unit else ''}"
    for simulator, kinds in KINDS.items()
    for fault, about in kinds.items()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    plan = parser.add_argument_group("the plan")
    plan.add_argument("--seed", type=int, help="of the plan (default: a fresh one, which is printed)")
    plan.add_argument("--minutes", type=float, default=5.0, help="how long it is (default %(default)s)")
    plan.add_argument(
        "--only", type=_words, default=(), metavar="FAULTS", help=f"only these of {', '.join(_WORDS)}"
    )
    plan.add_argument(
        "--simulators",
        type=_words,
        default=(),
        help="with --print: button, centre, media, camera-1, … (default: those with an address; with none, one of each)",
    )
    plan.add_argument(
        "--replay", type=Path, metavar="FILE", help="play this print of a plan; - for standard input"
    )
    plan.add_argument("--format", choices=("table", "json"), default="table", help="of the print")
    plan.add_argument("--print", action="store_true", dest="only_print", help="play nothing")
    doors = parser.add_argument_group("where they are")
    doors.add_argument(
        "--campus", type=Path, metavar="FILE", help="the line that campus-simulators campus has printed"
    )
    doors.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="URL",
        help="a camera's HTTP address, as http://127.0.0.1:8081; the first given is camera-1",
    )
    doors.add_argument(
        "--centre", metavar="URL", help="the address of the centre's page, as http://127.0.0.1:9111"
    )
    doors.add_argument("--broker", metavar="URL", help="mqtt://host:port, for the button")
    doors.add_argument(
        "--topic",
        action="append",
        default=[],
        help="where the button is pressed, in the gateway's own format; several are pressed in turn",
    )
    doors.add_argument("--username", help="of the button; the password comes from MQTT_PASSWORD")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")


def run(args: argparse.Namespace) -> int:
    """Print and play. 0 all done, 1 something was not, 2 wrong arguments or nobody at an address."""
    try:
        addresses = _addresses(args)
        plan, heading = _plan(args, list(addresses))
        if not args.only_print:
            _check_addresses(plan, addresses)
    except (ValueError, OSError) as error:
        print(f"campus-simulators faults: {error}", file=sys.stderr)
        return 2
    print(as_table(plan, heading) if args.format == "table" else as_json_lines(plan), end="", flush=True)
    return 0 if args.only_print else asyncio.run(_play(args, plan, addresses))


def _plan(args: argparse.Namespace, named: list[str]) -> tuple[Plan, str]:
    """The plan asked for and what is to be said above it. Raises ValueError or OSError."""
    if unknown := [word for word in args.only if word not in (*_WORDS, "none")]:
        raise ValueError(f"--only: found {unknown[0]!r}, expected of {', '.join(_WORDS)}")
    if args.replay is not None:
        if str(args.replay) == "-" and args.with_parent:
            raise ValueError("--replay - and --with-parent both want standard input: keep the plan in a file")
        text = sys.stdin.read() if str(args.replay) == "-" else args.replay.read_text("utf-8")
        try:
            plan = read_plan(text)
        except ValueError as error:
            raise ValueError(f"{args.replay}: {error}") from None
        if not plan:
            raise ValueError(f"{args.replay}: found no fault in it, expected a print of this command")
        return plan, f"replayed from {args.replay}"
    if not 0 < args.minutes * 60 <= LONGEST_S:
        raise ValueError(
            f"--minutes: found {args.minutes:g}, expected more than 0 and at most {LONGEST_S / 60:g}"
        )
    simulators = list(args.simulators) or named or ["button", "camera-1", "centre", "media"]
    if unknown := [name for name in simulators if kind_of(name) not in KINDS]:
        raise ValueError(
            f"--simulators: found {unknown[0]!r}, expected of button, centre, media, camera-1, camera-2, …"
        )
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    plan = make_plan(seed, duration_s=args.minutes * 60, simulators=simulators, only=args.only)
    if not plan:
        raise ValueError("nothing fits into this plan: give more --minutes, or other faults to --only")
    chosen = f" --only {','.join(args.only)}" if args.only else ""
    return plan, f"--seed {seed} --minutes {args.minutes:g} --simulators {','.join(simulators)}{chosen}"


def _addresses(args: argparse.Namespace) -> dict[str, str]:
    """Where each simulator takes its faults, by its name in a plan."""
    found: dict[str, str] = {}
    if args.campus is not None:
        try:
            line: Any = json.loads(args.campus.read_text("utf-8"))
            for number, camera in enumerate(line["cameras"], start=1):
                found[f"camera-{number}"] = f"http://{camera['host']}:{camera['onvif_port']}"
            found["centre"] = found["media"] = line["centre"]["page"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{args.campus}: expected the line that campus-simulators campus prints ({error!r})"
            ) from None
    found |= {f"camera-{number}": url for number, url in enumerate(args.camera, start=1)}
    if args.centre:
        found["centre"] = found["media"] = args.centre
    if bool(args.broker) != bool(args.topic):
        raise ValueError("the button needs both --broker and --topic")
    if args.broker:
        found["button"] = args.broker
    for name, url in found.items():
        if not url.startswith("mqtt://" if name == "button" else "http://"):
            raise ValueError(
                f"{name}: found {url!r}, expected {'mqtt' if name == 'button' else 'http'}://host:port"
            )
    return found


def _check_addresses(plan: Plan, addresses: dict[str, str]) -> None:
    option = {
        "button": "--broker and --topic",
        "centre": "--centre",
        "media": "--centre",
        "camera": "--camera",
    }
    for name in sorted({line.simulator for line in plan}):
        if name not in addresses:
            raise ValueError(f"{name} is in the plan: give its {option[kind_of(name)]}, or only --print")


async def _play(args: argparse.Namespace, plan: Plan, addresses: dict[str, str]) -> int:
    # The broker's and the HTTP library are loaded only now: help and prints are answered at once.
    from simulators.fault_doors import ButtonDoor, Door, DoorError, HttpDoor
    from simulators.fault_player import carry_out

    stopped = stop_asked(with_parent=args.with_parent)
    doors: dict[str, Door] = {}
    try:
        for name in sorted({line.simulator for line in plan}):
            if name == "button":
                password = os.environ.get("MQTT_PASSWORD")
                doors[name] = ButtonDoor(args.broker, args.topic, username=args.username, password=password)
            else:
                doors[name] = HttpDoor(name, addresses[name])
        problems = await carry_out(plan, doors, _tell, stopped=stopped)
    except (DoorError, ValueError) as error:
        print(f"campus-simulators faults: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"not done: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _tell(at_s: float, simulator: str, fault: str, said: str) -> None:
    print(f"{at_s:8.1f} s  {simulator:10} {fault:15} {said}", file=sys.stderr, flush=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
