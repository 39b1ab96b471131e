"""Bodies and times that come in over the HTTP face, strictly read.

Unknown keys are refused, since a misspelt ``reason`` must not be lost. Times are RFC 3339 with an offset.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from gateway.domain.drill import LEAST_ARMED_S, MOST_ARMED_S

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
_EARLIEST = datetime(
    2000, 1, 1, tzinfo=UTC
)  # nothing here is older; and no arithmetic on it can leave the calendar
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)

#: The largest integer that the databases hold (signed 64 bits); any that reaches a query is refused above it.
MOST_COUNTED = 2**63 - 1


def instant(value: object) -> object:
    """An RFC 3339 time; an unescaped ``+`` of a query string, which arrives as a space, is understood."""
    expected = "an RFC 3339 time with its offset, e.g. 2026-03-02T10:15:07+08:00, of this century or the next"
    if not isinstance(value, str):
        raise ValueError(expected)
    text = value[:19] + value[19:].replace(" ", "+")
    if not _RFC3339.fullmatch(text):
        raise ValueError(expected)
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(expected) from None
    if not _EARLIEST < at < _LATEST:
        raise ValueError(expected)
    return at.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(instant)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Part = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Body(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid")


class OperatorBody(Body):
    """A person: the operator at the centre, or who decides at the school."""

    name: Words
    unit: Words


class ViewerBody(Body):
    """Who watches the live picture, as the page asks."""

    name: Words


class ReplyBody(Body):
    """What the centre says of an alarm. ``reason`` is required for rejected and closed."""

    reply: Literal["accepted", "rejected", "dispatched", "arrived", "closed"]
    operator: OperatorBody
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] | None = None


class Asked(Body):
    """What every request of the centre has."""

    camera: Words
    operator: OperatorBody
    reason: Reason


class ClipBody(Asked):
    """A clip of a span, of at most 30 minutes."""

    request: Literal["clip"]
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")


class StillBody(Asked):
    """A picture of now."""

    request: Literal["still"]


class Move(Body):
    """A movement: each part from -1 to 1, for at most 5 s."""

    pan: Part = 0.0
    tilt: Part = 0.0
    zoom: Part = 0.0
    for_s: Annotated[float, Field(gt=0, le=5)] = 1.0


class PtzBody(Asked):
    """A movement, a stop or a preset. This version puts it on record and answers that it moves no camera."""

    request: Literal["ptz"]
    move: Move | Literal["stop", "preset"] | None = None
    stop: Literal[True] | None = None
    preset: Words | None = None

    @property
    def moves_nothing(self) -> bool:
        """Whether it names neither a movement nor a stop nor a preset."""
        return self.move is None and self.stop is None and self.preset is None


RequestBody = Annotated[ClipBody | StillBody | PtzBody, Field(discriminator="request")]


class DrillBody(Body):
    """A drill at a point: at once, or with ``arm_s`` by its next physical press within so many seconds (5 to 60)."""

    point: Words
    arm_s: Annotated[float, Field(ge=LEAST_ARMED_S, le=MOST_ARMED_S, allow_inf_nan=False)] | None = None


class PlaybackBody(Body):
    """Who plays what was recorded of a span, and why. Both stand in the register."""

    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    by: OperatorBody
    reason: Reason


class HoldBody(Body):
    """What is to be kept longer: what one camera (none named: every camera) recorded between two instants. Without
    ``review_at`` it is looked at again after 90 days."""

    camera: Words | None = None
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    by: OperatorBody
    reason: Reason
    review_at: Instant | None = None


class ReviewBody(Body):
    """A person looked at a hold, and it stands."""

    by: OperatorBody
    reason: Reason
    review_at: Instant | None = None


class ReleaseBody(Body):
    """A person ends a hold."""

    by: OperatorBody
    reason: Reason


class ClockBody(Body):
    """A person says by a clock of their own what time it is now."""

    now: Instant
    by: OperatorBody
    reason: Reason


class LossBody(Body):
    """A person knows that the database was lost, damaged or is an older one."""

    by: OperatorBody
    reason: Reason


class NoteBody(Body):
    """The school's note. ``by`` names the person; ``withdraw`` asks the centre to call the alarm off, which it decides."""

    text: Reason
    by: Words | None = None
    withdraw: bool = False
