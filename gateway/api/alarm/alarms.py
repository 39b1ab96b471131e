"""Alarms: the list, one with everything about it, and what the centre and the school say to it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import CENTRE, EVERYONE, SCHOOL, RoledRoute, caller_of, parts_of
from gateway.api.alarm.items import operator
from gateway.api.alarm.viewing import alarm_detail, alarm_object, gathered
from gateway.api.bodies import ClipBody, Instant, NoteBody, ReplyBody, RequestBody, StillBody
from gateway.api.descriptions import roled
from gateway.api.problems import invalid
from gateway.api.schemas import AlarmDetailOut, AlarmsOut, NotedOut, RepliedOut, RequestedOut
from gateway.domain.alarm import NEEDS_REASON, Alarm, State
from gateway.domain.alarm import Request as Asked
from gateway.domain.errors import NotFound
from gateway.domain.ids import is_drill

router = APIRouter(prefix="/api/v1/alarms", tags=["alarms"], route_class=RoledRoute)

_OPEN = "open"
_WORDS = [state.value for state in State]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@router.get("", summary="Alarms, newest first", response_model=AlarmsOut, **roled(EVERYONE, 422))
async def alarms(
    request: Request,
    state: Annotated[
        list[str] | None, Query(description="States, or 'open'; repeated or with commas between.")
    ] = None,
    since: Annotated[Instant | None, Query(alias="from", description="Raised at or after.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Raised before.")] = None,
    cursor: Annotated[str | None, Query(description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """Pages are stable: an alarm that comes in meanwhile shifts none of those already seen."""
    found, next_cursor = await page_of(request, state, since, until, cursor, limit, drills=False)
    return {"alarms": found, "next_cursor": next_cursor}


async def page_of(
    request: Request,
    state: list[str] | None,
    since: Instant | None,
    until: Instant | None,
    cursor: str | None,
    limit: int,
    *,
    drills: bool,
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of alarms or of drills, and where the next one begins."""
    parts = parts_of(request)
    states = _states(state)
    before = None if cursor is None else _place(cursor)
    found = await parts.store.read(
        lambda tx: tx.alarms.listed(
            states=states, since=since, until=until, before=before, limit=limit + 1, drills=drills
        )
    )
    page = found[:limit]
    return [alarm_object(parts, alarm) for alarm in page], _cursor(page[-1]) if len(found) > limit else None


def of_plane(alarm: str, *, drill: bool) -> str:
    """The id, if it is of that plane: what is said to a drill never reaches an alarm, nor the reverse. Raises ``NotFound``."""
    if is_drill(alarm) is not drill:
        raise NotFound(f"{'drill' if drill else 'alarm'} {alarm!r:.80}")
    return alarm


@router.get(
    "/{alarm}",
    summary="One alarm with everything about it",
    response_model=AlarmDetailOut,
    **roled(EVERYONE, 404),
)
async def one_alarm(request: Request, alarm: str) -> dict[str, Any]:
    """Timeline, evidence with fresh links, deliveries with every attempt, requests, and live links while they hold."""
    return await detail_of(request, of_plane(alarm, drill=False))


async def detail_of(request: Request, alarm: str) -> dict[str, Any]:
    """All that is on record of an alarm or a drill."""
    parts = parts_of(request)
    dossier = await parts.store.read(lambda tx: gathered(tx, alarm))
    return alarm_detail(parts, caller_of(request), dossier)


@router.post(
    "/{alarm}/replies",
    summary="The centre replies",
    response_model=RepliedOut,
    **roled(CENTRE, 404, 409, 413, 422),
)
async def reply(request: Request, alarm: str, body: ReplyBody) -> dict[str, Any]:
    """A reply equal to the present state is a repeat and changes nothing; one that the life-cycle does not allow is 409 with the
    present state."""
    after, repeated = await replied(request, of_plane(alarm, drill=False), body)
    return {"alarm": after, "repeated": repeated}


async def replied(request: Request, alarm: str, body: ReplyBody) -> tuple[dict[str, Any], bool]:
    """Apply a reply; the alarm or drill after it, and whether that was a repeat."""
    parts = parts_of(request)
    wanted = State(body.reply)
    if wanted in NEEDS_REASON and not body.reason:
        raise invalid("body.reason", body.reason, f"a reason: a reply of {body.reply} needs one")
    after, changed = await parts.answering.reply(alarm, wanted, operator(body.operator), body.reason or "")
    return alarm_object(parts, after), not changed


@router.post(
    "/{alarm}/requests",
    summary="The centre asks for a clip, a still or a movement",
    response_model=RequestedOut,
    status_code=202,
    **roled(CENTRE, 404, 413, 422),
)
async def ask(request: Request, alarm: str, body: RequestBody) -> dict[str, Any]:
    """Answered at once with an id; what came of it follows in ``request.result``."""
    asked = await requested(request, of_plane(alarm, drill=False), body)
    return {"id": asked.id, "evidence": asked.evidence}


async def requested(request: Request, alarm: str, body: RequestBody) -> Asked:
    """Put a request for more about an alarm or a drill on record."""
    answering = parts_of(request).answering
    by = operator(body.operator)
    if isinstance(body, ClipBody):
        return await answering.request_clip(alarm, body.camera, body.start, body.end, by, body.reason)
    if isinstance(body, StillBody):
        return await answering.request_still(alarm, body.camera, by, body.reason)
    if body.moves_nothing:
        raise invalid("body.move", None, "a move, 'stop' or a preset")
    return await answering.request_ptz(alarm, body.camera, by, body.reason)


@router.post(
    "/{alarm}/notes",
    summary="The school says something, or asks to withdraw",
    response_model=NotedOut,
    status_code=201,
    **roled(SCHOOL, 404, 413, 422),
)
async def note(request: Request, alarm: str, body: NoteBody) -> dict[str, Any]:
    """Goes to the centre as ``alarm.note``. The centre decides: a request to withdraw changes no state."""
    return {"alarm": await noted(request, of_plane(alarm, drill=False), body)}


async def noted(request: Request, alarm: str, body: NoteBody) -> dict[str, Any]:
    """Put the school's note about an alarm or a drill on record and on its way; the alarm or drill after it."""
    parts = parts_of(request)
    caller = caller_of(request)
    by = f"{body.by} ({caller.name})" if body.by else caller.name
    after = await parts.answering.note(alarm, body.text, by, withdraw=body.withdraw)
    return alarm_object(parts, after)


def _states(words: Sequence[str] | None) -> list[State] | None:
    if words is None:
        return None
    states: set[State] = set()
    for word in ",".join(words).split(","):
        if word == _OPEN:
            states |= set(State) - {State.CLOSED}
        elif word in _WORDS:
            states.add(State(word))
        else:
            raise invalid("query.state", word, "one of " + ", ".join([*_WORDS, _OPEN]))
    return sorted(states)


def _cursor(last: Alarm) -> str:
    micros = (last.raised_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}.{last.id}".encode()).rstrip(b"=").decode()


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        micros, _, id_ = text.partition(".")
        if not id_:
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), id_
    except (ValueError, OverflowError):
        raise invalid("query.cursor", cursor, "the next_cursor of an earlier page, unchanged") from None
