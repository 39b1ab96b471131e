"""What is kept of every camera, how long the room lasts, and by which time that is decided (API.md, "Retention")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import TECHNICIAN, UPKEEP, RoledRoute, parts_of
from gateway.api.bodies import ClockBody, Instant, LossBody
from gateway.api.descriptions import roled
from gateway.api.parts import ApiParts
from gateway.api.problems import invalid
from gateway.api.recording.holds import person
from gateway.api.schemas import LossesOut, RetentionOut, TrustedOut
from gateway.domain.hold import Hold
from gateway.domain.recording import HOUR, CameraCoverage, Quality
from gateway.ports.store import Transaction

router = APIRouter(prefix="/api/v1/retention", tags=["retention"], route_class=RoledRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    bounds: Mapping[str, tuple[datetime, datetime | None]]
    coverage: Mapping[str, CameraCoverage]
    first: Mapping[str, datetime | None]
    gaps: Mapping[str, Mapping[str, float]]
    holds: list[Hold]


def _kept(tx: Transaction, start: datetime, end: datetime) -> _Kept:
    return _Kept(
        bounds=tx.recordings.bounds(),
        coverage={one.camera: one for one in tx.recordings.coverage(start, end)},
        first={camera: tx.recordings.first(camera) for camera in tx.recordings.cameras()},
        gaps=tx.recordings.gap_seconds(start, end),
        holds=tx.holds.standing(),
    )


@router.get("", summary="What is kept, and for how long", response_model=RetentionOut, **roled(UPKEEP, 422))
async def retention(
    request: Request,
    since: Annotated[Instant | None, Query(alias="from", description="Whole hours from here on.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Up to here; now if absent.")] = None,
) -> dict[str, Any]:
    """Per camera what is kept of the span (by default the whole period), in sums by the hour; the forecast of the room; the holds
    that stand; and how far the clock is confirmed."""
    parts = parts_of(request)
    now = parts.clock.now()
    end = min(until or now, now)
    start = since or end - timedelta(days=parts.site.retention_days)
    start = start.replace(minute=0, second=0, microsecond=0)
    if end <= start:
        raise invalid("query.from", since, "a time before 'to', and not in the future")
    kept = await parts.store.read(lambda tx: _kept(tx, start, end))
    stamp = parts.envelopes.stamp
    cameras = sorted({*parts.site.cameras, *kept.first})
    room = parts.keeping.last_room
    return {
        "retention_days": parts.site.retention_days,
        "from": stamp(start),
        "to": stamp(end),
        "cameras": [_camera(parts, camera, kept, start, end) for camera in cameras],
        "forecast": {
            "free_bytes": room.free if room is not None else None,
            "reserve_bytes": parts.keeping.reserve_bytes,
            "bytes_per_day": parts.keeping.hourly_bytes * (timedelta(days=1) / HOUR),
            "full_in_hours": parts.keeping.full_in_hours,
            "giving_way": {
                camera: quality.value if quality is not None else None
                for camera, quality in ((c, parts.keeping.allowed(c)) for c in parts.site.cameras)
                if quality is not Quality.FULL
            },
        },
        "clock": _clock(parts),
        "holds": len(kept.holds),
        "holds_overdue": sum(1 for hold in kept.holds if hold.review_at <= now),
    }


@router.post(
    "/clock",
    summary="Confirm the gateway's clock",
    response_model=TrustedOut,
    **roled(TECHNICIAN, 413, 422),
)
async def clock(request: Request, body: ClockBody) -> dict[str, Any]:
    """For a school whose centre tells no time. The gateway's clock is not set by it: it has to agree within five minutes."""
    parts = parts_of(request)
    await parts.keeping.confirm_time(body.now, person(request, body.by), body.reason)
    return _clock(parts)


@router.post(
    "/database",
    summary="Acknowledge the database's loss",
    response_model=LossesOut,
    **roled(TECHNICIAN, 413, 422, 503),
)
async def database(request: Request, body: LossBody) -> dict[str, Any]:
    """Where the database was damaged, lost or is an older one, nothing is deleted and a fault stands until a technician says here
    that it is known. What was done about it belongs in ``reason``; it is a line of the access register."""
    parts = parts_of(request)
    known = await parts.keeping.acknowledge_losses(person(request, body.by), body.reason)
    return {"acknowledged": [{**loss.document(), "at": parts.envelopes.stamp(loss.at)} for loss in known]}


def _camera(parts: ApiParts, camera: str, kept: _Kept, start: datetime, end: datetime) -> dict[str, Any]:
    def stamp(at: datetime | None) -> str | None:
        return parts.envelopes.stamp(at) if at is not None else None

    since, until = kept.bounds.get(camera, (None, None))
    found = kept.coverage.get(camera)
    covered_s = found.covered_ms / 1000 if found is not None else 0.0
    expected_s = 0.0
    if since is not None:
        expected_s = max(0.0, (min(until or end, end) - max(since, start)).total_seconds())
    return {
        "id": camera,
        "in_plan": camera in parts.site.cameras,
        "recorded_since": stamp(since),
        "recorded_until": stamp(until),
        "first_kept": stamp(kept.first.get(camera)),
        "covered_s": covered_s,
        "expected_s": expected_s,
        "coverage": round(min(1.0, covered_s / expected_s), 6) if expected_s else None,
        "frames": found.frames if found is not None else 0,
        "bytes": found.bytes if found is not None else 0,
        "gaps": dict(kept.gaps.get(camera, {})),
    }


def _clock(parts: ApiParts) -> dict[str, Any]:
    trusted, now = parts.keeping.trusted, parts.clock.now()
    stamp = parts.envelopes.stamp
    return {
        "now": stamp(now),
        "trusted": stamp(trusted.at) if trusted is not None else None,
        "behind_s": parts.keeping.behind_s,
        "confirmed_at": stamp(trusted.confirmed_at) if trusted is not None and trusted.confirmed_at else None,
        "confirmed_by": trusted.confirmed_by or None if trusted is not None else None,
    }
