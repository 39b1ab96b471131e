"""Reading a JSON payload that a stranger sent: bounded, and every refusal says what was found.

Firmware written in C publishes the end of its text with it, or its whole buffer; `printf` writes `nan` where a sensor answers
nothing. None of that is said of the press beside it, so none of it costs the press. A document that was cut is not mended.
"""

from __future__ import annotations

import codecs
import json
import math
import re
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


#: What stands around a payload and says nothing: blanks, and the frame of a serial line that was passed on.
_AROUND = b"\0 \t\r\n\v\f\x02\x03\x04\x1a"
#: A text, or what C, Python and JavaScript write in place of JSON. As many texts as there are are passed over.
_ODD = re.compile(
    r"""
    (?P<text> "(?:[^"\\]|\\.)*+(?:"|\Z) )
    | (?P<quoted> '(?:[^'\\]|\\.)*+' )
    | (?<=:) \s*+ (?P<whole> [+-]?[0-9]++ ) , (?P<tenths> [0-9]++ ) (?=\s*[,}])
    | (?<![\w.]) (?P<none> [+-]? (?: nan(?:\([^)]{0,20}\))? | inf(?:inity)? | 1\.\#\w+ ) ) (?![\w.])
    | (?<![\w.]) (?P<void> undefined | none | null | nil | n/a | ovf ) (?![\w.])
    | (?<![\w.]) (?P<truth> true | false ) (?![\w.])
    | (?P<number> [-+.*\#0-9] [^\s,"'{}\[\]]*+ )
    | (?<=[{,]) \s*+ (?P<key> [a-z_]\w*+ ) (?=\s*:)
    | (?<=:) (?P<nothing> \s* ) (?=[,}\]])
    | (?P<comma> , ) (?=\s*[}\]])
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"(?P<sign>[+-]?)0*(?P<number>(?:0|[1-9][0-9]{0,400})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
#: Signs and figures in disorder, a time, hexadecimal, an exponent without a figure.
_NO_NUMBER = re.compile(r"[^a-zA-Z_]+(?:[eE][+-]?|T[^a-zA-Z_]+Z?)?|[+-]?0[xX][0-9a-fA-F]+")
_ESCAPE = re.compile(r"""\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])|(?P<lone>\\)""")


def cleaned(payload: bytes) -> bytes:
    """The payload without the NULs, line ends and blanks around it, and without what lies behind the end of a C text;
    :class:`Malformed` where it is far longer than any contact's."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Malformed(f"payload of {len(payload)} bytes; a contact sends at most {MAX_PAYLOAD_BYTES}")
    wide = _wide(payload)
    if wide is not None:
        payload = payload.decode(wide, "replace").encode("utf-8", "replace")
    return payload.strip(_AROUND).partition(b"\0")[0].rstrip(_AROUND)


def _wide(payload: bytes) -> str | None:
    """The name of UTF-16 if it is that: there a NUL stands in every letter and ends nothing."""
    if payload[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if payload[:1] == b"{" and payload[1:4:2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if payload[:3:2] == b"\0\0" and payload[1:2] == b"{" else None


def read_object(payload: bytes) -> dict[str, Any]:
    """The payload as a JSON object; :class:`Malformed` if it is anything else."""
    payload = cleaned(payload)
    try:
        document = json.loads(payload, parse_constant=_no_value, object_pairs_hook=_told)
        if isinstance(document, str) and is_document(document.encode("utf-8", "replace")):
            # A document put into a text, as a flow does that encodes it twice.
            document = json.loads(document, parse_constant=_no_value, object_pairs_hook=_told)
    except (ValueError, RecursionError) as exc:
        document = _read_again(payload, exc)
    if not isinstance(document, dict):
        raise Malformed(f"a JSON {type(document).__name__} where an object was expected")
    return document


def _no_value(_constant: str) -> None:
    """NaN and the infinities."""


def _told(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that says one name twice: what is empty takes nothing back."""
    told: dict[str, Any] = {}
    for name, value in pairs:
        if name not in told or value not in ("", None):
            told[name] = value
    return told


def _read_again(payload: bytes, refused: Exception) -> object:
    """What strict JSON refuses, with the holes of `printf` filled and other languages' spelling undone: whole documents only."""
    if payload.removeprefix(b"\xef\xbb\xbf")[:1] != b"{" or not payload.endswith(b"}"):
        raise Malformed(f"not JSON: {refused or type(refused).__name__}") from refused
    try:
        try:
            text = payload.decode("utf-8-sig")
        except UnicodeDecodeError:
            # A name in the school's own letters, as an editor under Windows stores it.
            text = payload.decode("gb18030")
        text = _ODD.sub(_filled, text)
        return json.loads(text, strict=False, parse_constant=_no_value, object_pairs_hook=_told)
    except (ValueError, RecursionError) as exc:
        raise Malformed(f"not JSON: {exc or type(exc).__name__}") from exc


def _filled(found: re.Match[str]) -> str:
    """What JSON has in its place; a bare word that is not known stays, and is refused: it might have been the press."""
    if found["text"]:
        return _escaped(found["text"])
    if found["quoted"]:
        inside = found["quoted"][1:-1].replace("\\'", "'").replace('\\"', '"').replace('"', '\\"')
        return _escaped(f'"{inside}"')
    if found["truth"]:
        return found["truth"].lower()
    if found["key"]:
        return f'"{found["key"]}"'
    if found["whole"]:
        return _plain(f"{found['whole']}.{found['tenths']}")
    if found["number"]:
        return _plain(found["number"])
    return "" if found["comma"] else f"{found['nothing'] or ''}null"


def _plain(number: str) -> str:
    """A number without the noughts and the plus in front; `null` where it is none (`-`, `3.`, `0x1F`, `12:30`). What has
    other letters in it (`1_single`) stays, and is refused."""
    if found := _NUMBER.fullmatch(number):
        return found["sign"].replace("+", "") + found["number"]
    return "null" if _NO_NUMBER.fullmatch(number) else number


def _escaped(text: str) -> str:
    """A text in which each backslash that escapes nothing is a backslash."""
    return _ESCAPE.sub(lambda found: "\\\\" if found["lone"] else found[0], text)


def is_document(payload: bytes) -> bool:
    """Whether the payload sets out to be a JSON object, in a text too, and not a bare word or number."""
    if _wide(payload):
        return True
    begins = payload[:4096].lstrip(_AROUND).removeprefix(b"\xef\xbb\xbf").lstrip(_AROUND)
    return begins.startswith((b"{", b'"{'))


def read_word(payload: bytes) -> str:
    """The payload as one bare word or number, in small letters; :class:`Malformed` if it is anything else."""
    payload = cleaned(payload)
    if len(payload) > MAX_WORD_BYTES:
        raise Malformed(
            f"{len(payload)} bytes that begin no JSON object; a bare word has at most {MAX_WORD_BYTES}"
        )
    try:
        word = payload.decode("utf-8-sig").strip().lower()
    except UnicodeDecodeError as exc:
        raise Malformed(f"neither JSON nor a word: {exc}") from exc
    if len(word) > 2 and word[0] == word[-1] == '"':
        word = word[1:-1].strip()
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
