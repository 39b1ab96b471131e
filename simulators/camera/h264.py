"""The little of H.264 that a camera's sender must know: NAL units, parameter sets and its frame stamp.

Numbers of NAL unit types are those of ITU-T H.264, table 7-1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAL_IDR, NAL_SEI, NAL_SPS, NAL_PPS = 5, 6, 7, 8

_START_CODE = re.compile(b"\x00\x00\x01")

# user_data_unregistered (payload type 5, ITU-T H.264 D.1.7) begins with 16 bytes of the sender's own choice.
FRAME_STAMP_ID = b"campus-frame-num"
# Decimal digits instead of a binary number: no value needs emulation prevention, so the length never changes and a
# prepared packet can be stamped in place.
_STAMP_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDescription:
    """What a client must know before the first frame, in H.264 or H.265."""

    width: int
    height: int
    fps: int
    gop: int
    """Frames from one key frame to the next."""
    sps: bytes
    pps: bytes
    codec: str = "h264"
    """A key of `simulators.camera.codecs.CODECS`."""
    vps: bytes = b""
    """H.265 only."""
    b_frames: int = 0
    """B-frames between two others."""

    @property
    def profile_level_id(self) -> str:
        """Profile, constraints and level as in RFC 6184, 8.1; of H.264 only."""
        return self.sps[1:4].hex()


def nal_type(nal: bytes) -> int:
    """Return the type of a NAL unit given without start code."""
    return nal[0] & 0x1F


def split_annex_b(data: bytes) -> list[bytes]:
    """Return the NAL units of an Annex B byte stream, without start codes."""
    marks = [(found.start(), found.end()) for found in _START_CODE.finditer(data)]
    ends = [*(start for start, _ in marks), len(data)][1:]
    # A NAL unit never ends in a zero byte (7.4.1): what is there belongs to a four-byte start code or to padding.
    return [
        nal for (_, begin), end in zip(marks, ends, strict=True) if (nal := data[begin:end].rstrip(b"\x00"))
    ]


def join_annex_b(nals: list[bytes]) -> bytes:
    """Return NAL units as an Annex B byte stream with four-byte start codes."""
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)


def frame_stamp(frame: int) -> bytes:
    """Return the SEI unit that carries the frame number, modulo 10**8, in eight decimal digits."""
    payload = FRAME_STAMP_ID + stamp_digits(frame)
    return bytes((NAL_SEI, 5, len(payload))) + payload + b"\x80"


def stamp_digits(frame: int) -> bytes:
    """Return the digits that stand behind `FRAME_STAMP_ID`."""
    return b"%0*d" % (_STAMP_DIGITS, frame % 10**_STAMP_DIGITS)


def read_frame_stamp(data: bytes) -> int | None:
    """Return the frame number stamped into a frame's bytes, however they are framed; None if there is none."""
    at = data.find(FRAME_STAMP_ID)
    digits = data[at + len(FRAME_STAMP_ID) : at + len(FRAME_STAMP_ID) + _STAMP_DIGITS]
    return int(digits) if at >= 0 and digits.isdigit() else None


def stamped(nals: list[bytes], frame: int) -> list[bytes]:
    """Return the frame's NAL units with its stamp before the first slice, behind any other SEI."""
    first_slice = next((index for index, nal in enumerate(nals) if 1 <= nal_type(nal) <= NAL_IDR), len(nals))
    return [*nals[:first_slice], frame_stamp(frame), *nals[first_slice:]]


def is_key(nals: list[bytes]) -> bool:
    """Tell whether decoding can begin with this frame."""
    return any(nal_type(nal) == NAL_IDR for nal in nals)


def parameter_sets(nals: list[bytes]) -> tuple[bytes, bytes]:
    """Return SPS and PPS of a key frame; raises ValueError if the encoder did not repeat them there."""
    found = {nal_type(nal): nal for nal in nals}
    if NAL_SPS not in found or NAL_PPS not in found:
        raise ValueError(
            f"frame has NAL units of types {sorted(found)}: expected SPS (7) and PPS (8) among them"
        )
    return found[NAL_SPS], found[NAL_PPS]
