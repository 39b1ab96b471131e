"""What a centre that cannot call the school says in the bodies of its answers: replies and requests, item by item.

Pure: bytes in, items and complaints out. An item that cannot be read spoils no other item of the same answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway.domain.alarm import State
from gateway.domain.ids import is_drill
from gateway.domain.message import Message, MessageType

MOST_ITEMS = 100  # ours: an operator's words of minutes; more goes into the next answer
MOST_ID = 200  # characters, as of every other name that comes in
SHOWN_ID = 60  # characters of an id in a fault
#: Messages that belong to neither plane: their answers may speak of alarms and of drills.
_OF_NO_PLANE = frozenset(
    {MessageType.LINK_HEARTBEAT, MessageType.SITE_PLAN, MessageType.FAULT_RAISED, MessageType.FAULT_CLEARED}
)


class ItemKind(StrEnum):
    """Which of the two lists of an answer an item stands in."""

    REPLY = "reply"
    REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who speaks: a name and a unit, both required of every reply and request."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySaid:
    """The centre's word on an alarm."""

    state: State
    operator: Operator
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSaid:
    """A span of one camera is asked for."""

    camera: str
    start: datetime
    end: datetime
    operator: Operator
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StillSaid:
    """A picture of now is asked for."""

    camera: str
    operator: Operator
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveSaid:
    """A movement of a camera is asked for."""

    camera: str
    operator: Operator
    reason: str


Said = ReplySaid | ClipSaid | StillSaid | MoveSaid


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of ``replies`` or ``requests``: its own id, the alarm it speaks of, and the rest of it as it came.

    ``place`` says where in the answer it stood; ``digest`` tells a repetition from another item under the same id.
    """

    id: str
    kind: ItemKind
    alarm: object
    content: Mapping[str, Any]
    place: str
    digest: str

    @property
    def subject(self) -> str:
        """How a fault names it."""
        return f"item {shown(self.id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Something in an answer that was not applied: ``subject`` is the fault's, ``cause`` what is to be done."""

    subject: str
    cause: str


def items_of(document: Mapping[str, Any]) -> tuple[list[Item], list[Complaint]]:
    """The items of an understood answer, replies before requests, each list in its order.

    An entry without a usable id cannot be remembered, so it is complained of and never applied. Of more than
    :data:`MOST_ITEMS` the rest is left unread, for the centre to give again.
    """
    found: list[Item] = []
    complaints: list[Complaint] = []
    for kind, name in ((ItemKind.REPLY, "replies"), (ItemKind.REQUEST, "requests")):
        for number, entry in enumerate(document.get(name, [])):
            place = f"{name}[{number}]"
            if len(found) + len(complaints) >= MOST_ITEMS:
                cause = f"{place} and what follows it: more than {MOST_ITEMS} items in one answer; give the rest again"
                complaints.append(Complaint(subject="answers", cause=cause))
                return found, complaints
            item = _item(kind, place, entry)
            if isinstance(item, Complaint):
                complaints.append(item)
            else:
                found.append(item)
    return found, complaints


def _item(kind: ItemKind, place: str, entry: object) -> Item | Complaint:
    if not isinstance(entry, dict):
        return Complaint(subject="answers", cause=f"{place}: not an object")
    id_ = entry.get("id")
    if not isinstance(id_, str) or not 0 < len(id_) <= MOST_ID or id_ != id_.strip() or not id_.isprintable():
        cause = f"{place}: id: expected a text of 1 to {MOST_ID} printable characters that no other item has"
        return Complaint(subject="answers", cause=cause)
    try:
        digest = hashlib.sha256(json.dumps([kind, entry], sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return Complaint(subject="answers", cause=f"{place}: item {shown(id_)} is nested too deeply")
    content = {name: value for name, value in entry.items() if name not in ("id", "alarm")}
    return Item(id=id_, kind=kind, alarm=entry.get("alarm"), content=content, place=place, digest=digest)


def out_of_plane(message: Message, alarm: str) -> str:
    """Why an answer to ``message`` may not speak of ``alarm``; empty if it may.

    What answers a drill touches drills only, and what answers an alarm alarms only. Heartbeats, faults and the plan belong
    to neither: by them a centre that cannot call ends a drill long after the drill's last message.
    """
    if message.type in _OF_NO_PLANE:
        return ""
    drill = message.drill or is_drill(message.subject or "")
    if drill == is_drill(alarm):
        return ""
    about, other = ("a drill", "an alarm") if drill else ("an alarm", "a drill")
    return f"an answer to {message.type.value} about {about} does not touch {other}"


def shown(id_: str) -> str:
    """An item's id, short enough for a fault."""
    return id_ if len(id_) <= SHOWN_ID else id_[:SHOWN_ID] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredItem:
    """A reply or request that came in an answer body, and what came of it, kept so that it is applied once.

    ``ok`` false means that nothing was changed, and ``reason`` why. ``state`` is the alarm's state after it. ``told`` is
    whether the centre has received a heartbeat that says all this.
    """

    id: str
    digest: str
    kind: ItemKind
    alarm: str | None
    seen_at: datetime
    ok: bool
    reason: str | None = None
    state: str | None = None
    request: str | None = None
    told: bool = False
