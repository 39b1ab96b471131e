"""What a camera is set to, as an installer sets it; without any video library behind it."""

from __future__ import annotations

from dataclasses import dataclass

VIDEO_CODECS = ("h264", "h265")
AUDIO_CODECS = ("aac", "pcmu", "pcma")
MEDIA1_H265 = ("h264", "omit", "bare")
"""What ONVIF Media says of an H.265 profile: that it is H.264, nothing at all, or a profile without an encoder."""

_LONGEST_GOP = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Codec, size and rate of one video stream; raises ValueError for what no camera can be set to.

    Sizes are checked further by `Canvas`, which draws them.
    """

    codec: str = "h264"
    width: int = 640
    height: int = 360
    fps: int = 25
    gop: int = 25
    """Frames from one key frame to the next."""
    b_frames: int = 0
    """B-frames between two others: they are sent behind the later of the two, so the order is not that of time."""
    keys_on_demand: bool = True
    """Whether each further client's first frame is a key frame made for it; if not, it waits for the next one."""

    def __post_init__(self) -> None:
        if self.codec not in VIDEO_CODECS:
            raise ValueError(f"codec {self.codec!r}: expected one of {', '.join(VIDEO_CODECS)}")
        if not 1 <= self.fps <= 120:
            raise ValueError(f"{self.fps} frames a second: expected 1 to 120")
        if not 1 <= self.gop <= _LONGEST_GOP:
            raise ValueError(f"groups of {self.gop} frames: expected 1 to {_LONGEST_GOP}")
        if not 0 <= self.b_frames <= 3:
            raise ValueError(f"{self.b_frames} B-frames: expected 0 to 3")
