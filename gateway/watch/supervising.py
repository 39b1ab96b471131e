"""Supervising: what is not as it should be becomes a fault, and an alarm nobody accepts is escalated.

Watches, never acts on the chain itself. Each tick compares what is observed with the faults on record;
what is new is raised, what is gone is cleared, and both are told to the centre. All that is watched stands in this one file, so
that what is not watched shows.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.alarm.attempt import answer_of
from gateway.box.instants import Instants
from gateway.domain.alarm import State
from gateway.domain.answer import AnsweredItem, Complaint
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Unavailable
from gateway.domain.fault import Fault, FaultKind
from gateway.domain.ids import new_id
from gateway.domain.liveness import Hearing
from gateway.domain.message import Answer, Message, MessageType, Outcome, judge
from gateway.domain.register import Head
from gateway.domain.uplink import PathHealth
from gateway.ports.cameras import CameraBank
from gateway.ports.centre import Uplink
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactFeed
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

TICK_S = 1.0
CAMERA_GRACE_S = 5.0  # a camera that is back within this was only reconnecting
BROKER_GRACE_S = 2.0
PATH_GRACE_S = 5.0
SETTLED_AFTER_S = 15.0  # after a start: a camera or path that has not been looked at yet is not well again
NOT_UPLOADED_S = 300  # API.md, "Messages": not uploaded for 5 minutes is a fault
OPEN_TOO_LONG = timedelta(hours=24)  # API.md, "Messages": an alarm open for 24 h is a fault
UNDELIVERED_S = 20  # by then the second path is tried as well; now a person has to know
#: Contacts' messages (no hardware is known to send one again after that) and the items of the centre's answers (API.md).
REMEMBERED_FOR = timedelta(days=30)
FORGET_EVERY_S = 3600.0
CLOCK_JUMP_S = 2.0
CLOCK_SETTLED_S = 600.0
NONSENSE_HELD_S = 60.0  # a good answer in the same second must not hide a bad one
MOST_NONSENSE = 50  # of the centre's items that were not applied, so many are faults of their own at once
OUTCOMES_AT_ONCE = 100  # of the centre's items in one heartbeat
MOST_POINTS = 100  # of each kind in one heartbeat
HEARTBEAT_S = 15.0  # API.md, "Messages"; every 2 s until 10 min after the last press, reply or request
HEARTBEAT_BUSY_S = 2.0
BUSY_FOR = timedelta(minutes=10)

#: Kinds of which a fault ends and begins anew when its cause changes, with how long it stands at least: one leads to another
#: (it is down, it is up and refuses the password), and whoever reads the first would mend the wrong thing. A path's or a
#: camera's cause may change with each attempt, and the centre need not hear of each.
RENAMED_AFTER = {
    FaultKind.BROKER: timedelta(0),
    FaultKind.PATH: timedelta(seconds=30),
    FaultKind.CAMERA: timedelta(minutes=5),
}

#: Of a cause that counts or measures, as this many seconds or that port; a status code is no measure.
_NUMBER = re.compile(r"\b(?!\d{3}\b)\d+(\.\d+)?\b")

Found = tuple[FaultKind, str]


@dataclass(slots=True)
class Standing:
    """What is wrong by construction and stays so until the next start: warnings of the site file, features asked for
    and not built, a stage that had to be restarted. ``subject -> cause`` by kind."""

    causes: dict[Found, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    """What one look at the database brings.

    ``opened``: open alarms and when each was raised. ``unaccepted``: those raised, neither accepted nor escalated.
    ``unreceived``: alarms whose alert nobody received, since when, and what its last attempt came to. ``not_uploaded``: alarms
    with evidence that was not uploaded in time.
    """

    opened: Mapping[str, datetime]
    unaccepted: Sequence[str]
    unreceived: Sequence[tuple[str, datetime, str]]
    not_uploaded: Sequence[str]


def _renamed(fault: Fault, cause: str, now: datetime) -> bool:
    """Whether the fault has another cause by now, and not the same with another number in it."""
    after = RENAMED_AFTER.get(fault.kind)
    other = _NUMBER.sub("#", cause) != _NUMBER.sub("#", fault.cause)
    return after is not None and other and abs(now - fault.since) >= after


def _from_database(tx: Transaction, *, now: datetime) -> _Read:
    opened = tx.alarms.open()
    return _Read(
        opened={alarm.id: alarm.raised_at for alarm in opened},
        unaccepted=[a.id for a in opened if a.state is State.RAISED and a.escalated_at is None],
        # All of them: how long ago a row's own time is, the clock does not tell if it was set since.
        unreceived=tx.messages.unreceived(MessageType.ALARM_RAISED.value),
        not_uploaded=[
            item.alarm for item in tx.evidence.not_uploaded(now - timedelta(seconds=NOT_UPLOADED_S))
        ],
    )


class Supervising:
    """The stage. ``run`` ticks until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        envelopes: Envelopes,
        cameras: CameraBank,
        feed: ContactFeed,
        paths: Sequence[PathHealth],
        gone: Mapping[str, str],
        store_cause: Callable[[], str],
        drill_causes: Callable[[], Mapping[str, str]] = dict,
        wake_delivering: Callable[[], None],
        data_dir: Path,
        reserve_bytes: int,
        database_full: Callable[[], bool],
        standing: Standing,
        found_elsewhere: Callable[[datetime], Iterable[tuple[Found, str]]] = lambda _now: (),
    ) -> None:
        """``found_elsewhere`` tells what other stages find wrong at that moment: with contacts, with certificates."""
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._cameras = cameras
        self._feed = feed
        self._paths = paths
        self._gone = gone
        self._store_cause = store_cause
        self._drill_causes = drill_causes
        self._wake_delivering = wake_delivering
        self._data_dir = data_dir
        self._reserve_bytes = reserve_bytes
        self._database_full = database_full
        self._standing = standing
        self._found_elsewhere = found_elsewhere
        self._open: dict[Found, Fault] = {}
        self._from_before: frozenset[Found] = frozenset()
        self._began_at = 0.0
        self._broker_lost_at: float | None = None
        self._nonsense: dict[str, tuple[str, float]] = {}
        self._drift: float | None = None
        self._jumped_at: float | None = None
        self._jump = ""
        self._forgot_s = clock.monotonic()
        self._raised = Instants(clock)

    @property
    def open_faults(self) -> Mapping[Found, Fault]:
        """The faults as last observed."""
        return self._open

    def heard(self, complaints: Sequence[Complaint]) -> None:
        """One answer of the centre came, and this of it was not applied; nothing, if it was a good one. A bad one is a fault
        for a while, and until a good one comes after that."""
        now_s = self._clock.monotonic()
        for complaint in complaints:
            known = complaint.subject in self._nonsense
            subject = complaint.subject if known or len(self._nonsense) < MOST_NONSENSE else "answers"
            self._nonsense[subject] = (complaint.cause, now_s)
        if not complaints:
            held = {s: n for s, n in self._nonsense.items() if now_s - n[1] < NONSENSE_HELD_S}
            self._nonsense = held

    async def run(self) -> None:
        faults = await self._store.read(lambda tx: tx.faults.open())
        self._open = {(f.kind, f.subject): f for f in faults}
        self._from_before, self._began_at = frozenset(self._open), self._clock.monotonic()
        while True:
            try:
                await self.tick()
            except Unavailable as exc:
                log.error("supervising.cannot_record", cause=exc.reason)
            await self._clock.sleep(TICK_S)

    async def tick(self) -> None:
        """One look at everything."""
        now = self._clock.now()
        read = await self._store.read(partial(_from_database, now=now))
        found = dict(self._observed(now)) | self._of_alarms(read)
        changed = {
            fault for key, fault in self._open.items() if _renamed(fault, found.get(key, fault.cause), now)
        }
        new = {
            key: cause for key, cause in found.items() if key not in self._open or self._open[key] in changed
        }
        if self._clock.monotonic() - self._began_at >= SETTLED_AFTER_S:
            self._from_before = frozenset()
        gone = [
            fault
            for key, fault in self._open.items()
            if fault in changed or (key not in found and key not in self._from_before)
        ]
        if new or gone:
            await self._tell(new, gone, now)
        for alarm in self._unaccepted(read):
            await self._escalate(alarm, now, round(self._age_s(alarm, read.opened[alarm]), 1))
        if self._clock.monotonic() - self._forgot_s >= FORGET_EVERY_S and not self._jump_lasts():
            self._forgot_s = self._clock.monotonic()
            await self._store.write(partial(_forget, before=now - REMEMBERED_FOR))

    def _observed(self, now: datetime) -> Iterator[tuple[Found, str]]:
        yield from self._standing.causes.items()
        for id_, health in self._cameras.health().items():
            if not health.healthy and (now - health.since).total_seconds() >= CAMERA_GRACE_S:
                yield (FaultKind.CAMERA, id_), health.cause
        yield from self._broker()
        yield from self._found_elsewhere(now)
        for path in self._paths:
            since = path.failing_since
            if since is not None and (now - since).total_seconds() >= PATH_GRACE_S:
                yield (FaultKind.PATH, path.name), path.cause
        for name, cause in self._gone.items():
            yield (FaultKind.CENTRE, f"gone-{name}"), cause
        for subject, (cause, _) in self._nonsense.items():
            yield (FaultKind.CENTRE, subject), cause
        if self._store_cause():
            yield (FaultKind.STORE, "objects"), self._store_cause()
        for subject, cause in self._drill_causes().items():
            yield (FaultKind.DRILL, subject), cause
        yield from self._disk()
        yield from self._clock_jumps(now)

    def _broker(self) -> Iterator[tuple[Found, str]]:
        if not self._feed.cause:
            self._broker_lost_at = None
            return
        if self._broker_lost_at is None:
            self._broker_lost_at = self._clock.monotonic()
        if self._clock.monotonic() - self._broker_lost_at >= BROKER_GRACE_S:
            yield (FaultKind.BROKER, "mqtt"), self._feed.cause

    def _disk(self) -> Iterator[tuple[Found, str]]:
        free = shutil.disk_usage(self._data_dir).free
        if free < self._reserve_bytes:
            yield (
                (FaultKind.DISK, "data"),
                f"{free / 1e9:.1f} GB free in {self._data_dir}, less than the {self._reserve_bytes / 1e9:.1f} GB "
                "kept for alarm evidence (storage.reserve_gb); make room",
            )
        if self._database_full():
            yield (
                (FaultKind.DISK, "database"),
                "the disk was full and the database's own reserve is spent; alarms still go out, make room now",
            )

    def _clock_jumps(self, now: datetime) -> Iterator[tuple[Found, str]]:
        monotonic = self._clock.monotonic()
        drift = now.timestamp() - monotonic
        if self._drift is not None and abs(drift - self._drift) > CLOCK_JUMP_S:
            self._jumped_at = monotonic
            self._jump = f"the clock jumped by {drift - self._drift:+.1f} s at {self._envelopes.stamp(now)}"
            log.warning("clock.jumped", cause=self._jump)
        self._drift = drift
        if self._jump_lasts():
            yield (FaultKind.CLOCK, "gateway"), self._jump

    def _jump_lasts(self) -> bool:
        """Nothing is forgotten on the word of a clock that has just jumped."""
        return self._jumped_at is not None and self._clock.monotonic() - self._jumped_at < CLOCK_SETTLED_S

    def _age_s(self, alarm: str, since: datetime) -> float:
        """Since an alarm was raised, on the clock that never jumps: the wall clock may have been set since."""
        return self._clock.monotonic() - self._raised.at_s(("alarm", alarm, since), since)

    def _unaccepted(self, read: _Read) -> list[str]:
        """Alarms that are to be escalated now."""
        within_s = self._envelopes.site.accept_within_s
        return [alarm for alarm in read.unaccepted if self._age_s(alarm, read.opened[alarm]) >= within_s]

    def _of_alarms(self, read: _Read) -> dict[Found, str]:
        found: dict[Found, str] = {}
        planned = [*read.opened.items(), *((alarm, since) for alarm, since, _ in read.unreceived)]
        self._raised.forget_others("alarm", {("alarm", *each) for each in planned})
        for alarm, raised_at in read.opened.items():
            if self._age_s(alarm, raised_at) >= OPEN_TOO_LONG.total_seconds():
                found[FaultKind.ALARM, alarm] = "open for 24 hours; the centre has to close it"
        for alarm, since, detail in read.unreceived:
            if self._age_s(alarm, since) >= UNDELIVERED_S:
                found[FaultKind.ALARM, f"{alarm} undelivered"] = (
                    f"the centre has not received it for {UNDELIVERED_S} s; the last attempt: {detail}; call the centre"
                )
        cause = "evidence stored and not uploaded (neither PUT nor fetched whole) for 5 minutes"
        return found | {(FaultKind.EVIDENCE, alarm): cause for alarm in read.not_uploaded}

    async def _tell(self, new: Mapping[Found, str], gone: list[Fault], now: datetime) -> None:
        raised = [
            Fault(id=new_id("flt", now), kind=kind, subject=subject, cause=cause, since=now)
            for (kind, subject), cause in new.items()
        ]
        cleared = [replace(fault, cleared_at=now) for fault in gone]

        def work(tx: Transaction) -> None:
            for fault in cleared:
                tx.faults.clear(fault.id, now)
                data = self._envelopes.fault(fault)
                said = self._envelopes.message(
                    MessageType.FAULT_CLEARED, data, at=now, now=now, subject=fault.id
                )
                tx.messages.add(said)
            for fault in raised:
                tx.faults.add(fault)
                data = self._envelopes.fault(fault)
                said = self._envelopes.message(
                    MessageType.FAULT_RAISED, data, at=now, now=now, subject=fault.id
                )
                tx.messages.add(said)

        await self._store.write(work)
        for fault in cleared:
            del self._open[fault.kind, fault.subject]
            log.info("fault.cleared", kind=fault.kind.value, subject=fault.subject)
        for fault in raised:
            self._open[fault.kind, fault.subject] = fault
            log.warning("fault.raised", kind=fault.kind.value, subject=fault.subject, cause=fault.cause)
        self._wake_delivering()

    async def _escalate(self, id_: str, now: datetime, waited_s: float) -> None:
        def work(tx: Transaction) -> None:
            alarm = tx.alarms.get(id_)
            if alarm is None or alarm.state is not State.RAISED or alarm.escalated_at is not None:
                return
            data = {"alarm": self._envelopes.alarm_summary(alarm), "waited_s": waited_s}
            alarm = replace(alarm, escalated_at=now)
            alarm, said = self._envelopes.about_alarm(
                alarm, MessageType.ALARM_ESCALATED, data, at=now, now=now
            )
            tx.alarms.save(alarm)
            tx.alarms.note(id_, now, "escalated", {"waited_s": waited_s})
            tx.messages.add(said)

        await self._store.write(work)
        log.warning("alarm.escalated", alarm_id=id_)
        self._wake_delivering()


