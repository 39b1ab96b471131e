"""The seams of the gateway. Each docstring is the contract that every implementation keeps.

Longer than a file should be, because it is that contract: one page to read before writing a driver or a store.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.domain.alarm import Alarm, Drill, State
from gateway.domain.answer import ItemKind
from gateway.domain.bundle import Film, Taken
from gateway.domain.contact import Memory
from gateway.domain.drill import DrillWindow
from gateway.domain.evidence import ClipTaken, Evidence, StillTaken
from gateway.domain.fault import Fault
from gateway.domain.hold import Hold
from gateway.domain.liveness import Seen
from gateway.domain.loss import Loss
from gateway.domain.message import Answer, Message, Outcome
from gateway.domain.recording import Gap, HourShare, Quality, Segment
from gateway.domain.register import Act, Head, RegisterLine, WrittenLine
from gateway.domain.trust import Correction, TrustedTime
from gateway.domain.upload import Put, Upload

T = TypeVar("T")


class Clock(Protocol):
    """Time comes in through here, so that a test can hold it in its hand."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never jump; for intervals only."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; zero or less yields once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealth:
    """What is known of one camera now.

    ``cause`` is empty while frames arrive, else says what is wrong in words a technician can act on.
    ``last_frame_at`` is in the gateway's clock. ``clock_offset_s`` is the camera's own clock minus ours,
    ``None`` where it does not tell. ``ring_s`` and ``ring_bytes`` are what the ring holds now. ``sessions`` counts the times
    its stream was opened since the camera process began. ``timing_error_s`` bounds what is not known of the
    newest frames' times (how far arrivals typically lie above the least delayed). ``key_frames_apart_s`` is the time between
    its last two key frames. ``live_codec`` is what is shown live, ``None`` while that is not known or nothing can be;
    ``live_note`` says where that is not the camera's main stream, or why there is none. ``reached`` is false where nothing of the
    camera answers at all. ``recording`` is ``None`` for a camera that is not recorded now, empty while it is, else what keeps it
    from being; ``recorded_since`` is the first frame of the file that is being written, ``recorded_until`` the newest.
    ``recorded_substream`` says that it is the second stream which is recorded; ``substream_missing`` why it is not, although room
    is short and it was asked for.
    """

    camera: str
    healthy: bool
    cause: str
    since: datetime
    last_frame_at: datetime | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    clock_offset_s: float | None = None
    offers_snapshot: bool = False
    ring_s: float = 0.0
    ring_bytes: int = 0
    sessions: int = 0
    timing_error_s: float | None = None
    key_frames_apart_s: float | None = None
    live_codec: str | None = None
    live_note: str = ""
    reached: bool = True
    recording: str | None = None
    recorded_since: datetime | None = None
    recorded_until: datetime | None = None
    recorded_substream: bool = False
    substream_missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSegment:
    """One entry of a live playlist: ``name`` is asked for by :meth:`CameraBank.live_part`."""

    name: str
    sequence: int
    duration_s: float
    begins_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlaylist:
    """The newest segments of a camera's live picture, oldest first. ``epoch`` changes when the stream was
    reopened, and with it the name of ``init``: players need a discontinuity there. ``note`` says where the picture is not
    the camera's main stream."""

    codec: str
    init: str
    epoch: int
    segments: Sequence[LiveSegment]
    note: str = ""


