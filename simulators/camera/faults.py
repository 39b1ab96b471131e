"""What can be wrong with a camera."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from simulators.camera.settings import StreamSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFaults:
    """The faults of one simulated camera; the default is a camera in good order."""

    freeze: bool = False
    """Connections stay open and answer, but no frame is sent any more."""
    reject_login: bool = False
    """Every log-in is answered 401, the right password included."""
    wrong_codec: bool = False
    """The stream is JPEG (RTP payload type 26) where H.264 was promised; open sessions are cut when this changes."""
    refuse_connections: bool = False
    """The RTSP port is closed and open sessions are cut; HTTP answers nothing but the control endpoint."""
    drop_connections: bool = False
    """Every RTSP connection is accepted and closed at once, open ones too; so is every snapshot and ONVIF request."""
    clock_skew_s: float = 0.0
    """Seconds by which the camera's own clock runs ahead: ONVIF time and RTCP sender reports, never the picture."""
    snapshot_delay_s: float = 0.0
    """Seconds before a snapshot is answered."""
    snapshot_hangs: bool = False
    """A snapshot is begun and never finished."""
    snapshot_cut: bool = False
    """A snapshot's connection is reset in the middle of the picture."""
    onvif_delay_s: float = 0.0
    """Seconds before an ONVIF request is answered."""
    wrong_host: str | None = None
    """Host that ONVIF answers name in every URI, as a camera behind NAT does."""
    wrong_port: int | None = None
    """Port that ONVIF answers name in every URI."""
    cut_after_frames: int | None = None
    """Each RTSP session is cut in the middle of the frame after so many."""
    lose_every_packets: int | None = None
    """Every so many-th RTP packet of the pictures is lost on the way, as its sequence number shows."""
    repeat_every_packets: int | None = None
    """Every so many-th RTP packet of the pictures comes twice."""
    swap_every_packets: int | None = None
    """Every so many-th RTP packet of the pictures comes behind the next one of its frame."""
    frame_delay_s: float = 0.0
    """Seconds by which pictures and sound are sent late; they keep their time stamps and their order."""
    change_codec: str | None = None
    """The main stream's codec from now on; open sessions are cut, as they were promised another."""
    change_width: int | None = None
    """The main stream's width from now on; open sessions go on with new parameter sets."""
    change_height: int | None = None
    """The main stream's height from now on, as `change_width`."""
    change_fps: int | None = None
    """The main stream's frames a second from now on; the seconds between key frames stay."""
    change_gop_s: float | None = None
    """Seconds between the main stream's key frames from now on; a new client has to wait for the next one."""
    change_b_frames: int | None = None
    """The main stream's B-frames between two others from now on."""
    change_cuts_sessions: bool = False
    """A change cuts open sessions, as a camera that restarts its stream does."""

    @classmethod
    def from_json(cls, document: object) -> CameraFaults:
        """Read a JSON object with these fields' names; what is left out is in good order.

        Raises ValueError naming the key that is unknown or of the wrong type.
        """
        if not isinstance(document, dict):
            raise ValueError(f"faults: found {type(document).__name__}, expected a JSON object")
        known = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in document.items():
            if key not in known:
                raise ValueError(f"faults: unknown key {key!r}, expected one of {', '.join(known)}")
            values[key] = _checked(key, value, known[key])
        return cls(**values)

    def changed(self, settings: StreamSettings) -> StreamSettings:
        """Return the settings with the changes asked for; raises ValueError for what no camera can be set to."""
        fps = self.change_fps if self.change_fps is not None else settings.fps
        gop_s = self.change_gop_s if self.change_gop_s is not None else settings.gop / settings.fps
        return StreamSettings(
            codec=self.change_codec if self.change_codec is not None else settings.codec,
            width=self.change_width if self.change_width is not None else settings.width,
            height=self.change_height if self.change_height is not None else settings.height,
            fps=fps,
            gop=round(gop_s * fps),
            b_frames=self.change_b_frames if self.change_b_frames is not None else settings.b_frames,
            keys_on_demand=settings.keys_on_demand and self.change_gop_s is None,
        )

    def as_json(self) -> dict[str, object]:
        """Return what `from_json` reads."""
        return asdict(self)


def _checked(key: str, value: object, wanted: str) -> object:
    if value is None and wanted.endswith("| None"):
        return value
    kind = wanted.removesuffix(" | None")
    right = {
        "bool": isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
        "int": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "str": isinstance(value, str),
    }[kind]
    if not right:
        raise ValueError(f"faults: {key} is {value!r}, expected {wanted}")
    return value
