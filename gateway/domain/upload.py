"""Uploads: where an item or a live picture is put at the centre, in what order, and what an attempt came to."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.evidence import Evidence, Kind, Moment
from gateway.domain.ids import is_drill
from gateway.domain.message import Answer, Outcome

LIVE_PLAYLIST = "index.m3u8"
#: Answers that refuse this one item, whatever the path is worth: it keeps to its schedule, and a person is told.
REFUSING = frozenset({400, 409, 411, 413, 415, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One item to be PUT. ``place`` is below ``centre.media_url``; ``sha256`` is of the whole, in hexadecimal."""

    place: str
    media_type: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What one attempt at an upload came to.

    ``whole`` only if the receiver said that it has the whole of it: 2xx after the last byte, or 409 and on being asked again
    exactly this item. ``broke_off`` says that part of it was sent and no answer came: the receiver may have kept that part.
    ``unread``: our own store did not give the item, which says nothing of the path.
    """

    answer: Answer
    whole: bool
    broke_off: bool = False
    unread: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.whole:
            return Outcome.RECEIVED
        return Outcome.GONE if self.answer.status == 410 else Outcome.FAILED


def item_place(item: Evidence) -> str:
    """Where an item is put (API.md, "Pushed media")."""
    return f"{item.alarm}/{item.id}.{item.suffix}"


def live_place(alarm: str, camera: str, part: str = LIVE_PLAYLIST) -> str:
    """Where a part of a camera's live picture is put."""
    return f"{alarm}/live/{camera}/{part}"


def urgency(item: Evidence) -> tuple[bool, bool, int]:
    """Sorts what waits to be put: exercises last, stills before clips, and of each the press first.

    Of the clips, ``before`` shows what happened, a requested one is waited for by an operator, ``whole`` repeats ``before``.
    """
    clips = (Moment.BEFORE, Moment.REQUESTED, Moment.WHOLE)
    clip = item.kind is Kind.CLIP
    rank = item.rank
    if clip:
        rank = clips.index(item.moment) if item.moment in clips else len(clips)
    return is_drill(item.alarm), clip, rank
