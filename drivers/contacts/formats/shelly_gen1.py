"""Shelly, first generation: ``shellies/<id>/…``.

===================  ========================================  ====================================================
topic                payload                                   is
===================  ========================================  ====================================================
``input_event/0``    ``{"event":"S","event_cnt":7}``           a push and its number; said again every update period
                                                               (30 s) and up to three times at once by a Button1
``input_event/0``    ``{"event":"","event_cnt":0}``            not pushed since it started
``input/0``          ``0``, ``1``                              the state, every update period
``sensor/state``     ``open``, ``close``                       the state of a Door/Window, when it wakes up
``info``             a document with ``inputs`` or ``sensor``  the same for all inputs, as a report; a push where
                                                               ``act_reasons`` says that a button woke the device
===================  ========================================  ====================================================

Announcements, ``online``, relays and measurements are signs of life.
"""

from __future__ import annotations

from typing import Any

from drivers.contacts.formats.document import (
    counted,
    is_document,
    members,
    read_object,
    read_word,
    text,
    whole_number,
)
from gateway.domain.contact import Signal, SignalKind, Telling
from gateway.domain.errors import Malformed

_STATES = {
    **dict.fromkeys(("1", "close", "closed"), SignalKind.CLOSED),
    **dict.fromkeys(("0", "open"), SignalKind.OPENED),
}
#: What documents of this generation have besides: announcements, relays, settings, measurements.
_KNOWN = frozenset(
    {
        "id",
        "mac",
        "model",
        "inputs",
        "sensor",
        "bat",
        "relays",
        "meters",
        "wifi_sta",
        "lights",
        "rollers",
        "uptime",
    }
) | {"tmp", "hum", "lux", "flood", "smoke", "act_reasons", "ison", "time", "unixtime", "has_update", "status"}
#: Of these one alone is no mark of it: decoders of radio networks and other makes write them as well.
_OTHERS_TOO = frozenset({"id", "model", "status", "time"})
_SIGNS_OF_LIFE = frozenset({"true", "on", "off", "overpower", "unknown", "normal"})


def decode(payload: bytes) -> list[Signal]:
    """The signals of one publish; a sign of life where no input is spoken of."""
    if not is_document(payload):
        return _bare(read_word(payload))
    document = read_object(payload)
    if "event" in document or "event_cnt" in document:
        return [_event(document)]
    battery = whole_number(members(document.get("bat")).get("value"), 0, 100)
    reasons = document.get("act_reasons")
    reasons = reasons if isinstance(reasons, list) else []
    signals = _inputs(document, battery, Telling.EVENT if "button" in reasons else Telling.STATE)
    state = members(document.get("sensor")).get("state")
    if isinstance(state, str) and state.lower() not in _STATES and state != "unknown":
        signals.append(Signal(kind=SignalKind.UNREAD, word=f"the sensor's state is {text(state)[:40]!r}"))
    elif isinstance(state, str) and state != "unknown":
        telling = Telling.CHANGE if "sensor" in reasons else Telling.STATE
        kind = _STATES[state.lower()]
        signals.append(Signal(kind=kind, battery=battery, word=f"state {state}", telling=telling))
    if (
        signals
        or not document
        or document.keys() & (_KNOWN - _OTHERS_TOO)
        or len(document.keys() & _OTHERS_TOO) > 1
    ):
        return signals or [Signal(kind=SignalKind.ALIVE, battery=battery)]
    named = ", ".join(text(key)[:30] for key in list(document)[:5])
    return [Signal(kind=SignalKind.UNREAD, word=f"neither an event, an input nor a sensor, only {named}")]


def _bare(word: str) -> list[Signal]:
    if word in _STATES:
        return [Signal(kind=_STATES[word], word=word)]
    if word == "false":
        return []  # the last will: it is not online
    if word in _SIGNS_OF_LIFE or _is_measurement(word):
        return [Signal(kind=SignalKind.ALIVE, word=word)]
    raise Malformed(f"{word!r}; expected 0, 1, open, close or a JSON object")


def _event(document: dict[str, Any]) -> Signal:
    """A push under its number. A number that cannot be used is left out, not the push."""
    event, counter = document.get("event"), counted(document.get("event_cnt"))
    if event is not None and not isinstance(event, str):
        raise Malformed(f"event is {event!r:.80}; expected S, SS, SSS, L, SL, LS or an empty text")
    word = text(event or "")[:40]
    if not word:
        kind = SignalKind.ALIVE if counter is None else SignalKind.COUNTED
        return Signal(kind=kind, counter=counter, word="no event")
    if counter is None:
        return Signal(kind=SignalKind.PRESSED, word=word)
    return Signal(kind=SignalKind.COUNTED, counter=counter, telling=Telling.EVENT, word=word)


def _inputs(document: dict[str, Any], battery: int | None, telling: Telling) -> list[Signal]:
    """The inputs of a status, told because a button woke the device or for whatever reason (``telling``): the number of pushes
    where it counts them, else the state, and never both for one push."""
    inputs = document.get("inputs")
    signals: list[Signal] = []
    for number, each in enumerate(inputs if isinstance(inputs, list) else ()):
        said = members(each)
        counter, event = counted(said.get("event_cnt")), said.get("event")
        word = f"{text(event)[:40]}" if isinstance(event, str) else ""
        if counter is not None:
            signals.append(
                Signal(
                    kind=SignalKind.COUNTED,
                    input=str(number),
                    counter=counter,
                    battery=battery,
                    word=word,
                    telling=telling if word else Telling.STATE,
                )
            )
        state = said.get("input")
        if not counter and not word and not isinstance(state, bool) and state in (0, 1):
            kind = SignalKind.CLOSED if state else SignalKind.OPENED
            signals.append(Signal(kind=kind, input=str(number), battery=battery, word=f"input {int(state)}"))
    return signals


def _is_measurement(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
