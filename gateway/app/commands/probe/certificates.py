"""The certificates the site file names, and those that others show: how long they hold."""

from __future__ import annotations

import asyncio

from config.settings import Settings
from drivers.tls.contexts import client_context
from drivers.tls.examining import examine
from drivers.tls.reading import read_certificates
from gateway.app.commands.probe.table import Line, Result, Tell
from gateway.app.neighbours import tls_peers
from gateway.box.clock import SystemClock
from gateway.domain.certificate import Certificate, Stage, deciding, span
from gateway.domain.errors import Malformed, Refused, Unavailable


async def probe_certificates(settings: Settings, tell: Tell) -> None:
    for key, file in settings.certificate_files.items():
        what = f"certificate 证书 {key}"
        try:
            tell(_line(what, str(file), deciding(read_certificates(file)), "renew it"))
        except Unavailable as exc:
            tell(Line(what, Result.FAIL, exc.reason, True))
        except Malformed as exc:
            tell(Line(what, Result.FAIL, str(exc), True))
    for key, (address, files) in tls_peers(settings).items():
        try:
            context = client_context(files)
            seen = await asyncio.to_thread(examine, address.host, address.port, context, SystemClock().now())
        except (Refused, OSError):
            continue  # the line of whom it is about says so
        if seen.peer is not None and not seen.problem:
            where = f"{address.host}:{address.port} shows"
            tell(_line(f"certificate 证书 {key}", where, seen.peer, "its owner has to renew it"))


def _line(what: str, where: str, certificate: Certificate, advice: str) -> Line:
    now = SystemClock().now()
    left = span(certificate.left(now))
    match certificate.stage(now):
        case None:
            return Line(what, Result.OK, f"{where}: {certificate}: {left} more", True)
        case Stage.EXPIRED:
            return Line(what, Result.FAIL, f"{where}: {certificate}: expired {left} ago; {advice}", True)
        case Stage.NOT_YET:
            detail = f"{where}: {certificate}: not valid yet; is this machine's clock right?"
            return Line(what, Result.FAIL, detail, True)
        case Stage.SOON | Stage.WITHIN_DAYS:
            return Line(what, Result.WARN, f"{where}: {certificate}: only {left} more; {advice}", True)
