"""What the simulated centre knows: every attempt, every message once, one file per alarm. No I/O here."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simulators.centre.events import Event

_JOURNAL_ENTRIES = 100_000
_HEARTBEATS = 1_000
_GAPS_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST that arrived, whatever became of it.

    `arrived_s` is unix time, `arrived_monotonic_s` this machine's monotonic clock, both taken when the
    headers were read. `status` is what was answered, 0 if the connection was reset instead.
    """

    message: str | None
    type: str | None
    path: str
    arrived_s: float
    arrived_monotonic_s: float
    timestamp: str | None
    signed_with: str | None
    refusal: str | None
    taken: bool
    duplicate: bool
    status: int

    def as_json(self) -> dict[str, Any]:
        """As plain values (`dataclasses.asdict` copies deeply and costs a tenth of a message's whole time)."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True, kw_only=True)
class Message:
    """One message by its id, with every attempt that was made at it. `taken_s` is None until it was taken."""

    event: Event
    body: bytes
    problems: list[str]
    attempts: list[Attempt] = field(default_factory=list)
    taken_s: float | None = None
    taken_monotonic_s: float | None = None

    @property
    def id(self) -> str:
        return self.event.id

    @property
    def type(self) -> str:
        return self.event.type

    @property
    def data(self) -> dict[str, Any]:
        return self.event.data


@dataclass(slots=True, kw_only=True)
class Evidence:
    """One still or clip: what was announced, and what was found when it was fetched.

    `sha256_right` and `bytes_right` compare the announcement with the bytes received; `decodes` is None if
    nothing here could look; `clock_ms` is the unix time read back from the picture itself (simulated cameras
    show one; of a clip its first frame's), None if there is none. `file` is where it is kept. `pushed_s` is when the school
    had PUT the whole of it; nothing is fetched then.
    """

    announced: dict[str, Any]
    arrived_s: float
    fetched_s: float | None = None
    pushed_s: float | None = None
    tries: int = 0
    problem: str | None = None
    sha256_right: bool | None = None
    bytes_right: bool | None = None
    decodes: bool | None = None
    what: str | None = None
    clock_ms: int | None = None
    clock_frame: int | None = None
    file: str | None = None


@dataclass(slots=True, kw_only=True)
class LiveLook:
    """One opening of a camera's live picture: the unix time its playlist and its first video bytes came."""

    camera: str
    started_s: float
    playlist_s: float | None = None
    first_bytes_s: float | None = None
    bytes: int = 0
    problem: str | None = None


@dataclass(slots=True, kw_only=True)
class SentReply:
    """One reply or request of the centre's to the school, with the school's answer.

    `item` is its id where it was given in an answer body; `status` is then what a call would have been answered.
    """

    word: str
    body: dict[str, Any]
    sent_s: float
    answered_s: float | None = None
    status: int | None = None
    answer: Any = None
    problem: str | None = None
    item: str | None = None


@dataclass(slots=True, kw_only=True)
class AlarmFile:
    """Everything that came for one alarm or drill. `state` follows the school's answers to our replies."""

    id: str
    drill: bool
    opened_s: float
    state: str = "raised"
    presses: int = 1
    raised: Message | None = None
    repeated: list[Message] = field(default_factory=list)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    manifests: list[Message] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)
    escalations: list[Message] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)
    others: list[Message] = field(default_factory=list)
    replies: list[SentReply] = field(default_factory=list)
    requests: list[SentReply] = field(default_factory=list)
    live: list[LiveLook] = field(default_factory=list)
    sequences: dict[int, str] = field(default_factory=dict)

    @property
    def reply_url(self) -> str | None:
        url = self.raised.data.get("reply_url") if self.raised else None
        return url if isinstance(url, str) else None

    @property
    def missing_sequences(self) -> list[int]:
        """Numbers below the highest one that have not come (the first hundred); not yet a fault, attempts may overtake."""
        gaps = (n for n in range(1, max(self.sequences, default=0)) if n not in self.sequences)
        return list(itertools.islice(gaps, _GAPS_SHOWN))

    def messages(self) -> Iterator[Message]:
        """Every message of this alarm except evidence, in no particular order."""
        if self.raised:
            yield self.raised
        for group in (self.repeated, self.manifests, self.notes, self.escalations, self.results, self.others):
            yield from group


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal: number from 1, unix and monotonic time, what happened, and its particulars."""

    n: int
    at_s: float
    monotonic_s: float
    what: str
    about: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """As plain values; `about` is not copied."""
        return {name: getattr(self, name) for name in self.__slots__}


class Ledger:
    """The centre's memory. Messages are kept as long as the process lives; the journal its last 100,000."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.taken: list[Message] = []
        self.alarms: dict[str, AlarmFile] = {}
        self.open_faults: dict[str, dict[str, Any]] = {}
        self.plan: dict[str, Any] | None = None
        self.heartbeats: deque[tuple[float, dict[str, Any]]] = deque(maxlen=_HEARTBEATS)
        self.refusals: list[Attempt] = []
        self.journal: deque[Entry] = deque(maxlen=_JOURNAL_ENTRIES)
        self.entries = 0
        self.attempts = 0

    def note(self, what: str, at_s: float, monotonic_s: float, **about: Any) -> Entry:
        """Write one line into the journal."""
        self.entries += 1
        entry = Entry(n=self.entries, at_s=at_s, monotonic_s=monotonic_s, what=what, about=about)
        self.journal.append(entry)
        return entry

    def entries_after(self, n: int) -> list[Entry]:
        """The journal's entries with a number above `n`, oldest first."""
        newer = min(len(self.journal), max(0, self.entries - n))
        return [self.journal[i] for i in range(len(self.journal) - newer, len(self.journal))]

    def known(self, message_id: str) -> bool:
        """Whether a message with this id was taken before."""
        message = self.messages.get(message_id)
        return message is not None and message.taken_s is not None

    def refused(self, attempt: Attempt) -> None:
        """Keep an attempt that was turned away for its signature or envelope."""
        self.attempts += 1
        self.refusals.append(attempt)

    def came(self, event: Event, body: bytes, attempt: Attempt) -> AlarmFile | None:
        """Keep one attempt at a readable message; file the message if it is taken for the first time.

        Returns the alarm's file if the message was newly filed in one.
        """
        self.attempts += 1
        if event.type == "link.heartbeat":
            if attempt.taken:
                self.heartbeats.append((attempt.arrived_s, event.data))
            return None
        if event.type == "link.probe":  # a technician's question, and nothing to keep
            return None
        message = self.messages.get(event.id)
        if message is None:
            message = Message(event=event, body=body, problems=list(event.findings))
            self.messages[event.id] = message
        elif message.body != body:
            message.problems.append(f"body changed at attempt {len(message.attempts) + 1}")
        message.attempts.append(attempt)
        if not attempt.taken or message.taken_s is not None:
            return None
        message.taken_s, message.taken_monotonic_s = attempt.arrived_s, attempt.arrived_monotonic_s
        self.taken.append(message)
        return self._file(message, attempt.arrived_s)

    def _file(self, message: Message, at_s: float) -> AlarmFile | None:
        event = message.event
        if event.type == "site.plan":
            self.plan = event.data
        elif event.type in ("fault.raised", "fault.cleared"):
            fault = event.data.get("fault")
            fault_id = event.subject or ""
            if event.type == "fault.cleared":
                self.open_faults.pop(fault_id, None)
            elif isinstance(fault, dict):
                self.open_faults[fault_id] = fault
        elif event.subject is not None and event.sequence is not None:
            return self._file_alarm(message, event.subject, event.sequence, at_s)
        return None

    def _file_alarm(self, message: Message, subject: str, sequence: int, at_s: float) -> AlarmFile:
        drill = message.event.drill or subject.startswith("drl_")
        alarm = self.alarms.get(subject)
        if alarm is None:
            alarm = self.alarms[subject] = AlarmFile(id=subject, drill=drill, opened_s=at_s)
        other = alarm.sequences.setdefault(sequence, message.id)
        if other != message.id:
            message.problems.append(f"sequence {sequence} was used by {other} already")
        word = message.type.rpartition(".")[2]
        own = message.data.get("drill" if drill else "alarm")
        if isinstance(own, dict) and isinstance(own.get("presses"), int):
            alarm.presses = max(alarm.presses, own["presses"])
        if word == "raised":
            if alarm.raised is not None:
                message.problems.append(f"{subject} was raised before by {alarm.raised.id}")
            else:
                alarm.raised = message
        elif word == "evidence":
            self._file_evidence(message, alarm, at_s)
        else:
            groups = {
                "repeated": alarm.repeated,
                "manifest": alarm.manifests,
                "note": alarm.notes,
                "escalated": alarm.escalations,
                "result": alarm.results,
            }
            groups.get(word, alarm.others).append(message)
        return alarm

    def _file_evidence(self, message: Message, alarm: AlarmFile, at_s: float) -> None:
        announced = message.data.get("evidence")
        if not isinstance(announced, dict) or not isinstance(announced.get("id"), str):
            return  # events.py has noted that it is missing
        if announced["id"] in alarm.evidence:
            message.problems.append(f"evidence {announced['id']} was announced before")
            return
        alarm.evidence[announced["id"]] = Evidence(announced=announced, arrived_s=at_s)
