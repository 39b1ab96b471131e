"""The life of an alarm, in one table. Whatever is not in the table cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateway.domain.errors import InvariantBroken, NotAllowed
from gateway.domain.evidence import DURING_CLIP_S, DURING_ENDS_S
from gateway.domain.ids import is_drill
from gateway.domain.plan import Severity

HARDWARE_CLOCK_TRUSTED_FOR = timedelta(hours=24)  # API.md, "Presses": an older `at` is not plausible
HARDWARE_CLOCK_AHEAD = timedelta(seconds=2)  # what a contact's clock may run ahead of ours before we doubt it
LIVE_AFTER_CLOSE = timedelta(minutes=10)  # API.md, "Messages": live links are revoked 10 min after closing


class Drill(StrEnum):
    """What kind of exercise: one that a person began, or the scheduled one that only proves that the chain holds."""

    DRILL = "drill"
    SELF_TEST = "self-test"


class State(StrEnum):
    """Where an alarm stands. The words are the centre's replies; only the centre moves an alarm."""

    RAISED = "raised"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DISPATCHED = "dispatched"
    ARRIVED = "arrived"
    CLOSED = "closed"


#: The one table: what the centre may say in which state. DESIGN.md's diagram is generated from it.
ALLOWED: dict[State, frozenset[State]] = {
    State.RAISED: frozenset({State.ACCEPTED, State.REJECTED, State.DISPATCHED}),
    State.ACCEPTED: frozenset({State.DISPATCHED, State.REJECTED, State.CLOSED}),
    State.REJECTED: frozenset({State.ACCEPTED, State.CLOSED}),
    State.DISPATCHED: frozenset({State.ARRIVED, State.CLOSED}),
    State.ARRIVED: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}

#: Replies that need a reason, or a later reader cannot tell why the alarm ended so.
NEEDS_REASON = frozenset({State.REJECTED, State.CLOSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm, or, with ``drill`` set, one exercise: the same life on a plane of its own, told apart for ever by its id.

    ``pressed_at`` is the contact's own time where plausible; ``raised_at`` the arrival here.

    ``sequence`` is the number of the last message sent about it, so that the receiver can see a gap.
    ``window_ends_at`` is when the evidence asked for at the press can be complete; ``during_next_at`` when the next
    `during` clip begins, ``None`` once there are no more.
    """

    id: str
    point: str
    severity: Severity
    state: State
    pressed_at: datetime
    raised_at: datetime
    last_press_at: datetime
    window_ends_at: datetime
    cameras: tuple[str, ...]
    presses: int = 1
    sequence: int = 0
    manifest_revision: int = 0
    manifest_due_at: datetime | None = None
    during_next_at: datetime | None = None
    during_until: datetime | None = None
    escalated_at: datetime | None = None
    closed_at: datetime | None = None
    drill: Drill | None = None

    def __post_init__(self) -> None:
        if is_drill(self.id) is not (self.drill is not None):
            raise InvariantBroken(f"{self.id} is kept as {self.drill or 'an alarm'}")

    @property
    def open(self) -> bool:
        return self.state is not State.CLOSED

    @property
    def live_revoked_at(self) -> datetime | None:
        return None if self.closed_at is None else self.closed_at + LIVE_AFTER_CLOSE

    def replied(self, reply: State, now: datetime) -> Alarm | None:
        """Apply the centre's reply. ``None`` is a repeat: nothing changes. Raises :class:`NotAllowed`."""
        if reply is self.state:
            return None
        if reply not in ALLOWED[self.state]:
            raise NotAllowed(self.state.value, reply.value)
        if reply is State.CLOSED:
            return replace(self, state=reply, closed_at=now, during_next_at=None)
        return replace(self, state=reply)

    def pressed_again(self, at: datetime, times: int = 1) -> Alarm:
        """The same point closed again while this alarm is open, so many ``times``.

        A press that tells of the past shortens nothing.

        Never of a drill: a press while one is open is a real one (:mod:`gateway.domain.drill`)."""
        if self.drill is not None:
            raise InvariantBroken(f"a press cannot repeat the drill {self.id}")
        last = max(at, self.last_press_at)
        return replace(
            self,
            presses=self.presses + times,
            last_press_at=last,
            during_next_at=self.during_next_at or (last if self.cameras else None),
            during_until=last + timedelta(seconds=DURING_ENDS_S),
        )

    def during_taken(self) -> Alarm:
        """One more `during` clip is under way: back to back until 30 min after the last press."""
        assert self.during_next_at is not None
        assert self.during_until is not None
        following = self.during_next_at + timedelta(seconds=DURING_CLIP_S)
        return replace(self, during_next_at=following if following < self.during_until else None)

    def set_clock(self, by: timedelta) -> Alarm:
        """The clock was set by so much: what is still to come of `during` clips keeps its distance from now."""
        return replace(
            self,
            during_next_at=None if self.during_next_at is None else self.during_next_at + by,
            during_until=None if self.during_until is None else self.during_until + by,
        )

    def next_sequence(self) -> Alarm:
        """The alarm with one more message about it."""
        return replace(self, sequence=self.sequence + 1)


def plausible(hardware_at: datetime | None, arrived_at: datetime) -> datetime:
    """When the press happened: the contact's own time if it can be true, else the arrival.

    A contact's clock that runs a little ahead is taken as "now"; one further ahead, or a time more than 24 h back
    (API.md, "Presses"), is not believed.
    """
    if hardware_at is None or not (
        arrived_at - HARDWARE_CLOCK_TRUSTED_FOR <= hardware_at <= arrived_at + HARDWARE_CLOCK_AHEAD
    ):
        return arrived_at
    return min(hardware_at, arrived_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One step in an alarm's life, as kept for ever."""

    at: datetime
    what: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request of the centre: a clip of a span or a still of now, and who asked why. ``ok`` is ``None`` until done; ``item``
    is the id the centre gave it, where it came in an answer body."""

    id: str
    alarm: str
    request: str
    camera: str
    operator: Mapping[str, str]
    reason: str
    at: datetime
    evidence: str | None
    ok: bool | None = None
    result: str = ""
    item: str | None = None
