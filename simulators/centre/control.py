"""The operator's side of the simulated centre: a page, and an API by which a script plays the operator."""

from __future__ import annotations

import asyncio
import importlib.resources
from dataclasses import asdict
from typing import Any, Protocol

from aiohttp import web

from simulators.centre.duty import Duty
from simulators.centre.faults import Faults, faults_from
from simulators.centre.ledger import AlarmFile, Evidence, Ledger, Message, SentReply
from simulators.centre.put_faults import PutPlan, put_faults_from
from simulators.centre.replies import WORDS

_LONGEST_WAIT_S = 60.0
_EVENTS_AT_ONCE = 1_000
_SHOWN_REFUSALS = 50
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "frame-ancestors 'none'"
)


class Door(Protocol):
    """The centre's front as the operator's side needs it."""

    @property
    def url(self) -> str: ...
    @property
    def page_url(self) -> str: ...
    @property
    def faults(self) -> Faults: ...
    async def misbehave(self, faults: Faults) -> None: ...


def add_routes(app: web.Application, duty: Duty, door: Door) -> None:
    """Add the page and the control API to `app`."""
    desk = _Desk(duty, door)
    app.router.add_get("/", desk.page)
    app.router.add_get("/control/state", desk.state)
    app.router.add_get("/control/events", desk.events)
    app.router.add_post("/control/reply", desk.reply)
    app.router.add_post("/control/request", desk.request)
    app.router.add_get("/control/faults", desk.faults)
    app.router.add_post("/control/faults", desk.change_faults)
    app.router.add_get("/control/media/{evidence}", desk.media)
    app.router.add_get("/control/put-faults", desk.put_faults)
    app.router.add_post("/control/put-faults", desk.change_put_faults)
    app.router.add_get("/control/live/{alarm}/{camera}/{name}", desk.live)


