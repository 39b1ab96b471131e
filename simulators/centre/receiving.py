"""Judging one POST and answering it, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from simulators.centre.events import EnvelopeRefused, Event, read_event
from simulators.centre.faults import Faults
from simulators.centre.signatures import SignatureRefused, verify

_TRUNCATED = b'{"replies": 5'
_NONSENSE = b'{"replies": 5, "requests": {"colour": "blue"}, "weather": [null]}'
_SLOW = b'{"weather": "' + b"." * 385 + b'"}'
_HTML = "<!doctype html><title>登录</title><h1>请先登录 Please sign in</h1>".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found in one POST. With `refusal` set, `status` is the answer; `event` may be None."""

    event: Event | None
    signed_with: str | None
    refusal: str | None
    status: int


def examine(keys: Mapping[str, bytes], headers: Mapping[str, str], body: bytes, *, now_s: float) -> Examined:
    """Check signature, then envelope, then that drills and alarms are each signed with their own secret.

    `keys` are named `live` and `drill`. 401 for a signature, 400 or 415 for an envelope, 204 if all is well.
    """
    signed_with: str | None = None
    event: Event | None = None
    try:
        signed_with = verify(keys, headers, body, now_s=now_s)
        event = read_event(
            body, content_type=headers.get("Content-Type", ""), webhook_id=headers["webhook-id"]
        )
        if event.drill != (signed_with == "drill"):
            raise SignatureRefused(f"{event.type} is signed with the {signed_with} secret")
    except SignatureRefused as error:
        return Examined(event=event, signed_with=signed_with, refusal=f"signature: {error}", status=401)
    except EnvelopeRefused as error:
        return Examined(event=None, signed_with=signed_with, refusal=str(error), status=error.status)
    return Examined(event=event, signed_with=signed_with, refusal=None, status=204)


def status_for(seen: Examined, faults: Faults, *, conflict: bool) -> int:
    """The status this POST is answered with; 0 means that the connection is reset instead."""
    if faults.answer in ("drop", "hang"):
        return 0
    if faults.answer == "status":
        return faults.status
    if seen.refusal is not None:
        return seen.status
    if faults.answer != "normal":
        return 200
    return 409 if conflict else 204


async def give_answer(
    request: web.Request,
    faults: Faults,
    status: int,
    refusal: str | None,
    *,
    said: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with `status`; a healthy answer has no body but what is `said` in it, a refusal says why."""
    if status == 0:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # goes nowhere: the connection is gone
    if faults.answer == "status":
        later = {} if faults.retry_after_s is None else {"Retry-After": str(faults.retry_after_s)}
        return web.Response(status=status, headers=later, text="fault of the simulated centre")
    if refusal is not None:
        return web.json_response({"title": refusal}, status=status, content_type="application/problem+json")
    if faults.answer == "truncated":
        return web.Response(body=_TRUNCATED, content_type="application/json")
    if faults.answer == "nonsense":
        return web.Response(body=_NONSENSE, content_type="application/json")
    if faults.answer == "html":
        return web.Response(body=_HTML, content_type="text/html")
    if faults.answer == "slow":
        return await _trickle(request, faults.bytes_per_s)
    if faults.answer == "cut":
        answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "400"})
        await answer.prepare(request)
        await answer.write(_TRUNCATED)
        if request.transport is not None:
            request.transport.close()
        return answer
    if said is not None:
        status = 200 if status == 204 else status
        return web.Response(status=status, body=said, content_type="application/json", headers=headers)
    return web.Response(status=status)


async def _trickle(request: web.Request, bytes_per_s: int) -> web.StreamResponse:
    answer = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": str(len(_SLOW))}
    )
    await answer.prepare(request)
    try:
        for at in range(len(_SLOW)):
            await answer.write(_SLOW[at : at + 1])
            await asyncio.sleep(1 / bytes_per_s)
    except ConnectionError:
        pass  # whoever waited has had enough of it: that is what the fault is for
    return answer
