"""What is remembered of a contact besides its state and counter, as one JSON text: it grows with every odd device, and is never
searched."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from gateway.domain.contact import Memory, Push, Signal, SignalKind
from gateway.domain.flag import Flag


def to_text(memory: Memory) -> str | None:
    """``None`` where there is nothing of it."""
    told: dict[str, Any] = {}
    push = memory.push
    if push is not None:
        told["push"] = [push.gesture, push.at.isoformat(), push.event_id, push.input]
    if memory.flags:
        told["flags"] = {
            name: [flag.up, flag.since.isoformat(), flag.was_down, flag.again, flag.comes_alone]
            for name, flag in memory.flags.items()
        }
    if memory.values:
        told["values"] = dict(memory.values)
    if memory.heard_at is not None:
        told["heard_at"] = memory.heard_at.isoformat()
    if memory.words:
        told["words"] = {word: at.isoformat() for word, at in memory.words.items()}
    if memory.left_out:
        told["left_out"] = {w: [s.kind.value, s.input, s.word, s.gesture] for w, s in memory.left_out.items()}
    if memory.dropped is not None:
        identity, at, before = memory.dropped
        told["dropped"] = [identity, at.isoformat(), before.isoformat()]
    return json.dumps(told, ensure_ascii=False) if told else None


def from_text(text: str | None) -> dict[str, Any]:
    """The same as keyword arguments of :class:`Memory`."""
    if text is None:
        return {}
    told = json.loads(text)
    known: dict[str, Any] = {"values": told.get("values", {}), "heard_at": _instant(told.get("heard_at"))}
    if "push" in told:
        gesture, at, event_id, input_ = told["push"]
        known["push"] = Push(gesture=gesture, at=_at(at), event_id=event_id, input=input_)
    known["flags"] = {
        name: Flag(up=up, since=_at(since), was_down=was_down, again=again, comes_alone=alone)
        for name, (up, since, was_down, again, alone) in told.get("flags", {}).items()
    }
    known["words"] = {word: _at(at) for word, at in told.get("words", {}).items()}
    known["left_out"] = {
        noted: Signal(kind=SignalKind(kind), input=input_, word=word, gesture=gesture)
        for noted, (kind, input_, word, gesture) in told.get("left_out", {}).items()
    }
    if "dropped" in told:
        identity, at, before = told["dropped"]
        known["dropped"] = (identity, _at(at), _at(before))
    return known


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else _at(text)
