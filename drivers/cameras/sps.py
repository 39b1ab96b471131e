"""What H.264's parameter sets say: where they are in a packet, and the picture's profile, level and size.

Sources: ITU-T H.264 §7.3.2.1 (sequence parameter set), §7.4.1 and Annex B (byte stream), RFC 6381 §3.3 (codec string).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain.errors import Malformed

SLICE, IDR, SPS, PPS = 1, 5, 7, 8
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Format of the pictures of a stream: ``codec`` is the RFC 6381 name, sizes are in pixels."""

    codec: str
    width: int
    height: int


def nal_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B byte stream, without start codes and trailing zeros."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        after = data.find(b"\0\0\1", at + 3)
        unit = data[at + 3 : after if after >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        at = after


def parameter_sets(data: bytes) -> bytes:
    """The SPS and PPS that stand before the first slice, as a byte stream; empty unless both are there."""
    found: dict[int, list[bytes]] = {SPS: [], PPS: []}
    for unit in nal_units(data):
        kind = unit[0] & 31
        if kind in found and unit not in found[kind]:  # some repeat them before every slice
            found[kind].append(unit)
        elif SLICE <= kind <= IDR:
            break
    if not (found[SPS] and found[PPS]):
        return b""
    return b"".join(b"\0\0\0\1" + unit for unit in found[SPS] + found[PPS])


def picture_of(parameters: bytes) -> Picture:
    """Profile, level and size from a byte stream with an SPS.

    Raises ``Malformed`` if there is none or it cannot be read.
    """
    for unit in nal_units(parameters):
        if unit[0] & 31 == SPS:
            try:
                return _read_sps(unit)
            except IndexError:
                raise Malformed(f"an SPS of {len(unit)} bytes ends in the middle of its fields") from None
    raise Malformed(
        "no H.264 sequence parameter set: neither in the session description nor before a key frame"
    )


class Bits:
    """Reads the fields of a NAL unit bit by bit. Raises ``IndexError`` at its end, ``Malformed`` for impossible numbers."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._at = 0

    def bit(self) -> int:
        """The next bit."""
        value = self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
        self._at += 1
        return value

    def bits(self, count: int) -> int:
        """The next ``count`` bits, ``u(n)`` in the standards."""
        value = 0
        for _ in range(count):
            value = value << 1 | self.bit()
        return value

    def unsigned(self) -> int:
        """An Exp-Golomb number, ``ue(v)``."""
        zeros = 0
        while not self.bit():
            zeros += 1
            if zeros > 32:
                raise Malformed("an SPS with a number of more than 32 bits")
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        """An Exp-Golomb number with sign, ``se(v)``."""
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _read_sps(unit: bytes) -> Picture:
    codec = f"avc1.{unit[1]:02x}{unit[2]:02x}{unit[3]:02x}"
    bits = Bits(unit[4:])
    bits.unsigned()  # seq_parameter_set_id
    chroma = 1
    if unit[1] in _WITH_CHROMA:
        chroma = _skip_high_profile(bits)
    bits.unsigned()  # log2_max_frame_num_minus4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.bit()
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned()  # max_num_ref_frames
    bits.bit()
    columns, rows = bits.unsigned() + 1, bits.unsigned() + 1
    frames_only = bits.bit()
    if not frames_only:
        bits.bit()
    bits.bit()
    width, height = columns * 16, rows * 16 * (2 - frames_only)
    if bits.bit():  # frame_cropping_flag
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        across = 1 if chroma in (0, 3) else 2
        down = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= (left + right) * across
        height -= (top + bottom) * down
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise Malformed(f"an SPS with a picture of {width}x{height}; 1 to 16384 is possible")
    return Picture(codec=codec, width=width, height=height)


def _skip_high_profile(bits: Bits) -> int:
    """Read past the fields only the high profiles have; returns ``chroma_format_idc``."""
    chroma = bits.unsigned()
    if chroma == 3:
        bits.bit()
    bits.unsigned()
    bits.unsigned()
    bits.bit()
    if bits.bit():  # seq_scaling_matrix_present_flag
        for i in range(8 if chroma != 3 else 12):
            if bits.bit():
                last = following = 8
                for _ in range(16 if i < 6 else 64):
                    if following:
                        following = (last + bits.signed()) % 256
                    last = following or last
    return chroma
