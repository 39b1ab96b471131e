"""Answering: what the centre and the school say about an alarm. Only the centre moves its state, by the one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from gateway.alarm.evidence_messages import has_it
from gateway.domain.alarm import NEEDS_REASON, Alarm, Request, State
from gateway.domain.answer import ClipSaid, MoveSaid, Operator, ReplySaid, Said, StillSaid
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import NotFound, Refused
from gateway.domain.evidence import Evidence, Kind, Moment
from gateway.domain.ids import new_id
from gateway.domain.message import MessageType
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

MOST_REQUESTED = timedelta(minutes=30)  # one clip; more is asked for in several requests
MOST_AHEAD = timedelta(minutes=30)

__all__ = ["Answering", "Operator"]


class Answering:
    """The stage. Every method commits before it returns, except where it is told to work within the caller's transaction;
    errors of the domain say what the caller did wrong."""

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

    # What the centre says by calling.

    async def reply(
        self, alarm: str, reply: State, operator: Operator, reason: str = ""
    ) -> tuple[Alarm, bool]:
        """Apply the centre's reply; the second value tells whether anything changed (a repeat does not).

        Raises ``NotFound``, ``NotAllowed`` (the table has no such step) or ``Refused`` (a reason is missing).
        """
        said = ReplySaid(state=reply, operator=operator, reason=reason)
        now = self._clock.now()
        self._check(said, now)
        self.last_heard_at = now
        after, changed = await self._store.write(lambda tx: self._replied(tx, alarm, said, now))
        log.info("alarm.replied", alarm_id=alarm, reply=reply.value, changed=changed)
        if changed:
            self._wake_gathering()
        return after, changed

    async def request_clip(
        self, alarm: str, camera: str, start: datetime, end: datetime, operator: Operator, reason: str
    ) -> Request:
        """Ask for a span of one camera. Raises ``NotFound`` or ``Refused`` (an impossible span)."""
        said = ClipSaid(camera=camera, start=start, end=end, operator=operator, reason=reason)
        return await self._request(alarm, said)

    async def request_still(self, alarm: str, camera: str, operator: Operator, reason: str) -> Request:
        """Ask for a picture of now. Raises ``NotFound``."""
        return await self._request(alarm, StillSaid(camera=camera, operator=operator, reason=reason))

    async def request_ptz(self, alarm: str, camera: str, operator: Operator, reason: str) -> Request:
        """Ask to move a camera: put on record and answered that this version moves none. Raises ``NotFound``."""
        return await self._request(alarm, MoveSaid(camera=camera, operator=operator, reason=reason))

    # What the centre says in its answers, where it cannot call (hearing.py).

    def say(
        self, tx: Transaction, alarm: str, said: Said, now: datetime, item: str
    ) -> tuple[State, Request | None]:
        """Apply what an item says within the caller's transaction, by the rules of a call; the alarm's state after it, and the
        request it has become. Raises like the calls, and then nothing is changed."""
        self._check(said, now)
        if isinstance(said, ReplySaid):
            after, _ = self._replied(tx, alarm, said, now)
            return after.state, None
        asked = self._requested(tx, alarm, said, now, item)
        return _alarm(tx, alarm).state, asked

    def said(self, now: datetime) -> None:
        """What :meth:`say` did is committed."""
        self.last_heard_at = now
        self._wake_gathering()
        self._wake_delivering()

    # What the school says.

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

    # One transaction's work, whichever way it was said.

    def _check(self, said: Said, now: datetime) -> None:
        """What can be refused without looking at the alarm. Raises ``NotFound`` or ``Refused``."""
        if isinstance(said, ReplySaid):
            if said.state in NEEDS_REASON and not said.reason.strip():
                raise Refused(f"a reply of {said.state.value!r} needs a reason")
            return
        self._known(said.camera)
        if isinstance(said, ClipSaid):
            if not said.start < said.end:
                raise Refused(
                    f"the span ends ({said.end.isoformat()}) before it begins ({said.start.isoformat()})"
                )
            if said.end - said.start > MOST_REQUESTED:
                raise Refused(
                    f"a span of {said.end - said.start} is too long; at most {MOST_REQUESTED} in one request"
                )
            if said.end > now + MOST_AHEAD:
                raise Refused(f"the span ends at {said.end.isoformat()}, more than {MOST_AHEAD} ahead")

    def _replied(self, tx: Transaction, alarm: str, said: ReplySaid, now: datetime) -> tuple[Alarm, bool]:
        before = _alarm(tx, alarm)
        after = before.replied(said.state, now)
        if after is None:
            return before, False
        tx.alarms.save(after)
        detail = {
            "reply": said.state.value,
            "name": said.operator.name,
            "unit": said.operator.unit,
            "reason": said.reason,
        }
        tx.alarms.note(alarm, now, "replied", detail)
        return after, True

    async def _request(self, alarm: str, said: ClipSaid | StillSaid | MoveSaid) -> Request:
        now = self._clock.now()
        self._check(said, now)
        asked = await self._store.write(lambda tx: self._requested(tx, alarm, said, now))
        self.last_heard_at = now
        if isinstance(said, MoveSaid):
            self._wake_delivering()
        else:
            self._wake_gathering()
        return asked

    def _requested(
        self,
        tx: Transaction,
        alarm: str,
        said: ClipSaid | StillSaid | MoveSaid,
        now: datetime,
        item: str | None = None,
    ) -> Request:
        found = _alarm(tx, alarm)
        if isinstance(said, MoveSaid):
            return self._declined(tx, found, said, now, item)
        kind, start, end = (
            (Kind.CLIP, said.start, said.end) if isinstance(said, ClipSaid) else (Kind.STILL, now, now)
        )
        evidence = new_id("evd", now)
        asked = self._asked(kind.value, alarm, said, now, evidence, item)
        tx.requests.add(asked)
        tx.evidence.add(
            [
                Evidence(
                    id=evidence,
                    alarm=alarm,
                    camera=said.camera,
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

    def _declined(
        self, tx: Transaction, alarm: Alarm, said: MoveSaid, now: datetime, item: str | None
    ) -> Request:
        result = "this gateway does not move cameras yet; the request is on record"
        asked = replace(
            self._asked("ptz", alarm.id, said, now, None, item),
            ok=False,
            result=result,
        )
        tx.requests.add(asked)
        data = {"request": asked.id, "ok": False, "reason": result, "evidence": None, "item": item}
        alarm, message = self._envelopes.about_alarm(alarm, MessageType.REQUEST_RESULT, data, at=now, now=now)
        tx.alarms.save(alarm)
        tx.alarms.note(alarm.id, now, "requested", _requested(asked))
        tx.messages.add(message)
        return asked

    def _known(self, camera: str) -> None:
        if camera not in self._envelopes.site.cameras:
            raise NotFound(f"camera {camera!r}")

    @staticmethod
    def _asked(
        word: str,
        alarm: str,
        said: ClipSaid | StillSaid | MoveSaid,
        now: datetime,
        evidence: str | None,
        item: str | None,
    ) -> Request:
        return Request(
            id=new_id("req", now),
            alarm=alarm,
            request=word,
            camera=said.camera,
            operator={"name": said.operator.name, "unit": said.operator.unit},
            reason=said.reason,
            at=now,
            evidence=evidence,
            item=item,
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
