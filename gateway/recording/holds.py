"""Holding: keeping longer than the period, until a person says that it is enough.

Alarm evidence is held from the start; any span of any camera can be. Every hold, every look at one and its end is a line of the
access register, in the same commit, with the person's name, unit and reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import structlog

from gateway.domain.errors import NotFound, Refused
from gateway.domain.fault import FaultKind
from gateway.domain.hold import REVIEW_AFTER, REVIEW_MOST, Hold
from gateway.domain.ids import new_id
from gateway.domain.plan import Site
from gateway.domain.recording import Deletion
from gateway.domain.register import GATEWAY, Act, RegisterLine, Who
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

WRITTEN_AT_ONCE = 100  # holds of new alarms in one commit
OF_ALARM = "evidence of an alarm"


class Holding:
    """Holds. Every method commits before it returns."""

    def __init__(self, *, store: Store, clock: Clock, site: Site, lock: asyncio.Lock) -> None:
        """``lock`` is held by whoever deletes, for each batch."""
        self._store = store
        self._clock = clock
        self._site = site
        self._lock = lock
        #: What is wrong now: holds whose review is overdue.
        self.causes: Mapping[tuple[FaultKind, str], str] = {}

    async def look(self, now: datetime) -> None:
        """Write down the holds of new alarms, and look which are to be reviewed."""
        await self._write_new()
        await self._review(now)

    async def place(
        self,
        *,
        camera: str | None,
        start: datetime,
        end: datetime,
        who: Who,
        reason: str,
        review_at: datetime | None = None,
    ) -> tuple[Hold, Sequence[Deletion]]:
        """Hold what a camera (``None``: every camera) recorded, or will have, between two instants; and what of it was deleted
        before. Once this returns nothing of it is deleted any more. Raises ``Refused``."""
        if end <= start:
            raise Refused("the span to hold ends before it begins")
        known = {*self._site.cameras, *await self._store.read(lambda tx: tx.recordings.cameras())}
        if camera is not None and camera not in known:
            raise NotFound(f"camera {camera!r:.80}, now or of earlier")
        now = self._clock.now()
        hold = Hold(
            id=new_id("hld", now),
            reason=reason,
            placed_by=who.name,
            placed_unit=who.unit,
            placed_at=now,
            review_at=self._reviewed(review_at, now),
            camera=camera,
            start=start,
            end=end,
        )

        def work(tx: Transaction) -> list[Deletion]:
            tx.holds.place(hold)
            tx.register.append(self._line(Act.HELD, hold, who, reason, now))
            return tx.deletions.listed(start, end, camera)

        async with self._lock:  # between two batches: what is held is held whole
            deleted = await self._store.write(work)
        log.info("hold.placed", hold=hold.id, camera=camera)
        return hold, deleted

    async def release(self, hold: str, who: Who, reason: str) -> Hold:
        """A person ends a hold. Raises ``NotFound``, or ``Refused`` if it was ended before or its alarm is still open."""
        now = self._clock.now()

        def work(tx: Transaction) -> Hold:
            found = _known(tx, hold)
            if found.alarm is not None:
                alarm = tx.alarms.get(found.alarm)
                if alarm is not None and alarm.open:
                    raise Refused(
                        f"{found.alarm} is open: its evidence is released once the centre has closed it"
                    )
            tx.holds.release(hold, now, who.name, who.unit, reason)
            tx.register.append(self._line(Act.RELEASED, found, who, reason, now))
            return _known(tx, hold, standing=False)

        released = await self._store.write(work)
        log.info("hold.released", hold=hold)
        return released

    async def review(self, hold: str, who: Who, reason: str, review_at: datetime | None = None) -> Hold:
        """A person looked at a hold and it stands until the next review. Raises as :meth:`release`."""
        now = self._clock.now()
        at = self._reviewed(review_at, now)

        def work(tx: Transaction) -> Hold:
            found = replace(_known(tx, hold), review_at=at)
            tx.holds.review(hold, at)
            tx.register.append(self._line(Act.REVIEWED, found, who, reason, now))
            return found

        found = await self._store.write(work)
        await self._review(now)
        return found

    def _reviewed(self, review_at: datetime | None, now: datetime) -> datetime:
        at = review_at or now + REVIEW_AFTER
        if not now < at <= now + REVIEW_MOST:
            raise Refused(f"a hold is reviewed within {REVIEW_MOST.days} days, and not in the past")
        return at

    @staticmethod
    def _line(act: Act, hold: Hold, who: Who, reason: str, now: datetime) -> RegisterLine:
        span = {"camera": hold.camera, "from": _stamped(hold.start), "to": _stamped(hold.end)}
        return RegisterLine(
            at=now,
            act=act,
            who=who,
            content=hold.id,
            reason=reason,
            alarm=hold.alarm,
            detail={"review_at": _stamped(hold.review_at), **({} if hold.alarm else span)},
        )

    async def _write_new(self) -> None:
        """Write down the hold that every alarm's evidence is under from the start, so that it has a review date and an id."""
        while alarms := await self._store.read(lambda tx: tx.holds.unwritten(WRITTEN_AT_ONCE)):
            await self._store.write(partial(self._write, alarms=alarms, now=self._clock.now()))

    def _write(self, tx: Transaction, alarms: Sequence[tuple[str, datetime]], now: datetime) -> None:
        for alarm, raised_at in alarms:
            hold = Hold(
                id=new_id("hld", now),
                reason=OF_ALARM,
                placed_by=GATEWAY.name,
                placed_unit=GATEWAY.unit,
                placed_at=now,
                review_at=raised_at + REVIEW_AFTER,
                alarm=alarm,
            )
            tx.holds.place(hold)
            tx.register.append(self._line(Act.HELD, hold, GATEWAY, OF_ALARM, now))

    async def _review(self, now: datetime) -> None:
        late = await self._store.read(lambda tx: tx.holds.late(now))
        if not late:
            self.causes = {}
            return
        oldest = min(late, key=lambda h: h.review_at)
        self.causes = {
            (FaultKind.EVIDENCE, "holds"): (
                f"{len(late)} hold(s) are past their review, the first {oldest.id} since {oldest.review_at:%Y-%m-%d}: release or "
                "review each (/api/v1/holds)"
            )
        }


def _known(tx: Transaction, hold: str, *, standing: bool = True) -> Hold:
    found = tx.holds.get(hold)
    if found is None:
        raise NotFound(f"hold {hold!r:.80}")
    if standing and not found.standing:
        raise Refused(f"{hold} was released by {found.released_by} ({found.released_unit}) before")
    return found


def _stamped(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None
