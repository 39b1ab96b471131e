"""Messages to the 110 centre: their classes, their retry schedule, what an answer means."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

RETRY_AT_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # API.md, "Messages", after the first attempt
RETRY_EVERY_S = 30.0  # … then every 30 s, without end
RETRY_AFTER_MAX_S = 30.0  # a centre's Retry-After is honoured up to this
JITTER = 0.1  # of the step to the next attempt, so that a thousand messages do not return in one instant
SOONEST_AGAIN_S = 0.5  # half the schedule's smallest step
SECOND_PATH_AFTER_S = 20.0  # API.md, "Messages": the first path has failed for so long


class MessageClass(IntEnum):
    """What goes first when more is due than can be sent at once; lower is sooner."""

    PRESS = 0
    NOTE = 1
    FAULT = 2
    EVIDENCE = 3
    DRILL = 4
    PLAN = 5


class MessageType(StrEnum):
    """The CloudEvents ``type`` of every message of API.md, "Messages" that is built."""

    ALARM_RAISED = "alarm.raised"
    ALARM_REPEATED = "alarm.repeated"
    ALARM_EVIDENCE = "alarm.evidence"
    ALARM_MANIFEST = "alarm.manifest"
    ALARM_NOTE = "alarm.note"
    ALARM_ESCALATED = "alarm.escalated"
    REQUEST_RESULT = "request.result"
    FAULT_RAISED = "fault.raised"
    FAULT_CLEARED = "fault.cleared"
    DRILL_RAISED = "drill.raised"
    DRILL_EVIDENCE = "drill.evidence"
    DRILL_MANIFEST = "drill.manifest"
    DRILL_NOTE = "drill.note"
    DRILL_WINDOW = "drill.window"
    SITE_PLAN = "site.plan"
    LINK_HEARTBEAT = "link.heartbeat"
    LINK_PROBE = "link.probe"


CLASS_OF = {
    MessageType.ALARM_RAISED: MessageClass.PRESS,
    MessageType.ALARM_REPEATED: MessageClass.PRESS,
    MessageType.ALARM_NOTE: MessageClass.NOTE,
    MessageType.ALARM_ESCALATED: MessageClass.NOTE,
    MessageType.REQUEST_RESULT: MessageClass.NOTE,
    MessageType.FAULT_RAISED: MessageClass.FAULT,
    MessageType.FAULT_CLEARED: MessageClass.FAULT,
    MessageType.ALARM_EVIDENCE: MessageClass.EVIDENCE,
    MessageType.ALARM_MANIFEST: MessageClass.EVIDENCE,
    MessageType.DRILL_RAISED: MessageClass.DRILL,
    MessageType.DRILL_EVIDENCE: MessageClass.DRILL,
    MessageType.DRILL_MANIFEST: MessageClass.DRILL,
    MessageType.DRILL_NOTE: MessageClass.DRILL,
    MessageType.DRILL_WINDOW: MessageClass.DRILL,
    MessageType.SITE_PLAN: MessageClass.PLAN,
    MessageType.LINK_HEARTBEAT: MessageClass.PLAN,
    MessageType.LINK_PROBE: MessageClass.PLAN,
}

#: What is said of a drill in place of what is said of an alarm. What is missing here is never said of a drill: it is not
#: repeated (a second press is an alarm) and not escalated.
DRILL_OF = {
    MessageType.ALARM_RAISED: MessageType.DRILL_RAISED,
    MessageType.ALARM_EVIDENCE: MessageType.DRILL_EVIDENCE,
    MessageType.ALARM_MANIFEST: MessageType.DRILL_MANIFEST,
    MessageType.ALARM_NOTE: MessageType.DRILL_NOTE,
    MessageType.REQUEST_RESULT: MessageType.REQUEST_RESULT,
}
#: What is signed with the drill secret.
DRILL_TYPES = frozenset({*DRILL_OF.values(), MessageType.DRILL_WINDOW} - {MessageType.REQUEST_RESULT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, its body fixed for ever. ``attempts`` are those on record."""

    id: str
    type: MessageType
    subject: str | None
    sequence: int | None
    body: bytes
    created_at: datetime
    due_at: datetime
    attempts: int = 0
    first_attempt_at: datetime | None = None
    received_at: datetime | None = None

    @property
    def drill(self) -> bool:
        """Whether it belongs to the drills' plane, and so is signed with the drill secret."""
        return self.type in DRILL_TYPES

    @property
    def rank(self) -> tuple[int, datetime, int, str]:
        """Sorts what is due: class first, then age, then the order within one alarm."""
        return (CLASS_OF[self.type], self.created_at, self.sequence or 0, self.id)


