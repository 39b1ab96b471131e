"""Locking: what is stored is locked for its period where the store can, and whether it can is tried, daily.

A lock that ends before its period (the clock was not confirmed, the store had not proved itself yet) is made longer in time.
Where the store does not lock, everything works on, and a fault says so for as long as that is so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.object_lock import RENEW_BEFORE, UNCONFIRMED, lacks, lock_until
from gateway.domain.stored import LockDue, LockProof
from gateway.ports.alarm_tables import EvidenceRows
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.recording_tables import Recordings
from gateway.ports.store import Store, Transaction
from gateway.recording.sole_version import alone

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 60.0
PROVE_EVERY_S = 86_400.0  # what is built: at the start and daily
PROVE_AGAIN_S = 600.0  # … while it does not lock, or could not be tried
UNTRIED_SHOWN_S = (
    3600.0  # a store that is away has a fault of its own; after this nobody knows about its lock either
)
RENEW_EVERY_S = 600.0
BATCH = 200
SHOWN = 3

Found = tuple[FaultKind, str]


class Locking:
    """The stage. ``run`` works until cancelled; :attr:`causes` is what is wrong now."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        retention_days: int,
        confirmed: Callable[[], bool],
        required: bool = False,
    ) -> None:
        """``confirmed`` says whether the present time is the word of more than this box's own clock.

        ``required``: the site file wants nothing in a store that does not lock (the store then takes nothing)."""
        self._store, self._clock, self._objects = store, clock, objects
        self._retention_days = retention_days
        self._period = timedelta(days=retention_days)
        self._confirmed = confirmed
        self._required = required
        self._tried_s: float | None = None
        self._proved_s = clock.monotonic()
        self._renewed_s: float | None = None
        self._was_confirmed = False
        self._proof: LockProof | None = None
        self._untried = ""
        self._unlocked: list[str] = []

    @property
    def proof(self) -> LockProof | None:
        """The last trial's result; ``None`` before the first that worked."""
        return self._proof

    @property
    def causes(self) -> Mapping[Found, str]:
        """What is wrong now; supervising makes faults of it."""
        found: dict[Found, str] = {}
        proof = self._proof
        if proof is not None and not proof.holds:
            what = (
                "nothing is stored there (storage.lock: required), and it waits on this box"
                if self._required
                else f"whoever has the store's keys can delete what is kept there before {self._retention_days} days are "
                "over; it is recorded all the same"
            )
            found[FaultKind.STORE, "lock"] = f"{proof.cause}; {what}"
        elif self._untried and self._clock.monotonic() - self._proved_s >= (
            UNTRIED_SHOWN_S if proof is None else PROVE_EVERY_S + UNTRIED_SHOWN_S
        ):
            found[FaultKind.STORE, "lock"] = f"whether the store locks could not be tried: {self._untried}"
        if proof is not None and proof.stuck:
            found[FaultKind.STORE, "lock-end"] = (
                f"what was locked for an hour cannot be deleted after it ({proof.stuck}); then nothing will be after its "
                "period either: look for a legal hold or another rule of the bucket"
            )
        if self._unlocked:
            found[FaultKind.STORE, "lock-renewal"] = (
                f"{len(self._unlocked)} object(s) could not be locked: {'; '.join(self._unlocked[:SHOWN])}"
            )
        return found

    def until(self, end: datetime) -> datetime | None:
        """Until when to lock an object that is put now and ended at ``end``; ``None``: not at all."""
        return lock_until(end, self._clock.now(), self._retention_days, confirmed=self._confirmed())

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (Unavailable, Refused) as exc:
                log.warning("locking.cannot_work", cause=exc.reason)
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Try the store where that is due, and make longer what has to be."""
        now_s = self._clock.monotonic()
        good = self._proof is not None and self._proof.holds and not self._untried
        if self._tried_s is None or now_s - self._tried_s >= (PROVE_EVERY_S if good else PROVE_AGAIN_S):
            self._tried_s = now_s
            await self._prove()
        confirmed = self._confirmed()
        due = self._renewed_s is None or now_s - self._renewed_s >= RENEW_EVERY_S
        if self._proof is not None and self._proof.holds and (due or (confirmed and not self._was_confirmed)):
            self._renewed_s, self._was_confirmed = now_s, confirmed
            await self._renew()

    async def _prove(self) -> None:
        try:
            proof = await self._objects.prove_lock()
        except (Unavailable, Refused) as exc:
            self._untried = exc.reason
            return
        before, self._proof = self._proof, proof
        self._untried, self._proved_s = "", self._clock.monotonic()
        if before is None or before != proof:
            tell = log.info if proof.holds and not proof.stuck else log.error
            tell("store.lock_tried", holds=proof.holds, cause=proof.cause, stuck=proof.stuck)

    async def _renew(self) -> None:
        failed: list[str] = []
        done = 0
        for kind in _Kind:
            after = 0
            while batch := await self._due(kind, after):
                after = batch[-1].number
                for one in batch:
                    done += await self._lock(kind, one, failed)
        self._unlocked = failed
        if done:
            log.info("locking.renewed", objects=done, confirmed=self._confirmed())

    async def _due(self, kind: _Kind, after: int) -> list[LockDue]:
        now = self._clock.now()
        # A confirmed clock takes up at once what was locked for a day only: such a lock ends within that day.
        soon = now + (UNCONFIRMED if self._confirmed() else RENEW_BEFORE)
        return await self._store.read(
            lambda tx: kind.of(tx).to_lock(self._period, now - self._period, soon, after, BATCH)
        )

    async def _lock(self, kind: _Kind, one: LockDue, failed: list[str]) -> bool:
        now, confirmed = self._clock.now(), self._confirmed()
        if not lacks(one.locked_until, one.end, now, self._retention_days, confirmed=confirmed):
            return False
        until = lock_until(one.end, now, self._retention_days, confirmed=confirmed)
        assert until is not None
        try:
            version = one.version or await alone(self._objects, one.key, one.bytes)
            kept = await self._objects.lock(one.key, until, version)
        except Refused as exc:
            failed.append(exc.reason)
            return False
        if kept.locked_until is None:
            failed.append(f"{one.key}: the store says nothing of a lock")
            return False
        await self._store.write(lambda tx: kind.of(tx).locked(one.key, kept.locked_until, kept.version))
        return True


class _Kind(Enum):
    """What is locked: rows of two kinds that answer the same questions."""

    EVIDENCE = "evidence"
    RECORDINGS = "recordings"

    def of(self, tx: Transaction) -> EvidenceRows | Recordings:
        return tx.evidence if self is _Kind.EVIDENCE else tx.recordings
