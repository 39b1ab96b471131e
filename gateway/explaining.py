"""Explaining: where the chain broke for a camera that is not recorded, in one of four causes and in words."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.recording import GapCause
from gateway.ports import CameraHealth


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
