"""Repairing: what can be made well again without losing anything, and only while no gateway works on the data.

The four things a :class:`~gateway.domain.finding.Repair` names. No bytes, digest or line of the register is ever touched, and of
the rows only sums and locks. Each repair claims the data folder for itself, looks once more at what it is about, and can be done
again after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from gateway.box.claim import REPAIR, REPAIR_MOST_S, claim
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence
from gateway.domain.finding import Discard, Finding, Grade, Recount, Relock, Repair, Unhide
from gateway.domain.recording import Segment
from gateway.ports.alarm_tables import EvidenceRows
from gateway.ports.objects import ObjectStore
from gateway.ports.recording_tables import Recordings
from gateway.ports.store import Store, Transaction
from gateway.recording.sole_version import alone


class Repairing:
    """Repairs one finding at a time."""

    def __init__(
        self,
        *,
        data_dir: Path,
        store: Callable[[], Awaitable[Store]],
        objects: ObjectStore,
        discard: Callable[[str], Awaitable[None]],
    ) -> None:
        """``store`` opens the database for writing, and is asked only while the folder is claimed; ``discard`` removes what a put
        left behind."""
        self._data_dir, self._store, self._objects, self._discard = data_dir, store, objects, discard

    async def repair(self, finding: Finding) -> Finding:
        """The finding as it stands afterwards: repaired, or as it was with what stood in the way. Takes
        :data:`~gateway.box.claim.REPAIR_MOST_S` at the most."""
        if finding.repair is None:
            return finding
        mine = claim(self._data_dir, REPAIR)
        if mine is None:
            return _left(finding, "a gateway runs here")
        try:
            async with asyncio.timeout(REPAIR_MOST_S):
                done = await self._done(finding.repair)
        except TimeoutError:
            return _left(finding, f"it took more than {REPAIR_MOST_S:.0f} s")
        except (Unavailable, Refused) as exc:
            return _left(finding, exc.reason)
        finally:
            mine.release()
        return replace(
            finding, grade=Grade.REPAIRED, detail=f"{finding.detail}; {done}".removeprefix("; "), repair=None
        )

    async def _done(self, repair: Repair) -> str:
        """Do it and say what was done. Raises ``Refused`` or ``Unavailable`` with nothing done that does harm."""
        match repair:
            case Recount():
                store = await self._store()
                await store.write(lambda tx: tx.recordings.recount(repair.camera, repair.hour))
                return "counted anew from its segments"
            case Relock():
                return await self._relocked(repair)
            case Unhide():
                return await self._unhidden(repair.key)
            case Discard():
                await self._discard(repair.leftover)
                return "removed; what it was put from is where it was"

    async def _relocked(self, repair: Relock) -> str:
        store = await self._store()
        row = await store.read(lambda tx: _row(tx, repair.key))
        if row is None or row.version != repair.version:
            raise Refused("it is on record no longer, or as another version")
        version = repair.version or await alone(self._objects, repair.key, row.bytes)
        kept = await self._objects.lock(repair.key, repair.until, version)
        if kept.locked_until is None or kept.locked_until < repair.until:
            raise Refused("the store did not prove that it locks")
        if version is None and kept.version is not None:
            raise Refused("another version was put over it meanwhile")

        def note(tx: Transaction) -> None:
            for rows in _both(tx):
                if rows.at_key(repair.key) == row:
                    rows.locked(repair.key, kept.locked_until, kept.version)

        await store.write(note)
        return f"locked until {kept.locked_until.isoformat()}"

    async def _unhidden(self, key: str) -> str:
        store = await self._store()

        def look(tx: Transaction) -> str | None:
            if any(item["key"] == key for one in tx.deletions.pending() for item in one.items):
                raise Refused("a deletion of it was not finished; the gateway sees to it")
            row = _row(tx, key)
            if row is None:
                raise Refused("it is on record no longer")
            return row.version

        version = await store.read(look)
        there = [one async for page in self._objects.versions(key) for one in page if one.key == key]
        if not any(not one.hides and version in (None, one.version) for one in there):
            raise Refused("the version on record is not there")
        marks = [one for one in there if one.hides]
        for mark in marks:
            await self._objects.delete_version(key, mark.version)
        return f"{len(marks)} mark(s) removed, the bytes are seen again"


def _row(tx: Transaction, key: str) -> Segment | Evidence | None:
    return next((row for rows in _both(tx) if (row := rows.at_key(key)) is not None), None)


def _both(tx: Transaction) -> tuple[Recordings, EvidenceRows]:
    return tx.recordings, tx.evidence


def _left(finding: Finding, why: str) -> Finding:
    return replace(finding, detail=f"{finding.detail}; not repaired: {why}".removeprefix("; "))
