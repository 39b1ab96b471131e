"""Answering: what the centre and the school say about an alarm. Only the centre moves its state, by the one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from gateway.domain.alarm import NEEDS_REASON, Alarm, State
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import NotFound, Refused
from gateway.domain.evidence import Evidence, Kind, Moment
from gateway.domain.ids import new_id
from gateway.domain.message import MessageType
from gateway.ports import Clock, Request, Store, Transaction
from gateway.telling import has_it

log = structlog.get_logger(__name__)

MOST_REQUESTED = timedelta(minutes=30)  # one clip; more is asked for in several requests
MOST_AHEAD = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who speaks: a name and a unit, both required of every reply and request."""

    name: str
    unit: str


class Answering:
    """The stage. Every method commits before it returns; errors of the domain say what the caller did wrong."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        envelopes: Envelopes,
        wake_delivering: Callable[[], None],
        wake_gathering: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._wake_delivering = wake_delivering
        self._wake_gathering = wake_gathering
        self.last_heard_at: datetime | None = None

    async def reply(
        self, alarm: str, reply: State, operator: Operator, reason: str = ""
    ) -> tuple[Alarm, bool]:
        """Apply the centre's reply; the second value tells whether anything changed (a repeat does not).

        Raises ``NotFound``, ``NotAllowed`` (the table has no such step) or ``Refused`` (a reason is missing).
        """
        if reply in NEEDS_REASON and not reason.strip():
            raise Refused(f"a reply of {reply.value!r} needs a reason")
        now = self._clock.now()
        self.last_heard_at = now

        def work(tx: Transaction) -> tuple[Alarm, bool]:
            before = _alarm(tx, alarm)
            after = before.replied(reply, now)
            if after is None:
                return before, False
            tx.alarms.save(after)
            detail = {"reply": reply.value, "name": operator.name, "unit": operator.unit, "reason": reason}
            tx.alarms.note(alarm, now, "replied", detail)
            return after, True

        after, changed = await self._store.write(work)
        log.info("alarm.replied", alarm_id=alarm, reply=reply.value, changed=changed)
        if changed:
            self._wake_gathering()
        return after, changed

    async def request_clip(
        self, alarm: str, camera: str, start: datetime, end: datetime, operator: Operator, reason: str
    ) -> Request:
        """Ask for a span of one camera. Raises ``NotFound`` or ``Refused`` (an impossible span)."""
        now = self._clock.now()
        if not start < end:
            raise Refused(f"the span ends ({end.isoformat()}) before it begins ({start.isoformat()})")
        if end - start > MOST_REQUESTED:
            raise Refused(f"a span of {end - start} is too long; at most {MOST_REQUESTED} in one request")
        if end > now + MOST_AHEAD:
            raise Refused(f"the span ends at {end.isoformat()}, more than {MOST_AHEAD} ahead")
        return await self._request("clip", Kind.CLIP, alarm, camera, start, end, operator, reason)

    async def request_still(self, alarm: str, camera: str, operator: Operator, reason: str) -> Request:
        """Ask for a picture of now. Raises ``NotFound``."""
        now = self._clock.now()
        return await self._request("still", Kind.STILL, alarm, camera, now, now, operator, reason)

    async def request_ptz(self, alarm: str, camera: str, operator: Operator, reason: str) -> Request:
        """Ask to move a camera: put on record and answered that this version moves none. Raises ``NotFound``."""
        now = self._clock.now()
        self._known(camera)
        result = "this gateway does not move cameras yet; the request is on record"
        self.last_heard_at = now

        def work(tx: Transaction) -> Request:
            found = _alarm(tx, alarm)
            asked = self._asked("ptz", alarm, camera, operator, reason, now, None)
            asked = replace(asked, ok=False, result=result)
            tx.requests.add(asked)
            data = {"request": asked.id, "ok": False, "reason": result, "evidence": None}
            found, said = self._envelopes.about_alarm(
                found, MessageType.REQUEST_RESULT, data, at=now, now=now
            )
            tx.alarms.save(found)
            tx.alarms.note(alarm, now, "requested", _requested(asked))
            tx.messages.add(said)
            return asked

        asked = await self._store.write(work)
        self._wake_delivering()
        return asked

    async def note(self, alarm: str, text: str, by: str, *, withdraw: bool) -> Alarm:
        """The school's note, or its request to withdraw the alarm; the centre decides. Raises ``NotFound``."""
        now = self._clock.now()

        def work(tx: Transaction) -> Alarm:
            found = _alarm(tx, alarm)
            data = {
                "alarm": {"id": alarm, "state": found.state.value},
                "note": {"text": text, "by": by, "at": self._envelopes.stamp(now), "withdraw": withdraw},
            }
            found, said = self._envelopes.about_alarm(found, MessageType.ALARM_NOTE, data, at=now, now=now)
            tx.alarms.save(found)
            tx.alarms.note(alarm, now, "note", {"text": text, "by": by, "withdraw": withdraw})
            tx.messages.add(said)
            return found

        found = await self._store.write(work)
        self._wake_delivering()
        return found

    async def taken(self, evidence: str) -> None:
        """The centre has fetched the whole of an item: from now on it counts as uploaded."""
        now = self._clock.now()

        await self._store.write(lambda tx: has_it(tx, self._envelopes, evidence, now, "taken"))
        self._wake_delivering()

    async def _request(
        self,
        word: str,
        kind: Kind,
        alarm: str,
        camera: str,
        start: datetime,
        end: datetime,
        operator: Operator,
        reason: str,
    ) -> Request:
        now = self._clock.now()
        self._known(camera)

        def work(tx: Transaction) -> Request:
            _alarm(tx, alarm)
            evidence = new_id("evd", now)
            asked = self._asked(word, alarm, camera, operator, reason, now, evidence)
            tx.requests.add(asked)
            tx.evidence.add(
                [
                    Evidence(
                        id=evidence,
                        alarm=alarm,
                        camera=camera,
                        kind=kind,
                        moment=Moment.REQUESTED,
                        start=start,
                        end=end,
                        request=asked.id,
                    )
                ]
            )
            tx.alarms.note(alarm, now, "requested", _requested(asked))
            return asked

        asked = await self._store.write(work)
        self.last_heard_at = now
        self._wake_gathering()
        return asked

    def _known(self, camera: str) -> None:
        if camera not in self._envelopes.site.cameras:
            raise NotFound(f"camera {camera!r}")

    @staticmethod
    def _asked(
        word: str,
        alarm: str,
        camera: str,
        operator: Operator,
        reason: str,
        now: datetime,
        evidence: str | None,
    ) -> Request:
        return Request(
            id=new_id("req", now),
            alarm=alarm,
            request=word,
            camera=camera,
            operator={"name": operator.name, "unit": operator.unit},
            reason=reason,
            at=now,
            evidence=evidence,
        )


def _requested(asked: Request) -> dict[str, str]:
    """A request as a step of the timeline."""
    return {
        "request": asked.id,
        "what": asked.request,
        "camera": asked.camera,
        "by": asked.operator["name"],
        "reason": asked.reason,
    }


def _alarm(tx: Transaction, alarm: str) -> Alarm:
    found = tx.alarms.get(alarm)
    if found is None:
        raise NotFound(f"alarm {alarm!r}")
    return found
