"""Room for recordings: when it will be used up at the rates really seen, and which new footage gives way before it is.

What is kept never gives way. Of what is new the least important cameras go first, through all their steps; the cameras of gates
are the last, and they stop only when nothing is left but the reserve for alarm evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.domain.plan import Site
from gateway.domain.recording import Quality

HOURS_A_DAY = 24
NOTICES_DAYS = (7, 1)  # what is built: a fault at 7 days' and again at 1 day's notice
HORIZON_HOURS = 8 * HOURS_A_DAY
#: Ours: steps begin when less than so many hours of footage have room: long enough to see that a step was enough.
ONSET_HOURS = 6
#: Ours: a step is taken back only with so much more room than it was taken at, or cameras would flap.
TAKEN_BACK_AT = 1.25
_LAST = ("gate", "passage")  # the founding notice asks for these
STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The store's disk in bytes."""

    total: int
    free: int


def full_in_hours(headroom: int, hourly: float, freed: Sequence[int]) -> int | None:
    """Hours until ``headroom`` bytes are used up by ``hourly`` bytes an hour, while ``freed[n]`` bytes go by their period in
    hour n from now. ``None`` if that does not come within the horizon."""
    left = float(headroom)
    for hour in range(HORIZON_HOURS):
        if left <= 0:
            return hour
        left += (freed[hour] if hour < len(freed) else 0) - hourly
    return None


def importance(site: Site, camera: str) -> int:
    """0 for a camera of no gate and no passage, 1 of a passage, 2 of a gate. One that is not in the plan is the least."""
    known = site.cameras.get(camera)
    zone = site.zones.get(known.zone) if known is not None else None
    return len(_LAST) - _LAST.index(zone.kind) if zone is not None and zone.kind in _LAST else 0


def rungs(ranks: Sequence[int], steps: Sequence[str]) -> list[tuple[int, str]]:
    """Every step of every rank that there is, in the order in which they are taken."""
    return [(rank, step) for rank in sorted(set(ranks)) for step in steps]


def taken(headroom: int, hourly: float, count: int, before: int) -> int:
    """How many of ``count`` rungs are taken now, if ``before`` were: none with more than the onset's room, all with none left."""

    def at(room: float) -> int:
        onset = ONSET_HOURS * hourly
        if room <= 0:
            return count
        if onset <= 0 or room >= onset:
            return 0
        return min(count - 1, int((1 - room / onset) * count))

    now = at(headroom)
    return now if now >= before else max(now, min(before, at(headroom / TAKEN_BACK_AT)))


def allowed(
    ranks: Mapping[str, int], steps: Sequence[str], level: int, headroom: int
) -> dict[str, Quality | None]:
    """What may be recorded of each camera with ``level`` rungs taken; ``None`` is nothing. Without headroom nothing is, whatever
    the steps: the reserve is for alarm evidence."""
    if headroom <= 0:
        return dict.fromkeys(ranks, None)
    found: dict[str, Quality | None] = dict.fromkeys(ranks, Quality.FULL)
    for rank, step in rungs(list(ranks.values()), steps)[:level]:
        for camera in (c for c, r in ranks.items() if r == rank):
            found[camera] = None if step == STOP else Quality(step)
    return found
