"""Witnessing: how far the database has come is noted outside it, and held against it at each start.

A database that was lost, restored from an older copy or robbed of its log opens without an error. What shows it is that it knows
less than it did: fewer lines of the register, or another root over them; fewer messages, holds, faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.merkle import root_of
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Losses, Store, Transaction, Witnesses

log = structlog.get_logger(__name__)

EVERY_S = 5.0  # what was committed later than this before a loss is not missed
#: Recordings go by their period: that the newest one is missing tells of a loss only while it cannot have gone that way.
RECORDINGS_FOR = timedelta(days=2)
RECORDED_UNTIL = "recorded_until"
RECORDINGS = "recordings"
#: The folders of a site that objects on record lie in (API.md, "Objects"). Trials of the lock lie beside them, in none.
OBJECTS = (RECORDINGS, "alarms", "drills")


class Witnessing:
    """The stage. ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        witnesses: Witnesses,
        losses: Losses,
        objects: ObjectStore,
        prefix: str,
    ) -> None:
        """``prefix`` is what the keys of this site's objects begin with."""
        self._store = store
        self._clock = clock
        self._witnesses = witnesses
        self._losses = losses
        self._objects = objects
        self._prefix = prefix
        self._noted: Mapping[str, Any] | None = None

    async def run(self) -> None:
        await self._store.until_durable()  # a database in memory knows only what presses need
        await self.compare()
        looked = False
        while True:
            try:
                if not self._losses.forgetful:
                    await self.note()
                if not looked:
                    looked = await self._look_for_strangers()
            except (Unavailable, OSError) as exc:
                log.error("witnessing.cannot_note", cause=str(exc))
            await self._clock.sleep(EVERY_S)

    async def compare(self) -> None:
        """Hold the database against what was noted of it."""
        for known in await asyncio.to_thread(self._witnesses.read):
            cause = await self._store.read(lambda tx, known=known: older(tx, known, self._clock.now()))  # type: ignore[misc]
            if cause:
                log.error("database.older", cause=cause)
                self._losses.note_older(cause)
                return

    async def note(self) -> None:
        """Note how far the database has come, if it has come further. Raises ``Unavailable`` or ``OSError``."""
        marks = await self._store.read(marks_of)
        if marks != self._noted:
            await asyncio.to_thread(
                self._witnesses.write, {"at": self._clock.now().isoformat(), "marks": marks}
            )
            self._noted = marks

    async def _look_for_strangers(self) -> bool:
        """Whether that could be done: objects in the store of which a database that knows none has never heard."""
        if await self._store.read(lambda tx: bool(tx.recordings.by_key("", 1) or tx.evidence.by_key("", 1))):
            return True
        try:
            for folder in OBJECTS:
                async for page in self._objects.versions(f"{self._prefix}{folder}/"):
                    for version in page:
                        if not version.hides and await self._is_strange(version.key):
                            self._losses.note_older(
                                "the store of objects has some that the database does not know, "
                                f"{version.key} for one"
                            )
                            return True
        except (Unavailable, Refused) as exc:
            log.info("witnessing.store_away", cause=exc.reason)
            return False
        return True

    async def _is_strange(self, key: str) -> bool:
        """Not registered meanwhile either: what is being stored is there before its row."""
        await self._clock.sleep(EVERY_S)
        parts = key.removeprefix(self._prefix).split("/")
        alarm = parts[4] if len(parts) > 4 and parts[0] != RECORDINGS else None

        def known(tx: Transaction) -> bool:
            # Evidence of an alarm on record was stored, and the process killed before its row.
            of_alarm = alarm is not None and tx.alarms.get(alarm) is not None
            return of_alarm or bool(tx.recordings.by_key("", 1) or tx.evidence.by_key("", 1))

        return not await self._store.read(known)


def marks_of(tx: Transaction) -> dict[str, Any]:
    """How far the database has come: only what never goes back."""
    head = tx.register.head()
    return {**tx.marks(), "register": head.size, "register_root": head.root.hex()}


def older(tx: Transaction, noted: Mapping[str, Any], now: datetime) -> str:
    """In what the database is behind what was ``noted`` of it; empty if it is not."""
    kept = noted.get("marks")
    if not isinstance(kept, dict):
        return ""
    present = marks_of(tx)
    at = noted.get("at", "an unknown time")
    size = kept.get("register", 0)
    if not isinstance(size, int) or present["register"] < size:
        return f"its access register has {present['register']} lines and had {size} at {at}"
    if size and root_of(tx.register.leaves(size)).hex() != kept.get("register_root"):
        return f"the first {size} lines of its access register are not those it had at {at}"
    for name, number in kept.items():
        if name in ("register", "register_root") or not isinstance(number, int):
            continue
        if name == RECORDED_UNTIL and number < (now - RECORDINGS_FOR).timestamp():
            continue
        if present.get(name, 0) < number:
            return f"it knows less than at {at} ({name}: {present.get(name, 0)}, was {number})"
    return ""


def lost(noted: Sequence[Mapping[str, Any]]) -> str:
    """That there was a database, by what was noted of it; empty where nothing was."""
    return next((f"its head of {one.get('at')} is on record" for one in noted), "")
