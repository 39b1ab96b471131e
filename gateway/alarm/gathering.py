"""Gathering: what an alarm asks of its cameras is obtained, stored, and told to the centre.

Each wanted item is one task, so a camera that hangs, lies or dies costs its own evidence only, and the manifest says why. Its way
is :meth:`Gathering._gather`: obtain, spool, store, settle. The row is written at two points: *captured* (still wanted, with
digest and key) once the bytes are in the spool, and the *result* at the end. A kill between any two steps loses nothing: after
the restart the row says that the bytes are here or there, and with which digest and instants.

What is planned is kept on the clock that never jumps: the wall clock may be set while an alarm is open. An item keeps the times
of the clock it was asked for by; what a clip claims to last is held against the file before anybody is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from zoneinfo import ZoneInfo

import structlog

from gateway.alarm.capture import MEDIA_TYPES, Capture, Obtained
from gateway.alarm.evidence_bytes import STORE_RETRY_S, EvidenceBytes
from gateway.alarm.evidence_messages import tell_left, tell_of
from gateway.alarm.manifests import make_manifest, want_during
from gateway.box.instants import Instants
from gateway.domain.alarm import Alarm
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import InvariantBroken, Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind
from gateway.domain.ids import is_drill
from gateway.domain.stored import Kept
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore, Spool
from gateway.ports.store import Store, Transaction

T = TypeVar("T")

log = structlog.get_logger(__name__)

FIRST_WAITED_FOR_S = 1.5  # a camera that hangs must not hold up the others' clips


@dataclass(slots=True)
class _First:
    """The press stills of one alarm that were not taken yet."""

    missing: set[str] = field(default_factory=set)
    taken: asyncio.Event = field(default_factory=asyncio.Event)


class Gathering:
    """The stage. ``wake`` says that there may be something new; ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        cameras: CameraBank,
        objects: ObjectStore,
        envelopes: Envelopes,
        spool: Spool,
        wake_delivering: Callable[[], None],
        no_room: Callable[[], bool] = lambda: False,
        locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
    ) -> None:
        """``locked_until`` says until when to lock what ended at an instant.

        ``no_room`` says that the disk is full and what is left is kept for presses: evidence then waits."""
        self._bytes = EvidenceBytes(
            clock=clock,
            objects=objects,
            spool=spool,
            no_room=no_room,
            probe=f"{envelopes.site.id}/probe",
            locked_until=locked_until,
        )
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._wake_delivering = wake_delivering  # and pushing, where evidence is PUT
        self._changed = asyncio.Event()
        self._last_number = 0
        self._afresh = True
        self._first: dict[str, _First] = {}
        self._instants = Instants(clock)
        self._capture = Capture(
            clock=clock,
            cameras=cameras,
            spool=spool,
            instants=self._instants,
            need_room=self._bytes.need_room,
        )
        self._behind: dict[str, timedelta] = {}  # by how much the clock was set since an alarm was raised

    @property
    def store_cause(self) -> str:
        """Why evidence waits for its store, or finds no room; empty while all is well."""
        return self._bytes.cause

    def wake(self) -> None:
        """There may be new evidence to gather, or an alarm has closed."""
        self._changed.set()

    async def run(self) -> None:
        self._last_number = 0  # started again alone: what was under way is taken up with the rest
        self._afresh = True
        await self._bytes.restart(await self._store.read(_captured_files))
        if not self._envelopes.pushes:
            await self._tell_left()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._bytes.watch(), name="watch the store")
            while True:
                self._changed.clear()
                next_s = await self._look(tasks)
                wait_s = 3600.0 if next_s is None else next_s - self._clock.monotonic()
                await self._pause(max(0.0, wait_s), self._changed)

    async def _look(self, tasks: asyncio.TaskGroup) -> float | None:
        """Start what is wanted and not under way, make what manifests are due; returns when to look again (monotonic)."""
        now_s = self._clock.monotonic()
        try:
            after = self._last_number
            wanted, planned = await self._store.read(
                lambda tx: (tx.evidence.wanted(after), tx.alarms.planned())
            )
            for number, item in wanted:
                self._last_number = max(self._last_number, number)
                self._instants.at_s(("from", item.id), item.start)
                self._instants.at_s(("to", item.id), item.end)
            for item in sorted((e for _, e in wanted), key=lambda e: (is_drill(e.alarm), e.rank)):
                if item.first:
                    self._first.setdefault(item.alarm, _First()).missing.add(item.id)
                tasks.create_task(self._gather(item, adopt=self._afresh), name=f"gather {item.id}")
            self._afresh = False
            due = self._due(planned)
            for alarm in planned:
                if due.get(("manifest", alarm.id), now_s + 1) <= now_s:
                    await self._make_manifest(alarm)
                if due.get(("during", alarm.id), now_s + 1) <= now_s:
                    await self._want_during(alarm)
        except Unavailable as exc:
            log.error("gathering.cannot_look", cause=exc.reason)
            return now_s + STORE_RETRY_S
        return min((at_s for at_s in due.values() if at_s > now_s), default=None)

    def _due(self, planned: Sequence[Alarm]) -> dict[tuple[str, str], float]:
        """When the manifests and the next `during` clips of these alarms are due, on the clock that never jumps."""
        at = {("manifest", a.id): a.manifest_due_at for a in planned} | {
            ("during", a.id): a.during_next_at for a in planned
        }
        due = {key: self._instants.at_s(key, when) for key, when in at.items() if when is not None}
        for kind in ("manifest", "during"):
            self._instants.forget_others(kind, due.keys())
        self._behind = {a.id: self._behind[a.id] for a in planned if a.id in self._behind}
        return due

    async def _pause(self, seconds: float, event: asyncio.Event) -> None:
        """Wait for the event, but no longer than that."""
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        change = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((timer, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            change.cancel()

    # One item.

    async def _gather(self, item: Evidence, *, adopt: bool) -> None:
        """The way of one item, from its turn to its result on record; ``adopt``: a run that ended may have gone part of it."""
        await self._its_turn(item)
        try:
            done = await self._recovered(item) if adopt else None
            if done is None:
                # No name for what is obtained: while the store is away the still's bytes wait on the disk, not here.
                spooled = await self._spool_it(await self._obtain(item))
                done = await self._store_it(spooled)
        except InvariantBroken:
            raise
        except (Refused, Unavailable) as exc:
            done = item.failed(exc.reason)
        except Exception as exc:
            # A fault of ours costs this item; raised, it would end every other item's work with it, again and again.
            log.exception("evidence.failed", evidence_id=item.id, camera=item.camera)
            done = item.failed(f"the gateway failed: {exc!r}"[:300])
        self._was_first(item)  # nothing of its alarm waits for it any more
        await self._settle(self._by_which_clock(item, done))
        self._instants.forget(("from", item.id))
        self._instants.forget(("to", item.id))

    async def _its_turn(self, item: Evidence) -> None:
        early_s = self._capture.from_s(item) - self._clock.monotonic()
        if item.kind is Kind.STILL and early_s > 0:
            await self._clock.sleep(early_s)
        if not item.first:
            await self._after_first(item.alarm)

    def _by_which_clock(self, asked: Evidence, done: Evidence) -> Evidence:
        """Say it where the clock was set since the item was asked for: its times are those of the clock before."""
        by = self._instants.set_by(("from", asked.id), asked.start)
        if not by:
            return done
        note = f"the gateway's clock was set by {by.total_seconds():+.1f} s meanwhile: its times are by the clock before"
        return replace(done, reason="; ".join(text for text in (done.reason, note) if text))

    async def _recovered(self, item: Evidence) -> Evidence | None:
        """The item stored, if a run that ended had captured it: its bytes are in the spool or in the store."""
        if item.captured:
            return self._stored(item, await self._bytes.recover(item))
        key = self._key(item)
        found = await self._bytes.find(item, key)
        if found is None:
            return None
        size, digest, kept = found
        item = replace(
            item,
            wanted_start=item.start,
            wanted_end=item.end,
            media_type=MEDIA_TYPES[item.kind],
            bytes=size,
            sha256=digest,
            key=key,
            reason="kept over a restart of the gateway, which lost the exact instants; the picture's own clock tells them",
        )
        return self._stored(item, kept)

    async def _after_first(self, alarm: str) -> None:
        """Let every camera's press still go first: what else is asked for lies in the ring and can wait a moment."""
        first = self._first.get(alarm)
        if first is not None:
            await self._pause(FIRST_WAITED_FOR_S, first.taken)

    def _was_first(self, item: Evidence) -> None:
        first = self._first.get(item.alarm)
        if first is not None:
            first.missing.discard(item.id)
            if not first.missing:
                first.taken.set()
                del self._first[item.alarm]

    def _key(self, item: Evidence) -> str:
        site = self._envelopes.site
        day = item.start.astimezone(ZoneInfo("UTC")).strftime("%Y/%m/%d")
        plane = "drills" if is_drill(item.alarm) else "alarms"
        return f"{site.id}/{plane}/{day}/{item.alarm}/{item.camera}/{item.file_name}"

    async def _obtain(self, item: Evidence) -> Obtained:
        return await self._capture.obtain(item, self._key(item), tried=lambda: self._was_first(item))

    async def _spool_it(self, obtained: Obtained) -> Evidence:
        """Make it safe on this box. A still that this box's disk has no room for goes on to the store from memory."""
        item, jpeg = obtained.item, obtained.jpeg
        kept = None if jpeg is None else await self._bytes.spool(item, jpeg)
        if kept is not None:
            return self._stored(item, kept)
        await self._record_captured(item)
        return item

    async def _record_captured(self, item: Evidence) -> None:
        """Put on record that the bytes are here. Where the database takes nothing now, only a kill could lose by it."""
        try:
            await self._store.write(lambda tx: tx.evidence.save(item))
        except Unavailable as exc:
            log.error("spool.not_on_record", evidence_id=item.id, cause=exc.reason)

    async def _store_it(self, item: Evidence) -> Evidence:
        if item.state is EvidenceState.STORED:
            return item
        return self._stored(item, await self._bytes.put(item))

    def _stored(self, item: Evidence, kept: Kept) -> Evidence:
        return replace(
            item,
            state=EvidenceState.STORED,
            stored_at=self._clock.now(),
            version=kept.version,
            locked_until=kept.locked_until,
        )

    async def _settle(self, item: Evidence) -> None:
        """Put the result on record, with what is told of it."""
        now = self._clock.now()
        await self._write(partial(_write_result, item=item, envelopes=self._envelopes, now=now))
        log.info(
            "evidence." + item.state.value,
            alarm_id=item.alarm,
            evidence_id=item.id,
            camera=item.camera,
            kind=item.kind.value,
            moment=item.moment.value,
            offset_ms=item.offset_ms,
            reason=item.reason,
        )
        self._wake_delivering()
        self._changed.set()

    async def _tell_left(self) -> None:
        """Tell of what was stored to be pushed and is not going to be: the site file says now that the centre fetches."""
        now = self._clock.now()
        while await self._write(partial(tell_left, envelopes=self._envelopes, now=now)):
            self._wake_delivering()
        self._wake_delivering()

    async def _make_manifest(self, alarm: Alarm) -> None:
        assert alarm.manifest_due_at is not None
        now = self._clock.now()
        set_by = self._instants.set_by(("manifest", alarm.id), alarm.manifest_due_at)
        behind = self._behind[alarm.id] = self._behind.get(alarm.id, timedelta()) + set_by
        then = now - behind  # by the clock that the alarm's window was reckoned by
        work = partial(make_manifest, envelopes=self._envelopes, alarm_id=alarm.id, now=now, then=then)
        if await self._store.write(work):
            self._wake_delivering()
        self._changed.set()

    async def _want_during(self, due: Alarm) -> None:
        assert due.during_next_at is not None
        set_by = self._instants.set_by(("during", due.id), due.during_next_at)
        await self._store.write(partial(want_during, due=due, set_by=set_by))
        self._changed.set()

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        while True:
            try:
                return await self._store.write(work)
            except Unavailable as exc:
                log.error("gathering.cannot_record", cause=exc.reason)
                await self._clock.sleep(STORE_RETRY_S)


def _captured_files(tx: Transaction) -> set[str]:
    """The names in the spool of what was captured and is not on record as stored."""
    return {item.file_name for _, item in tx.evidence.wanted(0) if item.captured}


def _write_result(tx: Transaction, *, item: Evidence, envelopes: Envelopes, now: datetime) -> None:
    alarm = tx.alarms.get(item.alarm)
    assert alarm is not None
    detail = {
        "evidence": item.id,
        "camera": item.camera,
        "kind": item.kind.value,
        "moment": item.moment.value,
        "offset_ms": item.offset_ms,
        "reason": item.reason,
    }
    tx.alarms.note(alarm.id, now, item.state.value, detail)
    if item.state is EvidenceState.STORED and envelopes.pushes:
        tx.evidence.save(item)  # told once the centre has it
    else:
        tx.alarms.save(tell_of(tx, envelopes, alarm, item, now))
