"""A flag of a contact (``sos``, ``emergency``, ``panic``): a state that every report tells again, or a word that means a push.

Nothing in one message tells which. A device that was ever heard to say ``false`` has a state: only its edge is a press, and
while it stands no further push can be heard. One that never was may mean a push each time, so each time counts, unless the
message shows that it is a report: another value of it has changed, or it is what a bridge tells of all devices at its start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

#: What a bridge kept of its devices comes within this after it is online (Zigbee2MQTT: seconds; REFERENCE.md).
KEPT_WITHIN = timedelta(seconds=60)
#: Several messages of one report.
ONE_REPORT = timedelta(seconds=2)
#: What is another at each message, a push or not: the radio's values, times, counts and running numbers.
_ALWAYS_ANOTHER = re.compile(
    r"linkquality|rssi|lqi|last_seen|elapsed|(?:\w+_)?(?:count|counter|sequence|seq|transaction|time|timestamp)"
)

Values = Mapping[str, str]


class FlagIs(StrEnum):
    """What the site file says that a point's flags are, where it says so."""

    STATE = "state"
    PUSH = "push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What is remembered of one flag of a source.

    ``up`` is what it last said, ``since`` when. ``was_down``: it was heard to say ``false``, live or kept by the broker.
    ``again``: it said ``true`` more than once in a row. ``comes_alone``: since it was told last, the device was heard without
    it, so that it is not told with every report (``filtered_cache`` in Zigbee2MQTT).
    """

    up: bool
    since: datetime
    was_down: bool = False
    again: bool = False
    comes_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a message shows of being a report. ``changed``: a value of the device that no push changes is another than before.
    ``kept``: it is what the bridge kept, told at its start."""

    changed: bool = False
    kept: bool = False


def flag_told(
    before: Flag | None, now: datetime, report: Report, *, is_: FlagIs | None, alarm_open: bool
) -> tuple[Flag, bool]:
    """The flag says ``true``: what to remember, and whether that is a press."""
    if before is None or not before.up:
        was_down = before is not None and before.was_down
        return Flag(up=True, since=now, was_down=was_down), True
    after = replace(before, again=True)
    if is_ is FlagIs.PUSH:
        return after, True
    if is_ is FlagIs.STATE:
        return after, False
    if report.kept:
        return after, False
    if before.comes_alone and not (before.again and report.changed):
        return after, True
    # Twice in a row, and beside news: a device that left it out once reports it again.
    after = replace(after, comes_alone=False)
    if before.was_down:
        return after, False
    return after, alarm_open or not report.changed


def flag_lowered(before: Flag | None, now: datetime) -> Flag:
    """The flag says ``false``, live or kept."""
    if before is not None and not before.up:
        return replace(before, was_down=True, again=False)
    return Flag(up=False, since=now, was_down=True)


def flags_left_out(flags: Mapping[str, Flag], told: Mapping[str, object] | frozenset[str]) -> dict[str, Flag]:
    """After a message of the device that speaks of ``told`` only: every other flag is told alone."""
    return {
        name: flag if name in told else replace(flag, comes_alone=True, again=False)
        for name, flag in flags.items()
    }


def reported(
    before: Values,
    values: Values,
    *,
    heard_at: datetime | None,
    now: datetime,
    bridge_online_at: datetime | None,
) -> Report:
    """What the other values of a message show, against those remembered of the device and when it was heard last."""
    known = values.keys() & before.keys()
    changed = any(before[key] != values[key] for key in known if not _ALWAYS_ANOTHER.fullmatch(key))
    kept = False
    if bridge_online_at is not None and timedelta(0) <= now - bridge_online_at <= KEPT_WITHIN:
        # The first message since then; one told in two is one.
        is_first = heard_at is None or heard_at < bridge_online_at or now - heard_at <= ONE_REPORT
        kept = is_first and all(before.get(key) == value for key, value in values.items())
    return Report(changed=changed, kept=kept)


def unheard_since(flags: Mapping[str, Flag], is_: FlagIs | None) -> tuple[str, datetime] | None:
    """A flag that stands and of which a further push could not be told from a report, and since when."""
    for name, flag in flags.items():
        is_state = flag.was_down and (flag.again or not flag.comes_alone)
        deaf = is_ is FlagIs.STATE or (is_ is None and is_state)
        if flag.up and deaf:
            return name, flag.since
    return None


def ambiguous(flags: Mapping[str, Flag], is_: FlagIs | None) -> str | None:
    """A flag that was never ``false`` and says ``true`` with report after report."""
    if is_ is not None:
        return None
    return next(
        (name for name, f in flags.items() if f.up and f.again and not f.was_down and not f.comes_alone), None
    )
