"""The commands. ``campus-gateway --help`` says what there is."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.environment import EnvironmentRefused, read_environment, readable_by_all
from config.findings import SiteRefused
from config.loading import load_site
from config.settings import resolve
from config.unbuilt import unbuilt
from gateway.app.accepted import Choice, keep_accepted, last_accepted, new_file
from gateway.app.commands.certs import cli as certs
from gateway.app.telemetry import set_up_logging
from gateway.box.malloc_limits import keep_little
from gateway.box.systemd import Systemd
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from verifier import verify_export

if TYPE_CHECKING:
    from gateway.app.service import Gateway

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNCHECKED = 3  # of fsck
KEEP_AGAIN_S = 30.0  # how soon the copy of the site file is tried again where it cannot be written

_EPILOG = """examples:
  campus-gateway demo                          see the whole chain work, nothing else needed
  campus-gateway demo --once                   one press, its timeline, then exit
  campus-gateway check --config school.yaml    is the site file right?
  campus-gateway check --config school.yaml --probe
                                               … and does everything it names answer?
  campus-gateway run --config school.yaml      the gateway itself
  campus-gateway drill --config school.yaml --point p-gate
                                               does an alarm of that point reach the centre?
  campus-gateway fsck --config school.yaml     is everything that is kept what the records say?
  campus-gateway verify EXPORT.zip --key KEY   is an export what the box signed?
"""

_FSCK = """\
Checks what is kept and what is on record against each other: every minute since a camera is recorded is a segment or a gap with
its cause; every segment and every item of evidence has its object, and every object its row; nothing unheld is beyond its
ceiling; every deletion has its record, after its floor, vouched for by the register; no line of the register was altered or
taken out. In a store that keeps versions the one on record is there, and neither another one nor a mark of deletion lies over
it. With --locks the lock of every object too (one request each), with --hashes the bytes of every object, which reads all of it.

