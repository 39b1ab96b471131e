"""Identifiers: a prefix that says what the thing is, then 26 characters that sort by time of making."""

from __future__ import annotations

import secrets
from datetime import datetime

_ALPHABET = (
    "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread on the telephone
)


ALARM, DRILL = "alm", "drl"


def is_drill(alarm: str) -> bool:
    """Whether an id is a drill's. The id alone tells, wherever it turns up: in a link, a reply, an object's key."""
    return alarm.startswith(f"{DRILL}_")


def new_id(prefix: str, now: datetime) -> str:
    """Return e.g. ``alm_06f2…``: 48 bits of milliseconds since 1970, then 80 random bits."""
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return prefix + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
