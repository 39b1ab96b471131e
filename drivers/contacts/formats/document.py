"""Reading a JSON payload that a stranger sent: bounded, and every refusal says what was found."""

from __future__ import annotations

import json
from typing import Any

from gateway.domain.errors import Malformed

#: No known contact publishes more than about 2 KiB; Zigbee2MQTT with every field about 4 KiB.
MAX_PAYLOAD_BYTES = 64 * 1024


def read_object(payload: bytes) -> dict[str, Any]:
    """The payload as a JSON object; :class:`Malformed` if it is anything else."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Malformed(f"payload of {len(payload)} bytes; a contact sends at most {MAX_PAYLOAD_BYTES}")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise Malformed(f"not JSON: {exc or type(exc).__name__}") from exc
    if not isinstance(document, dict):
        raise Malformed(f"a JSON {type(document).__name__} where an object was expected")
    return document


def whole_number(value: object, low: int, high: int) -> int | None:
    """``value`` as an integer in range, else ``None``: a battery reading never spoils a press."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return int(value)


def text(value: str) -> str:
    """``value`` fit to be kept and sent: JSON can spell half a character (a lone surrogate), which no store takes."""
    return value.encode("utf-8", "replace").decode()
