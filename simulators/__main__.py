"""`campus-simulators`: cameras, buttons and a 110 centre for a technician's bench."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

# One module per command, imported only when it is named: pressing a button needs no video library.
_COMMANDS = {
    "camera": ("simulators.camera.cli", "show a clock over ONVIF and RTSP, as a network camera does"),
    "button": ("simulators.button_cli", "press a panic button on an MQTT broker"),
    "centre": ("simulators.centre.cli", "take a school's alarms as the 110 centre does, and check all of it"),
    "campus": ("simulators.campus", "several cameras and a centre in one process"),
    "faults": ("simulators.faults_cli", "play a plan of faults on all of them, made from a seed"),
}
_DESCRIPTION = """\
Simulators of everything around a school's alarm gateway. Each speaks the wire and nothing else, so each
can be held against any make of system, not only against campus-gateway.
"""
_EXAMPLES = """\
examples: a bench in three terminals
  campus-simulators campus --cameras 2            cameras and a centre; prints their addresses, open the page
  campus-gateway run --config SITE.yaml           or any other system under test, set to those addresses
  campus-simulators button --topic campus/p-301   press
  campus-simulators faults --print --seed 7       a plan of faults for all of it, to be played with its addresses

`campus-simulators COMMAND --help` has the options, the faults each can play, and what should happen then.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status is returned. Wrong arguments end with exit status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="campus-simulators",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, (module_name, summary) in _COMMANDS.items():
        module = importlib.import_module(module_name) if name == named else None
        sub = commands.add_parser(
            name,
            help=summary,
            description=getattr(module, "DESCRIPTION", summary),
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if module is not None:
            module.add_arguments(sub)
    args = parser.parse_args(words)
    status: int = importlib.import_module(_COMMANDS[args.command][0]).run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
