"""Keeping: nothing younger than the floor goes, nothing unheld stays beyond the ceiling, and both are on record.

Looks every minute after the time, the holds (:mod:`gateway.recording.holds`) and the room, and every ten minutes has what is due
swept away (:mod:`gateway.recording.deletion`). Deleting goes by a time that more than one clock has said
(:mod:`gateway.domain.trust`): after a jump it waits, and a fault says for what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.loss import Loss
from gateway.domain.plan import Site
from gateway.domain.recording import HOUR, Quality
from gateway.domain.register import Act, RegisterLine, Who
from gateway.domain.room import (
    HORIZON_HOURS,
    HOURS_A_DAY,
    NOTICES_DAYS,
    Room,
    allowed,
    full_in_hours,
    importance,
    rungs,
    taken,
)
from gateway.domain.trust import AGREE_WITHIN, Correction, TrustedTime
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Losses, Store, Transaction
from gateway.recording.deletion import Sweeping
from gateway.recording.holds import Holding

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 60.0
SWEEP_EVERY_S = 600.0
REFUSED_SHOWN = 3
JUMP_SHOWN = timedelta(
    minutes=10
)  # the clock ahead of what is trusted: from here on it is a fault, granted or not

Found = tuple[FaultKind, str]


class Keeping:
    """The stage. ``run`` works until cancelled; the other methods commit before they return."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        site: Site,
        steps: Sequence[str],
        reserve_bytes: int,
        room: Callable[[], Room | None],
        losses: Losses | None = None,
        passed: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """``steps`` are the site file's ``when_full``; ``room`` measures the store's disk, ``None`` where it has none of ours.
        ``losses`` says whether something may be missing from the database, a hold for one: then nothing is deleted."""
        self._losses = losses
        self._store = store
        self._clock = clock
        self._site = site
        self._steps = steps
        self.reserve_bytes = reserve_bytes
        self._room = room
        self._sweeping = Sweeping(
            store=store, clock=clock, objects=objects, retention_days=site.retention_days, passed=passed
        )
        self.holding = Holding(store=store, clock=clock, site=site, lock=self._sweeping.lock)
        self._ranks = {c: importance(site, c) for c, camera in site.cameras.items() if camera.continuous}
        self._allowed: Mapping[str, Quality | None] = {}
        self._level = 0
        self._trusted: TrustedTime | None = None
        self._corrections: list[Correction] = []  # of recordings' reckoned ends, not carried out yet
        self._looked_s = clock.monotonic()
        self._swept_s: float | None = None
        self._centre_apart = ""
        self._by_part: dict[str, dict[Found, str]] = {}
        #: Hours until the room is used up; ``None`` if that does not come within a week, or there is nothing to tell by.
        self.full_in_hours: int | None = None
        self.hourly_bytes = 0.0
        self.last_room: Room | None = None
        self.behind_s = 0.0  # the wall clock ahead of the trusted time, as last looked at

    @property
    def causes(self) -> Mapping[Found, str]:
        """What is wrong now; supervising makes faults of it."""
        parts = (*self._by_part.values(), self.holding.causes)
        return {key: cause for part in parts for key, cause in part.items()}

    @property
    def trusted(self) -> TrustedTime | None:
        """The time that deleting goes by; ``None`` before the first look."""
        return self._trusted

    def clock_confirmed(self) -> bool:
        """Whether the present time is the word of more than this box's own clock: it was confirmed, and has not jumped since."""
        if self._trusted is None or self._trusted.confirmed_at is None:
            return False
        wall = self._clock.now()
        elapsed_s = self._clock.monotonic() - self._looked_s
        return (
            abs(wall - self._trusted.advanced(elapsed_s, wall).at) <= AGREE_WITHIN and not self._centre_apart
        )

    def reckoned(self) -> datetime:
        """The time that a recording which ends now is given beside the wall clock's (:attr:`Segment.reckoned_end`)."""
        if self._trusted is None:
            return self._clock.now()
        elapsed_s = self._clock.monotonic() - self._looked_s
        return self._trusted.advanced(elapsed_s, self._clock.now()).reckoned

    def allowed(self, camera: str) -> Quality | None:
        """What may be recorded of a camera now; ``None`` is nothing, and the gap's cause is the store."""
        return self._allowed.get(camera, Quality.FULL)

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (Unavailable, Refused) as exc:
                self._by_part["stage"] = {(FaultKind.STORE, "retention"): f"nothing is deleted: {exc.reason}"}
                log.error("keeping.cannot_work", cause=exc.reason)
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look: the time, the holds, the room, and if it is time for it a sweep."""
        trusted = await self._tell_time()
        await self.holding.look(trusted.at)
        await self._measure(self._clock.now())
        self._by_part.pop("stage", None)
        now_s = self._clock.monotonic()
        if self._swept_s is None or now_s - self._swept_s >= SWEEP_EVERY_S:
            await self.sweep()
            self._swept_s = now_s

    async def sweep(self) -> None:
        """Delete what is due by the trusted time, and say what is beyond its ceiling by the wall clock."""
        trusted = await self._tell_time()
        found: dict[Found, str] = {}
        if self._losses is not None and self._losses.forgetful:
            found[FaultKind.STORE, "retention"] = (
                "nothing is deleted: the database may not know all holds (see the fault of the database); restore it, or "
                "acknowledge its loss (POST /api/v1/retention/database)"
            )
            self._by_part["sweep"] = found
            return
        try:
            swept = await self._sweeping.sweep(trusted.at)
            if swept.refused:
                shown = "; ".join(swept.refused[:REFUSED_SHOWN])
                found[FaultKind.STORE, "retention"] = (
                    f"{len(swept.refused)} object(s) could not be deleted: {shown}"
                )
        except Unavailable as exc:
            found[FaultKind.STORE, "retention"] = f"deleting is put off: {exc.reason}"
            log.error("sweep.unavailable", cause=exc.reason)
        overdue = await self._sweeping.overdue(self._clock.now())
        if overdue:
            found[FaultKind.STORE, "retention-ceiling"] = (
                f"kept beyond {self._site.retention_days} days and 24 h although nothing holds it: {'; '.join(overdue)}"
            )
        self._by_part["sweep"] = found

    # The time.

    async def _tell_time(self) -> TrustedTime:
        wall, now_s = self._clock.now(), self._clock.monotonic()
        trusted = self._trusted
        if trusted is None:
            kept = await self._store.read(lambda tx: tx.trusted.get())
            trusted = TrustedTime.begun(wall) if kept is None else kept.resumed(wall)
            self._looked_s = now_s
        trusted = trusted.advanced(now_s - self._looked_s, wall)
        self._trusted, self._looked_s = trusted, now_s
        self._note_clock(wall)
        if not self._corrections:
            self._store.write_later(lambda tx: tx.trusted.keep(trusted))
            return trusted
        corrections = tuple(self._corrections)  # before anything is deleted by the time they come from
        await self._store.write(lambda tx: _put_right(tx, corrections, trusted))
        del self._corrections[: len(corrections)]
        return trusted

    def heard_time(self, said: datetime, by: str) -> None:
        """Another clock says that it is ``said`` now: the centre's, in its answer to a heartbeat."""
        if self._trusted is None:
            return
        wall = self._clock.now()
        agreed = self._trusted.confirmed(wall, said, by)
        if agreed is None:
            ahead = (wall - said).total_seconds()
            self._centre_apart = (
                f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the clock of {by}"
            )
        else:
            self._corrections += self._trusted.correction(agreed)
            self._trusted, self._looked_s = agreed, self._clock.monotonic()
            self._centre_apart = ""
        self._note_clock(wall)

    async def confirm_time(self, said: datetime, who: Who, reason: str) -> TrustedTime:
        """A person says, by a clock of their own, that it is ``said`` now. Raises ``Refused`` if the gateway's clock does not
        agree: then it is that clock that has to be set."""
        await self._tell_time()
        assert self._trusted is not None
        wall = self._clock.now()
        before = self._trusted
        agreed = before.confirmed(wall, said, who.name)
        if agreed is None:
            raise Refused(
                f"the gateway's clock says {wall.isoformat(timespec='seconds')}, more than "
                f"{AGREE_WITHIN.total_seconds() / 60:.0f} min from {said.isoformat(timespec='seconds')}: set it first"
            )
        line = RegisterLine(
            at=wall,
            act=Act.CONFIRMED,
            who=who,
            content="the gateway's clock",
            reason=reason,
            detail={"said": said.isoformat(), "trusted_before": before.at.isoformat()},
        )

        def work(tx: Transaction) -> None:
            _put_right(tx, before.correction(agreed), agreed)
            tx.register.append(line)

        await self._store.write(work)
        self._trusted, self._looked_s = agreed, self._clock.monotonic()
        self._note_clock(wall)
        return agreed

    async def acknowledge_losses(self, who: Who, reason: str) -> Sequence[Loss]:
        """A person knows what happened to the database: it is on record, told no more, and things go by their period again.
        Raises ``Unavailable`` where that cannot be kept."""
        known = await self._losses.acknowledge() if self._losses is not None else ()
        if known:
            line = RegisterLine(
                at=self._clock.now(),
                act=Act.CONFIRMED,
                who=who,
                content="the database's loss",
                reason=reason,
                detail={"losses": [loss.document() for loss in known]},
            )
            await self._store.write(lambda tx: tx.register.append(line))
            self._by_part.pop("sweep", None)
        return known

    def _note_clock(self, wall: datetime) -> None:
        assert self._trusted is not None
        behind = self._trusted.behind(wall)
        self.behind_s = behind.total_seconds()
        if behind < JUMP_SHOWN and not self._centre_apart:
            self._by_part.pop("clock", None)
            return
        told = self._centre_apart or (
            f"{behind.total_seconds() / 3600:.1f} h ahead of what was last confirmed"
        )
        self._by_part["clock"] = {
            (FaultKind.CLOCK, "retention"): (
                f"the gateway's clock stands {told}; nothing is deleted on its word alone. It is confirmed by the centre's "
                "clock, or by a technician (POST /api/v1/retention/clock); set it if it is wrong"
            )
        }

    # Room.

    async def _measure(self, now: datetime) -> None:
        room = self.last_room = self._room()
        hour = now.replace(minute=0, second=0, microsecond=0)
        day = timedelta(hours=HOURS_A_DAY)
        period = timedelta(days=self._site.retention_days)
        recent, going = await self._store.read(
            lambda tx: (
                tx.recordings.hourly_bytes(hour - day, hour),
                tx.recordings.hourly_bytes(hour - period, hour - period + timedelta(hours=HORIZON_HOURS)),
            )
        )
        first = min(recent, default=None)
        hours = 0 if first is None else round((hour - first) / HOUR)
        self.hourly_bytes = sum(recent.values()) / hours if hours else 0.0
        if room is None:
            self.full_in_hours, self._level, self._allowed = None, 0, {}
            self._by_part.pop("room", None)
            return
        headroom = room.free - self.reserve_bytes
        if not hours:  # no rate to forecast by; the reserve is kept all the same
            self.full_in_hours = None
            self._level, self._allowed = 0, allowed(self._ranks, self._steps, 0, headroom)
            self._by_part["room"] = self._told_of_room(headroom)
            return
        freed = [going.get(hour - period + n * HOUR, 0) for n in range(HORIZON_HOURS)]
        self.full_in_hours = full_in_hours(headroom, self.hourly_bytes, freed)
        count = len(rungs(list(self._ranks.values()), self._steps))
        self._level = taken(headroom, self.hourly_bytes, count, self._level)
        self._allowed = allowed(self._ranks, self._steps, self._level, headroom)
        self._by_part["room"] = self._told_of_room(headroom)

    def _told_of_room(self, headroom: int) -> dict[Found, str]:
        found: dict[Found, str] = {}
        for days in NOTICES_DAYS:
            if self.full_in_hours is not None and self.full_in_hours <= days * HOURS_A_DAY:
                found[FaultKind.DISK, f"full-within-{days}-days"] = (
                    f"at {self.hourly_bytes * HOURS_A_DAY / 1e9:.1f} GB a day the room for recordings is used up in "
                    f"{self.full_in_hours} h ({max(0, headroom) / 1e9:.1f} GB besides the reserve); add room"
                )
        less = {camera: quality for camera, quality in self._allowed.items() if quality is not Quality.FULL}
        if less:
            said = ", ".join(f"{c} {q.value if q else 'not at all'}" for c, q in sorted(less.items()))
            found[FaultKind.DISK, "when-full"] = (
                f"new footage gives way, nothing that is kept does (storage.when_full): {said}"
            )
        return found


def _put_right(tx: Transaction, corrections: Sequence[Correction], trusted: TrustedTime) -> None:
    """One commit: the time that another clock has said, and what was reckoned before that."""
    for each in corrections:
        changed = tx.recordings.correct(each)
        log.warning("clock.reckoned_anew", recordings=changed, hours=each.by.total_seconds() / 3600)
    tx.trusted.keep(trusted)