class CameraBank(Protocol):
    """All cameras of the site, in a process of their own.

    Every method may be called for several cameras at once and is cancellation-safe. Where a camera cannot deliver, it
    raises :class:`~gateway.domain.errors.Unavailable` with a reason fit for the manifest; a camera that hangs never
    holds up another one. If the camera process dies, every pending call raises ``Unavailable`` at once and the
    process is started again (armed within 3 s).
    """

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        """The decoded frame nearest to ``at``, waiting a moment where the frame is still on its way; one up to half a second off
        where very many are asked for at once. ``offset_ms`` tells. ``at_s`` is the same instant on the monotonic clock, where
        the caller knows it: the wall clock may have been set since ``at`` was read from it. ``taken_at`` is by the clock of
        ``at``."""

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        """The camera's own snapshot, fetched now; ``Unavailable`` if it offers none or is too slow."""

    async def cut_clip(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        target: Path,
        *,
        span_s: tuple[float, float] | tuple[None, None] = (None, None),
    ) -> ClipTaken:
        """Write the span to ``target`` as MP4, stream copy from the key frame before ``start``. ``span_s`` is the same on the
        monotonic clock, as with :meth:`take_still`; what is returned is by the clock of ``start``.

        Begins at once with what the ring holds and goes on until ``end``, which may lie in the future, so the ring
        need not be as long as the clip. Returns a shorter clip with its ``shortfall`` rather than raising, unless
        there is nothing at all. The file is complete and synced to disk when this returns.
        """

    async def live_playlist(self, camera: str) -> LivePlaylist:
        """The live picture's newest segments; ``Unavailable`` while the camera is, ``NotPlayable`` (a kind of it) where it
        has no stream that browsers play. Opens the camera's second stream where its main one is H.265."""

    async def live_part(self, camera: str, name: str) -> bytes:
        """The bytes of one segment or initialisation part; ``Unavailable`` once it has left the ring."""

    def health(self) -> Mapping[str, CameraHealth]:
        """The last known health of every camera of the plan; never blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How an object is kept. ``version`` is the store's name for it, where it keeps versions; ``locked_until`` until when the
    store itself lets nobody delete or alter it, ``None`` where that was not proved."""

    version: str | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of an object as a store lists it. ``hides`` marks no bytes but a mark of deletion, which hides the versions
    before it; only the ``newest`` of a key is what a reader gets. ``version`` is ``None`` where the store keeps none."""

    key: str
    version: str | None
    bytes: int
    stored_at: datetime | None
    newest: bool
    hides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDue:
    """An object on record whose lock, if it has any, ends before its period. ``end`` is when what it shows ended; ``number``
    orders those of one kind."""

    number: int
    key: str
    end: datetime
    bytes: int | None
    version: str | None
    locked_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockProof:
    """What a trial of the store's lock showed: an object was locked, and deleting it was really tried.

    ``holds`` if it was refused; else ``cause`` says what happened instead. ``stuck`` says which trial objects could not be
    removed although their lock is over, empty if none.
    """

    holds: bool
    cause: str = ""
    stuck: str = ""


class ObjectStore(Protocol):
    """Evidence bytes, written once and never altered.

    Keys are ``/``-separated relative paths. Errors: ``Unavailable`` (try again), ``Refused`` (a person must
    act, e.g. the key exists with other bytes), ``Malformed`` (not a legal key).

    Locks: whoever asks for ``locked_until`` gets an object that nobody can delete before then, wherever the store proved that
    it can; what came of it is in :class:`Kept`. A lock is never shortened.
    """

    @property
    def on_this_box(self) -> bool:
        """Whether what is stored takes room of this machine's own disk."""

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        """Store the file under ``key``; durable when it returns. Consumes ``source`` (it is gone afterwards).
        Putting the same bytes again is harmless, and makes up for a lock they do not have yet."""

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        """The same, for what is small enough to be in memory."""

    async def put_stream(
        self, key: str, read: Callable[[int], Awaitable[bytes]], *, locked_until: datetime | None = None
    ) -> tuple[int, str, Kept]:
        """The same, for what has no known length yet: ``read`` is called with a number of bytes and returns ``b""`` at the
        end. Returns bytes, SHA-256 and how it is kept. Holds a bounded part of it in memory; if it fails before it is whole,
        nothing is left under ``key`` and what was read is gone with it."""

    async def size(self, key: str, version: str | None = None) -> int | None:
        """Bytes stored under ``key``, of the version (or the newest), or ``None`` if there is nothing."""

    def read(
        self, key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]:
        """Open bytes ``start`` to ``end`` (exclusive) of the version (or the newest) for reading piece by piece: the context's
        value is called with a number of bytes and returns ``b""`` at the end. Raises ``Unavailable`` if there is no such
        object."""

    async def delete(self, key: str) -> None:
        """Remove the object, every version of it; not being there is success. ``Refused`` while it is locked."""

    async def delete_version(self, key: str, version: str | None) -> None:
        """Remove one version for good; not being there is success. ``Refused`` while it is locked."""

    async def keys(self, prefix: str) -> list[str]:
        """All keys that begin with ``prefix``, sorted."""

    def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        """Everything that lies under keys that begin with ``prefix``, hidden versions and marks of deletion included, in pages,
        in the order of the keys' bytes: for audits. Holds a page of it in memory."""

    async def prove_lock(self) -> LockProof:
        """Lock an object for an hour and really try to delete it; costs a few requests. Raises where the store lets nobody in."""

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        """Lock the version (or the newest) until then, unless it is locked for longer already; returns what the store says
        afterwards. ``Refused`` if there is no such object; nothing is tried where the store did not prove that it can."""

    async def kept(self, key: str, version: str | None = None) -> Kept | None:
        """How the version (or the newest) is kept; ``None`` if there is no such object."""

    async def said(self, key: str, version: str | None = None) -> Kept | None:
        """The same with the lock that the store *says* it has, proved or not: for audits of locks that are on record. Changes
        nothing, and tries nothing."""

    async def check(self) -> str:
        """Prove that the store takes a byte and gives it back, and remove what was tried with; raises like ``put``. Returns why
        that could not be removed where the store's own rule forbids it for now, else empty."""