class Heartbeat:
    """``link.heartbeat`` over one path: never queued, never retried, the next supersedes it."""

    def __init__(
        self,
        *,
        number: int,
        path: Uplink,
        store: Store,
        clock: Clock,
        envelopes: Envelopes,
        supervising: Supervising,
        undelivered: Callable[[], int],
        answered: Callable[[int, Answer], None],
        heard_at: Callable[[], datetime | None],
        hearing: Callable[[], Mapping[Hearing, Sequence[str]]] = dict,
        signed: Callable[[Head], dict[str, Any]],
        take: Callable[[Message, Answer], Awaitable[None]],
    ) -> None:
        """``take`` applies what the centre says in its answer to a beat. ``hearing`` tells which points were never heard, and
        which publish what cannot be understood."""
        self._hearing = hearing
        self._take = take
        self._number = number
        self._path = path
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._supervising = supervising
        self._undelivered = undelivered
        self._answered = answered
        self._heard_at = heard_at
        self._signed = signed

    async def run(self) -> None:
        """Beat until cancelled. What there is to tell is looked at every 2 s, so that a press is followed by the quick beat
        at once and not when the slow one comes round."""
        last_s = self._clock.monotonic() - HEARTBEAT_S
        every_s = HEARTBEAT_S
        while True:
            try:
                every_s, now_is = await self._pace()
                now_s = self._clock.monotonic()
                if now_s >= last_s + every_s:
                    last_s = now_s
                    await self._beat(every_s, now_is)
            except Unavailable as exc:
                log.error("heartbeat.cannot_read", cause=exc.reason)
            wait_s = last_s + every_s - self._clock.monotonic()
            await self._clock.sleep(min(HEARTBEAT_BUSY_S, max(0.1, wait_s)))

    async def _pace(self) -> tuple[float, _Standing]:
        """Seconds between beats now, and what the next one is to tell."""
        now_is = await self._store.read(_standing)
        last = max((at for at in (now_is.last_press, self._heard_at()) if at is not None), default=None)
        busy = last is not None and self._clock.now() - last < BUSY_FOR
        return (HEARTBEAT_BUSY_S if busy else HEARTBEAT_S), now_is

    async def _beat(self, every_s: float, now_is: _Standing) -> None:
        now, hearing = self._clock.now(), self._hearing()
        data = {
            "next_within_s": every_s,
            "open_alarms": now_is.open_alarms,
            "faults": len(self._supervising.open_faults),
            "unheard": list(hearing.get(Hearing.UNHEARD, ()))[:MOST_POINTS],
            "unreadable": list(hearing.get(Hearing.UNREADABLE, ()))[:MOST_POINTS],
            "undelivered": self._undelivered(),
            "path": self._path.name,
            "durable": self._store.durable,
            "register": self._signed(now_is.head),
            "answered": [
                {"id": i.id, "ok": i.ok, "reason": i.reason, "state": i.state, "request": i.request}
                for i in now_is.untold
            ],
        }
        said = self._envelopes.message(MessageType.LINK_HEARTBEAT, data, at=now, now=now)
        answer = await answer_of(self._path.deliver(said.id, said.body))
        self._answered(self._number, answer)
        if judge(answer) is not Outcome.RECEIVED:
            return
        if now_is.untold:
            told = [i.id for i in now_is.untold]
            await self._store.write(lambda tx: tx.answer_items.told(told))
        await self._take(said, answer)


