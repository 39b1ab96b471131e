"""Identifiers: a prefix that says what the thing is, then 26 characters that sort by time of making."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

_ALPHABET = (
    "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread on the telephone
)


ALARM, DRILL = "alm", "drl"


def is_drill(alarm: str) -> bool:
    """Whether an id is a drill's. The id alone tells, wherever it turns up: in a link, a reply, an object's key."""
    return alarm.startswith(f"{DRILL}_")


_drawn_from: ContextVar[random.Random | None] = ContextVar("drawn_from", default=None)


@contextmanager
def ids_drawn_from(seed: bytes) -> Iterator[None]:
    """Within it the same makings give the same ids: what is decided once more, because its commit failed or is unknown, must
    not become another alarm at the centre. ``seed`` is as secret as an id is hard to guess."""
    token = _drawn_from.set(random.Random(seed))
    try:
        yield
    finally:
        _drawn_from.reset(token)


def new_id(prefix: str, now: datetime) -> str:
    """Return e.g. ``alm_06f2…``: 48 bits of milliseconds since 1970, then 80 random bits."""
    drawn = _drawn_from.get()
    chance = secrets.randbits(80) if drawn is None else drawn.getrandbits(80)
    number = (int(now.timestamp() * 1000) << 80) | chance
    return prefix + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
