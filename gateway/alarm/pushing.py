"""Pushing: every item of evidence is PUT at the 110 centre, stills before clips, until the centre has the whole of it.

Its work stands in the database: what is stored and not uploaded. Only after the answer are ``uploaded_at`` and the message that
tells of the item written, in one commit; so nothing is claimed that was not answered, and a kill in between costs one PUT more.

Stills and clips have slots of their own, and clips pause while a still is on its way: on a thin line a clip of one
alarm must not hold up the picture of another one's press. While nothing gets through only the most urgent items knock;
as soon as one is answered everything is due at once, in order.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gateway.alarm.attempt import put_of
from gateway.alarm.evidence_messages import has_it
from gateway.box.pause import pause
from gateway.box.wake import Wake
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import Evidence, Kind
from gateway.domain.fault import FaultKind
from gateway.domain.message import (
    RETRY_EVERY_S,
    Answer,
    Attempt,
    Outcome,
    is_web_page,
    next_due_s,
    scheduled_s,
)
from gateway.domain.refusal import MEDIA, in_words
from gateway.domain.uplink import PathHealth
from gateway.domain.upload import REFUSING, Put, Upload, item_place, urgency
from gateway.ports.centre import MediaUplink
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

PATH = "media"  # its name in attempts and faults
SLOTS = {Kind.STILL: 4, Kind.CLIP: 2}
GIVES_WAY_S = 5.0  # of a clip's stall limit of 10 s; a still that hangs must not stop a clip
LOOKED_BACK = timedelta(seconds=5)  # what is committed a little late is found again
ALL_AGAIN_S = 60.0  # … and here what was late by more, or stored under a clock set back
READ_AGAIN_S = 1.0
TOLD_REFUSALS = 20


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """An item the centre has not: its place in the order, when it is due, how far it is in its schedule.

    ``broke_off``: part of it was sent, so the receiver is asked what it kept. ``refused``: why this very item is not taken, or
    cannot be read.
    """

    id: str
    alarm: str
    kind: Kind
    order: tuple[bool, bool, int, int]
    due_s: float
    first_s: float
    rounds: int
    broke_off: bool
    started_s: float | None = None
    under_way: bool = False
    refused: str = ""


class Pushing:
    """The stage. ``wake``: there may be a new item (the database is read again); ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        uplink: MediaUplink,
        objects: ObjectStore,
        envelopes: Envelopes,
        chance: random.Random,
        uploaded: Callable[[], None],
        wake: Wake | None = None,
    ) -> None:
        """``uploaded`` is called when it is on record that the centre has an item: there are messages to send, and a manifest
        may be due."""
        self._store = store
        self._clock = clock
        self._uplink = uplink
        self._objects = objects
        self._envelopes = envelopes
        self._chance = chance
        self._uploaded = uploaded
        self._waiting: dict[str, _Waiting] = {}
        self._in_order: dict[Kind, list[_Waiting]] = {kind: [] for kind in SLOTS}
        self._in_use: Counter[Kind] = Counter()
        self._number = 0
        self._seen_until: datetime | None = None
        self._all_again_s = 0.0
        self.wake = wake or Wake()
        self._attempt_ended = asyncio.Event()
        self._stills_through = asyncio.Event()
        self._failing_since_s: float | None = None
        self._courtesy_s = float("-inf")
        self._gone = self._page = ""
        self.health = PathHealth(PATH)

    @property
    def waiting(self) -> int:
        """How many items the centre has not."""
        return len(self._waiting)

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        """What a person has to mend besides the path itself."""
        found: dict[tuple[FaultKind, str], str] = {}
        for waiting in self._waiting.values():
            if waiting.refused and len(found) < TOLD_REFUSALS:
                found[FaultKind.EVIDENCE, f"{waiting.alarm} refused"] = waiting.refused
        if self._gone:
            found[FaultKind.CENTRE, f"gone-{PATH}"] = self._gone
        if self._page:
            found[FaultKind.CENTRE, f"page-{PATH}"] = self._page
        return found

    async def run(self) -> None:
        # Started again alone: what was under way is taken up with the rest.
        self._waiting.clear()
        self._in_use.clear()
        self._in_order = {kind: [] for kind in SLOTS}
        self._seen_until, self._all_again_s = None, 0.0
        self.wake.set()
        async with asyncio.TaskGroup() as attempts:
            while True:
                self._attempt_ended.clear()
                everything = self._clock.monotonic() >= self._all_again_s
                if self.wake.take() or everything:
                    await self._take_up(everything=everything)
                soonest_s = self._start_due(attempts)
                wait_s = max(0.0, soonest_s - self._clock.monotonic())
                await self.wake.wait(self._clock, wait_s, self._attempt_ended)

    # Finding the work.

    async def _take_up(self, *, everything: bool) -> None:
        """Learn of items stored since the last look, or of all."""
        since = None if everything or self._seen_until is None else self._seen_until - LOOKED_BACK
        try:
            found = await self._store.read(lambda tx: tx.evidence.to_push(since))
        except Unavailable as exc:
            log.error("pushing.cannot_read", cause=exc.reason)
            await self._clock.sleep(READ_AGAIN_S)
            self.wake.set()
            return
        now_s = self._clock.monotonic()
        if since is None:
            self._all_again_s = now_s + ALL_AGAIN_S
        for item, tried in found:
            if item.stored_at is not None:
                self._seen_until = max(item.stored_at, self._seen_until or item.stored_at)
            if item.id not in self._waiting:
                waiting = self._waiting[item.id] = self._waits(item, tried, now_s)
                insort(self._in_order[item.kind], waiting, key=_place)

    def _waits(self, item: Evidence, tried: int, now_s: float) -> _Waiting:
        """An item due now; after a restart it goes on in its schedule from where it stood."""
        self._number += 1
        return _Waiting(
            id=item.id,
            alarm=item.alarm,
            kind=item.kind,
            order=(*urgency(item), self._number),
            due_s=now_s,
            first_s=now_s,
            rounds=tried,
            broke_off=tried > 0,
        )

    def _start_due(self, attempts: asyncio.TaskGroup) -> float:
        """Start what is due and has a slot; returns when to look again. Looks no further than there are slots: thousands of items
        may wait, and this is done after each."""
        now_s = self._clock.monotonic()
        soonest_s = self._all_again_s
        for kind, slots in SLOTS.items():
            for waiting in self._knocking(kind):
                if self._in_use[kind] >= slots:
                    break
                if waiting.under_way:
                    continue
                if waiting.due_s > now_s:
                    soonest_s = min(soonest_s, waiting.due_s)
                else:
                    self._start(attempts, waiting, now_s)
        return soonest_s

    def _knocking(self, kind: Kind) -> Iterable[_Waiting]:
        """Those that may be tried now, the most urgent first: while nothing gets through, as many as there are slots, and what is
        refused for itself last."""
        if self._failing_since_s is None:
            return self._in_order[kind]
        slots = SLOTS[kind]
        refused: list[_Waiting] = []
        others: list[_Waiting] = []
        for waiting in self._in_order[kind]:
            (refused if waiting.refused else others).append(waiting)
            if len(others) == slots:
                break
        return [*others, *refused][:slots]

    def _done_with(self, waiting: _Waiting) -> None:
        """The centre has it."""
        if self._waiting.pop(waiting.id, None) is not None:
            of_kind = self._in_order[waiting.kind]
            del of_kind[bisect_left(of_kind, waiting.order, key=_place)]

    def _start(self, attempts: asyncio.TaskGroup, waiting: _Waiting, now_s: float) -> None:
        if waiting.started_s is None:
            waiting.first_s = now_s - scheduled_s(waiting.rounds)  # where it began, also before a restart
        waiting.rounds += 1
        waiting.started_s, waiting.under_way = now_s, True
        self._in_use[waiting.kind] += 1
        if waiting.kind is Kind.STILL:
            self._stills_through.clear()
        attempts.create_task(self._attempt(waiting), name=f"push {waiting.id}")

    async def give_way(self) -> None:
        """What is less urgent than a still waits here while one is on its way and gets through."""
        if self._in_use[Kind.STILL] and self._failing_since_s is None:
            await pause(self._clock, GIVES_WAY_S, self._stills_through)

    # One attempt.

    async def _attempt(self, waiting: _Waiting) -> None:
        try:
            item = await self._store.read(lambda tx: tx.evidence.get(waiting.id))
            if item is None or item.uploaded_at is not None:
                self._done_with(waiting)  # the centre fetched it meanwhile
                return
            began_s, at = self._clock.monotonic(), self._clock.now()
            done = await put_of(self._put(item, waiting))
            took_ms = round((self._clock.monotonic() - began_s) * 1000)
            self._note_path(done, began_s)
            self._reschedule(waiting, done)
            await self._record(
                waiting,
                Attempt(
                    message=item.id,
                    path=PATH,
                    at=at,
                    took_ms=took_ms,
                    status=done.answer.status,
                    outcome=done.outcome,
                    detail=done.answer.detail,
                ),
            )
        except Unavailable as exc:
            log.error("pushing.cannot_read", evidence_id=waiting.id, cause=exc.reason)
            waiting.due_s = self._clock.monotonic() + READ_AGAIN_S
        finally:
            waiting.under_way = False
            self._in_use[waiting.kind] -= 1
            if not self._in_use[Kind.STILL]:
                self._stills_through.set()
            self._attempt_ended.set()

    async def _put(self, item: Evidence, waiting: _Waiting) -> Put:
        key = item.key or ""
        return await self._uplink.put(
            Upload(
                place=item_place(item),
                media_type=item.media_type or "application/octet-stream",
                bytes=item.bytes or 0,
                sha256=item.sha256 or "",
            ),
            lambda start, end: self._objects.read(key, start, end, version=item.version),
            resume=waiting.broke_off,
            give_way=self.give_way if item.kind is Kind.CLIP else self._no_waiting,
        )

    async def _no_waiting(self) -> None:
        return

    def _reschedule(self, waiting: _Waiting, done: Put) -> None:
        """When it is tried again; the schedule is that of messages."""
        answer, now_s = done.answer, self._clock.monotonic()
        waiting.broke_off = waiting.broke_off or done.broke_off
        waiting.refused = ""
        if not done.whole and answer.status in REFUSING:
            waiting.refused = (
                f"the centre refuses {waiting.id} ({answer.status} {answer.detail}); it is tried again, "
                "ask the centre what its media place takes"
            )
        elif done.unread:
            waiting.refused = f"{waiting.id} cannot be put at the centre: {answer.detail}"
        waiting.due_s = next_due_s(waiting.first_s, waiting.rounds, now_s, self._chance, answer.retry_after_s)

    async def _record(self, waiting: _Waiting, attempt: Attempt) -> None:
        """The attempt, and if it brought the whole also what follows from it: one commit."""
        whole = attempt.outcome is Outcome.RECEIVED
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            tx.evidence.attempted(attempt)
            if whole:
                has_it(tx, self._envelopes, waiting.id, now, "uploaded")

        while True:
            try:
                await self._store.write(work)
                break
            except Unavailable as exc:  # what the centre has must not be forgotten because the disk is full
                log.error("pushing.cannot_record", evidence_id=waiting.id, cause=exc.reason)
                await self._clock.sleep(READ_AGAIN_S)
        log.info(
            "evidence.pushed" if whole else "evidence.push_failed",
            evidence_id=waiting.id,
            alarm_id=waiting.alarm,
            status=attempt.status,
            took_ms=attempt.took_ms,
            detail=attempt.detail,
        )
        if whole:
            self._done_with(waiting)
            self._uploaded()

    # The path.

    def _note_path(self, done: Put, began_s: float) -> None:
        self._gone = ""
        if done.outcome is Outcome.GONE:
            self._gone = f"the centre answers 410 Gone to {PATH}; ask it where evidence is to be put (centre.media_url)"
        if done.unread:
            return
        if done.whole or done.answer.status in REFUSING:
            self._answered(done.answer)
            if self._failing_since_s is not None:
                self._failing_since_s = None
                self.health.failing_since, self.health.cause = None, ""
                log.info("path.back", path=PATH)
                self._all_due()
            return
        self.health.failed_total += 1
        self.health.cause = in_words(done.answer, MEDIA)
        if self._failing_since_s is None:
            self._failing_since_s = began_s
            now, now_s = self._clock.now(), self._clock.monotonic()
            self.health.failing_since = now - timedelta(seconds=now_s - began_s)
            log.warning("path.failing", path=PATH, cause=self.health.cause)

    def heard(self, answer: Answer) -> None:
        """The centre has taken a part of a live picture: what waits is due at once, in order. That proves little of items, so it
        counts once in 30 s, and the path goes on failing until it takes one."""
        self._answered(answer)
        now_s = self._clock.monotonic()
        if self._failing_since_s is not None and now_s - self._courtesy_s >= RETRY_EVERY_S:
            self._courtesy_s = now_s
            self._all_due()

    def _answered(self, answer: Answer) -> None:
        # Servers of WebDAV say "created" (201) by a page; a login page says "OK".
        page = answer.status == 200 and is_web_page(answer)
        self._page = (
            f"a web page (HTML) answers in place of the centre at {MEDIA.address}: a proxy, or a login page of the network, may "
            "have swallowed evidence; ask the centre whether it has it, and check the address and the network"
            if page
            else ""
        )
        if answer.status is not None and 200 <= answer.status < 300:
            self.health.received_total += 1

    def _all_due(self) -> None:
        now_s = self._clock.monotonic()
        for waiting in self._waiting.values():
            if not waiting.refused:  # the slots bound what a path that comes and goes makes of it
                waiting.due_s = min(waiting.due_s, now_s)
        self._attempt_ended.set()


def _place(waiting: _Waiting) -> tuple[bool, bool, int, int]:
    return waiting.order