Beside a running gateway it only reads. Where none runs it repairs what is safe, and says so: sums are counted anew, locks made
as long as the record says, marks of deletion over what is kept and rests of puts that died are removed. What is missing or
altered, what is in no ledger, and further versions are never touched.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``campus-gateway``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        for path in getattr(args, "env_file", None) or ():
            os.environ.update(read_environment(path))
            if readable_by_all(path):
                print(f"warning: {path}: every user of this box can read it; chmod 640", file=sys.stderr)
    except EnvironmentRefused as refused:
        print(refused, file=sys.stderr)
        return EXIT_UNCHECKED if args.command is _fsck else EXIT_REFUSED
    try:
        code: int = args.command(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return EXIT_FAILED
    return code


def entry() -> None:
    """For ``python -m gateway``."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="campus-gateway",
        description="Joins a school's panic buttons and cameras to the 110 command centre.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the gateway until SIGTERM")
    _site_arguments(run)
    run.add_argument("--log-level", choices=("debug", "info", "warning"), default="info")
    run.set_defaults(command=_run)

    check = commands.add_parser(
        "check", help="read the site file strictly; with --probe, talk to everything it names"
    )
    _site_arguments(check)
    check.add_argument(
        "--probe", action="store_true", help="talk to every camera, broker, store and the centre"
    )
    check.set_defaults(command=_check)

    drill = commands.add_parser(
        "drill",
        help="an exercise through the whole chain of the gateway that runs on this box",
        description="Raises a drill at a point as if it had been pressed, and waits until the centre has received it. "
        "Only the user the gateway runs as can do this, on the box itself.",
        epilog="exit code: 0 received; 1 not received within 30 s, or an armed point that was not pressed; 2 refused",
    )
    _site_arguments(drill)
    drill.add_argument("--point", required=True, metavar="ID", help="the point, by its id in the site file")
    drill.add_argument(
        "--arm",
        type=float,
        metavar="SECONDS",
        help="raise nothing; make the next physical press of the point, within so many seconds (5 to 60), the drill",
    )
    drill.set_defaults(command=_drill)

    bucket = commands.add_parser(
        "make-bucket",
        help="make the S3 bucket of the site file, with object lock, and try whether it locks",
        description="Makes the bucket that storage.objects names, with object lock, which many stores let be chosen only when a "
        "bucket is made; one that is there is left as it is. Then tries it: an object is locked for an hour, and deleting it is "
        "attempted. Its key needs CreateBucket for this, and never afterwards.",
        epilog="exit code: 0 it locks; 1 it does not, or cannot be reached; 2 refused",
    )
    _site_arguments(bucket)
    bucket.set_defaults(command=_make_bucket)

    certificates = commands.add_parser("certs", help="a small CA for a school that has none; renewals")
    certs.add_arguments(certificates)

    check_all = commands.add_parser(
        "fsck",
        help="hold ledger, objects, register and deletions against each other",
        description=_FSCK,
        epilog="exit code: 0 all is well; 1 something is suspicious or was repaired; 2 something is lost or altered; "
        "3 it could not be checked",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _site_arguments(check_all)
    check_all.add_argument(
        "--hashes",
        action="store_true",
        help="read every object, hold its SHA-256 against the record, and look through the samples of films",
    )
    check_all.add_argument(
        "--locks", action="store_true", help="ask the store for the lock of every object, one request each"
    )
    check_all.add_argument(
        "--read-only", "--no-repair", action="store_true", help="repair nothing, also where no gateway runs"
    )
    check_all.add_argument(
        "--json", action="store_true", help="one JSON line for each finding, and one for the end"
    )
    check_all.set_defaults(command=_fsck)

    verify = commands.add_parser(
        "verify",
        help="check an export offline: altered, complete, by whose key",
        description=verify_export.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify_export.add_arguments(verify)
    verify.set_defaults(command=verify_export.check)

    demo = commands.add_parser("demo", help="the whole chain on this machine, with simulators")
    demo.add_argument("--once", action="store_true", help="press one button, print the timeline, exit")
    demo.add_argument(
        "--push",
        action="store_true",
        help="a school nobody can reach: stills, clips and live pictures are PUT at the centre (media: push)",
    )
    demo.add_argument(
        "--data-dir", type=Path, help="keep the demo's data here (default: a folder that is removed)"
    )
    demo.add_argument(
        "--http-port", type=int, default=8080, help="preferred port of the gateway (default 8080)"
    )
    demo.set_defaults(command=_demo)
    return parser


def _site_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file",
        type=Path,
        action="append",
        metavar="FILE",
        help="NAME=value lines for the {env: NAME} of the site file, as in systemd's EnvironmentFile=; may be given again",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="SITE.yaml", help="the site file")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where data is kept (default: 'data' beside the site file)",
    )


def _make_bucket(args: argparse.Namespace) -> int:
    try:
        settings = resolve(load_site(args.config, os.environ), args.data_dir)
    except SiteRefused as refused:
        print(refused, file=sys.stderr)
        return EXIT_REFUSED
    set_up_logging("warning")
    from gateway.app.commands.bucket import make_bucket  # not needed by the other commands

    return asyncio.run(make_bucket(settings))


def _run(args: argparse.Namespace) -> int:
    set_up_logging(args.log_level)
    path, data_dir = args.config, args.data_dir

    def instead(cause: str, text: str | None = None) -> Choice | None:
        choice = last_accepted(path, data_dir, os.environ, cause=cause, unlike=text)
        if choice is not None:
            print(f"{path}: not used; running on the last accepted copy", file=sys.stderr)
        return choice

    try:
        choice = new_file(path, data_dir, os.environ)
    except SiteRefused as refused:
        print(refused, file=sys.stderr)
        copy = instead(f"is refused: {refused}")
        if copy is None:
            return EXIT_REFUSED
        choice = copy
    return run_until_stopped(choice, instead)


def run_until_stopped(choice: Choice, instead: Callable[[str, str | None], Choice | None]) -> int:
    """Run a gateway until SIGTERM or SIGINT (exit 0) or until a vital part ends (exit 1). ``instead`` is asked for another site
    file, given why the first could not be started with and its text."""
    keep_little()
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:  # not built for this processor: asyncio's own loop does the same, slower
        runner = asyncio.Runner()
    with runner:
        return runner.run(_serve(choice, instead))


async def _serve(choice: Choice, instead: Callable[[str, str | None], Choice | None]) -> int:
    stop = asyncio.Event()
    systemd = Systemd()
    watching: asyncio.Future[None] | None = None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = _gateway(choice)
    try:
        try:
            addresses = await gateway.start()
        except Exception as exc:
            # Whatever it is: a gateway that ran with the former file is armed with it again.
            reason = exc.reason if isinstance(exc, Refused | Unavailable) else repr(exc)
            other = instead(f"cannot be started with: {reason}", choice.text) if choice.text else None
            if other is None:
                raise
            print(f"campus-gateway: {reason}", file=sys.stderr)
            await gateway.stop()
            choice, gateway = other, _gateway(other)
            addresses = await gateway.start()
        line = {"event": "started", "pid": os.getpid(), "http": addresses.http, "broker": addresses.broker}
        print(json.dumps(line), flush=True)
        waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(gateway.wait())]
        keeping = asyncio.ensure_future(_keep(choice, gateway))
        systemd.ready()
        watching = asyncio.ensure_future(systemd.watch(gateway.clock, gateway.commits))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in (keeping, *waiting):
            if each.done():
                each.result()
            each.cancel()
        return 0
    except Refused as exc:
        print(f"campus-gateway: {exc.reason}", file=sys.stderr)
        return EXIT_REFUSED
    except Unavailable as exc:
        print(f"campus-gateway: {exc.reason}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        systemd.ending()
        if watching is not None:
            watching.cancel()
        await gateway.stop()


def _gateway(choice: Choice) -> Gateway:
    from gateway.app.service import Gateway

    for finding in choice.warnings:
        print(f"warning: {finding}", file=sys.stderr)
    return Gateway(choice.settings, choice.standing)


async def _keep(choice: Choice, gateway: Gateway) -> None:
    """Keep what a gateway has started with as the accepted copy, as soon as that can be done; a fault until then."""
    subject = (FaultKind.SITE, "accepted-copy")
    while choice.text is not None:
        settings = choice.settings
        try:
            await asyncio.to_thread(keep_accepted, settings.data_dir, choice.text, settings.site_path)
        except OSError as exc:
            gateway.standing.causes[subject] = (
                f"the copy of the site file cannot be kept in {settings.data_dir} ({exc.strerror or exc}): a site file that is "
                "refused at the next start would find no copy, or an older one; make room or give the folder to this user"
            )
            await gateway.clock.sleep(KEEP_AGAIN_S)
        else:
            gateway.standing.causes.pop(subject, None)
            return


def _check(args: argparse.Namespace) -> int:
    try:
        loaded = load_site(args.config, os.environ)
    except SiteRefused as refused:
        print(refused, file=sys.stderr)
        return EXIT_REFUSED
    findings = [*loaded.warnings, *unbuilt(loaded.site, loaded.places)]
    for finding in findings:
        print(f"warning: {finding}")
    site = loaded.site
    print(
        f"{args.config}: accepted — {len(site.zones)} zones, {len(site.cameras)} cameras, "
        f"{len(site.points)} points, {len(findings)} warnings"
    )
    from gateway.app.commands.overheard import words_left_out
    from gateway.app.neighbours import unusable_tls

    settings = resolve(loaded, args.data_dir)
    for line in words_left_out(settings):
        print(line)
    unusable = unusable_tls(settings)
    for section, reason in unusable.items():
        print(f"{args.config}: {section}: {reason}", file=sys.stderr)
    if unusable or not args.probe:
        return EXIT_REFUSED if unusable else 0
    from gateway.app.commands.probe.everything import probe

    return asyncio.run(probe(settings, sys.stdout))


def _drill(args: argparse.Namespace) -> int:
    from gateway.app.operator_socket import tell_drill

    if not args.config.exists():
        print(f"campus-gateway drill: there is no site file at {args.config}", file=sys.stderr)
        return EXIT_REFUSED
    data_dir = args.data_dir if args.data_dir is not None else args.config.absolute().parent / "data"
    try:
        received = tell_drill(data_dir, args.point, args.arm, sys.stdout)
    except Refused as exc:
        print(f"campus-gateway drill: {exc.reason}", file=sys.stderr)
        return EXIT_REFUSED
    return 0 if received else EXIT_FAILED


def _fsck(args: argparse.Namespace) -> int:
    from gateway.app.commands import fsck

    set_up_logging("warning")  # what the store logs would stand between the findings
    try:
        settings = resolve(load_site(args.config, os.environ), args.data_dir)
    except SiteRefused as refused:
        print(refused, file=sys.stderr)
        return fsck.EXIT_CANNOT
    return fsck.run(settings, args)


def _demo(args: argparse.Namespace) -> int:
    from gateway.app.commands.demo import run_demo

    return run_demo(once=args.once, data_dir=args.data_dir, http_port=args.http_port, push=args.push)
