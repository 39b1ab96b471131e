"""Availability and last-will payloads: whether a contact, or the program that speaks for it, is there.

Zigbee2MQTT: ``online``/``offline``, plain or as ``{"state": "online"}``; Tasmota: ``Online``/``Offline``;
Shelly: ``true``/``false``; ESPHome and most others: one of these. A codec of its own, since these messages are used
although the broker keeps them, and can for that reason never be a press.
"""

from __future__ import annotations

from drivers.contacts.formats.document import cleaned, is_document, read_object
from gateway.domain.errors import Malformed

_WORDS = {
    **dict.fromkeys(("online", "true", "1", "connected", "alive"), True),
    **dict.fromkeys(("offline", "false", "0", "disconnected", "dead"), False),
}
_LONGEST_WORD_BYTES = 64
_KEYS = ("state", "online", "availability", "status")


def decode(payload: bytes) -> bool | None:
    """``True``: there; ``False``: gone; ``None``: it is no longer told (an empty payload takes a kept one back).

    Raises :class:`Malformed` for anything else: an unknown word is never taken for either.
    """
    if not payload.strip(b"\0"):
        return None
    payload = cleaned(payload)
    if is_document(payload):
        document = read_object(payload)
        told = next((document[key] for key in _KEYS if key in document), None)
        if isinstance(told, bool):
            return told
        return _word(told if isinstance(told, str) else "")
    if len(payload) > _LONGEST_WORD_BYTES:
        raise Malformed(f"liveness of {len(payload)} bytes; expected a word such as online or offline")
    return _word(payload.decode("utf-8-sig", "replace").strip().strip('"'))


def _word(word: str) -> bool:
    known = _WORDS.get(word.lower())
    if known is None:
        raise Malformed(f"liveness is {word!r:.80}; expected online or offline, true or false")
    return known