class Spool(Protocol):
    """Captured evidence on this box's own disk until the object store has it, by file name.

    Errors: ``Unavailable`` (no room, or the disk fails).
    """

    def path(self, name: str) -> Path:
        """Where a file is, or is to be written by a camera."""

    async def keep(self, name: str, data: bytes) -> None:
        """Write the file; whole and durable when it returns, not there at all if it raises."""

    async def seal(self, name: str) -> None:
        """Make a file durable that somebody else has written."""

    async def digest(self, name: str) -> str | None:
        """The file's SHA-256, or ``None`` if it is not there."""

    async def lasts_s(self, name: str) -> float:
        """How many seconds the pictures in a clip's file last, by its own tables. Raises ``Malformed`` where it has none."""

    async def clear(self, but: Collection[str]) -> list[str]:
        """Make the place ready, and remove every file but those; returns what was removed. Folders are left alone."""

    def no_room(self) -> str:
        """Why nothing more should be kept here; empty while there is room. Never blocks for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The box's own key for the register and exports: Ed25519. ``public`` is its 32 bytes."""

    sign: Callable[[bytes], bytes]
    public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFile:
    """A finished file of a recording on this box's disk. ``pauses`` are spans within it in which no frames came."""

    camera: str
    start: datetime
    end: datetime
    frames: int
    bytes: int
    sha256: str
    path: Path
    quality: Quality = Quality.FULL
    pauses: Sequence[tuple[datetime, datetime]] = ()


class RecordedFiles(Protocol):
    """What the cameras' process has recorded and nobody has taken yet. Errors: ``Unavailable``."""

    async def closed(self) -> list[ClosedFile]:
        """All of it that is finished, by its start. ``path`` may be gone where its bytes were taken and it was not forgotten."""

    async def forget(self, file: ClosedFile) -> None:
        """It is safe elsewhere; harmless when repeated."""


class Joining(Protocol):
    """One export on its way."""

    async def take(self, path: Path, start: datetime) -> Taken | None:
        """Append what lies in the span of a recording that began at ``start``; ``None`` if nothing does. In order of time.
        ``Malformed`` if it cannot be read as one."""

    async def finish(self) -> list[Film]:
        """Close the films and tell of them."""


class FilmJoiner(Protocol):
    """Joins recordings into films without touching a picture's bytes."""

    def joining(
        self,
        folder: Path,
        begin: datetime,
        end: datetime,
        gaps: Sequence[tuple[datetime, datetime, str]],
    ) -> AbstractAsyncContextManager[Joining]:
        """Begin films in ``folder`` of the span; ``gaps`` (from, to, cause) become chapters. ``Unavailable`` if that cannot be
        done now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMessage:
    """One message of a contact as the transport brought it, unread.

    ``mid`` and ``redelivered`` are MQTT's packet id and DUP flag; ``arrived_at`` is our clock. Calling ``acknowledge`` tells the
    transport that the message is safe: only after the commit, from the loop's thread, harmless when repeated
    or when the connection is gone. ``connected`` says whether the connection that brought it still stands. ``qos`` is that of
    its publish, at most that of our subscription (1). ``connected_at`` is when that connection was made, ``None`` if unknown:
    before it, the message may have waited at the transport.
    """

    topic: str
    payload: bytes
    retained: bool
    redelivered: bool
    mid: int
    arrived_at: datetime
    acknowledge: Callable[[], None]
    connected: Callable[[], bool] = lambda: False
    qos: int = 1
    connected_at: datetime | None = None


class Publisher(Protocol):
    """Tells something in the school: the same broker the contacts publish to."""

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish once; returns when the broker has it (at QoS 1 by its word). ``Unavailable`` if it is not connected or has not
        answered within 5 s: then the message may have arrived all the same. Nothing is queued for later.
        Cancellation-safe."""


