"""What a check of what is kept may find, and what may be done about it without losing anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Grade(Enum):
    """How bad a finding is; :attr:`exit_code` is what it alone makes."""

    REPAIRED = "repaired"  # it was suspicious, and is as it should be again
    SUSPICIOUS = "suspicious"  # nothing that was kept is missing, and something is not as it should be
    LOST = "lost"  # footage or evidence is missing or altered, or went before its time

    @property
    def exit_code(self) -> int:
        return 2 if self is Grade.LOST else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """Count a camera's hour (UTC) anew from its segments."""

    camera: str
    hour: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Relock:
    """Lock the version on record (or, where none is, the only one there) until then, unless it is locked for longer."""

    key: str
    version: str | None
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhide:
    """Remove the marks of deletion over what is kept under the key; a mark has no bytes."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Remove what a put that died left under a temporary name; never the only copy of anything."""

    leftover: str


#: All that may be done. Bytes, digests, rows of what is kept and the register are not among it.
Repair = Recount | Relock | Unhide | Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be: ``about`` names the camera, object or record. ``repair`` is what would make it well
    again, where that is safe."""

    grade: Grade
    what: str
    about: str
    detail: str = ""
    repair: Repair | None = None
