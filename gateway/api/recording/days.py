"""What is recorded of every camera, day by day, for a picture of the whole period (API.md, "Recordings")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import SCHOOL, UPKEEP, RoledRoute, parts_of
from gateway.api.bodies import Instant
from gateway.api.descriptions import roled
from gateway.api.parts import ApiParts
from gateway.api.problems import invalid
from gateway.api.schemas import DaysOut
from gateway.domain.recording import CameraDay
from gateway.ports.store import Transaction

router = APIRouter(prefix="/api/v1/recordings", tags=["recordings"], route_class=RoledRoute)

LONGEST = timedelta(days=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    bounds: Mapping[str, tuple[datetime, datetime | None]]
    first: Mapping[str, datetime | None]
    days: Mapping[tuple[str, datetime], CameraDay]


def _known(tx: Transaction, edges: list[datetime]) -> _Known:
    return _Known(
        bounds=tx.recordings.bounds(),
        first={camera: tx.recordings.first(camera) for camera in tx.recordings.cameras()},
        days={(day.camera, day.start): day for day in tx.recordings.days(edges)},
    )


@router.get(
    "/days",
    summary="What is recorded of every camera, day by day",
    response_model=DaysOut,
    **roled(SCHOOL | UPKEEP, 422),
)
async def days(
    request: Request,
    since: Annotated[Instant | None, Query(alias="from", description="From its day on.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Up to here; now if absent.")] = None,
) -> dict[str, Any]:
    """Sums of the school's own days, by default of the whole period. Nobody is seen in them: no reason is asked for, nothing is
    registered. What is to be there is what was to be recorded and is still within the period."""
    parts = parts_of(request)
    now, zone = parts.clock.now(), ZoneInfo(parts.site.timezone)
    end = min(until or now, now)
    start = since or end - timedelta(days=parts.site.retention_days)
    if not start < end <= start + LONGEST:
        raise invalid("query.from", since, "a time before 'to', not in the future, and at most 400 days ago")
    edges = _edges(start, end, zone)
    known = await parts.store.read(lambda tx: _known(tx, edges))
    floor = now - timedelta(days=parts.site.retention_days)
    return {
        "from": parts.envelopes.stamp(edges[0]),
        "to": parts.envelopes.stamp(end),
        "retention_days": parts.site.retention_days,
        "cameras": [
            _camera(parts, camera, known, edges, floor)
            for camera in sorted({*parts.site.cameras, *known.first})
        ],
    }


def _edges(start: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """The midnights of the school from that of ``start`` on, and ``end``."""
    day = start.astimezone(zone).date()
    edges: list[datetime] = []
    while (edge := datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(end.tzinfo)) < end:
        edges.append(edge)
        day += timedelta(days=1)
    return [*edges, end]


def _camera(
    parts: ApiParts, camera: str, known: _Known, edges: list[datetime], floor: datetime
) -> dict[str, Any]:
    stamp, zone = parts.envelopes.stamp, ZoneInfo(parts.site.timezone)
    since, until = known.bounds.get(camera, (None, None))
    first, planned = known.first.get(camera), parts.site.cameras.get(camera)
    told = []
    for begin, stop in pairwise(edges):
        found = known.days.get((camera, begin))
        wanted_s = 0.0
        if since is not None:
            wanted_s = max(0.0, (min(until or stop, stop) - max(since, floor, begin)).total_seconds())
        covered_s = found.covered_ms / 1000 if found is not None else 0.0
        told.append(
            {
                "day": begin.astimezone(zone).date().isoformat(),
                "from": stamp(begin),
                "to": stamp(stop),
                "covered_s": covered_s,
                "expected_s": wanted_s,
                "coverage": round(min(1.0, covered_s / wanted_s), 6) if wanted_s else None,
                "bytes": found.bytes if found is not None else 0,
                "gaps": dict(found.gaps) if found is not None else {},
            }
        )
    return {
        "id": camera,
        # One that left the plan keeps what was recorded of it.
        "name": planned.name if planned is not None else camera,
        "in_plan": planned is not None,
        "recorded_since": stamp(since) if since is not None else None,
        "recorded_until": stamp(until) if until is not None else None,
        "first_kept": stamp(first) if first is not None else None,
        "days": told,
    }