class Outcome(StrEnum):
    """What one attempt came to."""

    RECEIVED = "received"
    FAILED = "failed"
    GONE = "gone"  # 410: a fault, never the end of an alarm
    UNANSWERED = "unanswered"  # sent whole, and no status line came: it may have been received
    DOUBTFUL = "doubtful"  # a 2xx by somebody else than the centre, it seems; the other path is tried as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A receiver's answer to one attempt, or why there was none (``status`` is then ``None``).

    ``said_at`` is the other side's clock (HTTP's Date, whole seconds), where it tells it. ``lost`` says why a body that was given
    is not here. ``sent`` says that the whole message had gone out, so that without a status it may have been received all the
    same. ``doubt`` says why nobody need believe that the body is the centre's; empty where its signature holds, or where
    none is asked for.
    """

    status: int | None
    detail: str = ""
    body: bytes = b""
    content_type: str = ""
    retry_after_s: float | None = None
    said_at: datetime | None = None
    lost: str = ""
    sent: bool = False
    doubt: str = "nobody has looked whose it is"


def judge(answer: Answer, may_have_it: bool = False) -> Outcome:
    """Received is any 2xx, or 409 where the centre may have the message already (API.md, "Messages").

    ``may_have_it``: an earlier attempt at this very message was sent whole and not answered. Without one a 409 is a refusal:
    whoever answers it to everything has taken nothing.
    """
    status = answer.status
    if status is None:
        return Outcome.UNANSWERED if answer.sent else Outcome.FAILED
    if 200 <= status < 300 or (status == 409 and may_have_it):
        return Outcome.RECEIVED
    return Outcome.GONE if status == 410 else Outcome.FAILED


#: How a web page begins, whatever its type is said to be: also behind a byte order mark, a declaration, or comments.
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff|\s|<\?xml[^>]{0,200}>|<!--.{0,1000}?-->)*"
    rb"<(?:!doctype\s+html|(?:html|head|meta|title|script|style|body|frameset|iframe|form|center|h1|div|p|a)\b)",
    re.IGNORECASE | re.DOTALL,
)
PAGE_BYTES = 4096
"""Of the beginning of a body, looked at for that."""


def is_web_page(answer: Answer) -> bool:
    """Whether it is of type HTML or begins as web pages do. Zeros are passed over: UTF-16 has one in each letter."""
    begins = answer.body[:PAGE_BYTES].replace(b"\0", b"")
    return "html" in answer.content_type.lower() or _PAGE.match(begins) is not None


def strangers_page(answer: Answer, gave_json: bool) -> str:
    """Why a 2xx seems to be by somebody else than the centre: a login page of the network, or a proxy; empty if it does not.

    ``gave_json``: answers on this path were JSON before.
    """
    if not answer.body and not answer.lost:
        return ""
    if is_web_page(answer):
        return "a web page (HTML) answers in place of the centre"
    if not gave_json or answer.lost:
        return ""
    try:
        return (
            ""
            if understand(answer) is not None
            else "an answer is no JSON, as answers on this path were before"
        )
    except ValueError:
        return ""  # told by whoever reads it


def scheduled_s(attempts_made: int) -> float:
    """Seconds after the first attempt at which attempt number ``attempts_made + 1`` stands in the schedule."""
    last = len(RETRY_AT_S) - 1
    if attempts_made <= last:
        return RETRY_AT_S[attempts_made]
    return RETRY_AT_S[last] + RETRY_EVERY_S * (attempts_made - last)


def next_due_s(
    first_s: float,
    attempts_made: int,
    now_s: float,
    chance: random.Random,
    retry_after_s: float | None = None,
) -> float:
    """When the next attempt is due, all in seconds of a clock that never jumps; ``first_s`` is the first attempt.

    Jitter only ever delays, by at most a tenth of the step. Never more than 33 s away, and never at once, however far behind
    its schedule a message is: else an outage would end in a storm.
    """
    step = scheduled_s(attempts_made) - scheduled_s(max(0, attempts_made - 1))
    due_s = first_s + scheduled_s(attempts_made) + step * JITTER * chance.random()
    if retry_after_s is not None:
        due_s = max(due_s, now_s + min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S))
    return min(max(due_s, now_s + SOONEST_AGAIN_S), now_s + RETRY_EVERY_S * (1 + JITTER))


def understand(answer: Answer) -> dict[str, Any] | None:
    """The JSON object in a 2xx answer; ``None`` for a body that is not JSON, which is ignored.

    Raises ``ValueError`` for JSON that cannot be understood and for a body that could not be read: a centre that means
    to say something must not be misheard in silence (API.md, "Messages").
    """
    claims_json = "json" in answer.content_type.lower()
    if answer.lost:
        raise ValueError(f"the body of the centre's answer {answer.lost}")
    try:
        document = (
            json.loads(answer.body, object_pairs_hook=_once_each, parse_constant=_no_number)
            if answer.body.strip()
            else {}
        )
    except (ValueError, RecursionError) as exc:
        if claims_json or answer.body.lstrip()[:1] in (b"{", b"["):
            raise ValueError(f"the centre's answer says it is JSON and is not: {exc}") from exc
        return None
    if not isinstance(document, dict):
        if claims_json:
            raise ValueError(f"the centre's answer is a JSON {type(document).__name__}, expected an object")
        return None
    for name in ("replies", "requests"):
        if not isinstance(document.get(name, []), list):
            raise ValueError(f"{name} in the centre's answer is not a list")
    return document


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two, readers disagree which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object in it has one name twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


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
