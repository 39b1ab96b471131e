"""A centre that cannot call the school: what its operator says waits here and goes into answers to the school's messages.

An item is given again in every answer it may go into, until a heartbeat says what came of it: any answer may be lost.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simulators.centre.events import Event
from simulators.centre.ledger import SentReply
from simulators.centre.signatures import sign

MOST_IN_ONE_ANSWER = 50
GIVEN_AT_MOST = 60
"""Answers after which an item is given up: two minutes of quick heartbeats."""
_OF_NO_PLANE = ("link.", "site.", "fault.")


@dataclass(slots=True, kw_only=True)
class Waiting:
    """One item on its way: what is given, and what came of it. `given` counts the answers it stood in, `again` those it
    stands in although its outcome is known."""

    item: dict[str, Any]
    kind: str
    drill: bool
    sent: SentReply
    given: int = 0
    again: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)


class AnswerBasket:
    """Items that wait to be given, oldest first. No I/O; `take` and `outcomes` are called for every message taken."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._waiting: dict[str, Waiting] = {}
        self._repeated: list[Waiting] = []
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(4)

    @property
    def waiting(self) -> Sequence[Waiting]:
        """What has been put in and has no outcome yet."""
        return list(self._waiting.values())

    def put(
        self, kind: str, alarm_id: str, word: str, body: dict[str, Any], *, drill: bool, again: int = 0
    ) -> Waiting:
        """Put in one `reply` or `request`; its outcome will be in `.sent` once `.done` is set. It is then given `again`
        so many times, which must change nothing."""
        item_id = f"{kind}-{self._run}-{next(self._numbers)}"
        sent = SentReply(word=word, body=body, sent_s=time.time(), item=item_id)
        item = {"id": item_id, "alarm": alarm_id, **body}
        waiting = self._waiting[item_id] = Waiting(item=item, kind=kind, drill=drill, sent=sent, again=again)
        return waiting

    def take(self, event: Event) -> bytes | None:
        """The body of the answer to `event`, or None if there is nothing to say in it."""
        may_go = [waiting for waiting in self._waiting.values() if _may_go(waiting, event)]
        given: dict[str, list[dict[str, Any]]] = {"replies": [], "requests": []}
        for waiting in may_go[:MOST_IN_ONE_ANSWER]:
            waiting.given += 1
            given["replies" if waiting.kind == "reply" else "requests"].append(waiting.item)
            if waiting.given >= GIVEN_AT_MOST:
                waiting.sent.problem = f"no outcome was told after {waiting.given} answers"
                self._end(waiting)
        repeated = [waiting for waiting in self._repeated if _may_go(waiting, event)]
        for waiting in repeated[: MOST_IN_ONE_ANSWER - len(may_go[:MOST_IN_ONE_ANSWER])]:
            waiting.again -= 1
            given["replies" if waiting.kind == "reply" else "requests"].append(waiting.item)
        self._repeated = [waiting for waiting in self._repeated if waiting.again]
        return json.dumps(given, ensure_ascii=False).encode() if may_go or repeated else None

    def headers(self, message_id: str, body: bytes, *, now_s: float) -> dict[str, str]:
        """Standard Webhooks headers that bind `body` to the message it answers, made at `now_s` (unix time)."""
        timestamp_s = int(now_s)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(self._key, message_id=message_id, timestamp_s=timestamp_s, body=body),
        }

    def outcomes(self, event: Event) -> list[Waiting]:
        """Read what a heartbeat says became of earlier items; those are done and returned."""
        told = event.data.get("answered") if event.type == "link.heartbeat" else None
        done = []
        for outcome in told if isinstance(told, list) else []:
            if not isinstance(outcome, dict):
                continue
            waiting = self._waiting.get(str(outcome.get("id")))
            if waiting is None:
                continue
            taken = 200 if waiting.kind == "reply" else 202
            waiting.sent.status = taken if outcome.get("ok") is True else 409
            waiting.sent.answer, waiting.sent.answered_s = outcome, time.time()
            self._end(waiting)
            if waiting.again:
                self._repeated.append(waiting)
            done.append(waiting)
        return done

    def _end(self, waiting: Waiting) -> None:
        del self._waiting[waiting.item["id"]]
        waiting.done.set()


def _may_go(waiting: Waiting, event: Event) -> bool:
    """Whether it may go into the answer to this message: each plane by itself, either in what belongs to none."""
    if event.type.startswith(_OF_NO_PLANE):
        return True
    about_drill = event.drill or (event.subject or "").startswith("drl_")
    return waiting.drill == about_drill
