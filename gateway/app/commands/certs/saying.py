"""What ``campus-gateway certs`` prints: a table, and the lines to write into other programs' files."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gateway.domain.certificate import Certificate, Stage, day, span

_HEAD = ("file 文件", "subject 主体", "names 名称", "purpose 用途", "valid until 有效至", "left 剩余")


def table(rows: Sequence[tuple[str, Certificate]], now: datetime) -> str:
    """One line a certificate."""
    lines = [_HEAD, *(_row(label, certificate, now) for label, certificate in rows)]
    widths = [max(_columns(line[n]) for line in lines) for n in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _columns(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _row(label: str, certificate: Certificate, now: datetime) -> tuple[str, ...]:
    purpose = "CA" if certificate.authority else ", ".join(certificate.purposes) or "any"
    left = span(certificate.left(now))
    stage = certificate.stage(now)
    if stage is Stage.EXPIRED:
        left = f"EXPIRED {left} ago 已过期"
    elif stage is Stage.NOT_YET:
        left = "NOT YET VALID 尚未生效"
    names = ", ".join(certificate.names) or "-"
    return (label, certificate.subject, names, purpose, day(certificate.not_after), left)


def how_to_use(kind: str, file: Path, bundle: Path, host: str) -> str:
    """The lines to write, for the site file and for the program on the other side."""
    key = file.with_suffix(".key")
    shown = f"[{host}]" if ":" in host else host
    if kind == "api":
        lines = [
            "in the site file:",
            "  http:",
            f'    public_url: "https://{shown}:8443"',
            "    tls:",
            f'      cert: "{file}"',
            f'      key: "{key}"',
            f"whoever calls the gateway trusts {bundle}; to take no call without a certificate of this CA, add below tls:",
            f'      client_ca: "{bundle}"',
        ]
    elif kind == "broker":
        lines = [
            "in mosquitto.conf (the files must be readable by the user mosquitto; a certificate's name is its user in the list",
            "drivers/contacts/mosquitto.acl, without which any certificate reads and publishes everything):",
            "  listener 8883",
            f"  cafile {bundle}",
            f"  certfile {file}",
            f"  keyfile {key}",
            "  require_certificate true",
            "  allow_anonymous false",
            "  acl_file /etc/mosquitto/acl",
            "  use_identity_as_username true",
            "in the site file:",
            "  mqtt:",
            f'    url: "mqtts://{shown}:8883"',
            f'    ca: "{bundle}"',
            "    cert and key: as `certs issue --for client gateway` prints them",
        ]
    elif kind == "centre":
        lines = [
            "for a bench that plays the centre:",
            f'  campus-simulators centre --tls-cert "{file}" --tls-key "{key}" --client-ca "{bundle}"',
            "in the site file:",
            "  centre:",
            "    webhook:",
            f'      url: "https://{shown}:9110/campus"',
            f'      ca: "{bundle}"',
        ]
    else:
        lines = [
            "in the site file, below centre.webhook or mqtt:",
            f'  cert: "{file}"',
            f'  key: "{key}"',
            f"the server that is to take it needs {bundle}",
        ]
    return "\n".join(lines)


def _columns(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
