"""The tables that the life of a recording is written in. Each is asked within one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from gateway.domain.hold import Hold
from gateway.domain.recording import CameraCoverage, CameraDay, Deletion, Gap, HourShare, Segment
from gateway.domain.stored import LockDue
from gateway.domain.trust import Correction, TrustedTime


class Deletions(Protocol):
    """What is being deleted and what was. Part of a transaction."""

    def intend(self, intended: Deletion) -> None:
        """Keep what is about to be deleted, before the first of it is."""

    def pending(self) -> list[Deletion]:
        """What was intended and neither done nor given up."""

    def done(self, record: Deletion) -> None:
        """Replace an intended one by the record of what is really gone of it, with its line of the register."""

    def give_up(self, deletion: str) -> None:
        """Nothing of it is gone: forget the intention."""

    def listed(self, start: datetime, end: datetime, camera: str | None = None) -> list[Deletion]:
        """Records of what was deleted of a span, oldest first."""

    def after(self, after: int, limit: int) -> list[tuple[int, Deletion, str]]:
        """Records, pending ones included, whose number is above ``after``, by number; each with the SHA-256 kept of its list."""


class Recordings(Protocol):
    """The minute ledger: what was recorded, what was not and why. Part of a transaction."""

    def begin(self, camera: str, at: datetime) -> None:
        """The camera is to be recorded, from ``at`` if it never was before."""

    def cease(self, camera: str, at: datetime) -> None:
        """It is no longer to be recorded after ``at``, or after what was said so before if that is later; what was recorded
        stays."""

    def bounds(self) -> dict[str, tuple[datetime, datetime | None]]:
        """Since when, and until when, each camera is to be recorded, those no longer in the plan included."""

    def add(self, one: Segment) -> bool:
        """Keep a segment, and count it into its hours; false, and nothing changed, if its key is known."""

    def at_key(self, key: str) -> Segment | None:
        """The segment whose object has that key."""

    def by_key(self, after: str, limit: int) -> list[Segment]:
        """Segments of any camera whose key comes after ``after`` by its bytes, by key."""

    def any_locked(self, now: datetime) -> bool:
        """Whether any is locked beyond ``now``, by the record: then the store has proved that it locks."""

    def segments(self, camera: str, start: datetime, end: datetime) -> list[Segment]:
        """What touches the span, by start."""

    def reaches(self, camera: str, before: datetime | None = None) -> datetime | None:
        """The latest end of the camera's segments, of those that begin before that instant; ``None`` if there are none. The one
        that began last need not end last: where a second stream fell, the main one's recording began before its."""

    def locked(self, key: str, until: datetime | None, version: str | None) -> None:
        """Put on record until when an object is locked."""

    def to_lock(
        self, period: timedelta, ended_after: datetime, soon: datetime, after: int, limit: int
    ) -> list[LockDue]:
        """As :meth:`EvidenceRows.to_lock`; the end is also the reckoned one, whichever is later."""

    def open_gap(self, one: Gap) -> bool:
        """Keep a gap; one that lasts (``end`` is ``None``) is refused, with false, while another of its camera lasts."""

    def close_gap(self, camera: str, end: datetime) -> None:
        """The camera's lasting gap, if any, ended then, or as it began if that is later."""

    def gaps(self, camera: str, start: datetime, end: datetime) -> list[Gap]:
        """What touches the span, by start."""

    def coverage(self, start: datetime, end: datetime) -> list[CameraCoverage]:
        """Sums over whole hours for every camera of which anything is kept."""

    def cameras(self) -> list[str]:
        """Every camera of which anything was ever kept."""

    def first(self, camera: str) -> datetime | None:
        """When the oldest that is kept of a camera begins."""

    def due(
        self, camera: str, before: datetime, after: datetime | None, now: datetime, limit: int
    ) -> list[Segment]:
        """A camera's segments that ended before ``before``, also as reckoned, begin after ``after`` and are not locked ``now``,
        by start."""

    def correct(self, reckoned: Correction) -> int:
        """Put right the reckoned ends that were too early; how many there were."""

    def forget(self, camera: str, gone: Sequence[Segment]) -> None:
        """Remove the rows of a camera's segments whose objects are gone, and take them out of its hours."""

    def hours(self, camera: str) -> list[HourShare]:
        """The sums kept of a camera, by hour."""

    def recount(self, camera: str, hour: datetime) -> None:
        """Make the sums of a camera's hour anew from its segments."""

    def hourly_bytes(self, start: datetime, end: datetime) -> dict[datetime, int]:
        """What is kept of all cameras together, by the hour it was recorded in."""

    def gap_seconds(self, start: datetime, end: datetime) -> dict[str, dict[str, float]]:
        """By camera and cause, how much of the span its gaps take; one that lasts takes all the rest."""

    def days(self, edges: Sequence[datetime]) -> list[CameraDay]:
        """:meth:`coverage` and :meth:`gap_seconds` for each span between two neighbouring edges at once; an hour counts where it
        begins. Spans of which nothing is known are left out."""


class Holds(Protocol):
    """Reasons to keep longer. Part of a transaction; no row is ever removed."""

    def place(self, hold: Hold) -> None:
        """Keep a new one."""

    def unwritten(self, limit: int) -> list[tuple[str, datetime]]:
        """Alarms (never drills) of which no hold was ever kept, with the time they were raised, oldest first."""

    def get(self, hold: str) -> Hold | None:
        """The hold of that id."""

    def standing(self) -> list[Hold]:
        """Those not released, oldest first."""

    def of_spans(self) -> list[Hold]:
        """Those of :meth:`standing` that hold a span; an alarm's own do not."""

    def late(self, now: datetime) -> list[Hold]:
        """Those of :meth:`standing` whose review was due by ``now``."""

    def of_alarm(self, alarm: str) -> list[Hold]:
        """All of one alarm, released ones included."""

    def listed(self, limit: int) -> list[Hold]:
        """Newest first, released ones included."""

    def release(self, hold: str, at: datetime, by: str, unit: str, reason: str) -> bool:
        """A person ends it; false if it was ended before."""

    def review(self, hold: str, at: datetime) -> None:
        """A person looked at it and it stands; the next review is ``at``."""


class TrustedTimes(Protocol):
    """How late it is at least. Part of a transaction."""

    def get(self) -> TrustedTime | None:
        """What was kept last; ``None`` at the very first start."""

    def keep(self, trusted: TrustedTime) -> None:
        """Replace it."""
