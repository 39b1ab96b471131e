"""Zigbee2MQTT: ``action`` events of buttons, ``contact`` states of sensors, ``sos``-like flags.

Payloads: the converters of Zigbee2MQTT itself. ``contact: false`` means *open* there. ``action: null`` and
``""`` are published when the action is reset and mean nothing.
"""

from __future__ import annotations

from drivers.contacts.formats.document import read_object, text, whole_number
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed

_FLAGS = ("sos", "emergency", "panic")
_DOWN = frozenset({"press", "down", "pressed", "initial_press", "button_down"})
#: ``off`` is how the converters name the zone status 0 of an SOS button (HS1EB, SE21, IM6001-BTP01): free again.
_UP = frozenset({"release", "up", "released", "off", "button_up"})
_UP |= {f"{gesture}_release" for gesture in ("short", "long", "hold", "press", "double", "triple")}
_HELD = frozenset({"hold", "long", "long_press", "hold_press"})
_GESTURES = _HELD | {
    *("single", "double", "triple", "tripple", "quadruple", "quintuple", "many", "multiple"),
    *("click", "single_click", "double_click", "triple_click", "short", "short_press", "push", "tap"),
    *("double_press", "triple_press", "toggle", "on", "recall", "emergency", "panic", "sos"),
}
_WORDS = _DOWN | _UP | _GESTURES


def decode(payload: bytes) -> list[Signal]:
    """The signals of one publish. Telemetry without any of the known keys is a sign of life."""
    document = read_object(payload)
    battery = whole_number(document.get("battery"), 0, 100)
    signals: list[Signal] = []
    # Up to Zigbee2MQTT 1.x some buttons told their gesture in `click`.
    action = document.get("action") or document.get("click")
    if isinstance(action, str) and action:
        signals.append(_action(text(action), battery))
    for flag in _FLAGS:
        if document.get(flag) is True:
            signals.append(Signal(kind=SignalKind.PRESSED, battery=battery, word=flag))
    contact = document.get("contact")
    if isinstance(contact, bool):
        kind = SignalKind.CLOSED if contact else SignalKind.OPENED
        signals.append(Signal(kind=kind, battery=battery, word=f"contact {contact}".lower()))
    if not signals and action is not None and not isinstance(action, str):
        raise Malformed(f"action is {action!r:.80}; expected a word")
    if document.get("tamper") is True:
        signals.append(Signal(kind=SignalKind.TAMPER, battery=battery, word="tamper"))
    return signals or [Signal(kind=SignalKind.ALIVE, battery=battery)]


def _action(action: str, battery: int | None) -> Signal:
    """What happened, and on which button.

    Converters put the button before the gesture (``1_single``, ``button_2_hold``, ``arrow_left_click``) or after it
    (``single_left``, ``recall_1``, ``hold_right``). A word that is neither counts as a gesture: any push does.
    """
    name, gesture = _split(action.lower())
    kind = SignalKind.DOWN if gesture in _DOWN else SignalKind.UP if gesture in _UP else SignalKind.GESTURE
    which = name.removeprefix("button_") or None
    return Signal(kind=kind, input=which, battery=battery, word=action[:40], held=gesture in _HELD)


def _split(word: str) -> tuple[str, str]:
    """(button, gesture); the longest known gesture wins, at the end before at the beginning."""
    parts = word.split("_")
    for length in range(len(parts), 0, -1):
        last, first = "_".join(parts[-length:]), "_".join(parts[:length])
        if last in _WORDS:
            return "_".join(parts[:-length]), last
        if first in _WORDS and first not in ("up", "down", "on", "off"):
            return "_".join(parts[length:]), first
    return "", word
