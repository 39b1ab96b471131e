"""The ledger: what was recorded of each camera, and each gap with its cause.

One object for two stages: :mod:`gateway.recording.taking` registers finished files in it, and :mod:`gateway.recording.gap_watch`
opens and closes gaps. The rows are in the database; in memory is what both ask every second: up to when each camera is covered,
and which gap is open.

Every instant since a camera is recorded lies in a segment or in a gap. As each file is registered, what lies between it and the
recording before it is written as a gap, however short or long ago.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from gateway.box.clock_steps import Step, Steps, step_within
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.ids import new_id
from gateway.domain.plan import Site
from gateway.domain.recording import SEAM, ClosedFile, Gap, GapCause, Segment, holes, segment_key
from gateway.domain.stored import Kept
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction
from gateway.recording.gap_causes import Why

log = structlog.get_logger(__name__)

RETRY_S = 2.0
MOMENT = timedelta(milliseconds=1)
#: Frames are written every half second, fragments are 0.8 s long and a camera's report comes every second; required is 10 s.
GAP_AFTER = timedelta(seconds=5)
#: Files of one camera that start within one second: a stream that is opened again and again.
SAME_SECOND_MOST = 60
EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What explains a hole in a camera's recording, as known ``now``: when this run started, the steps of the clock since, and
    the last known reason why the camera was not recorded."""

    now: datetime
    started_at: datetime
    steps: tuple[Step, ...]
    why: Why | None


