"""Faults: what is not as it should be, from when it was seen until it is well again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FaultKind(StrEnum):
    """What part of the chain a fault is about."""

    CAMERA = "camera"
    CONTACT = "contact"
    BROKER = "broker"
    STORE = "store"
    DISK = "disk"
    CLOCK = "clock"
    PATH = "path"
    CENTRE = "centre"
    SITE = "site"
    ALARM = "alarm"
    EVIDENCE = "evidence"
    DRILL = "drill"
    STAGE = "stage"
    CERTIFICATE = "certificate"
    SECURITY = "security"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. It is open while ``cleared_at`` is ``None``; (kind, subject) is open at most once."""

    id: str
    kind: FaultKind
    subject: str
    cause: str
    since: datetime
    cleared_at: datetime | None = None
