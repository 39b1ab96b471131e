"""The tables that the life of an alarm is written in. Each is asked within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from gateway.domain.alarm import Alarm, Drill, Request, State, TimelineEntry
from gateway.domain.answer import AnsweredItem
from gateway.domain.contact import Memory
from gateway.domain.drill import DrillWindow
from gateway.domain.evidence import Evidence
from gateway.domain.inbox import InboxEntry
from gateway.domain.liveness import Seen
from gateway.domain.message import Attempt, Message, Outcome
from gateway.domain.stored import LockDue


class Inbox(Protocol):
    """What came in from contacts. Part of a transaction."""

    def redelivery(self, topic: str, digest: str, mid: int) -> bool:
        """Whether this very message was committed before and its acknowledgement may not have arrived."""

    def bounced(self, topic: str, digest: str, since: datetime, until: datetime) -> bool:
        """Whether a press of the same topic and payload came between the two instants, both included."""

    def admit(self, entry: InboxEntry) -> bool:
        """Keep the entry; false, and nothing kept, if its hardware identity was admitted before."""

    def admit_press(self, entry: InboxEntry, point: str) -> str | None:
        """Keep the entry as a press of the point's open alarm, or of its own ``alarm`` where the point has none open. Returns
        the alarm it is a press of; ``None``, and nothing kept, if its hardware identity was admitted before."""

    def admitted(self, identity: str) -> tuple[str, datetime] | None:
        """The digest of the message that was admitted under this identity, and when it arrived."""

    def last_identity(self, prefix: str) -> str | None:
        """The identity of the newest press among those that begin so."""

    def release(self, identity: str) -> None:
        """The hardware uses this identity anew: from now on it is that of another event."""

    def release_all(self, prefix: str) -> None:
        """The same of all identities that begin so."""

    def note(self, identity: str, topic: str, at: datetime) -> None:
        """Keep the identity of an event that was no press, so that it is never admitted as one; harmless if it is known."""

    def settle(self, mid: int) -> None:
        """The broker has used this packet id for another message, so it has our acknowledgement of the earlier one:
        from now on a DUP under this id is not that one."""

    def unsettled(self) -> set[int]:
        """The packet ids under which a message was committed and not settled."""

    def memory(self, source: str) -> Memory:
        """What is remembered of a source; an empty memory if nothing is."""

    def memories(self) -> dict[str, Memory]:
        """All there is, by source; sources of an earlier site file included."""

    def remember(self, source: str, memory: Memory) -> None:
        """Replace what is remembered."""

    def quarantine(self, topic: str, payload: bytes, reason: str, at: datetime) -> None:
        """Keep an unreadable message: its reason, its size and digest, and the first KiB of it."""

    def forget(self, before: datetime) -> None:
        """Drop what arrived before then: admitted presses (their alarms stay) and quarantined messages."""

    def quarantined(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest of them."""


class Contacts(Protocol):
    """What contacts last told of themselves. Part of a transaction."""

    def seen(self) -> dict[str, Seen]:
        """What is kept, by point; points of an earlier site file included."""

    def listened_s(self) -> float:
        """How long the broker was listened to, over all runs; 0 at first."""

    def keep(self, seen: Mapping[str, Seen], listened_s: float) -> None:
        """Replace what is kept of these points, and how long was listened."""


class Alarms(Protocol):
    """Alarms and drills with their timelines. Part of a transaction.

    The planes never mix: what speaks of open alarms, or lists alarms, means alarms only.
    """

    def get(self, alarm: str) -> Alarm | None:
        """The alarm of that id."""

    def open_at(self, point: str) -> Alarm | None:
        """The point's open alarm; there is at most one."""

    def add(self, alarm: Alarm) -> bool:
        """Keep a new alarm; false, and nothing kept, if its point has an open one."""

    def save(self, alarm: Alarm) -> None:
        """Replace a kept one."""

    def note(self, alarm: str, at: datetime, what: str, detail: Mapping[str, Any]) -> None:
        """Add a step to the timeline."""

    def timeline(self, alarm: str) -> list[TimelineEntry]:
        """All steps, oldest first."""

    def steps(self, after: int) -> list[tuple[int, str, str]]:
        """Steps of all alarms whose number is above ``after``, as (number, alarm, what), by number; at most 1000."""

    def last_step(self) -> int:
        """The number of the newest step of any alarm; 0 if there is none."""

    def listed(
        self,
        *,
        states: Sequence[State] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        drills: bool = False,
    ) -> list[Alarm]:
        """Alarms, or with ``drills`` drills, newest first; ``before`` is the place of the last one already seen."""

    def open(self) -> list[Alarm]:
        """All open alarms, oldest first."""

    def open_drills(self) -> list[Alarm]:
        """All open drills, oldest first."""

    def last_drill(self, kind: Drill) -> Alarm | None:
        """The newest drill of that kind."""

    def planned(self) -> list[Alarm]:
        """Alarms that have a manifest or a `during` clip before them, the oldest first."""


