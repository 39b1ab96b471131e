"""Every error the HTTP face can answer, in one table, as RFC 9457 ``application/problem+json``.

What a caller is told says what to do next; what went wrong inside stands in the log and never in an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from gateway.domain.errors import Malformed, NotAllowed, NotFound, Refused, Unavailable

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 2  # what a caller is asked to wait where nobody knows better
_FOUND_MOST = 80  # characters of a wrong value that are said back

#: name -> (status, title, what to do if nothing better is known). The name ends the problem's ``type``.
KINDS: dict[str, tuple[int, str, str]] = {
    "unreadable-body": (400, "The body cannot be read", "Send one JSON document in UTF-8."),
    "no-token": (401, "No valid token", "Send 'Authorization: Bearer …' with a token of the site file's access list."),
    "wrong-role": (403, "This role may not do that", "Use a token of a role that may."),
    "altered-link": (403, "The link is not as it was given out", "Use the link exactly as received, or ask for a fresh one."),
    "not-found": (404, "There is no such thing", "Check the path against /openapi.json."),
    "method-not-allowed": (405, "The path does not take this method", "Use one of the methods in the Allow header."),
    "not-in-this-state": (409, "The alarm's state does not allow that", "Read 'state' and choose a reply that may follow it."),
    "link-expired": (410, "The link has expired", "Ask GET /api/v1/alarms/{id} for a fresh one."),
    "link-revoked": (410, "The link has been revoked", "Live links end 10 minutes after their alarm closed."),
    "deleted": (410, "The item was deleted", "Its period is over; the access register has the record of its deletion."),
    "body-too-large": (413, "The body is too large", "Send at most 64 KiB."),
    "range-not-satisfiable": (416, "The item has no such bytes", "Ask for a range within the length in Content-Range."),
    "invalid": (422, "The request is not valid", "Mend what 'errors' names and send it again."),
    "refused": (422, "The request cannot be carried out", "Change it as said and send it again."),
    "too-many-refused": (429, "Too many refused requests", "Wait the seconds in Retry-After; check the token or the link."),
    "internal": (500, "The gateway failed", "Try again; if it stays, tell the technician the time of this answer."),
    "unavailable": (503, "Not available now", "Try again after the seconds in Retry-After; what is on record stays."),
}  # fmt: skip


class Problem(Exception):
    """An answer that is an error. ``kind`` is a key of :data:`KINDS`; ``extra`` are further members of the document."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.status, self.title, otherwise = KINDS[kind]
        self.detail = detail or otherwise
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self) -> dict[str, Any]:
        return {
            "type": f"urn:campus-gateway:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> Response:
        # A caller's odd characters (lone surrogates) must not turn an error into a worse one.
        body = json.dumps(self.document(), ensure_ascii=False).encode("utf-8", "replace")
        return Response(body, self.status, self.headers, media_type="application/problem+json")


def invalid(where: str, found: object, expected: str) -> Problem:
    """A 422 that names one wrong value."""
    return Problem("invalid", errors=[{"where": where, "found": _shown(found), "expected": expected}])


def unavailable(detail: str, retry_after_s: float | None = None, **extra: Any) -> Problem:
    """A 503 that says when to come again; ``extra`` are further members of the document."""
    wait_s = max(1, round(retry_after_s if retry_after_s is not None else RETRY_AFTER_S))
    return Problem("unavailable", detail, headers={"Retry-After": str(wait_s)}, **extra)


def handle_problems(app: FastAPI) -> None:
    """Make ``app`` answer every error by the table. Other exceptions are left to the caller of the application."""
    for error, make in (
        (Problem, _itself),
        (NotFound, _not_found),
        (NotAllowed, _not_allowed),
        (Refused, _refused),
        (Malformed, _malformed),
        (Unavailable, _unavailable),
        (RequestValidationError, _validation),
        (HTTPException, _framework),
    ):
        app.add_exception_handler(error, _answering_with(make))


def _answering_with(make: Any) -> Any:
    async def handler(request: Request, error: Exception) -> Response:
        problem: Problem = make(request, error)
        return problem.response()

    return handler


def _itself(_: Request, error: Problem) -> Problem:
    return error


def _not_found(_: Request, error: NotFound) -> Problem:
    return Problem("not-found", f"There is no {error.what}; check the id.")


def _not_allowed(_: Request, error: NotAllowed) -> Problem:
    detail = f"The alarm is {error.state} and cannot become {error.wanted}; nothing was changed."
    return Problem("not-in-this-state", detail, state=error.state)


def _refused(_: Request, error: Refused) -> Problem:
    return Problem("refused", f"{error.reason}; change it and send it again.")


def _malformed(_: Request, error: Malformed) -> Problem:
    return Problem("invalid")


def _unavailable(request: Request, error: Unavailable) -> Problem:
    # The reason may name files and tables: it is for the log. Where it is fit for a caller, the resource says it itself.
    log.warning("http.unavailable", path=request.scope["path"], reason=error.reason)
    return unavailable("", error.retry_after_s)


def _validation(_: Request, error: RequestValidationError) -> Problem:
    return Problem("invalid", errors=[_one(e) for e in error.errors()])


def _one(error: Mapping[str, Any]) -> dict[str, str]:
    where = ".".join(str(part) for part in error["loc"])
    expected = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return {"where": where, "found": "nothing", "expected": "a value"}
    if error["type"] == "extra_forbidden":
        return {"where": where, "found": "a key that is not known", "expected": "known keys only"}
    if error["type"] == "json_invalid":
        said = f"JSON ({error['ctx']['error']})"
        return {"where": f"body, character {error['loc'][-1]}", "found": "something else", "expected": said}
    if error["type"] == "model_attributes_type" and isinstance(error["input"], bytes):
        return {
            "where": where,
            "found": "bytes",
            "expected": "an object, with Content-Type: application/json",
        }
    return {"where": where, "found": _shown(error["input"]), "expected": expected}


def _shown(value: object) -> str:
    """A wrong value, short enough to read and never a whole document."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "a list"
    text = repr(value)
    return text if len(text) <= _FOUND_MOST else text[:_FOUND_MOST] + "…"


_BY_STATUS = {
    400: "unreadable-body",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
}


def _framework(request: Request, error: HTTPException) -> Problem:
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        log.error("http.unexpected_status", path=request.scope["path"], status=error.status_code)
        return Problem("internal")
    headers = {}
    if kind == "method-not-allowed":
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return Problem(kind, headers=headers)


def _methods_at(request: Request) -> set[str]:
    """Every method that some route takes at the path asked for: the framework names the first route's only."""
    methods: set[str] = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            methods.add(method)
    return methods | {"HEAD"} if "GET" in methods else methods
