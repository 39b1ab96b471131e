"""Recording: finished files go from the spool into the object store and the ledger, and every gap is noted with its cause.

A file is taken in this order: 1. *closed*: file and facts lie in the spool; 2. *stored*: the object store has the bytes;
3. *registered*: row, hours and gaps, in one commit; 4. the spool forgets it. Each step can be done again, so a crash between any
two loses nothing. While the store is away files wait in their order.

A gap is noted within seconds of the last frame, with its cause as it stood then, and ends with the first frame of what follows;
that every instant since a camera is recorded lies in a segment or in a gap is seen to once more as each file is registered.

One file, though long: those who take files and those who watch for gaps write one ledger, and share how far it reaches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.box.clock_steps import Step, Steps
from gateway.box.pause import pause
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.ids import new_id
from gateway.domain.plan import Site
from gateway.domain.recording import SEAM, ClosedFile, Gap, GapCause, Quality, Segment, holes, segment_key
from gateway.domain.stored import Kept
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.recordings import RecordedFiles
from gateway.ports.store import Store, Transaction
from gateway.recording.gap_causes import Why, told_until, why_not_recorded

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
AGAIN_S = 10.0  # the spool is looked through although nobody said that there is more
RETRY_S = 2.0
MOMENT = timedelta(milliseconds=1)
MEASURED_WITHIN_S = 2.0  # a disk that hangs must not stop the watch for gaps
#: Frames are written every half second, fragments are of 0.8 s and a camera's word comes every second; what is built is 10 s.
GAP_AFTER = timedelta(seconds=5)
SAME_SECOND_MOST = (
    60  # files of one camera that begin within one second: a stream that is opened again and again
)

CAMERAS_TRIED = 3  # whose next file cannot be taken: then it is the store that takes nothing

#: The named points of a file's way, in their order: what a test ends the process at.
POINTS = ("segment.closed", "segment.stored", "segment.registered")

#: Left to the database and to evidence on the disk of the spool, beside the site file's reserve.
LEFT_FREE_BYTES = 500_000_000
WELL_AGAIN_BYTES = 1_000_000_000

Found = tuple[FaultKind, str]


class Recording:
    """The stage. ``wake`` says that a file may be finished; ``run`` works until cancelled, also where no camera is recorded any
    more: what waits of earlier ones is taken, and their ledger ends."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        files: RecordedFiles,
        cameras: CameraBank,
        give_way: Callable[[Collection[str], Collection[str], Collection[str]], None],
        site: Site,
        reckoned: Callable[[], datetime],
        allowed: Callable[[str], Quality | None],
        locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
        free_bytes: Callable[[], int],
        reserve_bytes: int = 0,
        passed: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """``reckoned`` is now by a reckoning no wrong clock moves; ``allowed`` what may be recorded of a camera while room is
        short, and ``give_way`` has cameras recorded no longer, by their key frames only, or by their second stream;
        ``locked_until`` says until when to lock what ended at an instant; ``free_bytes`` measures the spool's disk; ``passed`` is
        told each of :data:`POINTS`.
        """
        self._store, self._clock, self._objects, self._files = store, clock, objects, files
        self._cameras, self._site, self._reckoned, self._allowed = cameras, site, reckoned, allowed
        self._passed, self._give_way, self._locked_until = passed, give_way, locked_until
        self._recorded = [camera.id for camera in site.cameras.values() if camera.continuous]
        self._free_bytes, self._reserve_bytes, self._full = free_bytes, reserve_bytes, False
        self._found_s: dict[Path, float | None] | None = (
            None  # when each file was; nothing of what lay there at first
        )
        self._changed = asyncio.Event()
        self._began_at = clock.now()
        self._steps = Steps(clock)
        self._seen: dict[str, datetime] = {}  # up to when each was recorded at the last look
        self._stale: dict[
            str, datetime
        ] = {}  # up to when each was recorded as the clock was set, by the clock before
        self._why: dict[str, Why] = {}  # the last one known
        self._why_now: dict[str, Why] = {}
        self._measuring: asyncio.Future[bool] | None = None
        self._unmeasured = ""
        self._ends: dict[str, datetime] = {}  # up to where each camera's ledger reaches
        self._open: dict[str, Gap] = {}
        self._gave_way: frozenset[str] = frozenset()
        self.store_cause = ""
        self.waiting = 0  # finished files that the store does not have yet

    @property
    def causes(self) -> Mapping[Found, str]:
        """What is wrong now; supervising makes faults of it."""
        found: dict[Found, str] = {}
        for camera, gap in self._open.items():
            if camera in self._gave_way:  # that is told by whoever measures the room
                continue
            why = self._why_now.get(camera)  # as it is now: a gap keeps the cause it began with
            cause, detail = (gap.cause, gap.detail) if why is None else (why.cause, why.detail)
            found[FaultKind.CAMERA, f"{camera} recording"] = (
                f"{self._where(camera)} has not been recorded since {gap.start:%H:%M:%S}Z ({cause}): {detail}"
            )
        if self._unmeasured:
            found[FaultKind.DISK, "recordings unmeasured"] = self._unmeasured
        for camera, known in self._cameras.health().items():
            if known.substream_missing:
                found[FaultKind.CAMERA, f"{camera} substream"] = (
                    f"room is short and the second stream of {self._where(camera)} cannot be recorded in place of its main one "
                    f"({known.substream_missing}): it is recorded in full until its next step of storage.when_full"
                )
        if self._full and self._recorded:
            found[FaultKind.DISK, "recordings"] = (
                "the disk that recordings wait on for the store is nearly full, and nothing is recorded until there is room "
                "again; what waits is kept"
            )
        if self.store_cause:
            found[FaultKind.STORE, "recordings"] = (
                f"{self.waiting} finished recording(s) wait on this box's disk in their order: {self.store_cause}"
            )
        return found

    def wake(self) -> None:
        """A file may be finished; carries nothing, may be lost."""
        self._changed.set()

    async def run(self) -> None:
        await self._retried(self._begin)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_files(), name="take recordings")
            tasks.create_task(self._watch(), name="watch recording")

    async def _begin(self) -> None:
        now = self._clock.now()

        def work(tx: Transaction) -> dict[str, datetime]:
            ends: dict[str, datetime] = {}
            for camera, (since, until) in tx.recordings.bounds().items():
                if camera in self._recorded:
                    continue
                if until is None:
                    # Not now: nobody can say when it left the plan, and of the time since the stop nothing is told. What is
                    # still to come of it, out of the spool, moves that end as it is registered.
                    until = min(now, told_until(tx, camera, now) or since)
                    tx.recordings.cease(camera, until)
                    tx.recordings.close_gap(camera, now)
                ends[camera] = until
            for camera in self._recorded:
                tx.recordings.begin(camera, now)
                since, _ = tx.recordings.bounds()[camera]
                ends[camera] = max(since, tx.recordings.reaches(camera, now) or since)
                for gap in tx.recordings.gaps(camera, ends[camera] - SEAM, now):
                    if gap.end is None:  # of before; it ends with what is recorded next
                        self._open[camera] = gap
                    else:
                        ends[camera] = max(ends[camera], gap.end)
            return ends

        self._ends = await self._store.write(work)

    async def _retried(self, work: Callable[[], Any]) -> None:
        while True:
            try:
                await work()
                return
            except Unavailable as exc:
                log.error("recording.cannot_work", cause=exc.reason)
                await self._clock.sleep(RETRY_S)

    # Files.

    async def _take_files(self) -> None:
        while True:
            self._changed.clear()
            cause = ""
            try:
                files = await self._files.closed()
                now_s = None if self._found_s is None else self._clock.monotonic()
                self._found_s = {file.path: (self._found_s or {}).get(file.path, now_s) for file in files}
                cause = await self._take_each(files)
            except (Unavailable, Refused) as exc:
                cause = exc.reason
            if cause and cause != self.store_cause:
                log.error("recording.waits", files=self.waiting, cause=cause)
            self.store_cause = cause
            if cause:
                await self._clock.sleep(RETRY_S)
            else:
                await pause(self._clock, AGAIN_S, self._changed)

    async def _take_each(self, files: Sequence[ClosedFile]) -> str:
        """Bring all of them away; what the first trouble was. Behind a file that cannot be taken its own camera's wait, in their
        order, and no other's, unless so many cannot that it is the store."""
        self.waiting = len(files)
        waits: dict[str, str] = {}
        for file in files:
            if file.camera in waits:
                continue
            try:
                await self._take(file)
                self.waiting -= 1
            except (Unavailable, Refused) as exc:
                waits[file.camera] = exc.reason
                if len(waits) == CAMERAS_TRIED:
                    break
        return next(iter(waits.values()), "")

    async def _take(self, file: ClosedFile) -> None:
        """Bring one file to where it belongs. Raises ``Unavailable`` while store, disk or database cannot take it."""
        self._passed(POINTS[0])
        key = await self._place(file)
        if key is not None:
            kept = await self._stored(file, key)
            if kept is None:
                await self._lost(file)
                return
            self._passed(POINTS[1])
            await self._register(file, key, kept)
            self._passed(POINTS[2])
        await self._files.forget(file)

    async def _place(self, file: ClosedFile) -> str | None:
        """The key it goes under: its second, with a number behind it where that is taken. ``None`` if it is registered."""

        def look(tx: Transaction) -> str | None:
            for number in range(SAME_SECOND_MOST):
                key = segment_key(self._site.id, file.camera, file.start, number)
                known = tx.recordings.at_key(key)
                if known is None:
                    return key
                if known.sha256 == file.sha256:
                    return None
            raise Refused(f"{SAME_SECOND_MOST} recordings of {file.camera} begin at {file.start}")

        return await self._store.read(look)

    async def _stored(self, file: ClosedFile, key: str) -> Kept | None:
        """Put its bytes; how they are kept, ``None`` if they are lost. A put consumes the file: after a crash only the store
        knows."""
        until = self._locked_until(max(file.end, self._reckoned_end(file)))
        if await asyncio.to_thread(file.path.exists):
            return await self._objects.put(key, file.path, sha256=file.sha256, locked_until=until)
        if await self._objects.size(key) != file.bytes:
            return None
        # The earlier run may have put it while the store had not proved its lock.
        return await self._objects.kept(key) if until is None else await self._objects.lock(key, until)

    def _reckoned_end(self, file: ClosedFile) -> datetime:
        """Its age by the clock that never jumps, if this run saw it finished: the other may have been set since."""
        found_s = (self._found_s or {}).get(file.path)
        if found_s is None:
            return self._reckoned() - max(timedelta(), self._clock.now() - file.end)
        return self._reckoned() - timedelta(seconds=self._clock.monotonic() - found_s)

    async def _lost(self, file: ClosedFile) -> None:
        """Neither here nor in the store: what was to be kept is a gap, by name."""
        detail = f"{file.path.name} was recorded, and is neither on this box nor in the store any more"
        log.error("recording.lost", camera=file.camera, file=file.path.name)
        gap = self._gap(file.camera, file.start, file.end, Why(GapCause.STORE, detail))
        reaches = min(self._ends.get(file.camera, file.start), file.start)

        def work(tx: Transaction) -> None:
            for each in (*self._before(tx, file, reaches), gap):  # no file may come after it and tell
                tx.recordings.open_gap(each)
            self._followed(tx, file)

        await self._store.write(work)
        await self._files.forget(file)

    async def _register(self, file: ClosedFile, key: str, kept: Kept) -> None:
        now = self._clock.now()
        segment = Segment(
            id=new_id("seg", now),
            camera=file.camera,
            start=file.start,
            end=file.end,
            frames=file.frames,
            bytes=file.bytes,
            key=key,
            sha256=file.sha256,
            stored_at=now,
            quality=file.quality,
            version=kept.version,
            locked_until=kept.locked_until,
            reckoned_end=self._reckoned_end(file),
        )

        lasting = self._open.get(file.camera)
        ended = (
            lasting is not None and lasting.start <= file.start
        )  # a file that waited is older: that gap lasts

        def work(tx: Transaction) -> None:
            reaches = tx.recordings.reaches(file.camera, file.start)
            if reaches is None:
                reaches = min(self._ends.get(file.camera, file.start), file.start)
            tx.recordings.add(segment)
            if ended:
                tx.recordings.close_gap(file.camera, file.start)
            for gap in (*self._before(tx, file, reaches), *self._within(file)):
                tx.recordings.open_gap(gap)
            self._followed(tx, file)

        await self._store.write(work)
        if ended:
            self._open.pop(file.camera, None)
        self._ends[file.camera] = max(file.end, self._ends.get(file.camera, file.end))

    def _followed(self, tx: Transaction, file: ClosedFile) -> None:
        """A camera that is recorded no longer was to be until its last file ends."""
        if file.camera not in self._recorded:
            tx.recordings.cease(file.camera, file.end)

    def _before(self, tx: Transaction, file: ClosedFile, reaches: datetime) -> Sequence[Gap]:
        """The holes between the recording before this one and it, as far as no gap tells of them."""
        known = tx.recordings.gaps(file.camera, reaches - SEAM, file.start + SEAM)
        found = []
        # A note that the clock was set has no length, and parts no hole.
        told = [(gap.start, gap.end or file.start) for gap in known if gap.end != gap.start]
        for start, end in holes(told, reaches, file.start):
            why = self._why.get(file.camera)
            step = self._steps.within(start, end)
            if step is not None:
                more_s = (end - start - step.by).total_seconds()
                missing = (
                    f"; {more_s:.0f} s of this are missing all the same"
                    if more_s > SEAM.total_seconds()
                    else ""
                )
                why = Why(GapCause.GATEWAY, f"{step.text()}: no time went by between{missing}")
            elif start < self._began_at or why is None:
                why = Why(GapCause.GATEWAY, "the gateway or its camera process was not running, or only just")
            found.append(self._gap(file.camera, start, end, why))
        return found

    def _within(self, file: ClosedFile) -> Sequence[Gap]:
        why = Why(GapCause.CAMERA, "no frames came for a moment")
        return [self._gap(file.camera, start, end, why) for start, end in file.pauses]

    def _gap(self, camera: str, start: datetime, end: datetime | None, why: Why) -> Gap:
        return Gap(
            id=new_id("gap", self._clock.now()),
            camera=camera,
            start=start,
            end=end,
            cause=why.cause,
            detail=why.detail,
        )

    # Gaps.

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Unavailable as exc:
                log.error("recording.cannot_note", cause=exc.reason)
            await self._clock.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        now, health = self._clock.now(), self._cameras.health()
        full = await self._measured()
        allowed = {camera: None if full else self._allowed(camera) for camera in self._recorded}
        self._gave_way = frozenset(camera for camera, quality in allowed.items() if quality is None)
        keys_only, substream = (
            [camera for camera, quality in allowed.items() if quality is asked]
            for asked in (Quality.KEYFRAMES, Quality.SUBSTREAM)
        )
        self._give_way(self._gave_way, keys_only, substream)
        await self._follow_clock(now)
        for camera in self._recorded:
            known = health.get(camera)
            until = known.recorded_until if known is not None else None
            since = known.recorded_since if known is not None else None
            if until is not None and (until - now >= GAP_AFTER or until == self._stale.get(camera)):
                until = None  # of before the clock was set back
            reaches = max(until or self._seen.get(camera, self._ends[camera]), self._ends[camera])
            self._seen[camera] = reaches
            why = why_not_recorded(known, gave_way=camera in self._gave_way)
            self._why_now.pop(camera, None)
            if why is not None:
                self._why[camera] = self._why_now[camera] = why
            lasting = self._open.get(camera)
            if lasting is not None:
                if (
                    since is not None
                    and since > lasting.start
                    and until is not None
                    and now - until < GAP_AFTER
                ):
                    await self._end_gap(camera, since)
            elif now - reaches >= GAP_AFTER and now - self._began_at >= GAP_AFTER:
                why = why or Why(GapCause.CAMERA, "no frames come")
                await self._open_gap(camera, reaches, why)

    async def _follow_clock(self, now: datetime) -> None:
        """Note a step of the clock in the ledger of each camera. Where it was set back, what the ledger reaches lies in the
        future, and would hide every gap until then."""
        step = self._steps.look()
        if step is not None:
            await self._note_step(step)
        for camera, lasting in list(self._open.items()):
            if lasting.start - now >= GAP_AFTER:
                await self._end_gap(camera, lasting.start)
        for camera, reaches in self._ends.items():
            if reaches - now >= GAP_AFTER:
                self._ends[camera] = now
                self._seen.pop(camera, None)
        self._began_at = min(self._began_at, now)

    async def _note_step(self, step: Step) -> None:
        """A row without length where the clock was set; a gap that lasts is parted there, so that no row spans what never was."""
        log.warning("recording.clock_set", by_s=step.by.total_seconds())
        self._ends = {camera: reaches + step.by for camera, reaches in self._ends.items()}
        self._seen = {camera: reaches + step.by for camera, reaches in self._seen.items()}
        self._began_at += step.by
        told = {camera: known.recorded_until for camera, known in self._cameras.health().items()}
        self._stale = {camera: until for camera, until in told.items() if until is not None}
        for camera in self._recorded:
            why = Why(GapCause.GATEWAY, f"{step.text()}: what follows is dated by the clock as it was set")
            await self._store.write(partial(_note, note=self._gap(camera, step.after, step.after, why)))
            lasting = self._open.get(camera)
            if lasting is not None:
                await self._store.write(partial(_close_gap, camera=camera, end=step.before))
                del self._open[camera]
                detail = f"{lasting.detail} (goes on after {step.text()})"
                await self._open_gap(camera, step.after + MOMENT, Why(lasting.cause, detail))

    async def _measured(self) -> bool:
        """:meth:`_spool_is_full`, or what it last was where the disk does not answer: gaps are watched for all the same."""
        measuring = self._measuring or asyncio.ensure_future(asyncio.to_thread(self._spool_is_full))
        timer = asyncio.ensure_future(self._clock.sleep(MEASURED_WITHIN_S))
        try:
            await asyncio.wait((measuring, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        self._measuring = None if measuring.done() else measuring
        if measuring.done():
            return measuring.result()
        self._unmeasured = (
            "the disk of the data folder does not answer when it is asked for its room: check the disk"
        )
        return self._full

    def _spool_is_full(self) -> bool:
        """Whether the disk of the spool is so full that alarms would suffer; not at once well again, or cameras would flap."""
        limit = self._reserve_bytes + LEFT_FREE_BYTES + (WELL_AGAIN_BYTES if self._full else 0)
        try:
            self._full = self._free_bytes() < limit
        except OSError as exc:
            self._unmeasured = (
                f"the room for recordings on this box cannot be measured ({exc.strerror or exc}); it was "
                f"{'short' if self._full else 'enough'} before: check the disk of the data folder"
            )
            log.error("recording.spool_not_measured", cause=exc.strerror or str(exc))
        else:
            self._unmeasured = ""
        return self._full

    async def _open_gap(self, camera: str, start: datetime, why: Why) -> None:
        gap = self._gap(camera, start, None, why)
        await self._store.write(lambda tx: tx.recordings.open_gap(gap))
        self._open[camera] = gap
        log.warning("recording.gap", camera=camera, cause=why.cause.value, detail=why.detail)

    async def _end_gap(self, camera: str, end: datetime) -> None:
        await self._store.write(lambda tx: tx.recordings.close_gap(camera, end))
        self._open.pop(camera, None)
        self._ends[camera] = max(end, self._ends[camera])

    def _where(self, camera: str) -> str:
        """The camera by name and place, for a person who has to go there."""
        found = self._site.cameras.get(camera)
        zone = self._site.zones.get(found.zone) if found is not None else None
        if found is None or zone is None:
            return camera
        place = " ".join(str(part) for part in (zone.building, zone.name) if part)
        return f"{found.name} ({camera}, {place})"


def _note(tx: Transaction, *, note: Gap) -> None:
    tx.recordings.open_gap(note)


def _close_gap(tx: Transaction, *, camera: str, end: datetime) -> None:
    tx.recordings.close_gap(camera, end)
