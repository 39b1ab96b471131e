"""The cause of a gap: where the chain broke for a camera that is not recorded, in one of four causes and in words."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.camera import CameraHealth
from gateway.domain.recording import GapCause


@dataclass(frozen=True, slots=True)
class Why:
    """What kept a camera from being recorded."""

    cause: GapCause
    detail: str


def why_not_recorded(health: CameraHealth | None, *, gave_way: bool) -> Why | None:
    """What keeps a camera from being recorded now; ``None`` if no reason is known. ``gave_way``: there is no room for it."""
    if gave_way:
        return Why(GapCause.STORE, "the room is nearly used up, and this camera's new footage gives way")
    if health is None:
        return Why(GapCause.GATEWAY, "the camera process does not know it")
    if not health.reached:
        return Why(GapCause.NETWORK, health.cause)
    if health.recording:
        cause = GapCause.GATEWAY if health.recording == health.cause else GapCause.STORE
        return Why(cause, health.recording)
    if not health.healthy:
        return Why(GapCause.CAMERA, health.cause)
    return None
