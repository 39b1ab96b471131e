"""Zigbee2MQTT: ``action`` events of buttons, ``contact`` states of sensors, ``sos``-like flags.

Payloads: the converters of Zigbee2MQTT itself. ``contact: false`` means *open* there. ``action: null`` and
``""`` are published when the action is reset and mean nothing. With its `output: attribute` each value comes bare, on a topic of
its own: ``BASE/NAME/sos`` ``true``, ``BASE/NAME/contact`` ``false``; and so does ``BASE/NAME/action``, its older trigger.
"""

from __future__ import annotations

import re
from typing import Any

from drivers.contacts.formats.document import is_document, read_object, read_word, text, whole_number
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed

_FLAGS = ("sos", "emergency", "panic")
_NO_ACTION = frozenset({"", "null", "none"})
_DOWN = frozenset({"press", "down", "pressed", "initial_press", "button_down"})
#: ``off`` is how the converters name the zone status 0 of an SOS button (HS1EB, SE21, IM6001-BTP01): free again.
_UP = frozenset({"release", "up", "released", "off", "button_up"})
_UP |= {f"{gesture}_release" for gesture in ("short", "long", "hold", "press", "double", "triple")}
#: Gestures whose end is reported: the button is let go, or the alarm is reset, however much later.
_HELD = frozenset({"hold", "long", "long_press", "hold_press", *_FLAGS})
_GESTURES = _HELD | {
    *("single", "double", "triple", "tripple", "quadruple", "quintuple", "many", "multiple"),
    *("click", "single_click", "double_click", "triple_click", "short", "short_press", "push", "tap"),
    *("double_press", "triple_press", "toggle", "on", "recall"),
}
_WORDS = _DOWN | _UP | _GESTURES


#: What a keypad says besides: that it arms or disarms, that it waits, that a code is wrong. Never a word of alarm.
_KEYPAD = re.compile(
    r"(?:(?:re|dis|un)?arm(?:s|ed|ing)?(?:_.*)?|already_\w*|(?:\w+_)?delay(?:_[0-9]+)?|(?:\w+_)?(?:dis|un)?armed|set_(?:dis|un)?arm(?:ed)?(?:_.*)?|not_ready(?:_.*)?|(?:get_)?panel_status"
    r"|(?:invalid|wrong|bad|incorrect|unknown)_(?:code|pin|user|tag)|(?:code|pin|tag)_(?:invalid|wrong|bad|incorrect|error))"
)
#: In front of it: which keypad or key.
_WHICH_KEY = re.compile(r"(?:(?:keypad|button|key|partition|area|zone)(?:_?[0-9]+)?|[0-9]+)_")
_ALARMS = r"(?:panic|sos|emergency|fire|duress|medical|police|help|alarm|holdup|hold_up)"
_ALARM = re.compile(rf"(?:^|_){_ALARMS}(?:_|$)")
#: Which button, and a word of alarm alone.
_BARE_ALARM = re.compile(rf"(?:(?P<which>(?:\w+_)?[0-9]+)_)?(?P<word>{_ALARMS})")
#: That an alarm is over: like `off`, it is no push after the alarm, and all that is heard of one whose alarm was lost.
_OVER = re.compile(
    rf"(?:(?P<which>\w+)_)?{_ALARMS}_(?P<over>cancel(?:l?ed)?|clear(?:ed)?|reset|end(?:ed)?|stop(?:ped)?|over|restored?)"
)
#: A word of alarm is no button's name: what follows it (`emergency_release`) is of the same button as the word alone.
_ALARM_BEHIND = re.compile(rf"(?:^|_){_ALARMS}$")
#: What a Zigbee device tells of itself that is neither its contact nor its flag. Seen alone it is telemetry, and no riddle.
_TELEMETRY = frozenset(
    {
        "battery",
        "battery_low",
        "battery_state",
        "voltage",
        "linkquality",
        "last_seen",
        "tamper",
        "update",
        "update_available",
    }
) | {"device", "elapsed", "device_temperature", "temperature", "power_outage_count", "trigger_count", "test"}
_TELEMETRY |= {"supervision_reports", "restore_reports", "trouble", "ac_status", "battery_defect"}
#: What other sensors detect, and other names of a push: seen without the known keys, whatever the value, nothing of it is read.
_OTHER_SENSOR = re.compile(
    r"alarm(?:_[0-9]+)?|(?:action|button|event)(?:_\w+)?|vibration|occupancy|presence|smoke|gas|carbon_monoxide|water_leak"
    r"|(?:\w+_)?(?:sos|panic|emergency|help)(?:_(?:state|status|alarm|button|event|signal|call|key|trigger))?"
    r"|(?:click|press|push)_(?:type|state|event|action|count)"
)
_NO_VALUES = frozenset({*_FLAGS, "action", "click", "contact", "update", "device"})
MOST_VALUES = 40


def decode(payload: bytes, attribute: str | None = None) -> list[Signal]:
    """The signals of one publish. Telemetry without any of the known keys is a sign of life. ``attribute`` is the end of the
    topic where a value may come bare."""
    if attribute is not None and not is_document(payload):
        return _read(_bare(attribute, payload))
    return _read(read_object(payload))


