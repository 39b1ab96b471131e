"""Drills: begun by the technician, answered by the centre, on a plane of their own (API.md, "Drills")."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import CENTRE, EVERYONE, SCHOOL, TECHNICIAN, RoledRoute, caller_of, parts_of
from gateway.api.alarm.alarms import detail_of, noted, of_plane, page_of, replied, requested
from gateway.api.alarm.viewing import alarm_object
from gateway.api.bodies import DrillBody, Instant, NoteBody, ReplyBody, RequestBody
from gateway.api.descriptions import roled
from gateway.api.parts import ApiParts
from gateway.api.schemas import (
    AlarmDetailOut,
    BegunOut,
    DrillsOut,
    NotedDrillOut,
    RepliedDrillOut,
    RequestedOut,
    WindowOut,
)
from gateway.domain.drill import DrillWindow

router = APIRouter(prefix="/api/v1/drills", tags=["drills"], route_class=RoledRoute)


@router.get("", summary="Drills, newest first", response_model=DrillsOut, **roled(EVERYONE, 422))
async def drills(
    request: Request,
    state: Annotated[
        list[str] | None, Query(description="States, or 'open'; repeated or with commas between.")
    ] = None,
    since: Annotated[Instant | None, Query(alias="from", description="Raised at or after.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Raised before.")] = None,
    cursor: Annotated[str | None, Query(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """As the alarms' list; none of them is ever in the other."""
    found, next_cursor = await page_of(request, state, since, until, cursor, limit, drills=True)
    return {"drills": found, "next_cursor": next_cursor}


@router.post(
    "",
    summary="Begin a drill, or arm a point for one",
    response_model=BegunOut,
    status_code=201,
    **roled(TECHNICIAN, 404, 413, 422),
)
async def begin(request: Request, body: DrillBody) -> dict[str, Any]:
    """Without ``arm_s`` a drill is raised at once, as if the point had been pressed. With it the point's next physical press
    is the drill, once the centre has received ``drill.window``: ask for the window until ``received_at`` is set, then press."""
    parts = parts_of(request)
    by = caller_of(request).name
    if body.arm_s is None:
        drill = await parts.drilling.drill(body.point, by)
        return {"drill": alarm_object(parts, drill), "window": None}
    window = await parts.drilling.arm(body.point, body.arm_s, by)
    return {"drill": None, "window": _window(parts, window)}


@router.get("/windows/{window}", summary="An armed point", response_model=WindowOut, **roled(TECHNICIAN, 404))
async def window(request: Request, window: str) -> dict[str, Any]:
    """``received_at`` is when the centre knew; ``ended_by`` the drill (or alarm) that the next press became."""
    parts = parts_of(request)
    return _window(parts, await parts.drilling.window(window))


@router.get(
    "/{drill}",
    summary="One drill with everything about it",
    response_model=AlarmDetailOut,
    **roled(EVERYONE, 404),
)
async def one_drill(request: Request, drill: str) -> dict[str, Any]:
    """As for an alarm."""
    return await detail_of(request, of_plane(drill, drill=True))


@router.post(
    "/{drill}/replies",
    summary="The centre replies to a drill",
    response_model=RepliedDrillOut,
    **roled(CENTRE, 404, 409, 413, 422),
)
async def reply(request: Request, drill: str, body: ReplyBody) -> dict[str, Any]:
    """By the same life-cycle as an alarm."""
    after, repeated = await replied(request, of_plane(drill, drill=True), body)
    return {"drill": after, "repeated": repeated}


@router.post(
    "/{drill}/requests",
    summary="The centre asks for more of a drill",
    response_model=RequestedOut,
    status_code=202,
    **roled(CENTRE, 404, 413, 422),
)
async def ask(request: Request, drill: str, body: RequestBody) -> dict[str, Any]:
    """Answered at once with an id; what came of it follows in ``request.result``."""
    asked = await requested(request, of_plane(drill, drill=True), body)
    return {"id": asked.id, "evidence": asked.evidence}


@router.post(
    "/{drill}/notes",
    summary="The school says something about a drill",
    response_model=NotedDrillOut,
    status_code=201,
    **roled(SCHOOL, 404, 413, 422),
)
async def note(request: Request, drill: str, body: NoteBody) -> dict[str, Any]:
    """Goes to the centre as ``drill.note``."""
    return {"drill": await noted(request, of_plane(drill, drill=True), body)}


def _window(parts: ApiParts, window: DrillWindow) -> dict[str, Any]:
    stamp = parts.envelopes.stamp
    return {
        "id": window.id,
        "point": window.point,
        "by": window.by,
        "armed_at": stamp(window.armed_at),
        "until": stamp(window.until),
        "received_at": stamp(window.received_at) if window.received_at else None,
        "ended_by": window.ended_by,
    }
