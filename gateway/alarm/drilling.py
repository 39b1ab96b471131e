"""Drilling: exercises on a plane of their own, and the daily self-test that proves the chain to the centre and back.

An exercise leaves behind what a press does (:mod:`gateway.alarm.opening`), so gathering and delivering treat it alike; what
tells it apart is its id, its message types and its secret. Nothing here can raise, change or end an alarm.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from gateway.alarm.opening import open_alarm, write_opening
from gateway.domain.alarm import Alarm, Drill
from gateway.domain.camera import CameraHealth
from gateway.domain.drill import LEAST_ARMED_S, MOST_ARMED_S, DrillWindow, self_test_due, unanswered
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import NotFound, Refused, Unavailable
from gateway.domain.ids import new_id
from gateway.domain.message import DRILL_TYPES, MessageType
from gateway.domain.plan import Point
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
MOST_NAMED = 20  # points, where the one asked for is unknown
NOT_BEFORE_S = 30.0  # after a start: cameras and paths have to be looked at first
AGAIN_AFTER_S = 10.0  # two drills of one point within this are a double click
OPEN_TOO_LONG = timedelta(hours=24)  # as for alarms


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Whether the centre has received ``drill.raised``, and what the last attempt came to."""

    received_at: datetime | None
    attempts: int
    last: str


class Drilling:
    """The stage. ``run`` looks after the self-test until cancelled; the other methods commit before they return."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        envelopes: Envelopes,
        cameras: CameraBank,
        can_sign: bool,
        wake_delivering: Callable[[], None],
        wake_gathering: Callable[[], None],
    ) -> None:
        """``can_sign`` says that there is a drill secret; without one there are no drills."""
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._cameras = cameras
        self._can_sign = can_sign
        self._wake_delivering = wake_delivering
        self._wake_gathering = wake_gathering
        #: Until when, on the clock that never jumps, a point may have a window; the truth is in the database.
        self._armed_until_s: dict[str, float] = {}
        #: What is wrong now, by subject; supervising makes faults of it.
        self.causes: dict[str, str] = {}

    def armed(self, point: str) -> bool:
        """Whether there may be a window for the point. It only looks: what it took away could be the window that is being
        announced just then."""
        until_s = self._armed_until_s.get(point)
        return until_s is not None and self._clock.monotonic() < until_s

    async def drill(self, point: str, by: str, kind: Drill = Drill.DRILL) -> Alarm:
        """Raise a drill as if ``point`` had been pressed. Raises ``NotFound`` or ``Refused``."""
        found = self._known(point)
        now = self._clock.now()

        drill = await self._store.write(
            partial(
                _raise_drill,
                envelopes=self._envelopes,
                point=found,
                kind=kind,
                by=by,
                now=now,
                health=self._cameras.health(),
            )
        )
        log.info("drill.raised", alarm_id=drill.id, point=point, kind=kind.value, by=by)
        self._wake_delivering()
        self._wake_gathering()
        return drill

    async def arm(self, point: str, for_s: float, by: str) -> DrillWindow:
        """Announce to the centre that the point's next press is a drill. It counts as one only once the centre has received
        that; see :meth:`window`. Raises ``NotFound`` or ``Refused``."""
        found = self._known(point)
        if not LEAST_ARMED_S <= for_s <= MOST_ARMED_S:
            raise Refused(f"a point is armed for {LEAST_ARMED_S} to {MOST_ARMED_S} s, not for {for_s:g}")
        now = self._clock.now()
        window = DrillWindow(
            id=new_id("wnd", now), point=point, by=by, armed_at=now, until=now + timedelta(seconds=for_s)
        )

        # Before the commit: intake must look as soon as there can be a window.
        self._may_be_armed(window, now)
        await self._store.write(
            partial(_announce_window, envelopes=self._envelopes, window=window, point=found)
        )
        log.info("drill.armed", window=window.id, point=point, by=by)
        self._wake_delivering()
        return window

    async def window(self, window: str) -> DrillWindow:
        """The window as it is now. Raises ``NotFound``."""
        found = await self._store.read(lambda tx: tx.windows.get(window))
        if found is None:
            raise NotFound(f"drill window {window!r:.80}")
        return found

    async def receipt(self, drill: str) -> Receipt:
        """What became of the drill's first message so far."""
        return await self._store.read(partial(_receipt, drill=drill))

    async def run(self) -> None:
        now = self._clock.now()
        for window in await self._store.read(lambda tx: tx.windows.standing(now)):
            self._may_be_armed(window, now)
        began_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                await self.look(self._clock.monotonic() - began_s >= NOT_BEFORE_S)
            except (Unavailable, Refused) as exc:
                self.causes["self-test"] = f"the self-test could not be raised: {exc.reason}"
                log.error("drill.cannot_look", cause=exc.reason)

    async def look(self, may_test: bool) -> None:
        """One look: is a self-test due, has the last one been answered, is a drill left open?"""
        now = self._clock.now()
        plan = self._envelopes.site.self_test
        last, opened = await self._store.read(
            lambda tx: (tx.alarms.last_drill(Drill.SELF_TEST), tx.alarms.open_drills())
        )
        causes = {
            drill.id: "open for 24 hours; the centre has to close it"
            for drill in opened
            if now - drill.raised_at >= OPEN_TOO_LONG
        }
        if plan is not None and last is not None and unanswered(plan, last, now):
            receipt = await self.receipt(last.id)
            how = (
                "received but not answered" if receipt.received_at else f"not even received ({receipt.last})"
            )
            causes["self-test"] = (
                f"the self-test {last.id} of {self._envelopes.stamp(last.raised_at)} was {how} within "
                f"{plan.answered_within_s} s; call the centre and check both ways"
            )
        self.causes = causes
        if plan is None or not may_test:
            return
        since = last.raised_at if last is not None else self._first_look_at(now)
        if self_test_due(plan, since, now, self._envelopes.site.timezone) <= now:
            await self.drill(plan.point, "schedule", Drill.SELF_TEST)

    _looked_at: datetime | None = None

    def _first_look_at(self, now: datetime) -> datetime:
        """Where no test was ever raised, turns count from the first look on."""
        self._looked_at = self._looked_at or now
        return self._looked_at

    def _may_be_armed(self, window: DrillWindow, now: datetime) -> None:
        until_s = self._clock.monotonic() + (window.until - now).total_seconds()
        self._armed_until_s[window.point] = max(until_s, self._armed_until_s.get(window.point, 0.0))

    def _known(self, point: str) -> Point:
        found = self._envelopes.site.points.get(point)
        if found is None:
            points = list(self._envelopes.site.points)
            near = difflib.get_close_matches(point[:80], points, n=3)
            meant = (
                f"is {' or '.join(near)} meant?"
                if near
                else f"its points are {', '.join(points[:MOST_NAMED])}"
            )
            more = f" and {len(points) - MOST_NAMED} more" if not near and len(points) > MOST_NAMED else ""
            raise NotFound(f"point {point!r:.80} in the site file: {meant}{more}")
        if not self._can_sign:
            raise Refused("drills need centre.webhook.drill_secret in the site file, a secret of their own")
        return found


