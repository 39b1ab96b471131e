"""Shelly, second generation and later (Plus, Pro, Gen3, Gen4): ``<id>/events/rpc`` and ``<id>/status/input:0``.

====================  ==================================================  =============================================
topic                 payload                                             is
====================  ==================================================  =============================================
``events/rpc``        ``NotifyEvent`` with ``btn_down`` … ``long_push``   what happened, each with its own time; several
                                                                          in one message from a device that slept
``events/rpc``        ``NotifyStatus`` with ``input:0``                   the state, because something of it changed
``events/rpc``        ``NotifyFullStatus``                                all states, for whatever reason
``status/input:0``    ``{"id":0,"state":true}``                           the state; ``null`` for a button
any                   ``{"ts":…,"input:0":{"id":0,"state":false}}``       the states of a device's status, with or without
                                                                          an envelope around it (``result``)
====================  ==================================================  =============================================

Bluetooth buttons come as ``bthomedevice:N`` and ``bthomesensor:N``, drawn ones as ``button:N``. A script (``shelly-blu``
and others by its example) reports them and door contacts in events of its own: whatever such an event is called, data with a
``button`` above 0 is a push, and ``window`` or ``door`` a state. Their packet number (``pid``) is the identity of a push.

``config_changed``, updates, sleep and all that is no input are signs of life. An input of type *count* tells its count. What a
script tells besides is a form that is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from drivers.contacts.formats.document import (
    counted,
    is_document,
    members,
    read_object,
    read_word,
    text,
    unix_instant,
    whole_number,
)
from gateway.domain.contact import Signal, SignalKind, Telling
from gateway.domain.errors import Malformed

_COMPONENT = re.compile(r"[a-z0-9_]+:[0-9]{1,4}").fullmatch
_NAMED = re.compile(r"[a-z0-9_]+:[0-9]{1,4}|script:.*").fullmatch
#: What a status of one component or of the device has besides inputs.
_KNOWN = frozenset(
    {"id", "ts", "event", "result", "error", "src", "sys", "wifi", "mqtt", "cloud", "ble", "params"}
)
_INPUT = re.compile(r"input:[0-9]{1,4}")
#: What may be a contact without saying so: a Bluetooth sensor may be a door or a movement, a boolean is a script's.
_MAYBE = re.compile(r"(?:bthomesensor|boolean):[0-9]{1,4}")
#: What detects by itself: nobody pushed it, and it is on record.
_DETECTOR = re.compile(r"(?:smoke|flood|gas):[0-9]{1,4}")
#: What is told of an input or a button that is no push of it.
_NO_PUSH = re.compile(r"(?:config|analog|ota|device|scheduled)_\w+|\w*measurement\w*|sleep")
#: Buttons of its own, drawn ones, and Bluetooth buttons that it passes on. A word of push counts of any component.
_PUSHED = ("input:", "button:", "bthomedevice:", "bthomesensor:")
_INPUTS = tuple(each.rstrip(":") for each in _PUSHED)
_PUSHES = ("_push", "_press", "_hold")
#: The gestures whose release is told after them, however long it takes.
_HELD = frozenset({"long_push", "hold_press", "long_press"})


def decode(payload: bytes) -> list[Signal]:
    """The signals of one publish; a sign of life where no input is spoken of."""
    if not is_document(payload):
        return _bare(read_word(payload))
    document = read_object(payload)
    method, params = document.get("method"), members(document.get("params"))
    battery = _battery(params)
    signals: list[Signal] = []
    if method == "NotifyEvent":
        events = params.get("events")
        if not isinstance(events, list):
            raise Malformed(f"NotifyEvent with events {events!r:.80}; expected a list")
        signals = [signal for event in events for signal in _event(members(event), params.get("ts"))]
    elif method in ("NotifyStatus", "NotifyFullStatus"):
        telling = Telling.CHANGE if method == "NotifyStatus" else Telling.STATE
        for key, value in params.items():
            signals += _state(key, members(value), telling, battery)
    elif method is None and isinstance(document.get("event"), str):
        signals = list(_event(document, document.get("ts")))
    elif method is None:
        signals = _status(document)
    if (
        signals
        or method is not None
        or not document
        or document.keys() & _KNOWN
        or any(map(_COMPONENT, document))
    ):
        return signals or [Signal(kind=SignalKind.ALIVE, battery=battery)]
    named = ", ".join(text(key)[:30] for key in list(document)[:5])
    return [Signal(kind=SignalKind.UNREAD, word=f"neither a notification nor a status, only {named}")]


def _status(document: dict[str, Any]) -> list[Signal]:
    """A status without a notification around it: of one input, or of the whole device."""
    whole = document if "result" not in document else members(document["result"])
    battery = _battery(whole)
    signals = [
        signal
        for key, value in whole.items()
        for signal in _state(key, members(value), Telling.STATE, battery)
    ]
    # By its topic only it is known to be an input's: covers and others report a `state` as well, in words or numbers.
    if not signals and counted(whole.get("id")) is not None:
        key, state = f"input:{whole['id']}", whole.get("state")
        if state is None or isinstance(state, bool):
            signals = list(_state(key, whole, Telling.STATE, battery))
        elif state in (0, 1):
            signals = [_unread(key, state)]
    return signals


def _bare(word: str) -> list[Signal]:
    """``<id>/online``, the last will."""
    if word == "true":
        return [Signal(kind=SignalKind.ALIVE, word=word)]
    if word == "false":
        return []
    raise Malformed(f"{word!r}; expected a JSON object")


def _event(event: dict[str, Any], sent_at: object) -> Iterator[Signal]:
    """One event. Its own time makes it the same event wherever it is told again: no two of one input share it."""
    component, word, data = event.get("component"), event.get("event"), members(event.get("data"))
    if not isinstance(component, str) or not isinstance(word, str) or not _NAMED(component):
        yield from _strange(component, word)
        return
    at = unix_instant(event.get("ts")) or unix_instant(sent_at)
    word = text(word)[:40]
    which, kind = component, SignalKind.GESTURE
    battery = whole_number(_any(data, "battery"), 0, 100)
    if component.startswith("script:"):
        # Advertisements of Bluetooth devices, passed on by a script of the vendor's or one like it.
        which = text(str(_any(data, "address", "addr", "mac") or component))[:64]
        state = _opened(data)
        button = _any(data, "button")
        if not _pushed(button):
            if button is not None and not isinstance(button, int | list):
                yield Signal(
                    kind=SignalKind.UNREAD, word=f"the event {word} of {component} with another button"
                )
            elif not isinstance(event.get("data"), dict | None):
                yield Signal(
                    kind=SignalKind.UNREAD, word=f"the event {word} of {component} with a bare value"
                )
            elif state is not None:
                yield Signal(kind=state, input=which, battery=battery, word=f"{word} {state}")
            elif data and button is None:
                named = ", ".join(text(key)[:30] for key in list(data)[:5])
                yield Signal(kind=SignalKind.UNREAD, word=f"the event {word} of {component} with {named}")
            return
        word = f"{word} {button}"[:40]
    elif word == "btn_down":
        kind = SignalKind.DOWN
    elif word == "btn_up":
        kind = SignalKind.UP
    elif not word.endswith(_PUSHES):
        if component.startswith(_PUSHED) and not _NO_PUSH.fullmatch(word):
            yield Signal(kind=SignalKind.UNREAD, input=which, word=f"the event {word} of {component}")
        return
    number = counted(_any(data, "pid"))
    number = counted(event.get("pid")) if number is None else number
    # Whole milliseconds, as the device tells them: text made of a float need not be the same twice.
    by_time = None if at is None else f"{which} {word} {round(at.timestamp() * 1000)}"
    yield Signal(
        kind=kind,
        input=which,
        event_id=by_time if number is None else f"{which} pid {number}",
        at=at,
        battery=battery,
        word=word,
        held=word in _HELD,
    )


def _strange(component: object, word: object) -> Iterator[Signal]:
    """An event whose component or word is missing or odd: told where it may be a push, since nobody can say of which input."""
    said, of = text(str(word or "nothing"))[:40], text(str(component or "no component"))[:40]
    is_push = said in ("btn_down", "btn_up") or said.endswith(_PUSHES)
    of_input = of.lower().startswith(_INPUTS) and not _NO_PUSH.fullmatch(said)
    if is_push or of_input:
        yield Signal(kind=SignalKind.UNREAD, word=f"the event {said} of {of}")


def _any(data: dict[str, Any], *names: str) -> object:
    """The value under one of the names, whatever its capitals."""
    return next((value for key, value in data.items() if key.lower() in names), None)


def _opened(data: dict[str, Any]) -> SignalKind | None:
    """What a Bluetooth door contact says: BTHome's ``window``, ``door`` and ``opening`` are 1 for open."""
    said = _any(data, "window", "door", "opening")
    if isinstance(said, bool) or said in (0, 1):
        return SignalKind.OPENED if said else SignalKind.CLOSED
    return None