class Ledger:
    """Each method that writes has committed when it returns, and raises ``Unavailable`` where the database refuses."""

    def __init__(self, *, store: Store, clock: Clock, site: Site) -> None:
        self._store, self._clock, self._site = store, clock, site
        #: Cameras that are to be recorded, by the plan.
        self.recorded = tuple(camera.id for camera in site.cameras.values() if camera.continuous)
        #: When this run started, by the wall clock as it is set now.
        self.started_at = clock.now()
        self._steps = Steps(clock)
        self._covered: dict[str, datetime] = {}
        self._open: dict[str, Gap] = {}
        self._why: dict[str, Why] = {}

    @property
    def covered_until(self) -> Mapping[str, datetime]:
        """By camera, the end of its coverage: its last segment or closed gap."""
        return self._covered

    @property
    def open_gaps(self) -> Mapping[str, Gap]:
        """By camera, the gap that has no end yet."""
        return self._open

    async def resume(self) -> None:
        """Read where an earlier run stopped, and end the ledger of cameras that are not recorded any more. Retries until the
        database answers. Before the other methods are called."""
        while True:
            try:
                resume = partial(_resume, recorded=self.recorded, now=self._clock.now())
                self._covered, open_gaps = await self._store.write(resume)
                self._open |= open_gaps
                return
            except Unavailable as exc:
                log.error("recording.cannot_work", cause=exc.reason)
                await self._clock.sleep(RETRY_S)

    # Files.

    async def key_for(self, file: ClosedFile) -> str | None:
        """The key for its object: its second, with a number behind it where that is taken. ``None`` if it is registered."""
        return await self._store.read(partial(_free_key, site=self._site.id, file=file))

    async def register(self, file: ClosedFile, key: str, kept: Kept, reckoned_end: datetime) -> None:
        """Write the row of a stored file, its hours, and the gaps before and within it, in one commit."""
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
            reckoned_end=reckoned_end,
        )
        open_gap = self._open.get(file.camera)
        # A file that waited is older than the gap: the gap stays open.
        ends_gap = open_gap is not None and open_gap.start <= file.start
        await self._store.write(
            partial(
                _write_segment,
                file=file,
                segment=segment,
                ends_gap=ends_gap,
                covered_until=self._covered_before(file),
                known=self._circumstances(file.camera, now),
                recorded=file.camera in self.recorded,
            )
        )
        if ends_gap:
            self._open.pop(file.camera, None)
        self._covered[file.camera] = max(file.end, self._covered.get(file.camera, file.end))

    async def register_lost(self, file: ClosedFile, detail: str) -> None:
        """Write a gap in place of a file whose bytes are gone."""
        now = self._clock.now()
        await self._store.write(
            partial(
                _write_lost,
                file=file,
                lost=_gap(file.camera, file.start, file.end, Why(GapCause.STORE, detail), now),
                covered_until=self._covered_before(file),
                known=self._circumstances(file.camera, now),
                recorded=file.camera in self.recorded,
            )
        )

    def _covered_before(self, file: ClosedFile) -> datetime:
        return min(self._covered.get(file.camera, file.start), file.start)

    def _circumstances(self, camera: str, now: datetime) -> Circumstances:
        return Circumstances(
            now=now, started_at=self.started_at, steps=self._steps.seen, why=self._why.get(camera)
        )

    # Gaps.

    def remember(self, camera: str, why: Why) -> None:
        """Keep the reason why a camera is not recorded now: it explains a hole that is found later."""
        self._why[camera] = why

    async def open_gap(self, camera: str, start: datetime, why: Why) -> None:
        """Open a gap at ``start``."""
        gap = _gap(camera, start, None, why, self._clock.now())
        await self._store.write(partial(_open_gap, gap=gap))
        self._open[camera] = gap
        log.warning("recording.gap", camera=camera, cause=why.cause.value, detail=why.detail)

    async def close_gap(self, camera: str, end: datetime) -> None:
        """Close the camera's open gap at ``end``."""
        await self._store.write(partial(_close_gap, camera=camera, end=end))
        self._open.pop(camera, None)
        self._covered[camera] = max(end, self._covered[camera])

    # The clock.

    def clock_step(self) -> Step | None:
        """The step of the wall clock since the last call, if there was one. To be given to :meth:`follow_clock`."""
        return self._steps.look()

    async def follow_clock(self, step: Step | None, now: datetime) -> Collection[str]:
        """Write a step of the clock into the ledger of each camera. Returns the cameras that were covered until a later time than
        ``now``: where the clock was set back, such coverage lies in the future and would hide every gap until then."""
        if step is not None:
            await self._write_step(step)
        for camera, gap in list(self._open.items()):
            if gap.start - now >= GAP_AFTER:
                await self.close_gap(camera, gap.start)
        ahead = [camera for camera, covered in self._covered.items() if covered - now >= GAP_AFTER]
        self._covered.update(dict.fromkeys(ahead, now))
        self.started_at = min(self.started_at, now)
        return ahead

    async def _write_step(self, step: Step) -> None:
        """A row without length where the clock was set; an open gap is divided there: no row spans time that never was."""
        log.warning("recording.clock_set", by_s=step.by.total_seconds())
        self._covered = {camera: covered + step.by for camera, covered in self._covered.items()}
        self.started_at += step.by
        for camera in self.recorded:
            why = Why(GapCause.GATEWAY, f"{step.text()}: what follows is dated by the clock as it was set")
            mark = _gap(camera, step.after, step.after, why, self._clock.now())
            await self._store.write(partial(_open_gap, gap=mark))
            gap = self._open.get(camera)
            if gap is not None:
                await self._store.write(partial(_close_gap, camera=camera, end=step.before))
                del self._open[camera]
                detail = f"{gap.detail} (goes on after {step.text()})"
                await self.open_gap(camera, step.after + MOMENT, Why(gap.cause, detail))


def covered_until(tx: Transaction, camera: str, now: datetime) -> datetime | None:
    """The end of the camera's coverage: its last segment or gap, ``now`` if a gap is still open. ``None`` if there is nothing."""
    last_segment = tx.recordings.reaches(camera)
    ends = [gap.end or now for gap in tx.recordings.gaps(camera, last_segment or EVER, now)]
    return max([*ends, *([last_segment] if last_segment else [])], default=None)


# Transaction functions: they run on the database's thread, see only what they are given, and return what they found.