class ContactFeed(Protocol):
    """Where contact messages come from: one broker connection with a session that outlives it."""

    async def run(self, receive: Callable[[ContactMessage], None]) -> None:
        """Stay connected and hand every message to ``receive`` (which must not block) until cancelled.
        Reconnects for ever; raises only what a person must mend."""

    @property
    def armed(self) -> bool:
        """Whether every topic is subscribed on a live connection (at least once confirmed by the broker)."""

    @property
    def cause(self) -> str:
        """Why it is not connected now; empty when it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry:
    """What is kept of an admitted message, so that it is never admitted twice. ``alarm`` is ``None`` for one that was no
    press but changed what is remembered of its source."""

    identity: str | None
    topic: str
    digest: str
    mid: int
    arrived_at: datetime
    alarm: str | None


class Inbox(Protocol):
    """What came in from contacts. Part of a transaction."""

    def redelivery(self, topic: str, digest: str, mid: int) -> bool:
        """Whether this very message was committed before and its acknowledgement may not have arrived."""

    def bounced(self, topic: str, digest: str, since: datetime, until: datetime) -> bool:
        """Whether a press of the same topic and payload came between the two instants, both included."""

    def admit(self, entry: InboxEntry) -> int | None:
        """Keep the entry and return its number; ``None``, and nothing kept, if its hardware identity was admitted
        before."""

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

    def belongs(self, number: int, alarm: str) -> None:
        """The entry is a press of an alarm that was open already."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One step in an alarm's life, as kept for ever."""

    at: datetime
    what: str
    detail: Mapping[str, Any]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at delivering a message over one path."""

    message: str
    path: str
    at: datetime
    took_ms: int
    status: int | None
    outcome: Outcome
    detail: str


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


class Faults(Protocol):
    """Faults, open and past. Part of a transaction."""

    def open(self) -> list[Fault]:
        """Those not cleared, oldest first."""

    def find(self, kind: str, subject: str) -> Fault | None:
        """The open fault of that kind and subject."""

    def add(self, fault: Fault) -> None:
        """Keep a new fault."""

    def clear(self, fault: str, at: datetime) -> None:
        """Mark it cleared."""

    def listed(self, limit: int) -> list[Fault]:
        """Newest first, cleared ones included."""


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


class Register(Protocol):
    """Who looked at what, and what was done to the record. Part of a transaction; lines are never changed or removed."""

    def append(self, line: RegisterLine) -> int:
        """Write the next line; its number, from 1 and without gaps."""

    def head(self) -> Head:
        """Its length and the root of its tree."""

    def lines(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        since: datetime | None = None,
        until: datetime | None = None,
        acts: Sequence[Act] | None = None,
    ) -> list[WrittenLine]:
        """Lines above number ``after``, by number."""

    def leaves(self, size: int) -> list[bytes]:
        """The hashes of the first ``size`` lines."""

    def last(self, act: Act) -> WrittenLine | None:
        """The newest line of that act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredItem:
    """A reply or request that came in an answer body, and what came of it, kept so that it is applied once.

    ``ok`` false means that nothing was changed, and ``reason`` why. ``state`` is the alarm's state after it. ``told`` is
    whether the centre has received a heartbeat that says all this.
    """

    id: str
    digest: str
    kind: ItemKind
    alarm: str | None
    seen_at: datetime
    ok: bool
    reason: str | None = None
    state: str | None = None
    request: str | None = None
    told: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCoverage:
    """What is kept of one camera within a span, in sums by the hour. ``first_hour`` is the oldest of which anything is kept."""

    camera: str
    covered_ms: int
    frames: int
    bytes: int
    first_hour: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDay:
    """What is kept of one camera between two edges, in sums by the hour, and how many seconds its gaps take there, by cause."""

    camera: str
    start: datetime
    covered_ms: int
    bytes: int
    gaps: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A batch of objects that are gone, or, without ``register_line``, are to go. ``items`` are objects with ``key``, ``sha256``,
    ``version``, ``start`` and ``end``; ``register_line`` is the line of the register that vouches for :attr:`lines`."""

    id: str
    at: datetime
    start: datetime
    end: datetime
    size_bytes: int
    items: tuple[Mapping[str, Any], ...]
    register_line: int | None = None
    camera: str | None = None
    alarm: str | None = None

    @property
    def lines(self) -> bytes:
        """The items as JSON lines with sorted keys: what the register's line has the SHA-256 of."""
        return b"\n".join(
            json.dumps(dict(item), sort_keys=True, separators=(",", ":")).encode() for item in self.items
        )


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

    def ended_before(self, at: datetime, after: int, limit: int) -> list[tuple[int, Segment]]:
        """Segments of any camera that ended before ``at`` and whose number is above ``after``, by number."""

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


