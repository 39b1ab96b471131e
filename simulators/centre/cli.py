"""`campus-simulators centre`: a 110 centre on this machine, with a page and with faults to switch on."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from simulators.centre.encryption import add_encryption, encryption_from
from simulators.centre.faults import ANSWERS, Faults
from simulators.centre.ledger import Entry
from simulators.centre.put_faults import PUT_ANSWERS, PutFaults
from simulators.centre.replies import read_script
from simulators.centre.server import SimulatedCentre
from simulators.centre.signatures import new_secret
from simulators.lifetime import stop_asked

DESCRIPTION = """\
Takes messages (CloudEvents JSON, signed by Standard Webhooks), checks signature, structure, order and
duplicates, fetches every still and clip and recomputes its SHA-256, and replies to the school by script or by
hand. Prints one JSON line with its addresses when ready, then one line per event on standard error.

Secrets come from the environment: CENTRE_SECRET and CENTRE_DRILL_SECRET (whsec_…), CENTRE_TOKEN (what the
school expects as Bearer), CENTRE_MEDIA_TOKEN (what the school's PUTs must bear), and for --answers-only CENTRE_ANSWER_SECRET
(whsec_…). What is not set is made up for this run and printed in the JSON line.

A school with `media: push` PUTs stills, clips and live pictures at media_url: token and Content-Digest are checked, what
broke off is kept and told on HEAD (Upload-Offset) so that PATCH goes on from there, and the page plays the live picture.
"""
EXAMPLES = """\
examples
  look at what a school sends, on the page:
    campus-simulators centre --log messages.jsonl --media-dir media
  a centre that accepts after a second and closes when the manifest is in:
    campus-simulators centre --auto accepted+1,dispatched,arrived,closed@manifest+1
  a school that cannot be called (behind NAT): everything by answers
    CENTRE_ANSWER_SECRET=whsec_… campus-simulators centre --answers-only --auto accepted+1
  a school on another host (the token goes to that address only):
    campus-simulators centre --listen 0.0.0.0 --school-url https://school.example:8443
  over TLS both ways, each side showing its certificate:
    campus-simulators centre --tls-cert centre.pem --tls-key centre.key --client-ca ca.pem --school-ca ca.pem

testing a system that sends alarms: what should happen
  --answer status --status 503 --retry-after-s 5 --count 3   it comes again with the same id, freshly signed
  --answer status --status 410     it goes on all the same, and its operator is told
  --answer drop | cut              it comes again; after cut it is a duplicate here
  --answer truncated|nonsense|html the message counts as received; the JSON ones are a fault at the school
  --answer slow --bytes-per-s 20   the message counts as received; the sender waits for the rest no longer than its limit
  --answer hang                    nothing is answered until it is changed: the sender gives up and tries again
  --reorder-s 1                    every other message is overtaken by the next: the order is told by sequence
  --clock-skew-s 900               every signature is refused as too old: nothing is received, and the sender says so
  --repeat-replies 2               an operator who clicks again: replies change nothing the second time
  --delay-s 15                     the sender gives up after its own limit and tries again
  --conflict-on-duplicate          409 to a duplicate counts as received
  --refuse                         nobody listens; open it again on the page or by the control API
  --put cut --put-percent 90 --put-count 1   a PUT breaks off; it comes again, and arrives whole with the right digest
  --put cut --no-resume            the same at a centre that keeps nothing of it: the whole comes again
  --put-bytes-per-s 50000          a thin line: stills overtake clips, of the live picture the newest comes

control API, below the page's address (POST with Content-Type: application/json)
  GET  /control/state?newest=N             everything known
  GET  /control/events?after=N&wait_s=S    what happened after entry N, waiting up to S seconds for it
  POST /control/reply    {"alarm": "alm_…", "reply": "accepted", "operator": {…}, "reason": "…"}
  POST /control/request  {"alarm": "alm_…", "request": "clip", "camera": "…", "from": "…", "to": "…", …}
  POST /control/faults   {"answer": "status", "status": 503, "count": 3}
  POST /control/put-faults  {"answer": "cut", "percent": 90, "count": 1, "kinds": ["clip"]}
  GET  /control/live/ALARM/CAMERA/index.m3u8   a live picture that was PUT
"""
PREFERRED_PORT, PREFERRED_PAGE_PORT = 9110, 9111


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The secrets of a centre, `answer_secret` only of one that cannot call the school; `made` holds those that were made up
    for this run, by variable name."""

    secret: str
    drill_secret: str
    token: str
    media_token: str
    made: Mapping[str, str]
    answer_secret: str | None = None


def keys_from_environment(*, answers_only: bool = False) -> Keys:
    """Read CENTRE_SECRET, CENTRE_DRILL_SECRET, CENTRE_TOKEN and CENTRE_MEDIA_TOKEN, for `answers_only` also CENTRE_ANSWER_SECRET;
    make up what is missing."""
    made: dict[str, str] = {}

    def take(name: str, fresh: str) -> str:
        value = os.environ.get(name)
        if not value:
            value = made[name] = fresh
        return value

    return Keys(
        secret=take("CENTRE_SECRET", new_secret()),
        drill_secret=take("CENTRE_DRILL_SECRET", new_secret()),
        token=take("CENTRE_TOKEN", secrets.token_urlsafe(24)),
        media_token=take("CENTRE_MEDIA_TOKEN", secrets.token_urlsafe(24)),
        answer_secret=take("CENTRE_ANSWER_SECRET", new_secret()) if answers_only else None,
        made=made,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--listen", default="127.0.0.1", help="address for messages (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=PREFERRED_PORT, help="a busy port moves on (default %(default)s)"
    )
    parser.add_argument(
        "--page-port", type=int, default=PREFERRED_PAGE_PORT, help="of the page, on loopback only"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    parser.add_argument("--quiet", action="store_true", help="no line per event on standard error")
    add_behaviour(parser)
    faults = parser.add_argument_group("faults (also changeable while it runs)")
    faults.add_argument("--answer", choices=ANSWERS, default="normal", help="how messages are answered")
    faults.add_argument("--status", type=int, default=503, help="for --answer status (default %(default)s)")
    faults.add_argument("--retry-after-s", type=int, help="sent as Retry-After")
    faults.add_argument("--bytes-per-s", type=int, default=20, help="for --answer slow (default %(default)s)")
    faults.add_argument(
        "--reorder-s",
        type=float,
        default=0.0,
        help="every other message waits so long for the next one to overtake",
    )
    faults.add_argument("--clock-skew-s", type=float, default=0.0, help="by which its clock runs ahead")
    faults.add_argument(
        "--repeat-replies",
        type=int,
        default=0,
        metavar="N",
        help="every reply and request goes out N times more",
    )
    faults.add_argument("--delay-s", type=float, default=0.0, help="before every answer")
    faults.add_argument("--count", type=int, help="only the next so many messages")
    faults.add_argument(
        "--types", type=_words, default=(), help="only types that start so, as alarm.raised,drill."
    )
    faults.add_argument("--conflict-on-duplicate", action="store_true", help="409 to what was taken before")
    faults.add_argument("--refuse", action="store_true", help="do not listen at all")
    _add_put_faults(parser)


def _add_put_faults(parser: argparse.ArgumentParser) -> None:
    puts = parser.add_argument_group("faults of what is PUT (also changeable while it runs)")
    puts.add_argument("--put", choices=PUT_ANSWERS, default="normal", help="how PUTs are treated")
    puts.add_argument("--put-status", type=int, default=503, help="for --put status (default %(default)s)")
    puts.add_argument(
        "--put-percent", type=float, default=90.0, help="of the body, for --put cut (default %(default)s)"
    )
    puts.add_argument("--put-bytes-per-s", type=int, help="read no faster")
    puts.add_argument("--put-count", type=int, help="only the next so many PUTs")
    puts.add_argument("--put-kinds", type=_words, default=(), help="only still, clip or live, with commas")
    puts.add_argument("--put-chance-percent", type=float, default=100.0, help="only so many, by chance")
    puts.add_argument("--put-seed", type=int, default=1, help="of that chance (default %(default)s)")
    puts.add_argument("--no-resume", action="store_true", help="keep nothing of a PUT that broke off")


def add_behaviour(parser: argparse.ArgumentParser) -> None:
    """Declare what `centre` and `campus` have in common."""
    parser.add_argument(
        "--auto",
        default="",
        metavar="SCRIPT",
        help="automatic replies: WORD[@TRIGGER][+SECONDS],… with TRIGGER raised, repeated, evidence, manifest "
        "or escalated; seconds count from the trigger's receipt",
    )
    parser.add_argument("--auto-delay-s", type=float, default=1.0, help="where SCRIPT gives no seconds")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append all that happens, as JSON lines")
    parser.add_argument("--media-dir", type=Path, metavar="DIR", help="keep every still and clip here")
    parser.add_argument(
        "--answers-only",
        action="store_true",
        help="never call the school, as a centre before a school behind NAT: replies and requests go into the answers to its "
        "messages, signed with CENTRE_ANSWER_SECRET (the site file's answer_secret); implies --no-fetch",
    )
    parser.add_argument("--no-fetch", action="store_true", help="do not fetch evidence")
    parser.add_argument("--watch-live", action="store_true", help="open every camera's live link at an alarm")
    parser.add_argument(
        "--school-url",
        action="append",
        default=[],
        metavar="URL",
        help="the school's own address: its token is sent below it only (default: to loopback only)",
    )
    add_encryption(parser)


def centre_from(
    args: argparse.Namespace,
    keys: Keys,
    *,
    faults: Faults | None = None,
    put_faults: PutFaults | None = None,
) -> SimulatedCentre:
    """Build the centre that the arguments describe. Raises ValueError saying which argument is wrong."""
    return SimulatedCentre(
        secret=keys.secret,
        drill_secret=keys.drill_secret,
        token=keys.token,
        script=read_script(args.auto, delay_s=args.auto_delay_s),
        schools=args.school_url,
        listen=getattr(args, "listen", "127.0.0.1"),
        port=args.port,
        control_port=args.page_port,
        log=args.log,
        media_dir=args.media_dir,
        fetch=not args.no_fetch,
        watch_live=args.watch_live,
        faults=faults,
        answer_secret=keys.answer_secret,
        tell=None if args.quiet else _tell,
        media_token=keys.media_token,
        put_faults=put_faults,
        encryption=encryption_from(args),
    )


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM. 0, or 2 if an argument or a secret is wrong."""
    keys = keys_from_environment(answers_only=args.answers_only)
    try:
        faults = Faults(
            answer=args.answer,
            status=args.status,
            retry_after_s=args.retry_after_s,
            delay_s=args.delay_s,
            count=args.count,
            types=args.types,
            conflict_on_duplicate=args.conflict_on_duplicate,
            refuse=args.refuse,
            bytes_per_s=args.bytes_per_s,
            reorder_s=args.reorder_s,
            clock_skew_s=args.clock_skew_s,
            repeat_replies=args.repeat_replies,
        )
        put_faults = PutFaults(
            answer=args.put,
            status=args.put_status,
            percent=args.put_percent,
            bytes_per_s=args.put_bytes_per_s,
            count=args.put_count,
            kinds=args.put_kinds,
            chance_percent=args.put_chance_percent,
            seed=args.put_seed,
            resumable=not args.no_resume,
        )
        return asyncio.run(_run(args, keys, faults, put_faults))
    except (ValueError, OSError) as error:
        print(f"campus-simulators centre: {error}", file=sys.stderr)
        return 2


async def _run(args: argparse.Namespace, keys: Keys, faults: Faults, put_faults: PutFaults) -> int:
    stopped = stop_asked(with_parent=args.with_parent)
    centre = centre_from(args, keys, faults=faults, put_faults=put_faults)
    async with centre:
        print(json.dumps(addresses(centre, keys)), flush=True)
        await stopped.wait()
    return 0


def addresses(centre: SimulatedCentre, keys: Keys) -> dict[str, object]:
    """What a script needs to know of a centre that has started."""
    return {
        "url": centre.url,
        "backup_url": centre.backup_url,
        "media_url": centre.media_url,
        "page": centre.page_url,
        "made_for_this_run": dict(keys.made),
    }


def _tell(entry: Entry) -> None:
    at = datetime.fromtimestamp(entry.at_s).astimezone().strftime("%H:%M:%S.%f")[:-3]
    about = entry.about
    attempt = about.get("attempt") or {}
    words = [
        str(about[name])
        for name in ("type", "subject", "alarm", "name", "reply", "request")
        if about.get(name)
    ]
    if attempt.get("refusal"):
        words.append(attempt["refusal"])
    if "status" in attempt or "status" in about:
        words.append(f"→ {attempt.get('status', about.get('status'))}")
    for name in ("evidence", "look"):
        if isinstance(about.get(name), dict) and about[name].get("problem"):
            words.append(about[name]["problem"])
    words += [str(problem) for problem in (about.get("problems") or [])]
    if about.get("problem"):
        words.append(str(about["problem"]))
    print(at, entry.what, *words, file=sys.stderr, flush=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