class _Desk:
    def __init__(self, duty: Duty, door: Door) -> None:
        self._duty = duty
        self._door = door

    async def page(self, _: web.Request) -> web.Response:
        text = importlib.resources.files("simulators.centre").joinpath("page.html").read_text("utf-8")
        return web.Response(
            text=text, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
        )

    async def state(self, request: web.Request) -> web.Response:
        newest = _number(request, "newest", default=None)
        state = state_of(self._duty.ledger, self._door, newest=int(newest) if newest is not None else None)
        for alarm in state["alarms"]:
            alarm |= self._pushed_for(alarm["id"])
        return web.json_response(
            {**state, "put_faults": asdict(self._duty.pushed.plan.faults), "waiting": self._duty.waiting}
        )

    async def events(self, request: web.Request) -> web.Response:
        after = int(_number(request, "after", default=0.0) or 0)
        wait_s = min(_number(request, "wait_s", default=0.0) or 0.0, _LONGEST_WAIT_S)
        ledger, changed = self._duty.ledger, self._duty.changed
        try:
            async with asyncio.timeout(wait_s), changed:
                while ledger.entries <= after:
                    await changed.wait()
        except TimeoutError:
            pass  # nothing new within the time asked for: an empty list says so
        entries = ledger.entries_after(after)[:_EVENTS_AT_ONCE]
        return web.json_response(
            {"events": [entry.as_json() for entry in entries], "next": entries[-1].n if entries else after}
        )

    async def reply(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        alarm, word = _alarm(body, self._duty.ledger), body.get("reply")
        if word not in WORDS:
            raise _bad_request(f"reply: found {word!r}, expected one of {', '.join(WORDS)}")
        operator, reason = body.get("operator"), body.get("reason")
        return _sent(await _try(self._duty.reply(alarm, word, operator=operator, reason=reason)))

    async def request(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        alarm = _alarm(body, self._duty.ledger)
        return _sent(await _try(self._duty.request(alarm, {k: v for k, v in body.items() if k != "alarm"})))

    async def faults(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self._door.faults))

    async def change_faults(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        try:
            await self._door.misbehave(faults_from(self._door.faults, body))
        except ValueError as error:
            raise _bad_request(str(error)) from error
        return web.json_response(asdict(self._door.faults))

    def _pushed_for(self, alarm: str) -> dict[str, Any]:
        pushed = self._duty.pushed
        puts = [
            {
                name: getattr(item, name)
                for name in ("name", "first_s", "whole_s", "bytes", "sha256", "puts", "resumed")
            }
            for item in pushed.of(alarm)
        ]
        live = [one.as_json() for (of, _), one in pushed.live.items() if of == alarm]
        return {"puts": puts, "pushed_live": live}

    async def put_faults(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self._duty.pushed.plan.faults))

    async def change_put_faults(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        plan = self._duty.pushed.plan
        try:
            self._duty.pushed.plan = PutPlan(put_faults_from(plan.faults, body))
        except ValueError as error:
            raise _bad_request(str(error)) from error
        faults = asdict(self._duty.pushed.plan.faults)
        await self._duty.happened("put-faults-changed", faults=faults)
        return web.json_response(faults)

    async def live(self, request: web.Request) -> web.Response:
        """A part of a live picture that was PUT."""
        of = request.match_info
        found = self._duty.pushed.live_part(of["alarm"], of["camera"], of["name"])
        if found is None:
            raise web.HTTPNotFound(text="not PUT, or no longer named by its playlist")
        return web.Response(body=found[1], content_type=found[0], headers={"Cache-Control": "no-store"})

    async def media(self, request: web.Request) -> web.StreamResponse:
        kept = self._duty.kept(request.match_info["evidence"])
        if kept is None:
            raise web.HTTPNotFound(text="not fetched, or thrown away since")
        headers = {"Content-Type": kept.media_type, "Cache-Control": "private, no-store"}
        return web.FileResponse(kept.file, headers=headers)


def state_of(ledger: Ledger, door: Door, *, newest: int | None = None) -> dict[str, Any]:
    """All the centre knows, as JSON; with `newest`, that many of the latest alarms only."""
    alarms = list(ledger.alarms.values())[::-1]
    return {
        "url": door.url,
        "page": door.page_url,
        "entries": ledger.entries,
        "attempts": ledger.attempts,
        "messages": len(ledger.messages),
        "alarms_total": len(alarms),
        "alarms": [_alarm_json(alarm) for alarm in alarms[:newest]],
        "open_faults": list(ledger.open_faults.values()),
        "plan": ledger.plan,
        "heartbeat": _heartbeat(ledger),
        "refusals_total": len(ledger.refusals),
        "refusals": [attempt.as_json() for attempt in ledger.refusals[-_SHOWN_REFUSALS:]],
        "problems": [
            {"message": message.id, "type": message.type, "problems": message.problems}
            for message in ledger.messages.values()
            if message.problems
        ][-_SHOWN_REFUSALS:],
        "faults": asdict(door.faults),
    }


def _heartbeat(ledger: Ledger) -> dict[str, Any] | None:
    if not ledger.heartbeats:
        return None
    at_s, data = ledger.heartbeats[-1]
    return {"at_s": at_s, "data": data}


def _alarm_json(alarm: AlarmFile) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "drill": alarm.drill,
        "state": alarm.state,
        "presses": alarm.presses,
        "opened_s": alarm.opened_s,
        "raised": _message_json(alarm.raised) if alarm.raised else None,
        "repeated": [_message_json(message) for message in alarm.repeated],
        "evidence": [_evidence_json(item) for item in alarm.evidence.values()],
        "manifests": [_message_json(message) for message in alarm.manifests],
        "notes": [_message_json(message) for message in alarm.notes],
        "escalations": [_message_json(message) for message in alarm.escalations],
        "results": [_message_json(message) for message in alarm.results],
        "others": [_message_json(message) for message in alarm.others],
        "replies": [asdict(sent) for sent in alarm.replies],
        "requests": [asdict(sent) for sent in alarm.requests],
        "live": [asdict(look) for look in alarm.live],
        "missing_sequences": alarm.missing_sequences,
    }


def _evidence_json(item: Evidence) -> dict[str, Any]:
    return {**asdict(item), "id": item.announced.get("id")}


def _message_json(message: Message) -> dict[str, Any]:
    first = message.attempts[0]
    return {
        "id": message.id,
        "type": message.type,
        "sequence": message.event.sequence,
        "time": message.event.time,
        "first_attempt_s": first.arrived_s,
        "taken_s": message.taken_s,
        "taken_monotonic_s": message.taken_monotonic_s,
        "attempts": len(message.attempts),
        "problems": message.problems,
        "data": message.data,
    }


def _sent(sent: SentReply) -> web.Response:
    status = 200 if sent.status is not None and 200 <= sent.status <= 299 else 502
    return web.json_response(asdict(sent), status=status)


def _number(request: web.Request, name: str, *, default: float | None) -> float | None:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise _bad_request(f"{name}: found {text!r}, expected a number") from error
    if not 0 <= value < 1e15:
        raise _bad_request(f"{name}: found {text!r}, expected 0 or more")
    return value


async def _json_body(request: web.Request) -> dict[str, Any]:
    # A web page elsewhere can post a form to loopback, but not this type without asking.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected Content-Type: application/json")
    try:
        body = await request.json()
    except ValueError as error:
        raise _bad_request(f"body: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise _bad_request("body: expected a JSON object")
    return body


def _alarm(body: dict[str, Any], ledger: Ledger) -> str:
    alarm_id = body.get("alarm")
    if not isinstance(alarm_id, str) or alarm_id not in ledger.alarms:
        raise web.HTTPNotFound(text=f"alarm: {alarm_id!r} is not known here")
    return alarm_id


async def _try(sending: Any) -> SentReply:
    try:
        sent: SentReply = await sending
    except ValueError as error:
        raise _bad_request(str(error)) from error
    return sent


def _bad_request(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=text)