def _bare(attribute: str, payload: bytes) -> dict[str, Any]:
    """One value of a device as if it stood in a document."""
    word = read_word(payload)
    if attribute in ("action", "click"):
        return {attribute: word}
    if word not in ("true", "false", "null"):
        raise Malformed(f"{word!r} on a topic that ends in {attribute}; expected true or false")
    return {attribute: {"true": True, "false": False}.get(word)}


def _read(document: dict[str, Any]) -> list[Signal]:
    battery = whole_number(document.get("battery"), 0, 100)
    signals: list[Signal] = []
    # Up to Zigbee2MQTT 1.x some buttons told their gesture in `click`.
    either = (document.get("action"), document.get("click"))
    action = next((said for said in either if said and str(said).strip().lower() not in _NO_ACTION), None)
    if isinstance(action, str):
        signals.append(_action(text(action.strip()), battery))
    values = _values(document)
    for flag in _FLAGS:
        said = document.get(flag)
        if isinstance(said, bool):
            kind = SignalKind.RAISED if said else SignalKind.LOWERED
            signals.append(Signal(kind=kind, battery=battery, word=flag, values=values))
    contact = document.get("contact")
    if isinstance(contact, bool):
        kind = SignalKind.CLOSED if contact else SignalKind.OPENED
        signals.append(Signal(kind=kind, battery=battery, word=f"contact {contact}".lower()))
    if not signals and action is not None and not isinstance(action, str):
        raise Malformed(f"action is {action!r:.80}; expected a word")
    if document.get("tamper") is True:
        signals.append(Signal(kind=SignalKind.TAMPER, battery=battery, word="tamper"))
    if signals:
        return signals
    odd = next((key for key in (*_FLAGS, "contact") if document.get(key) not in (None, "")), None)
    if odd is not None:
        said = text(str(document[odd]))[:40]
        return [
            Signal(kind=SignalKind.UNREAD, word=f"{odd} is {said!r}; expected true or false", values=values)
        ]
    spoken_of = {*_FLAGS, "action", "click", "contact"} & document.keys()
    other = [key for key, value in document.items() if value is True or _OTHER_SENSOR.fullmatch(key)]
    other = [key for key in other if key not in _TELEMETRY]
    other += [
        key
        for key in document
        if key != key.lower() and key.lower() in {*_FLAGS, "action", "click", "contact"}
    ]
    if document and not spoken_of and (other or not _TELEMETRY & document.keys()):
        named = ", ".join(text(key)[:30] for key in (other or list(document))[:5])
        return [
            Signal(
                kind=SignalKind.UNREAD, word=f"neither action, contact nor flag, only {named}", values=values
            )
        ]
    return [Signal(kind=SignalKind.ALIVE, battery=battery, values=values)]


def _values(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a message tells besides a push, by which a report is known. What is not known (``null``) tells nothing."""
    told = [
        (text(key)[:40], text(str(value))[:80])
        for key, value in document.items()
        if isinstance(value, str | int | float) and key not in _NO_VALUES and not key.startswith("action_")
    ]
    return tuple(sorted(told)[:MOST_VALUES])


def _action(action: str, battery: int | None) -> Signal:
    """What happened, and on which button.

    Converters put the button before the gesture (``1_single``, ``button_2_hold``, ``arrow_left_click``) or after it
    (``single_left``, ``recall_1``, ``hold_right``), with ``_`` or ``-`` between. A word that is neither counts as a gesture:
    any push does, unless it says how a keypad was used.
    """
    word = action.lower().replace("-", "_").replace(" ", "_")
    key = _WHICH_KEY.match(word)
    if not _ALARM.search(word) and _KEYPAD.fullmatch(word, key.end() if key else 0):
        return Signal(kind=SignalKind.OTHER_USE, battery=battery, word=action[:40])
    over = _OVER.fullmatch(word)
    name, gesture = (over["which"] or "", over["over"]) if over else _split(word)
    is_up = over is not None or gesture in _UP
    kind = SignalKind.UP if is_up else SignalKind.DOWN if gesture in _DOWN else SignalKind.GESTURE
    which = _ALARM_BEHIND.sub("", name).removeprefix("button_") or None
    is_alarm = _BARE_ALARM.fullmatch(gesture) is not None or _ALARM_BEHIND.search(name) is not None
    return Signal(
        kind=kind,
        input=which,
        battery=battery,
        word=action[:40],
        held=is_alarm or gesture in _HELD,
        gesture=gesture[:40],
    )


def _split(word: str) -> tuple[str, str]:
    """(button, gesture); the longest known gesture wins, at the end before at the beginning."""
    if alarm := _BARE_ALARM.fullmatch(word):
        return alarm["which"] or "", alarm["word"]
    parts = word.split("_")
    for length in range(len(parts), 0, -1):
        last, first = "_".join(parts[-length:]), "_".join(parts[:length])
        if last in _WORDS:
            return "_".join(parts[:-length]), last
        if first in _WORDS and first not in ("up", "down", "on", "off"):
            return "_".join(parts[length:]), first
    return "", word