def _pushed(button: object) -> bool:
    """The script tells of several buttons of one device in a list."""
    each = button if isinstance(button, list) else [button]
    return any(isinstance(b, int) and not isinstance(b, bool) and b > 0 for b in each)


def _state(key: str, status: dict[str, Any], telling: Telling, battery: int | None) -> Iterator[Signal]:
    if _MAYBE.fullmatch(key) and isinstance(status.get("value"), bool):
        yield Signal(kind=SignalKind.OTHER_USE, input=key, word=f"{key} {status['value']}".lower())
    if _DETECTOR.fullmatch(key) and isinstance(status.get("alarm"), bool):
        yield Signal(kind=SignalKind.OTHER_USE, input=key, word=f"{key} alarm {status['alarm']}".lower())
    if not _INPUT.fullmatch(key):
        return
    state = status.get("state")
    if state in (0, 1):
        state = bool(state)
    elif state is not None:
        yield _unread(key, state)
    if isinstance(state, bool):
        kind = SignalKind.CLOSED if state else SignalKind.OPENED
        yield Signal(kind=kind, input=key, battery=battery, telling=telling, word=f"{key} {state}".lower())
    counter = counted(members(status.get("counts")).get("total"))
    if counter is not None:
        yield Signal(
            kind=SignalKind.COUNTED,
            input=key,
            counter=counter,
            battery=battery,
            word=f"{key} counts {counter}",
        )


def _unread(key: str, state: object) -> Signal:
    return Signal(kind=SignalKind.UNREAD, input=key, word=f"{key} is {text(str(state))[:40]!r}")


def _battery(params: dict[str, Any]) -> int | None:
    power = members(params.get("devicepower:0"))
    return whole_number(members(power.get("battery")).get("percent"), 0, 100)