class Transaction(Protocol):
    """All tables as they are at one instant. Synchronous: nothing is awaited while the write lock is held."""

    @property
    def durable(self) -> bool:
        """Whether a commit of it outlives the box's power. Not while the disk takes nothing."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def contacts(self) -> Contacts: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def evidence(self) -> EvidenceRows: ...
    @property
    def messages(self) -> Messages: ...
    @property
    def faults(self) -> Faults: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def windows(self) -> DrillWindows: ...
    @property
    def register(self) -> Register: ...
    @property
    def answer_items(self) -> AnswerItems: ...
    @property
    def recordings(self) -> Recordings: ...
    @property
    def holds(self) -> Holds: ...
    @property
    def deletions(self) -> Deletions: ...
    @property
    def trusted(self) -> TrustedTimes: ...

    def marks(self) -> Mapping[str, int]:
        """By table how many rows were ever written, for those whose rows stay, and ``recorded_until`` (seconds since 1970)."""


class Store(Protocol):
    """The database: the only channel between stages.

    Work runs on the store's own thread, and more than once where a commit fails. What :meth:`write` did is on disk
    (synchronous=FULL) when it returns, or in memory while :attr:`durable` is false; if the work raises, nothing of it is
    kept and the error is passed on. Several writes that wait at the same
    time share one commit. ``Unavailable`` when the disk or the database refuses; then nothing was kept.
    """

    @property
    def durable(self) -> bool:
        """Whether what has returned is on disk."""

    async def until_durable(self) -> None:
        """Return once it is."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction that may change things, and commit."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on a consistent view; it sees every commit that has returned."""

    def write_later(self, work: Callable[[Transaction], None]) -> None:
        """Run ``work`` with the next write that comes, at the latest after a second; may be lost in a crash.
        For what only saves work later."""


class Losses(Protocol):
    """What happened to the database, until a person knows of it."""

    @property
    def forgetful(self) -> bool:
        """Whether something may be missing that was on record: then nothing is deleted."""

    def note_older(self, cause: str) -> None:
        """The database knows less than what was noted of it."""

    async def acknowledge(self) -> Sequence[Loss]:
        """A person knows; what they know of is returned and told no more. ``Unavailable`` where that cannot be kept."""


class Witnesses(Protocol):
    """Places outside the database where it is noted how far it has come. Both methods block."""

    def read(self) -> Sequence[Mapping[str, Any]]:
        """What was noted last in each place that can be read."""

    def write(self, document: Mapping[str, Any]) -> None:
        """Note it in every place. Raises ``OSError``."""


@dataclass(slots=True)
class PathHealth:
    """What is known of one path. ``failing_since`` is ``None`` while it answers."""

    name: str
    failing_since: datetime | None = None
    cause: str = ""
    received_total: int = 0
    failed_total: int = 0
    last_answer_at: datetime | None = None


class Heard(Protocol):
    """What one answer of the centre says besides that a message was received; nothing of it is applied yet."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing to apply."""

    def apply(self, tx: Transaction) -> None:
        """Apply it within the caller's transaction. May be run again if that could not be committed. What cannot be applied
        changes nothing and is kept as such; raises only what the database raises."""

    def committed(self) -> None:
        """The transaction is on disk: wake who has work by it, and say what was not applied."""

    def failed(self, cause: str) -> None:
        """It could not be applied by a mistake of ours, and was given up so that delivery goes on."""


class Uplink(Protocol):
    """One path to the 110 centre."""

    @property
    def name(self) -> str:
        """The path's name in attempts and faults."""

    async def deliver(
        self,
        message: str,
        body: bytes,
        *,
        drill: bool = False,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Answer:
        """Make one attempt, signed with the drill secret if ``drill``: connect within 3 s, the whole within 10 s. Never raises
        for what the other side or the network does: that is an :class:`Answer` without status. Idempotent for the receiver by
        the message's id. ``answering`` hears the status at once, while the rest of the answer may still be on its way."""


class MediaUplink(Protocol):
    """The place at the 110 centre to which evidence and live pictures are PUT."""

    async def put(
        self,
        upload: Upload,
        read: Callable[[int, int], AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]],
        *,
        resume: bool,
        give_way: Callable[[], Awaitable[None]],
    ) -> Put:
        """Make one attempt at an item, read piece by piece: ``read(start, end)`` opens that span as :meth:`ObjectStore.read`
        does. ``resume`` asks the receiver first what it kept of an earlier attempt. ``give_way`` is awaited before each piece.

        Gives up when nothing has moved for 10 s, never for being large. Never raises for what the other side, the network
        or the store does. Putting the same item again is harmless.
        """

    async def put_part(self, place: str, data: bytes, media_type: str) -> Answer:
        """Put a part of a live picture, within 10 s in all; else as :meth:`put`."""
