"""The little of H.265 that a camera's sender must know, beside what it has in common with H.264.

Numbers of NAL unit types are those of ITU-T H.265, table 7-1.
"""

from __future__ import annotations

from simulators.camera.h264 import FRAME_STAMP_ID, stamp_digits

NAL_VPS, NAL_SPS, NAL_PPS, NAL_PREFIX_SEI = 32, 33, 34, 39
# IDR_W_RADL and IDR_N_LP. A CRA frame (21) may be followed by pictures that refer to before it: decoding can begin
# there only with the loss of those, and the encoder is told to make none.
_NAL_IDR = (19, 20)
_FIRST_NOT_VCL = 32


def nal_type(nal: bytes) -> int:
    """Return the type of a NAL unit given without start code."""
    return nal[0] >> 1 & 0x3F


def is_slice(nal: bytes) -> bool:
    """Tell whether the unit holds a part of the picture."""
    return nal_type(nal) < _FIRST_NOT_VCL


def frame_stamp(frame: int) -> bytes:
    """Return the prefix SEI unit that carries the frame number, modulo 10**8, in eight decimal digits."""
    payload = FRAME_STAMP_ID + stamp_digits(frame)
    # Layer 0, temporal level 0 (7.3.1.2); user_data_unregistered is payload type 5 as in H.264 (D.2.7).
    return bytes((NAL_PREFIX_SEI << 1, 1, 5, len(payload))) + payload + b"\x80"


def stamped(nals: list[bytes], frame: int) -> list[bytes]:
    """Return the frame's NAL units with its stamp before the first slice, behind any other SEI."""
    first_slice = next((index for index, nal in enumerate(nals) if is_slice(nal)), len(nals))
    return [*nals[:first_slice], frame_stamp(frame), *nals[first_slice:]]


def is_key(nals: list[bytes]) -> bool:
    """Tell whether decoding can begin with this frame."""
    return any(nal_type(nal) in _NAL_IDR for nal in nals)


def parameter_sets(nals: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """Return VPS, SPS and PPS of a key frame; raises ValueError if the encoder did not repeat them there."""
    found = {nal_type(nal): nal for nal in nals}
    if not {NAL_VPS, NAL_SPS, NAL_PPS} <= found.keys():
        raise ValueError(
            f"frame has NAL units of types {sorted(found)}: expected VPS (32), SPS (33) and PPS (34) among them"
        )
    return found[NAL_VPS], found[NAL_SPS], found[NAL_PPS]
