"""Hearing and answering as the gateway wires them, and answers as a centre gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.alarm.answer_bodies import Hearing
from gateway.alarm.answering import Answering
from gateway.api.alarm.items import read_item
from gateway.domain.answer import Complaint
from gateway.domain.message import Answer, Message, MessageType
from tests.support.builders import envelopes
from tests.support.clock import ManualClock
from tests.support.stores import WatchedStore

OPERATOR = {"name": "王警官", "unit": "市局 110"}


@dataclass(slots=True)
class Ear:
    """A hearing stage with the answering one behind it; ``complaints`` are those of each answer in turn."""

    store: WatchedStore
    clock: ManualClock
    answering: Answering
    hearing: Hearing
    complaints: list[Sequence[Complaint]] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)

    @property
    def refused(self) -> dict[str, str]:
        """What was not applied so far: subject to cause."""
        return {c.subject: c.cause for told in self.complaints for c in told}


def ear(store: WatchedStore, clock: ManualClock) -> Ear:
    """The two stages on a store."""
    woken: list[str] = []
    complaints: list[Sequence[Complaint]] = []
    answering = Answering(
        store=store,
        clock=clock,
        envelopes=envelopes(),
        wake_delivering=lambda: woken.append("delivering"),
        wake_gathering=lambda: woken.append("gathering"),
    )
    hearing = Hearing(
        store=store,
        clock=clock,
        read_item=read_item,
        say=answering.say,
        said=answering.said,
        complain=complaints.append,
    )
    return Ear(store, clock, answering, hearing, complaints, woken)


def reply_item(
    id_: str = "r-1", reply: str = "accepted", alarm: str = "alm_1", **changes: Any
) -> dict[str, Any]:
    """A reply as an item; a change to ``None`` leaves the key out."""
    return _item({"id": id_, "alarm": alarm, "reply": reply, "operator": OPERATOR}, changes)


def still_item(
    id_: str = "q-1", camera: str = "cam-a", alarm: str = "alm_1", **changes: Any
) -> dict[str, Any]:
    """A request for a still as an item."""
    item = {
        "id": id_,
        "alarm": alarm,
        "request": "still",
        "camera": camera,
        "operator": OPERATOR,
        "reason": "核实",
    }
    return _item(item, changes)


def saying(*, replies: Any = (), requests: Any = (), doubt: str = "") -> Answer:
    """A 200 with those items, believed unless there is a doubt."""
    body = json.dumps({"replies": list(replies), "requests": list(requests)}, ensure_ascii=False).encode()
    return Answer(status=200, body=body, content_type="application/json", doubt=doubt)


def message(type_: MessageType = MessageType.LINK_HEARTBEAT, subject: str | None = None) -> Message:
    """A message that is being answered."""
    now = ManualClock().now()
    return envelopes().message(type_, {}, at=now, now=now, subject=subject)


def _item(item: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**item, **changes}.items() if v is not None}
