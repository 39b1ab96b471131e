"""What can be wrong with a camera."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


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
    wrong_host: str | None = None
    """Host that ONVIF answers name in every URI, as a camera behind NAT does."""
    wrong_port: int | None = None
    """Port that ONVIF answers name in every URI."""
    cut_after_frames: int | None = None
    """Each RTSP session is cut in the middle of the frame after so many."""

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

    def as_json(self) -> dict[str, object]:
        """Return what `from_json` reads."""
        return asdict(self)


def _checked(key: str, value: object, wanted: str) -> object:
    if value is None and wanted.endswith("| None"):
        return value
    kind = wanted.removesuffix(" | None")
    right = {
        "bool": isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "str": isinstance(value, str),
    }[kind]
    if not right:
        raise ValueError(f"faults: {key} is {value!r}, expected {wanted}")
    return value
