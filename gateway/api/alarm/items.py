"""Items of the centre's answer bodies, read by the very models that read its calls: one set of rules for both ways in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.api.bodies import ClipBody, OperatorBody, ReplyBody, RequestBody, StillBody
from gateway.domain.alarm import State
from gateway.domain.answer import ClipSaid, ItemKind, MoveSaid, Operator, ReplySaid, Said, StillSaid
from gateway.domain.errors import Malformed

_REQUEST: TypeAdapter[RequestBody] = TypeAdapter(RequestBody)
_ERRORS_SHOWN = 3


def read_item(kind: ItemKind, content: Mapping[str, Any]) -> Said:
    """What an item says, without its ``id`` and ``alarm``. Raises ``Malformed`` saying where it is wrong and how."""
    try:
        if kind is ItemKind.REPLY:
            return _reply(ReplyBody.model_validate(dict(content)))
        return _request(_REQUEST.validate_python(dict(content)))
    except ValidationError as exc:
        raise Malformed("; ".join(_one(e) for e in exc.errors()[:_ERRORS_SHOWN])) from exc


def operator(body: OperatorBody) -> Operator:
    """Who speaks, as the domain has it."""
    return Operator(name=body.name, unit=body.unit)


def _reply(body: ReplyBody) -> ReplySaid:
    return ReplySaid(state=State(body.reply), operator=operator(body.operator), reason=body.reason or "")


def _request(body: RequestBody) -> Said:
    by = operator(body.operator)
    if isinstance(body, ClipBody):
        return ClipSaid(camera=body.camera, start=body.start, end=body.end, operator=by, reason=body.reason)
    if isinstance(body, StillBody):
        return StillSaid(camera=body.camera, operator=by, reason=body.reason)
    if body.moves_nothing:
        raise Malformed("move: found nothing, expected a move, 'stop' or a preset")
    return MoveSaid(camera=body.camera, operator=by, reason=body.reason)


def _one(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "item"
    expected = {"missing": "missing", "extra_forbidden": "not known here"}.get(error["type"])
    return f"{where}: {expected or str(error['msg']).removeprefix('Value error, ')}"
