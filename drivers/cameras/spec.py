"""How a camera is reached, and how much of its stream is kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

REFUSED_BACK_OFF_S = 600.0
"""After refused credentials: cameras lock an account after a few wrong passwords, commonly for 30 minutes."""

REFUSED_HINT = (
    f"; not tried again for {REFUSED_BACK_OFF_S / 60:.0f} min, so that it does not lock the account (where the "
    "site file names a file with the password, a corrected one is tried at once)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnvifAddress:
    """An ONVIF device service: ``host`` and ``port`` as they are reached from the gateway."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAddress:
    """A bare RTSP address. ``url`` carries no credentials: they are given apart. ``live_url`` is a second stream of the
    camera, H.264, to be shown live where the first one is H.265; ``sub_url`` its smaller one, to be recorded while room is short
    (both may be one)."""

    url: str
    live_url: str | None = None
    sub_url: str | None = None
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """One camera of the site file; exactly one of ``onvif`` and ``stream`` is given. ``audio`` asks for its sound, ``record``
    says that it is recorded round the clock. ``reread_password`` reads its password anew where that stands in a file, and gives
    ``None`` where it cannot be read."""

    id: str
    onvif: OnvifAddress | None = None
    stream: StreamAddress | None = None
    audio: bool = False
    record: bool = False
    reread_password: Callable[[], str | None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.onvif is None) == (self.stream is None):
            raise ValueError(f"camera {self.id}: give either onvif or stream, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLimits:
    """What one camera's ring may hold: at least ``seconds`` of video, at most ``bytes`` of memory."""

    seconds: float
    bytes: int
