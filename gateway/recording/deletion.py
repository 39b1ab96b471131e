"""Sweeping: what is older than the period and not held goes, in small batches, each with a record that cannot be lost.

One batch: 1. *intended*: the list is written down, in one commit with a last look at the holds; 2. the objects are deleted;
3. one commit takes out their rows, writes the line of the access register (whose signed head goes to the centre) and puts its
number on the list. A crash between 1 and 3 leaves a pending list: the next sweep records what of it is gone and forgets the rest,
so nothing is ever deleted on an old decision.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence
from gateway.domain.hold import Hold, due_before, evidence_held, held, overdue_before
from gateway.domain.ids import is_drill, new_id
from gateway.domain.recording import Deletion, Segment
from gateway.domain.register import GATEWAY, Act, RegisterLine
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

BATCH = 50  # objects: what one commit takes out, so that a press waits for no more than that
AT_ONCE = 8  # objects deleted side by side
ALARM_FRESH = timedelta(seconds=60)  # while its stills and first clips are on their way, a batch waits
GIVE_WAY_S = 1.0
GIVE_WAY_MOST_S = 600.0  # in one sweep: an alarm pressed on and on does not break the ceiling
OVERDUE_READ = 1000  # rows read at once in looking for the first of a camera that is not held
REFUSED_MOST = 200  # objects of one camera: then the store refuses all, and to ask for each helps nobody

#: The named points of a deletion, in their order: what a test ends the process at.
CRASH_POINTS = ("deletion.intended", "deletion.objects-gone", "deletion.registered")


@dataclass(slots=True)
class Swept:
    """What one sweep came to. ``refused`` says why objects that were due could not be deleted."""

    objects: int = 0
    bytes: int = 0
    refused: list[str] = field(default_factory=list)


class Sweeping:
    """Deletes. :attr:`lock` is held for each batch: who holds it places a hold between batches, never within one."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        retention_days: int,
        passed: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """``passed`` is told each of :data:`CRASH_POINTS` as it is passed."""
        self._store = store
        self._clock = clock
        self._objects = objects
        self._retention_days = retention_days
        self._passed = passed
        self._waited_s = 0.0
        self.lock = asyncio.Lock()

    async def sweep(self, now: datetime) -> Swept:
        """Delete all that is due ``now``, a time that more than one clock has said. Raises ``Unavailable`` where the database or
        the store refuses; what was done until then is on record."""
        swept, self._waited_s = Swept(), 0.0
        async with self.lock:
            await self._finish_pending(swept)
        before = due_before(now, self._retention_days)
        for camera in await self._store.read(lambda tx: tx.recordings.cameras()):
            await self._segments(camera, before, now, swept)
        await self._evidence(before, swept)
        if swept.objects:
            log.info("sweep.deleted", objects=swept.objects, bytes=swept.bytes)
        return swept

    async def overdue(self, now: datetime) -> list[str]:
        """What should be gone ``now`` and is not, although nothing holds it: one line a camera, one for evidence."""
        before = overdue_before(now, self._retention_days)

        def look(tx: Transaction) -> list[str]:
            holds, found = tx.holds.of_spans(), []
            for camera in tx.recordings.cameras():
                left = _first_unheld(tx, camera, before, holds)
                if left is not None:
                    found.append(f"{camera}: recordings since {left.start:%Y-%m-%d %H:%M}Z")
            for _, item in tx.evidence.due(before, 0, OVERDUE_READ):
                if not self._keeps(tx, item):
                    found.append(f"evidence {item.id} of {item.alarm}")
                    break
            return found

        return await self._store.read(look)

    # Recordings.

    async def _segments(self, camera: str, before: datetime, now: datetime, swept: Swept) -> None:
        after: datetime | None = None
        refused = len(swept.refused)
        while len(swept.refused) - refused < REFUSED_MOST:
            due = await self._store.read(
                lambda tx, after=after: tx.recordings.due(camera, before, after, now, BATCH)  # type: ignore[misc]
            )
            if not due:
                return
            after = due[-1].start
            await self._give_way()
            async with self.lock:
                await self._batch_of_segments(camera, due, swept)

    async def _batch_of_segments(self, camera: str, due: Sequence[Segment], swept: Swept) -> None:
        def intend(tx: Transaction) -> Deletion | None:
            holds = tx.holds.of_spans()
            free = [s for s in due if not held(holds, camera, s.start, s.end)]
            if not free:
                return None
            intended = self._intended([_item(s) for s in free], free, camera=camera)
            tx.deletions.intend(intended)
            return intended

        intended = await self._store.write(intend)
        if intended is None:
            return
        await self._carry_out(intended, swept)

    # Evidence.

    async def _evidence(self, before: datetime, swept: Swept) -> None:
        after = 0
        while True:
            due = await self._store.read(
                lambda tx, after=after: tx.evidence.due(before, after, BATCH)  # type: ignore[misc]
            )
            if not due:
                return
            after = due[-1][0]
            ordered = sorted((item for _, item in due), key=lambda i: i.alarm)
            for alarm, items in groupby(ordered, key=lambda i: i.alarm):
                await self._give_way()
                async with self.lock:
                    await self._batch_of_evidence(alarm, list(items), swept)

    async def _batch_of_evidence(self, alarm: str, due: Sequence[Evidence], swept: Swept) -> None:
        def intend(tx: Transaction) -> Deletion | None:
            free = [item for item in due if not self._keeps(tx, item)]
            if not free:
                return None
            items = [_item(item) for item in free]
            intended = self._intended(items, free, alarm=alarm)
            tx.deletions.intend(intended)
            return intended

        intended = await self._store.write(intend)
        if intended is None:
            return
        await self._carry_out(intended, swept)

    @staticmethod
    def _keeps(tx: Transaction, item: Evidence) -> bool:
        if is_drill(item.alarm):
            return False
        return evidence_held(tx.holds.of_alarm(item.alarm), False) or held(
            tx.holds.of_spans(), item.camera, item.start, max(item.end, item.start + timedelta(seconds=1))
        )

    # What both have in common.

    def _intended(
        self,
        items: Sequence[Mapping[str, Any]],
        of: Sequence[Segment] | Sequence[Evidence],
        *,
        camera: str | None = None,
        alarm: str | None = None,
    ) -> Deletion:
        now = self._clock.now()
        return Deletion(
            id=new_id("del", now),
            at=now,
            start=min(one.start for one in of),
            end=max(one.end for one in of),
            size_bytes=sum(one.bytes or 0 for one in of),
            items=tuple(items),
            camera=camera,
            alarm=alarm,
        )

    async def _carry_out(self, intended: Deletion, swept: Swept) -> None:
        """Delete the objects and put on record which are gone. Raises ``Unavailable``, after that, if the store was away."""
        self._passed(CRASH_POINTS[0])
        gone: set[str] = set()
        waiting = iter([str(item["key"]) for item in intended.items])
        away: list[Unavailable] = []

        async def work() -> None:
            for key in waiting:
                try:
                    await self._objects.delete(key)
                    gone.add(key)
                except Refused as exc:
                    swept.refused.append(f"{key}: {exc.reason}")
                except Unavailable as exc:
                    if await self._answers(key):
                        swept.refused.append(f"{key}: {exc.reason}")
                    else:
                        away.append(exc)
                if away:
                    return

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(AT_ONCE, len(intended.items))):
                workers.create_task(work())
        self._passed(CRASH_POINTS[1])
        await self._done(intended, gone, swept)
        if away:
            raise away[0]

    async def _answers(self, key: str) -> bool:
        """Whether the store says that it still has an object: then it is the object that will not go, and nothing else waits."""
        try:
            return await self._objects.size(key) is not None
        except (Refused, Unavailable):
            return False

    async def _finish_pending(self, swept: Swept) -> None:
        """What an earlier run had intended when it ended: on record goes what is really gone of it, the rest is forgotten."""
        for intended in await self._store.read(lambda tx: tx.deletions.pending()):
            keys = [str(item["key"]) for item in intended.items]
            gone = {key for key in keys if await self._is_gone(key)}
            await self._done(intended, gone, swept)

    async def _is_gone(self, key: str) -> bool:
        """Whether nothing is left of it: a mark of deletion, which anybody may have set, only hides the bytes."""
        if await self._objects.size(key) is not None:
            return False
        async for page in self._objects.versions(key):
            if any(version.key == key and not version.hides for version in page):
                return False
        return True

    async def _done(self, intended: Deletion, gone: set[str], swept: Swept) -> None:
        """One commit: rows out, record kept, line of the register written."""
        now = self._clock.now()

        def work(tx: Transaction) -> tuple[int, int]:
            items = tuple(item for item in intended.items if item["key"] in gone)
            if not items:
                tx.deletions.give_up(intended.id)
                return 0, 0
            if intended.alarm is not None:
                size = self._evidence_gone(tx, intended, items, now)
            else:
                size = self._segments_gone(tx, intended, items)
            record = _narrowed(intended, items, size, now)
            line = tx.register.append(self._line(record))
            tx.deletions.done(_narrowed(intended, items, size, now, line))
            return len(items), size

        count, size = await self._store.write(work)
        swept.objects, swept.bytes = swept.objects + count, swept.bytes + size
        self._passed(CRASH_POINTS[2])

    @staticmethod
    def _segments_gone(tx: Transaction, intended: Deletion, items: Sequence[Mapping[str, Any]]) -> int:
        assert intended.camera is not None
        keys = {item["key"] for item in items}
        rows = tx.recordings.segments(intended.camera, intended.start, intended.end)
        gone = [s for s in rows if s.key in keys]
        tx.recordings.forget(intended.camera, gone)
        return sum(s.bytes for s in gone)

    def _evidence_gone(
        self, tx: Transaction, intended: Deletion, items: Sequence[Mapping[str, Any]], now: datetime
    ) -> int:
        assert intended.alarm is not None
        size = 0
        for item in items:
            row = tx.evidence.at_key(item["key"])
            if row is not None:
                how = f"deleted after {self._retention_days} days ({intended.id})"
                tx.evidence.save(row.deleted(how))
                size += row.bytes or 0
        tx.alarms.note(intended.alarm, now, "deleted", {"items": len(items), "deletion": intended.id})
        return size

    def _line(self, record: Deletion) -> RegisterLine:
        what = f"recordings of {record.camera}" if record.camera else f"evidence of {record.alarm}"
        return RegisterLine(
            at=record.at,
            act=Act.DELETED,
            who=GATEWAY,
            content=what,
            reason=f"the period of {self._retention_days} days is over",
            alarm=record.alarm,
            detail={
                "deletion": record.id,
                "retention_days": self._retention_days,
                "objects": len(record.items),
                "bytes": record.size_bytes,
                "from": record.start.astimezone(UTC).isoformat(),
                "to": record.end.astimezone(UTC).isoformat(),
                "items_sha256": hashlib.sha256(record.lines).hexdigest(),
            },
        )

    async def _give_way(self) -> None:
        """Wait while the newest alarm is fresh: its pictures need the disk and the database more."""
        while self._waited_s < GIVE_WAY_MOST_S:
            now = self._clock.now()
            newest = await self._store.read(lambda tx: tx.alarms.listed(limit=1))
            if not any(timedelta(0) <= now - alarm.last_press_at < ALARM_FRESH for alarm in newest):
                return
            self._waited_s += GIVE_WAY_S
            await self._clock.sleep(GIVE_WAY_S)


