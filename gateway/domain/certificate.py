"""Certificates: what is known of one, and when its end has to be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: A fault from here on: certbot's `renew_before_expiry`, which leaves a month for a mistake.
SOON = timedelta(days=30)
#: Told once more, in other words: a working week is what a centre's IT takes (ours).
NOW_OR_NEVER = timedelta(days=7)


class Stage(StrEnum):
    """How near a certificate's end is."""

    SOON = "soon"
    WITHIN_DAYS = "within days"
    EXPIRED = "expired"
    NOT_YET = "not yet valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The facts of one certificate. Times are aware UTC; ``names`` are its alternative names (DNS and IP)."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    purposes: tuple[str, ...]
    authority: bool

    def __str__(self) -> str:
        names = f", for {', '.join(self.names)}" if self.names else ""
        return f"{self.subject}{names}, issued by {self.issuer}, valid until {day(self.not_after)}"

    def left(self, now: datetime) -> timedelta:
        """How long it still holds; negative once it has expired."""
        return self.not_after - now

    def stage(self, now: datetime) -> Stage | None:
        """What is to be told of it now; ``None`` while all is well."""
        if now < self.not_before:
            return Stage.NOT_YET
        left = self.left(now)
        if left <= timedelta():
            return Stage.EXPIRED
        if left < NOW_OR_NEVER:
            return Stage.WITHIN_DAYS
        return Stage.SOON if left < SOON else None


def day(at: datetime) -> str:
    """A certificate's time as people compare it with ``openssl x509 -enddate``: UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def span(left: timedelta) -> str:
    """A length of time in the unit that matters; without its sign."""
    seconds = abs(left.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{int(seconds)} seconds"


def deciding(held: Sequence[Certificate]) -> Certificate:
    """The one of a file's certificates whose end is the file's: of CAs the last to end, since a bundle holds the old one
    beside the new; of a chain the first, since it breaks there."""
    if all(one.authority for one in held):
        return max(held, key=lambda one: one.not_after)
    return min(held, key=lambda one: one.not_after)
