"""Explaining: where the chain broke for a camera that is not recorded, in one of four causes and in words; and up to when the
ledger tells of a camera at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.domain.camera import CameraHealth
from gateway.domain.recording import GapCause
from gateway.ports.store import Transaction

EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Why:
    """What kept a camera from being recorded."""

    cause: GapCause
    detail: str


def why_not_recorded(known: CameraHealth | None, *, gave_way: bool) -> Why | None:
    """What keeps a camera from being recorded now; ``None`` if nothing is known to. ``gave_way``: there is no room for it."""
    if gave_way:
        return Why(GapCause.STORE, "the room is nearly used up, and this camera's new footage gives way")
    if known is None:
        return Why(GapCause.GATEWAY, "the camera process does not know it")
    if not known.reached:
        return Why(GapCause.NETWORK, known.cause)
    if known.recording:
        cause = GapCause.GATEWAY if known.recording == known.cause else GapCause.STORE
        return Why(cause, known.recording)
    if not known.healthy:
        return Why(GapCause.CAMERA, known.cause)
    return None


def told_until(tx: Transaction, camera: str, now: datetime) -> datetime | None:
    """Up to where the ledger tells of a camera, by segments and gaps; a gap that lasts tells of it up to ``now``. ``None`` if it
    tells nothing."""
    reaches = tx.recordings.reaches(camera)
    ends = [g.end or now for g in tx.recordings.gaps(camera, reaches or EVER, now)]
    return max([*ends, *([reaches] if reaches else [])], default=None)
