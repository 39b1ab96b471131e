"""Tasmota: what its ``Switch`` and ``Button`` inputs publish, wherever it publishes it.

===========================  ==========================================  =====================================
topic                        payload                                     is
===========================  ==========================================  =====================================
``stat/T/RESULT``            ``{"Switch1":{"Action":"ON"}}``             the edge itself (SetOption114)
``stat/T/RESULT``            ``{"Button1":{"Action":"SINGLE"}}``         what became of a push (SetOption73)
``stat/T/SWITCH1``           the same (SetOption4)
``stat/T/BUTTON1``           ``{"ACTION":"SINGLE"}``                     the same, before version 9.1
``stat/X/SWITCH1``           ``1``, ``2``, ``10`` …                      the same, by a rule with ``%value%``
``cmnd/X/POWER``             ``ON``, ``TOGGLE``, ``HOLD``                the same, by SwitchTopic, ButtonTopic
``tele/T/SENSOR``            ``{"Time":"…","Switch1":"ON"}``             the state: every TelePeriod, and on a
                                                                         change with SwitchMode 15 and 16
``stat/T/STATUS10``          ``{"StatusSNS":{…}}``                       the same, when asked for
``tele/T/RESULT``            ``{"RfReceived":{"Data":"93CF64"}}``        a radio button, heard by an RF bridge; its
                                                                         code is the input
``tele/T/RESULT``            ``{"RfRaw":{"Data":"AAA4…55"}}``            the same as the bridge's chip says it
===========================  ==========================================  =====================================

A radio button tells its code several times a push, and nothing that tells two pushes apart. Raw codes of other forms
(``AAB1…``), other receivers, readers, keypads, counters, expanders, and inputs in words of your own are forms that are not
read.
``ON`` is taken for closed, as its documentation has it. Relays (``POWER``), settings and ``tele/T/STATE`` are signs of life.
"""

from __future__ import annotations

import json
import re
from typing import Any

from drivers.contacts.formats.document import is_document, members, read_object, read_word, text
from gateway.domain.contact import Signal, SignalKind, Telling
from gateway.domain.errors import Malformed

_STATES = {
    **dict.fromkeys(("on", "1", "closed", "close"), SignalKind.CLOSED),
    **dict.fromkeys(("off", "0", "open", "opened"), SignalKind.OPENED),
}
#: Whatever the firmware says of a push. Increments come for as long as it lasts and clear, release and delayed when it is over,
#: so they count where nothing else of the push arrived.
_UP = frozenset({"clear", "release", "inc_dec", "increment", "delayed"})
_DOWN = frozenset({"inv"})
#: The numbers that rules give for ``%value%``.
_NUMBERS = {
    "2": "toggle",
    "3": "hold",
    "4": "increment",
    "5": "inv",
    "6": "clear",
    "7": "release",
    "8": "double",
    "10": "single",
    "11": "double",
    "12": "triple",
    "13": "quad",
    "14": "penta",
    "15": "clear",
}
_BARE = frozenset({"toggle", "hold", "single", "double", "triple", "quad", "penta", *_UP, *_DOWN})
_INPUT = re.compile(r"(?:Switch|Button)[0-9]{1,2}")
_OLD_KEYS = ("ACTION", "TRIG")
#: Inputs, receivers, readers, keypads, counters and expanders of inputs: where nothing of it is read, that is reported.
_UNREAD = re.compile(
    r"(?:Rf|Ir|Serial|SSerial|Zb|Tuya|NRF24|Lora)(?:Received|Raw)|(?:Switch|Button)[0-9]{1,2}"
    r"|(?-i:COUNTER)|(?:MCP23|PCF85)\w+|Wiegand|PN532|RC522|RDM6300|KeyPad\w*|Event",
    re.IGNORECASE,
)
#: All that it publishes by itself begins with a capital; other makes, network servers and decoders write theirs small. ``Action``
#: and ``Event…`` at the top are of cameras.
_ITS_OWN = re.compile(r"(?!(?:Action|Code|Event\w*|Index)\Z)[A-Z]")
#: The chip of the Sonoff bridge: AA, what it is (A4: a code of 24 bits), three times of 16 bits, the code, 55.
_RAW = re.compile(r"AAA4[0-9A-F]{12}([0-9A-F]{6})(?:[0-9A-F]{2})?55")
MAX_LABEL_CHARS = 64


