"""Reading a JSON payload that a stranger sent: bounded, and every refusal says what was found."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from gateway.domain.errors import Malformed

#: No known contact publishes more than about 2 KiB; Zigbee2MQTT with every field about 4 KiB.
MAX_PAYLOAD_BYTES = 64 * 1024
#: The longest word a contact publishes outside of a document, with much room.
MAX_WORD_BYTES = 64
#: Before that, a device without the time counts from its own start, or from 1970. No known device is older.
_EARLIEST_S = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
_LATEST_S = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


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


def is_document(payload: bytes) -> bool:
    """Whether the payload sets out to be a JSON object, and not a bare word or number."""
    return payload[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read_word(payload: bytes) -> str:
    """The payload as one bare word or number, in small letters; :class:`Malformed` if it is anything else."""
    if len(payload) > MAX_WORD_BYTES:
        raise Malformed(
            f"{len(payload)} bytes that begin no JSON object; a bare word has at most {MAX_WORD_BYTES}"
        )
    try:
        word = payload.decode().strip().lower()
    except UnicodeDecodeError as exc:
        raise Malformed(f"neither JSON nor a word: {exc}") from exc
    if not word or not word.isprintable():
        raise Malformed(f"neither JSON nor a word: {payload[:40]!r}")
    return word


def members(value: object) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def counted(value: object) -> int | None:
    """``value`` as a count of 0 and more, else ``None``: an unusable count is left out, not the press."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        return None
    return value


def unix_instant(value: object) -> datetime | None:
    """``value`` as seconds since 1970 by a device that has the time, else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not _EARLIEST_S <= value <= _LATEST_S or not math.isfinite(value):
        return None
    return datetime.fromtimestamp(value, UTC)


def whole_number(value: object, low: int, high: int) -> int | None:
    """``value`` as an integer in range, else ``None``: a battery reading never spoils a press."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return int(value)


def text(value: str) -> str:
    """``value`` fit to be kept and sent: JSON can spell half a character (a lone surrogate), which no store takes."""
    return value.encode("utf-8", "replace").decode()
