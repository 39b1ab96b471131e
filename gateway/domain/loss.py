"""Losses of the database: what a gateway has to tell before it goes on with another one than the last time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

FORGOTTEN = (
    "Alarms go on. Recordings, holds and register lines that it does not know are kept and nothing is deleted until a technician "
    "acknowledges this (POST /api/v1/retention/database) or the gateway is stopped and the right file put back"
)


class LossKind(StrEnum):
    """What happened to the database."""

    DAMAGED = "damaged"  # it could not be read or written any more, and was set aside whole
    FOREIGN = "foreign"  # another program's file, or a newer gateway's: set aside whole
    MISSING = "missing"  # there was one, and it is not there
    OLDER = "older"  # it knows less than what was noted of it outside, as a restored backup does
    REMOVED = "removed"  # its file was taken away while the gateway ran; it was written back whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One such event. ``aside`` is the folder in which the former file lies whole."""

    at: datetime
    kind: LossKind
    cause: str
    aside: str = ""

    @property
    def forgets(self) -> bool:
        """Whether something that was on record may not be any more."""
        return self.kind is not LossKind.REMOVED

    @property
    def text(self) -> str:
        """The fault's cause: what, where, and what to do."""
        at = self.at.astimezone(UTC).isoformat(timespec="seconds")
        if not self.forgets:
            return (
                f"the database was {self.kind} at {at}: {self.cause}. Nothing is lost. Find out who does that, and "
                "acknowledge it (POST /api/v1/retention/database)"
            )
        kept = f" The former file is whole in {self.aside}." if self.aside else ""
        return f"the database is {self.kind} ({at}): {self.cause}.{kept} {FORGOTTEN}"

    def document(self) -> dict[str, Any]:
        """As it is written to a file."""
        return {
            "at": self.at.astimezone(UTC).isoformat(),
            "kind": self.kind.value,
            "cause": self.cause,
            "aside": self.aside,
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> Loss:
        """The reverse of :meth:`document`. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        return cls(
            at=datetime.fromisoformat(document["at"]),
            kind=LossKind(document["kind"]),
            cause=str(document["cause"]),
            aside=str(document["aside"]),
        )
