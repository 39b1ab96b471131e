"""Zigbee2MQTT: ``action`` events of buttons, ``contact`` states of sensors, ``sos``-like flags.

Payloads: STANDARDS §9 and the project's converters. ``contact: false`` means *open* there. ``action: null`` and
``""`` are published when the action is reset and mean nothing.
"""

from __future__ import annotations

from drivers.contacts.formats.document import read_object, whole_number
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed

_FLAGS = ("sos", "emergency", "panic")
_DOWN = frozenset({"press", "down", "pressed", "initial_press", "button_down"})
_UP = frozenset({"release", "up", "released", "short_release", "long_release", "hold_release", "button_up"})


def decode(payload: bytes) -> list[Signal]:
    """The signals of one publish. Telemetry without any of the known keys is a sign of life."""
    document = read_object(payload)
    battery = whole_number(document.get("battery"), 0, 100)
    signals: list[Signal] = []
    action = document.get("action")
    if isinstance(action, str) and action:
        signals.append(_action(action, battery))
    elif action is not None and action != "":
        raise Malformed(f"action is {action!r:.80}; expected a word")
    for flag in _FLAGS:
        if document.get(flag) is True:
            signals.append(Signal(kind=SignalKind.PRESSED, battery=battery, word=flag))
    contact = document.get("contact")
    if isinstance(contact, bool):
        kind = SignalKind.CLOSED if contact else SignalKind.OPENED
        signals.append(Signal(kind=kind, battery=battery, word=f"contact {contact}".lower()))
    if document.get("tamper") is True:
        signals.append(Signal(kind=SignalKind.TAMPER, battery=battery, word="tamper"))
    return signals or [Signal(kind=SignalKind.ALIVE, battery=battery)]


def _action(action: str, battery: int | None) -> Signal:
    """``single``, ``2_single``, ``button_2_single``: the last word says what happened, the rest which button."""
    word = action.lower()
    name, _, last = word.rpartition("_")
    if word in _DOWN | _UP:
        name, last = "", word
    elif word.endswith(tuple(f"_{w}" for w in _DOWN | _UP)):
        last = next(w for w in sorted(_DOWN | _UP, key=len, reverse=True) if word.endswith(f"_{w}"))
        name = word[: -len(last) - 1]
    kind = SignalKind.DOWN if last in _DOWN else SignalKind.UP if last in _UP else SignalKind.GESTURE
    which = name.removeprefix("button_") or None
    return Signal(kind=kind, input=which, battery=battery, word=action[:40])
