"""``campus-gateway certs``: a small CA for a school that has none. What the words on the command line mean."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.domain.errors import Malformed, Refused, Unavailable

EXIT_REFUSED = 2

_DESCRIPTION = """\
Makes and renews the certificates of one school: a small CA of its own, for those who have none. Certificates of any other
CA serve as well; then only `certs show` is of use here.

  init     a new CA
  issue    a certificate for the gateway's API, the broker, a centre's bench, or a client
  renew    everything that ends soon, under the same names; the CA too, beside the old one
  show     what there is and how long it holds; exit 1 if something ends within 30 days
"""
_EPILOG = """examples:
  campus-gateway certs init   --dir /etc/campus-gateway/tls --site-name "第三中学"
  campus-gateway certs issue  --dir /etc/campus-gateway/tls --for api --host school.example --host 10.0.0.5
  campus-gateway certs issue  --dir /etc/campus-gateway/tls --for broker --host 127.0.0.1 --host broker.school.example
  campus-gateway certs issue  --dir /etc/campus-gateway/tls --for client gateway
  campus-gateway certs renew  --dir /etc/campus-gateway/tls
  campus-gateway certs show   --config /etc/campus-gateway/site.yaml

The CA's key (DIR/ca) can make a certificate for anything that trusts it. Once all is issued, take that folder off the box and
bring it back for a renewal (--ca-dir).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands on the parser of ``certs``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    init = _action(actions, "init", "make the CA")
    init.add_argument(
        "--site-name", required=True, metavar="NAME", help="the school's name; stands in the CA"
    )
    init.add_argument("--days", type=_days, help="how long the CA holds (default 3650)")
    init.add_argument("--force", action="store_true", help="begin anew: what the old CA signed is worthless")

    issue = _action(actions, "issue", "make a certificate and its key")
    issue.add_argument(
        "--for",
        dest="kind",
        required=True,
        choices=("api", "broker", "centre", "client"),
        help="api: the gateway's own https; broker: mosquitto; centre: a bench that plays the 110 centre; "
        "client: what the gateway, a contact's bridge or a caller shows to a server",
    )
    issue.add_argument(
        "name", nargs="?", metavar="NAME", help="name of a client, as gateway; its file's name"
    )
    issue.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME_OR_IP",
        help="under which it is reached, exactly as in the url that names it; may be given again",
    )
    issue.add_argument("--days", type=_days, help="how long it holds (default 825)")
    issue.add_argument("--force", action="store_true", help="replace one that is there")
    _overlap(issue)

    renew = _action(actions, "renew", "renew what ends soon, under the same names, each with a new key")
    renew.add_argument(
        "--within", type=_days, default=30.0, metavar="DAYS", help="… ends within so many days (default 30)"
    )
    renew.add_argument("--days", type=_days, help="how long the new ones hold (default 825)")
    renew.add_argument("--all", action="store_true", help="renew every certificate, whatever it has left")
    renew.add_argument("--new-ca", action="store_true", help="make a further CA now (beside the old one)")
    _overlap(renew)

    show = _action(actions, "show", "what there is, and how long it holds", dir_required=False)
    show.add_argument("--config", type=Path, metavar="SITE.yaml", help="what this site file names instead")
    show.add_argument(
        "--within", type=_days, default=30.0, metavar="DAYS", help="exit 1 from so many days on (default 30)"
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    words: str,
    *,
    dir_required: bool = True,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.add_argument(
        "--dir", type=Path, required=dir_required, metavar="DIR", help="folder of the certificates"
    )
    parser.add_argument(
        "--ca-dir", type=Path, metavar="DIR", help="folder of the CA and its key (default: DIR/ca)"
    )
    parser.set_defaults(command=_command(name))
    return parser


def _overlap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overlap",
        type=_days,
        default=None,
        metavar="DAYS",
        help="how long a new CA waits before it signs, so that everybody has the new ca.pem by then (default 30)",
    )


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from gateway.app.commands.certs import (
            commands,  # brings the certificate library: not for the other commands
        )

        try:
            return commands.COMMANDS[name](args)
        except (Refused, Unavailable) as exc:
            print(f"campus-gateway certs {name}: {exc.reason}", file=sys.stderr)
        except Malformed as exc:
            print(f"campus-gateway certs {name}: {exc}", file=sys.stderr)
        return EXIT_REFUSED

    return run


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days <= 36_500:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 to 36500 days")
    return days