def _forget(tx: Transaction, *, before: datetime) -> None:
    tx.inbox.forget(before)
    tx.answer_items.forget(before)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a heartbeat tells: how many alarms are open, when the last press was, what came of items the centre was not told of,
    and the register's head."""

    open_alarms: int
    last_press: datetime | None
    untold: Sequence[AnsweredItem]
    head: Head


def _standing(tx: Transaction) -> _Standing:
    newest = [*tx.alarms.listed(limit=1), *tx.alarms.listed(limit=1, drills=True)]
    opened = tx.alarms.open()
    presses = [a.last_press_at for a in (*newest, *opened)]
    return _Standing(
        len(opened),
        max(presses, default=None),
        tx.answer_items.untold(OUTCOMES_AT_ONCE),
        tx.register.head(),
    )


async def announce_plan(
    store: Store, clock: Clock, envelopes: Envelopes, wake_delivering: Callable[[], None]
) -> None:
    """Put ``site.plan`` into the outbox, in place of any older one that nobody received."""
    now = clock.now()
    said = envelopes.message(MessageType.SITE_PLAN, envelopes.plan(), at=now, now=now)

    def work(tx: Transaction) -> None:
        tx.messages.supersede(MessageType.SITE_PLAN.value)
        tx.messages.add(said)

    await store.write(work)
    wake_delivering()