def decode(payload: bytes) -> list[Signal]:
    """The signals of one publish; a sign of life where no input is spoken of."""
    if not is_document(payload):
        return _bare(read_word(payload))
    document = read_object(payload)
    if "StatusSNS" in document:
        document = members(document["StatusSNS"])
    signals = [*_actions(document), *_states(document), *_radio(document)]
    if signals:
        return signals
    nothing = ("", None, {"Action": ""}, {"Action": None})
    unread = next((k for k, value in document.items() if value not in nothing and _UNREAD.fullmatch(k)), None)
    if unread is not None:
        said = text(json.dumps(document[unread], ensure_ascii=False))[:60]
        return [Signal(kind=SignalKind.UNREAD, word=f"{text(unread)[:24]} is {said}, which is not read")]
    if document and not any(_ITS_OWN.match(key) for key in document):
        named = ", ".join(text(key)[:30] for key in list(document)[:5])
        return [Signal(kind=SignalKind.UNREAD, word=f"nothing that Tasmota publishes, only {named}")]
    return [Signal(kind=SignalKind.ALIVE)]


def _radio(document: dict[str, Any]) -> list[Signal]:
    """A radio button's code, as the bridge's firmware or its chip says it."""
    received = members(document.get("RfReceived"))
    code = _code(received.get("Data"))
    if not code:
        raw = re.sub(r"[^0-9A-F]", "", str(members(document.get("RfRaw")).get("Data", "")).upper())
        found = _RAW.fullmatch(raw)
        code = found[1] if found else ""
    if not code:
        return []
    key = received.get("RfKey")
    word = f"RfKey{key}" if isinstance(key, int) and not isinstance(key, bool) else f"code {code}"
    return [Signal(kind=SignalKind.GESTURE, input=code, word=word, gesture=f"code {code}")]


def _code(data: object) -> str:
    """The code in hexadecimal letters, without leading noughts; empty where there is none."""
    if isinstance(data, int) and not isinstance(data, bool) and data > 0:
        return f"{data:X}"[:MAX_LABEL_CHARS]
    if not isinstance(data, str):
        return ""
    code = data.strip().upper().removeprefix("0X")
    return code[:MAX_LABEL_CHARS] if re.fullmatch(r"[0-9A-F]+", code) and code.strip("0") else ""


def _bare(word: str) -> list[Signal]:
    """A word without a document: of a rule or a SwitchTopic, published because something happened; or the last will."""
    if word == "online":
        return [Signal(kind=SignalKind.ALIVE, word=word)]
    if word == "offline":
        return []
    if word not in _STATES and word not in _NUMBERS and word not in _BARE:
        raise Malformed(f"{word!r}; expected ON, OFF, TOGGLE, HOLD, a state number of rules or a JSON object")
    return [_action(None, word)]


def _actions(document: dict[str, Any]) -> list[Signal]:
    signals: list[Signal] = []
    for key, value in document.items():
        said: object = None
        if isinstance(value, dict):
            said = value.get("Action")
        elif key in _OLD_KEYS:
            said = value
        if said is None or said == "":
            continue
        if isinstance(said, bool) or not isinstance(said, str | int):
            raise Malformed(f"the action of {key!r:.80} is {said!r:.80}; expected a word")
        name = None if key in _OLD_KEYS else text(key)[:MAX_LABEL_CHARS]
        signals.append(_action(name, str(said)))
    return signals


def _states(document: dict[str, Any]) -> list[Signal]:
    """The states of a ``SENSOR`` report, under ``Switch1`` or under what SwitchText calls it.

    What a device says about itself (``STATE``, with ``Uptime``) has settings that look like them.
    """
    if "Time" not in document or "Uptime" in document:
        return []
    signals: list[Signal] = []
    for key, value in document.items():
        is_input = _INPUT.fullmatch(key) is not None
        kind = _STATES.get(value.lower()) if isinstance(value, str) else None
        if kind is None or key.startswith("POWER"):
            continue
        if is_input or not value.isdigit():
            signals.append(
                Signal(kind=kind, input=text(key)[:MAX_LABEL_CHARS], word=f"{text(key)[:24]} {value}")
            )
    return signals


def _action(name: str | None, said: str) -> Signal:
    """A word nobody knows is a push all the same: texts can be set (StateText), and any push counts."""
    word = text(said).lower().removeprefix("power_")
    word = _NUMBERS.get(word, "double" if word == "100" else word)
    shown = text(said)[:40]
    if word in _STATES:
        return Signal(kind=_STATES[word], input=name, word=shown, telling=Telling.EVENT)
    kind = SignalKind.DOWN if word in _DOWN else SignalKind.UP if word in _UP else SignalKind.GESTURE
    # A button that was held tells when it is let go (CLEAR); a switch does not.
    held = word == "hold" and name is not None and name.lower().startswith("button")
    return Signal(kind=kind, input=name, word=shown, held=held)