class EvidenceRows(Protocol):
    """What was asked of the cameras. Part of a transaction."""

    def add(self, items: Sequence[Evidence]) -> None:
        """Keep new items."""

    def get(self, evidence: str) -> Evidence | None:
        """The item of that id."""

    def save(self, item: Evidence) -> None:
        """Replace a kept item."""

    def at_key(self, key: str) -> Evidence | None:
        """The item whose object has that key."""

    def of(self, alarm: str) -> list[Evidence]:
        """All items of one alarm in the order in which they were asked for."""

    def wanted(self, after: int) -> list[tuple[int, Evidence]]:
        """Items still wanted whose number is above ``after``, by number."""

    def not_uploaded(self, stored_before: datetime) -> list[Evidence]:
        """Items stored before that instant which the centre has not taken, at most 100."""

    def to_push(self, stored_since: datetime | None) -> list[tuple[Evidence, int]]:
        """Items stored, since that instant if one is given, and not uploaded, in the order in which they were asked for; each
        with the number of attempts on record."""

    def untold(self, limit: int) -> list[Evidence]:
        """Items stored and not told to the centre, the first of them in the order in which they were asked for."""

    def kept(self, after: int, limit: int) -> list[tuple[int, Evidence]]:
        """Items stored and not deleted whose number is above ``after``, by number."""

    def by_key(self, after: str, limit: int) -> list[Evidence]:
        """What is stored under keys that come after ``after`` by their bytes, by key."""

    def any_locked(self, now: datetime) -> bool:
        """Whether any is locked beyond ``now``, by the record: then the store has proved that it locks."""

    def due(self, before: datetime, after: int, limit: int) -> list[tuple[int, Evidence]]:
        """Items stored whose span ended before then and whose number is above ``after``, by number: of drills, and of alarms
        all holds of which were released."""

    def to_lock(
        self, period: timedelta, ended_after: datetime, soon: datetime, after: int, limit: int
    ) -> list[LockDue]:
        """Items stored that ended after then and are locked for less than ``period`` after their end, if at all, and not beyond
        ``soon``; those with a number above ``after``, by number."""

    def locked(self, key: str, until: datetime | None, version: str | None) -> None:
        """Put on record until when an object is locked."""

    def attempted(self, attempt: Attempt) -> None:
        """Put an attempt at an item's PUT on record; its ``message`` is the item's id."""

    def attempts(self, alarm: str) -> Mapping[str, list[Attempt]]:
        """The attempts on record at each item of one alarm, by the item's id."""


class Messages(Protocol):
    """The outbox. Part of a transaction."""

    def add(self, message: Message) -> None:
        """Keep a message to be delivered."""

    def pending(self, after: int, limit: int) -> list[tuple[int, Message]]:
        """Messages not yet received whose number is above ``after``, by number."""

    def body(self, message: str) -> bytes:
        """The message's bytes, the same for ever."""

    def telling_attempts(self) -> list[tuple[str, str, int | None, Outcome]]:
        """Of messages not yet received, the attempts that matter after a restart, as message, path, status and outcome: not
        answered, answered by somebody else it seems, or with 409."""

    def attempted(self, attempt: Attempt, due_at: datetime | None) -> bool:
        """Put an attempt on record, and when the next is due or (``RECEIVED``) that there will be none. True if this attempt is
        what made the message received."""

    def about(self, subject: str) -> list[tuple[Message, list[Attempt]]]:
        """All messages about one alarm with their attempts, by sequence."""

    def unreceived(self, type_: str) -> list[tuple[str, datetime, str]]:
        """Subjects of messages of that type that nobody has received, each with when it was created and what its last attempt
        came to, the oldest first; at most 100."""

    def supersede(self, type_: str) -> None:
        """A newer plan replaces those of this type that nobody has received."""

    def undelivered(self) -> int:
        """How many wait."""


class Requests(Protocol):
    """The centre's requests. Part of a transaction."""

    def add(self, request: Request) -> None:
        """Keep a new request."""

    def get(self, request: str) -> Request | None:
        """The request of that id."""

    def save(self, request: Request) -> None:
        """Replace a kept one."""

    def about(self, alarm: str) -> list[Request]:
        """All requests of one alarm, oldest first."""


class DrillWindows(Protocol):
    """Armings of points for a drill. Part of a transaction."""

    def add(self, window: DrillWindow) -> None:
        """Keep a new one."""

    def get(self, window: str) -> DrillWindow | None:
        """The window of that id."""

    def standing(self, now: datetime, point: str | None = None) -> list[DrillWindow]:
        """Those not over by then and not ended by a press, of one point or of all, oldest first."""

    def received(self, window: str, at: datetime) -> None:
        """The centre has received its message; a second time changes nothing."""

    def end(self, window: str, by: str) -> None:
        """The point's next press became ``by``: no other press is of this window."""


class AnswerItems(Protocol):
    """What came in answer bodies, by the centre's own ids. Part of a transaction."""

    def get(self, item: str) -> AnsweredItem | None:
        """The item of that id, if it came before."""

    def add(self, item: AnsweredItem) -> None:
        """Keep a new one."""

    def seen_again(self, item: str, at: datetime) -> None:
        """It came once more, so the centre does not know its outcome: remember it from now, and tell it again."""

    def untold(self, limit: int) -> list[AnsweredItem]:
        """Those whose outcome no received heartbeat has told, oldest first."""

    def told(self, items: Sequence[str]) -> None:
        """The centre has received their outcomes."""

    def forget(self, before: datetime) -> None:
        """Drop those not seen since then."""