def _first_unheld(tx: Transaction, camera: str, before: datetime, holds: Sequence[Hold]) -> Segment | None:
    """The first recording of a camera that is due, locked or not, and not held."""
    after: datetime | None = None
    while due := tx.recordings.due(camera, before, after, datetime.max.replace(tzinfo=UTC), OVERDUE_READ):
        left = next((one for one in due if not held(holds, camera, one.start, one.end)), None)
        if left is not None:
            return left
        after = due[-1].start
    return None


def _item(one: Segment | Evidence) -> dict[str, Any]:
    return {
        "key": one.key,
        "sha256": one.sha256,
        "version": one.version if isinstance(one, Segment) else None,
        "start": one.start.astimezone(UTC).isoformat(),
        "end": one.end.astimezone(UTC).isoformat(),
    }


def _narrowed(
    intended: Deletion,
    items: tuple[Mapping[str, Any], ...],
    size: int,
    now: datetime,
    line: int | None = None,
) -> Deletion:
    """The record of those that are really gone."""
    return Deletion(
        id=intended.id,
        at=now,
        start=min(datetime.fromisoformat(item["start"]) for item in items),
        end=max(datetime.fromisoformat(item["end"]) for item in items),
        size_bytes=size,
        items=items,
        register_line=line,
        camera=intended.camera,
        alarm=intended.alarm,
    )
