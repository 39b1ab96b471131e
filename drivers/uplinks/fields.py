"""Header fields of the centre's answers, read so that no value whatever is an error: what cannot be used is none."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_DATE = 100  # characters; the parser is not made for more
YEARS = range(
    2000, 2200
)  # a clock outside of these says nothing, and the ends of time cannot be reckoned with


def date(value: str) -> datetime | None:
    """``Date`` (RFC 9110, 6.6.1: an origin server with a clock sends it) in UTC; ``None`` where it is no instant."""
    try:
        at = parsedate_to_datetime(value[:MOST_DATE]) if value else None
        found = at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return found if found is not None and found.year in YEARS else None


def seconds(value: str) -> float | None:
    """``Retry-After`` in seconds, 0 or more; its date form is not taken, since the other side's clock may lie."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else 0.0
