"""Our own format, for contact hardware that can be programmed (API.md, "Presses")."""

from __future__ import annotations

from datetime import datetime

from drivers.contacts.formats.document import read_object, text, whole_number
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed

_KINDS = {
    "pressed": SignalKind.PRESSED,
    "released": None,
    "tamper": SignalKind.TAMPER,
    "test": SignalKind.TEST,
    "alive": SignalKind.ALIVE,
}
MAX_ID_CHARS = 200


def decode(payload: bytes) -> list[Signal]:
    """``{"event": "pressed" | …, "id", "at", "battery"}``; only ``event`` is required.

    An ``id`` or ``at`` that cannot be used is left out rather than costing the press: a life may hang on it.
    """
    document = read_object(payload)
    said = document.get("event")
    event = said.strip() if isinstance(said, str) else ""
    if event not in _KINDS:
        raise Malformed(f"event is {said!r:.80}; expected one of {', '.join(_KINDS)}")
    battery = whole_number(document.get("battery"), 0, 100)
    kind = _KINDS[event] or SignalKind.ALIVE
    return [
        Signal(
            kind=kind,
            event_id=_identity(document.get("id")),
            at=_instant(document.get("at")),
            battery=battery,
            word=event,
        )
    ]


def _identity(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:MAX_ID_CHARS]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        return None
    # Half a character (a lone surrogate) cannot be kept; made into another, two presses could look like one.
    return value if value == text(value) and "\ufffd" not in value else None


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return at if at.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None
