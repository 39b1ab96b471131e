"""Holds: what is kept longer than the period, until a person of the school releases it (API.md, "Retention")."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import TECHNICIAN, UPKEEP, RoledRoute, caller_of, parts_of
from gateway.api.bodies import HoldBody, OperatorBody, ReleaseBody, ReviewBody
from gateway.api.descriptions import roled
from gateway.api.parts import ApiParts
from gateway.api.schemas import HoldOut, HoldsOut, PlacedOut
from gateway.domain.hold import Hold
from gateway.domain.register import Who

router = APIRouter(prefix="/api/v1/holds", tags=["retention"], route_class=RoledRoute)

MOST_LISTED = 500


@router.get("", summary="What is kept longer", response_model=HoldsOut, **roled(UPKEEP, 422))
async def holds(
    request: Request,
    everything: Annotated[bool, Query(alias="all", description="Released ones too.")] = False,
) -> dict[str, Any]:
    """Those that stand, oldest first; with ``all`` the newest 500, released ones included."""
    parts = parts_of(request)
    found = await parts.store.read(
        lambda tx: tx.holds.listed(MOST_LISTED) if everything else tx.holds.standing()
    )
    return {"holds": [hold_object(parts, hold) for hold in found]}


@router.post(
    "",
    summary="Keep a span longer",
    response_model=PlacedOut,
    status_code=201,
    **roled(TECHNICIAN, 404, 413, 422),
)
async def place(request: Request, body: HoldBody) -> dict[str, Any]:
    """From this answer on nothing of it is deleted. ``deleted_before`` says what had gone by then."""
    parts = parts_of(request)
    hold, deleted = await parts.keeping.holding.place(
        camera=body.camera,
        start=body.start,
        end=body.end,
        who=person(request, body.by),
        reason=body.reason,
        review_at=body.review_at,
    )
    stamp = parts.envelopes.stamp
    return {
        "hold": hold_object(parts, hold),
        "deleted_before": [
            {
                "camera": one.camera,
                "objects": len(one.items),
                "from": stamp(one.start),
                "to": stamp(one.end),
                "register_line": one.register_line,
            }
            for one in deleted
        ],
    }


@router.post(
    "/{hold}/review",
    summary="A hold stands",
    response_model=HoldOut,
    **roled(TECHNICIAN, 404, 413, 422),
)
async def review(request: Request, hold: str, body: ReviewBody) -> dict[str, Any]:
    """Until its next review: ``review_at``, or in 90 days."""
    parts = parts_of(request)
    found = await parts.keeping.holding.review(hold, person(request, body.by), body.reason, body.review_at)
    return hold_object(parts, found)


@router.post(
    "/{hold}/release",
    summary="A hold ends",
    response_model=HoldOut,
    **roled(TECHNICIAN, 404, 413, 422),
)
async def release(request: Request, hold: str, body: ReleaseBody) -> dict[str, Any]:
    """What it kept goes with the next sweep, if its period is over and nothing else holds it."""
    parts = parts_of(request)
    found = await parts.keeping.holding.release(hold, person(request, body.by), body.reason)
    return hold_object(parts, found)


def person(request: Request, by: OperatorBody) -> Who:
    """Who decides, for the register: the person named in the body, by the right of the caller's role."""
    return Who(name=by.name, unit=by.unit, right=caller_of(request).role)


def hold_object(parts: ApiParts, hold: Hold) -> dict[str, Any]:
    def stamp(at: Any) -> str | None:
        return parts.envelopes.stamp(at) if at is not None else None

    return {
        "id": hold.id,
        "alarm": hold.alarm,
        "camera": hold.camera,
        "from": stamp(hold.start),
        "to": stamp(hold.end),
        "reason": hold.reason,
        "placed_by": hold.placed_by,
        "placed_unit": hold.placed_unit,
        "placed_at": stamp(hold.placed_at),
        "review_at": stamp(hold.review_at),
        "overdue": hold.standing and hold.review_at <= parts.clock.now(),
        "released_at": stamp(hold.released_at),
        "released_by": hold.released_by,
        "released_unit": hold.released_unit,
        "released_reason": hold.released_reason,
    }