def _resume(
    tx: Transaction, *, recorded: Sequence[str], now: datetime
) -> tuple[dict[str, datetime], dict[str, Gap]]:
    """By camera the end of its coverage, and its open gap."""
    covered: dict[str, datetime] = {}
    open_gaps: dict[str, Gap] = {}
    for camera, (since, until) in tx.recordings.bounds().items():
        if camera in recorded:
            continue
        if until is None:
            # Not now: when it left the plan is unknown, and nothing is known of the time since the stop. A file of it that is
            # still in the spool moves this end as it is registered.
            until = min(now, covered_until(tx, camera, now) or since)
            tx.recordings.cease(camera, until)
            tx.recordings.close_gap(camera, now)
        covered[camera] = until
    for camera in recorded:
        tx.recordings.begin(camera, now)
        since, _ = tx.recordings.bounds()[camera]
        covered[camera] = max(since, tx.recordings.reaches(camera, now) or since)
        for gap in tx.recordings.gaps(camera, covered[camera] - SEAM, now):
            if gap.end is None:  # of an earlier run; it ends with what is recorded next
                open_gaps[camera] = gap
            else:
                covered[camera] = max(covered[camera], gap.end)
    return covered, open_gaps


def _free_key(tx: Transaction, *, site: str, file: ClosedFile) -> str | None:
    for number in range(SAME_SECOND_MOST):
        key = segment_key(site, file.camera, file.start, number)
        segment = tx.recordings.at_key(key)
        if segment is None:
            return key
        if segment.sha256 == file.sha256:
            return None
    raise Refused(f"{SAME_SECOND_MOST} recordings of {file.camera} begin at {file.start}")


def _write_segment(
    tx: Transaction,
    *,
    file: ClosedFile,
    segment: Segment,
    ends_gap: bool,
    covered_until: datetime,
    known: Circumstances,
    recorded: bool,
) -> None:
    before = tx.recordings.reaches(file.camera, file.start)
    tx.recordings.add(segment)
    if ends_gap:
        tx.recordings.close_gap(file.camera, file.start)
    pauses = Why(GapCause.CAMERA, "no frames came for a moment")
    for gap in _gaps_before(tx, file, covered_until if before is None else before, known):
        tx.recordings.open_gap(gap)
    for start, end in file.pauses:
        tx.recordings.open_gap(_gap(file.camera, start, end, pauses, known.now))
    _extend(tx, file, recorded)


def _write_lost(
    tx: Transaction,
    *,
    file: ClosedFile,
    lost: Gap,
    covered_until: datetime,
    known: Circumstances,
    recorded: bool,
) -> None:
    for gap in (*_gaps_before(tx, file, covered_until, known), lost):  # perhaps no later file explains them
        tx.recordings.open_gap(gap)
    _extend(tx, file, recorded)


def _extend(tx: Transaction, file: ClosedFile, recorded: bool) -> None:
    """A camera that is not recorded any more was to be recorded until its last file ends."""
    if not recorded:
        tx.recordings.cease(file.camera, file.end)


def _gaps_before(
    tx: Transaction, file: ClosedFile, covered_until: datetime, known: Circumstances
) -> list[Gap]:
    """The holes between the recording before this file and the file, where no gap is on record."""
    gaps = tx.recordings.gaps(file.camera, covered_until - SEAM, file.start + SEAM)
    # The mark of a step of the clock has no length, and divides no hole.
    spans = [(gap.start, gap.end or file.start) for gap in gaps if gap.end != gap.start]
    return [
        _gap(file.camera, start, end, _why_missing(start, end, known), known.now)
        for start, end in holes(spans, covered_until, file.start)
    ]


def _why_missing(start: datetime, end: datetime, known: Circumstances) -> Why:
    step = step_within(known.steps, start, end)
    if step is not None:
        more_s = (end - start - step.by).total_seconds()
        missing = (
            f"; {more_s:.0f} s of this are missing all the same" if more_s > SEAM.total_seconds() else ""
        )
        return Why(GapCause.GATEWAY, f"{step.text()}: no time went by between{missing}")
    if start < known.started_at or known.why is None:
        return Why(GapCause.GATEWAY, "the gateway or its camera process was not running, or only just")
    return known.why


def _gap(camera: str, start: datetime, end: datetime | None, why: Why, now: datetime) -> Gap:
    return Gap(id=new_id("gap", now), camera=camera, start=start, end=end, cause=why.cause, detail=why.detail)


def _open_gap(tx: Transaction, *, gap: Gap) -> None:
    tx.recordings.open_gap(gap)


def _close_gap(tx: Transaction, *, camera: str, end: datetime) -> None:
    tx.recordings.close_gap(camera, end)
