"""What ``campus-gateway certs`` does. Every number of days may be a fraction."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from config.findings import SiteRefused
from config.loading import load_site
from config.settings import resolve
from drivers.tls.reading import read_certificates
from gateway.app.commands.certs.folder import OVERLAP_DAYS, Authority, CertsFolder
from gateway.app.commands.certs.making import (
    CA_DAYS,
    LEAF_DAYS,
    Purpose,
    alternative_name,
    common_name_of,
    hosts_of,
    make_authority,
    make_leaf,
    purposes_of,
    signed_by,
)
from gateway.app.commands.certs.saying import how_to_use, table
from gateway.box.clock import SystemClock
from gateway.domain.certificate import Certificate, day, deciding, span
from gateway.domain.errors import Malformed, Refused, Unavailable

EXIT_ENDS_SOON, EXIT_REFUSED = 1, 2
_PURPOSE = {
    "api": Purpose.SERVER,
    "broker": Purpose.SERVER,
    "centre": Purpose.SERVER,
    "client": Purpose.CLIENT,
}


def init(args: argparse.Namespace) -> int:
    """``certs init``."""
    folder, now = CertsFolder(args.dir, args.ca_dir), SystemClock().now()
    if folder.bundle.exists() or folder.authorities():
        if not args.force:
            raise Refused(
                f"{folder.folder} has a CA; `certs renew --new-ca` makes a further one beside it, --force begins anew"
            )
        folder.forget_authorities()
    days = CA_DAYS if args.days is None else args.days
    made = folder.add_authority(make_authority(f"{args.site_name} CA 1", args.site_name, now, days), now)
    print(f"made {folder.bundle} — give it to everybody who has to check this site's certificates")
    print(f"made {folder.ca_folder} (mode 0700) — the CA's key: take it off this box once all is issued")
    print(f"the CA holds until {day(made.pair.certificate.not_valid_after_utc)}")
    return 0


def issue(args: argparse.Namespace) -> int:
    """``certs issue``."""
    folder, now = CertsFolder(args.dir, args.ca_dir), SystemClock().now()
    file = folder.place(args.name if args.kind == "client" and args.name else args.kind)
    name, hosts = _named(args)
    if (file.exists() or file.with_suffix(".key").exists()) and not args.force:
        raise Refused(f"{file} is there; `certs renew` renews it under the same names, --force replaces it")
    days = LEAF_DAYS if args.days is None else args.days
    signer = folder.signer(now, _overlap(args))
    common_name = name if args.kind == "client" else hosts[0]
    pair = make_leaf(signer.pair, common_name, hosts, [_PURPOSE[args.kind]], now, days)
    folder.keep_leaf(file, pair)
    print(f"made {file} and {file.with_suffix('.key')} (mode 0600), for {', '.join(hosts)}")
    _say_until(pair.certificate.not_valid_after_utc, days, now)
    print(how_to_use(args.kind, file, folder.bundle, hosts[0]))
    return 0


def renew(args: argparse.Namespace) -> int:
    """``certs renew``."""
    folder, now = CertsFolder(args.dir, args.ca_dir), SystemClock().now()
    days = LEAF_DAYS if args.days is None else args.days
    within = timedelta(days=args.within)
    signer = folder.signer(now, _overlap(args))
    newest = folder.authorities()[-1]
    # A CA that would cut short what it signs next makes room in time.
    left = newest.pair.certificate.not_valid_after_utc - now
    if args.new_ca or left < timedelta(days=days) + within:
        _further_authority(folder, newest, now, _overlap(args))
    done, failed = 0, 0
    for file in folder.leaves():
        try:
            found = folder.leaf(file)
        except Refused as exc:
            print(f"left alone: {exc.reason}; `certs issue --force` makes it anew", file=sys.stderr)
            failed += 1
            continue
        certificate = found.certificate
        if not any(signed_by(found, authority.pair) for authority in folder.authorities()):
            print(f"left alone: {file} is of another CA")
            continue
        if not args.all and certificate.not_valid_after_utc - now >= within:
            continue
        pair = make_leaf(
            signer.pair,
            common_name_of(certificate),
            hosts_of(certificate),
            purposes_of(certificate),
            now,
            days,
        )
        folder.keep_leaf(file, pair)
        done += 1
        print(f"renewed {file}")
        _say_until(pair.certificate.not_valid_after_utc, days, now)
    if done:
        print(
            "the gateway takes up its own within seconds, without a restart; "
            "for mosquitto: systemctl reload mosquitto"
        )
    else:
        print(f"nothing ends within {args.within:g} days" if not failed else "nothing renewed")
    return EXIT_REFUSED if failed else 0


def _further_authority(folder: CertsFolder, newest: Authority, now: datetime, overlap: timedelta) -> None:
    certificate = newest.pair.certificate
    started = now - certificate.not_valid_before_utc < overlap and newest.number > 1
    if started:
        print(f"the CA made on {day(certificate.not_valid_before_utc)} does not sign yet (--overlap)")
        return
    base = common_name_of(certificate).rpartition(" CA ")[0] or common_name_of(certificate)
    added = folder.add_authority(
        make_authority(f"{base} CA {newest.number + 1}", base, now, CA_DAYS),
        now,
    )
    print(
        f"made a further CA, number {added.number}; {folder.bundle} now holds the old and the new one: give it to everybody "
        f"again. It begins to sign after {overlap.total_seconds() / 86_400:g} days (--overlap)"
    )


def show(args: argparse.Namespace) -> int:
    """``certs show``."""
    if (args.dir is None) == (args.config is None):
        raise Refused("give either --dir or --config")
    now, within = SystemClock().now(), timedelta(days=args.within)
    files: list[tuple[str, list[Certificate]]] = []
    wrong: list[str] = []
    for label, file in _of_site(args.config) if args.config else _of_folder(args.dir, args.ca_dir):
        try:
            files.append((label, read_certificates(file)))
        except Unavailable as exc:
            wrong.append(exc.reason)
        except Malformed as exc:
            wrong.append(str(exc))
    print(table([(label, certificate) for label, held in files for certificate in held], now))
    for words in wrong:
        print(f"wrong: {words}")
    ending = [label for label, held in files if deciding(held).left(now) < within]
    if ending:
        print(f"\n{len(ending)} end within {args.within:g} days: {', '.join(ending)}")
    if not files and not wrong:
        print("there is none")
    return EXIT_ENDS_SOON if ending or wrong else 0


def _of_folder(folder: Path, ca_folder: Path | None) -> list[tuple[str, Path]]:
    files = CertsFolder(folder, ca_folder)
    if not files.folder.is_dir():
        raise Refused(f"{files.folder} is not there; `certs init` makes it")
    kept = [files.bundle] if files.bundle.exists() else []
    return [(file.name, file) for file in [*kept, *files.leaves()]]


def _of_site(config: Path) -> list[tuple[str, Path]]:
    try:
        settings = resolve(load_site(config, os.environ), None)
    except SiteRefused as refused:
        raise Refused(str(refused)) from refused
    return [(f"{key} ({file.name})", file) for key, file in settings.certificate_files.items()]


def _named(args: argparse.Namespace) -> tuple[str, Sequence[str]]:
    """The file's name and the hosts a certificate is for."""
    if args.kind == "client":
        if args.name is None:
            raise Refused("a client needs a name: certs issue --for client gateway")
        if args.name in _PURPOSE:
            raise Refused(
                f"{args.name} is the name of a server's certificate here; choose another for the client"
            )
        hosts = args.host or [args.name]
    else:
        if args.name is not None:
            raise Refused(f"only a client has a name; write --host {args.name}")
        if not args.host:
            raise Refused(f"--for {args.kind} needs --host: under which name or address it is reached")
        hosts = args.host
    for host in hosts:
        try:
            alternative_name(host)
        except ValueError as exc:
            raise Refused(f"--host: {exc}") from exc
    return (str(args.name) if args.kind == "client" else str(args.kind)), list(dict.fromkeys(hosts))


def _overlap(args: argparse.Namespace) -> timedelta:
    return timedelta(days=OVERLAP_DAYS if args.overlap is None else args.overlap)


def _say_until(until: datetime, days: float, now: datetime) -> None:
    cut = "" if until - now > timedelta(days=days * 0.99) else " (the CA itself ends then)"
    print(f"  it holds for {span(until - now)}, until {day(until)}{cut}")


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "issue": issue,
    "renew": renew,
    "show": show,
}