def _raise_drill(
    tx: Transaction,
    *,
    envelopes: Envelopes,
    point: Point,
    kind: Drill,
    by: str,
    now: datetime,
    health: Mapping[str, CameraHealth],
) -> Alarm:
    for other in tx.alarms.open_drills():
        if other.point == point.id and (now - other.raised_at).total_seconds() < AGAIN_AFTER_S:
            raise Refused(
                f"a drill of {point.id} was raised just now: {other.id}; wait {AGAIN_AFTER_S:.0f} s"
            )
    detail = {"by": by, "kind": kind.value}
    opening = open_alarm(
        envelopes,
        point,
        pressed_at=now,
        now=now,
        health=health,
        detail=detail,
        drill=kind,
        durable=tx.durable,
    )
    write_opening(tx, opening)
    return opening.alarm


def _announce_window(tx: Transaction, *, envelopes: Envelopes, window: DrillWindow, point: Point) -> None:
    alarm = tx.alarms.open_at(point.id)
    if alarm is not None:
        raise Refused(f"{point.id} has an open alarm ({alarm.id}): its presses belong to that")
    tx.windows.add(window)
    now = window.armed_at
    data = envelopes.window(window, point)
    tx.messages.add(envelopes.message(MessageType.DRILL_WINDOW, data, at=now, now=now, subject=window.id))


def _receipt(tx: Transaction, *, drill: str) -> Receipt:
    for message, attempts in tx.messages.about(drill):
        if message.type in DRILL_TYPES:
            last = attempts[-1] if attempts else None
            text = "no attempt yet" if last is None else f"{last.path}: {last.status or ''} {last.detail}"
            return Receipt(received_at=message.received_at, attempts=len(attempts), last=text)
    raise NotFound(f"drill {drill!r:.80}")
