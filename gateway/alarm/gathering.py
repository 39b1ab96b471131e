"""Gathering: what an alarm asks of its cameras is obtained, stored, and told to the centre.

Each wanted item is one task, so a camera that hangs, lies or dies costs its own evidence only, and the manifest says why. What
a camera gave is made safe and stored by :mod:`gateway.alarm.storing`.

What is planned is kept on the clock that never jumps: the wall clock may be set while an alarm is open. An item keeps the times
of the clock it was asked for by; what a clip claims to last is held against the file before anybody is told.

One file, though long: an item's way from wanted to stored is read top to bottom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import structlog

from gateway.alarm.evidence_messages import tell_left, tell_of
from gateway.alarm.storing import STORE_RETRY_S, Storing
from gateway.box.instants import Instants
from gateway.domain.alarm import Alarm
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import InvariantBroken, Malformed, Refused, Unavailable
from gateway.domain.evidence import DURING_CLIP_S, ClipTaken, Evidence, EvidenceState, Kind, Moment
from gateway.domain.ids import is_drill, new_id
from gateway.domain.message import MessageType
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore, Spool
from gateway.ports.store import Store, Transaction

T = TypeVar("T")

log = structlog.get_logger(__name__)

STILL_GIVEN_UP_S = 8.0  # after the instant asked for: a frame that is not there by then has left the chain
#: … but where frames do come and the box is only busy (a hundred alarms at once), as long as the ring surely holds the
#: instant: it keeps 15 s beyond the earliest one asked for.
BUSY_GIVEN_UP_S = 14.0
CLIP_GIVEN_UP_S = 10.0  # after the span's end
RETRY_S = 0.5
FIRST_WAITED_FOR_S = 1.5  # a camera that hangs must not hold up the others' clips
MANIFEST_WAITS_S = 15.0  # for items still on their way when the window is over
LASTS_WITHIN_S = (
    0.5  # what a clip's file and its claim may differ by: the last picture's duration, at two a second
)


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
        self._storing = Storing(
            store=store,
            clock=clock,
            objects=objects,
            spool=spool,
            no_room=no_room,
            probe=f"{envelopes.site.id}/probe",
            locked_until=locked_until,
        )
        self._store = store
        self._clock = clock
        self._cameras = cameras
        self._envelopes = envelopes
        self._spool = spool
        self._wake_delivering = wake_delivering  # and pushing, where evidence is PUT
        self._changed = asyncio.Event()
        self._last_number = 0
        self._afresh = True
        self._first: dict[str, _First] = {}
        self._instants = Instants(clock)
        self._behind: dict[str, timedelta] = {}  # by how much the clock was set since an alarm was raised

    @property
    def store_cause(self) -> str:
        """Why evidence waits for its store, or finds no room; empty while all is well."""
        return self._storing.cause

    def wake(self) -> None:
        """There may be new evidence to gather, or an alarm has closed."""
        self._changed.set()

    async def run(self) -> None:
        self._last_number = 0  # started again alone: what was under way is taken up with the rest
        self._afresh = True
        await self._storing.restart()
        if not self._envelopes.pushes:
            await self._tell_left()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._storing.watch(), name="watch the store")
            while True:
                self._changed.clear()
                next_s = await self._look(tasks)
                wait_s = 3600.0 if next_s is None else next_s - self._clock.monotonic()
                await self._pause(max(0.0, wait_s), self._changed)

    async def _look(self, tasks: asyncio.TaskGroup) -> float | None:
        """Start what is wanted and not under way, make what manifests are due; returns when to look again (monotonic)."""
        now_s = self._clock.monotonic()
        try:
            wanted, planned = await self._store.read(
                lambda tx: (tx.evidence.wanted(self._last_number), tx.alarms.planned())
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
        early_s = self._from_s(item) - self._clock.monotonic()
        if item.kind is Kind.STILL and early_s > 0:
            await self._clock.sleep(early_s)
        if not item.first:
            await self._after_first(item.alarm)
        try:
            done = await self._taken_up(item) if adopt else None
            if done is None:
                done = await self._obtain(item)
            else:
                self._was_first(item)  # nothing of its alarm waits for it any more
        except InvariantBroken:
            raise
        except Exception as exc:
            # A fault of ours costs this item; raised, it would end every other item's work with it, again and again.
            log.exception("evidence.failed", evidence_id=item.id, camera=item.camera)
            done = item.failed(f"the gateway failed: {exc!r}"[:300])
            self._was_first(item)
        await self._settle(self._by_which_clock(item, done))
        self._instants.forget(("from", item.id))
        self._instants.forget(("to", item.id))

    def _from_s(self, item: Evidence) -> float:
        """When it begins, on the clock that never jumps."""
        return self._instants.at_s(("from", item.id), item.start)

    def _to_s(self, item: Evidence) -> float:
        return self._instants.at_s(("to", item.id), item.end)

    def _by_which_clock(self, asked: Evidence, done: Evidence) -> Evidence:
        """Say it where the clock was set since the item was asked for: its times are those of the clock before."""
        by = self._instants.set_by(("from", asked.id), asked.start)
        if not by:
            return done
        note = f"the gateway's clock was set by {by.total_seconds():+.1f} s meanwhile: its times are by the clock before"
        return replace(done, reason="; ".join(text for text in (done.reason, note) if text))

    async def _taken_up(self, item: Evidence) -> Evidence | None:
        """The item, if a run that ended had captured it: its bytes are in the spool or in the store."""
        try:
            if item.captured:
                return await self._storing.take_up(item)
            return await self._storing.found(item, self._key(item))
        except Refused as exc:
            return item.failed(exc.reason)

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

    async def _obtain(self, item: Evidence) -> Evidence:
        """Try until it is there or can no longer come; the returned item says which."""
        asked_s = max(self._to_s(item), self._clock.monotonic())
        while True:
            try:
                # The still's own bytes go with the call: what waits for a store that is away waits on the disk.
                taken = await (self._still(item) if item.kind is Kind.STILL else self._clip(item))
                return await self._storing.stored(taken)
            except Unavailable as exc:
                own_snapshot = (
                    item.source == "onvif"
                )  # not tried again: a snapshot of later shows something else
                if own_snapshot or self._clock.monotonic() - asked_s >= self._patience(item):
                    return item.failed(exc.reason)
                await self._clock.sleep(RETRY_S)
            except Refused as exc:
                return item.failed(exc.reason)

    def _patience(self, item: Evidence) -> float:
        """How many seconds after it was due an item may still come."""
        if item.kind is not Kind.STILL:
            return CLIP_GIVEN_UP_S
        known = self._cameras.health().get(item.camera)
        busy = known is not None and known.healthy
        return BUSY_GIVEN_UP_S if busy else STILL_GIVEN_UP_S

    async def _still(self, item: Evidence) -> Evidence:
        if item.source == "onvif":
            late_s = self._clock.monotonic() - self._from_s(item)
            taken = await self._cameras.fetch_snapshot(item.camera)
            offset_ms = round(late_s * 1000) + taken.offset_ms
            taken = replace(
                taken, offset_ms=offset_ms, taken_at=item.start + timedelta(milliseconds=offset_ms)
            )
        else:
            try:
                taken = await self._cameras.take_still(item.camera, item.start, at_s=self._named_s(item)[0])
            finally:
                self._was_first(item)
        item = replace(
            item,
            taken_at=taken.taken_at,
            offset_ms=taken.offset_ms,
            clock=taken.clock,
            source=taken.source,
            key=self._key(item),
        )
        return await self._storing.keep_still(item, taken.jpeg)

    async def _clip(self, item: Evidence) -> Evidence:
        self._storing.need_room()
        target = self._spool.path(item.file_name)
        taken = await self._cameras.cut_clip(
            item.camera, item.start, item.end, target, span_s=self._named_s(item)
        )
        taken = await self._checked(taken, item.file_name)
        item = replace(
            item,
            start=taken.start,
            end=taken.end,
            wanted_start=item.start,
            wanted_end=item.end,
            taken_at=taken.start,
            offset_ms=round((taken.start - item.start).total_seconds() * 1000),
            clock=taken.clock,
            source="ring",
            media_type="video/mp4",
            bytes=taken.bytes,
            sha256=taken.sha256,
            key=self._key(item),
            reason=taken.shortfall,
        )
        return await self._storing.keep_clip(item)

    async def _checked(self, taken: ClipTaken, name: str) -> ClipTaken:
        """The clip with no claim its file does not bear out."""
        claimed_s = (taken.end - taken.start).total_seconds()
        try:
            lasts_s = await self._spool.lasts_s(name)
        except (Malformed, Unavailable) as exc:
            wrong = f"how long it lasts could not be read from the file ({exc})"
        else:
            if abs(lasts_s - claimed_s) <= LASTS_WITHIN_S:
                return taken
            taken = replace(taken, end=taken.start + timedelta(seconds=lasts_s))
            wrong = (
                f"the file holds {lasts_s:.1f} s, and not the {claimed_s:.1f} s that the camera process named"
            )
        log.error("evidence.claim", file=name, cause=wrong)
        return replace(taken, shortfall="; ".join(text for text in (taken.shortfall, wrong) if text))

    def _named_s(self, item: Evidence) -> tuple[float, float] | tuple[None, None]:
        """Its span on the clock that never jumps; of what the centre names by its own times only the cameras' history knows."""
        if item.moment is Moment.REQUESTED:
            return (None, None)
        return (self._from_s(item), self._to_s(item))

    def _key(self, item: Evidence) -> str:
        site = self._envelopes.site
        day = item.start.astimezone(ZoneInfo("UTC")).strftime("%Y/%m/%d")
        plane = "drills" if is_drill(item.alarm) else "alarms"
        return f"{site.id}/{plane}/{day}/{item.alarm}/{item.camera}/{item.file_name}"

    # What it came to.

    async def _settle(self, item: Evidence) -> None:
        now = self._clock.now()

        def work(tx: Transaction) -> None:
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
            if item.state is EvidenceState.STORED and self._envelopes.pushes:
                tx.evidence.save(item)  # told once the centre has it
            else:
                tx.alarms.save(tell_of(tx, self._envelopes, alarm, item, now))

        await self._write(work)
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
        while await self._write(lambda tx: tell_left(tx, self._envelopes, now)):
            self._wake_delivering()
        self._wake_delivering()

    async def _make_manifest(self, alarm: Alarm) -> None:
        assert alarm.manifest_due_at is not None
        now = self._clock.now()
        set_by = self._instants.set_by(("manifest", alarm.id), alarm.manifest_due_at)
        behind = self._behind[alarm.id] = self._behind.get(alarm.id, timedelta()) + set_by
        then = now - behind  # by the clock that the alarm's window was reckoned by

        def work(tx: Transaction) -> bool:
            current = tx.alarms.get(alarm.id)
            assert current is not None
            items = tx.evidence.of(alarm.id)
            ends_at = current.window_ends_at
            missing = any(self._comes(e) and (e.wanted_end or e.end) <= ends_at for e in items)
            window_over_s = (then - max(current.window_ends_at, current.raised_at)).total_seconds()
            if missing and current.manifest_revision == 0 and window_over_s < MANIFEST_WAITS_S:
                tx.alarms.save(replace(current, manifest_due_at=now + timedelta(seconds=0.5)))
                return False
            # Items still under way for a later span come with a later revision.
            told = [e for e in items if e.state is not EvidenceState.WANTED or e.end <= then]
            revision = current.manifest_revision + 1
            data = self._envelopes.manifest(current, told, revision)
            current = replace(current, manifest_revision=revision, manifest_due_at=None)
            current, message = self._envelopes.about_alarm(
                current, MessageType.ALARM_MANIFEST, data, at=now, now=now
            )
            tx.alarms.save(current)
            tx.alarms.note(alarm.id, now, "manifest", {"revision": revision, "items": len(told)})
            tx.messages.add(message)
            return True

        if await self._store.write(work):
            self._wake_delivering()
        self._changed.set()

    def _comes(self, item: Evidence) -> bool:
        """Whether an item is still on its way to where the manifest will say it is."""
        if item.state is EvidenceState.WANTED:
            return True
        return self._envelopes.pushes and item.state is EvidenceState.STORED and item.uploaded_at is None

    async def _want_during(self, due: Alarm) -> None:
        assert due.during_next_at is not None
        set_by = self._instants.set_by(("during", due.id), due.during_next_at)
        id_ = due.id

        def work(tx: Transaction) -> None:
            alarm = tx.alarms.get(id_)
            if alarm is None or alarm.during_next_at is None:
                return  # closed meanwhile
            if set_by and alarm.during_next_at == due.during_next_at:
                alarm = alarm.set_clock(set_by)
            start = alarm.during_next_at
            assert start is not None
            tx.alarms.save(alarm.during_taken())
            tx.evidence.add(
                [
                    Evidence(
                        id=new_id("evd", start),
                        alarm=id_,
                        camera=camera,
                        kind=Kind.CLIP,
                        moment=Moment.DURING,
                        start=start,
                        end=start + timedelta(seconds=DURING_CLIP_S),
                    )
                    for camera in alarm.cameras
                ]
            )

        await self._store.write(work)
        self._changed.set()

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        while True:
            try:
                return await self._store.write(work)
            except Unavailable as exc:
                log.error("gathering.cannot_record", cause=exc.reason)
                await self._clock.sleep(STORE_RETRY_S)
