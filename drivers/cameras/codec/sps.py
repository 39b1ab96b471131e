"""What H.264's parameter sets say: where they are in a packet, and the picture's profile, level and size.

Sources: ITU-T H.264 §7.3.2.1 (sequence parameter set), §7.4.1 and Annex B (byte stream), RFC 6381 §3.3 (codec string).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.domain.errors import Malformed

SLICE, IDR, SPS, PPS = 1, 5, 7, 8
WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


LARGEST_PICTURE = 35_651_584
"""Luma samples of the largest picture: level 6.2 of both standards (H.264 table A-1: 139,264 macroblocks; H.265 table A.8)."""

LONGEST_SIDE = 16_384
"""Both standards allow sqrt(8 x the largest picture) = 16,888; whole macroblocks below that."""

MOST_REFERENCES = 16
"""H.264 §7.4.2.1.1 (MaxDpbFrames), H.265 §A.4.2 (MaxDpbSize)."""

MOST_UNITS = 512
"""NAL units before a picture's first slice: parameter sets, delimiters, SEI. No camera sends twenty."""

LARGEST_SETS = 64 << 10
"""Bytes of all parameter sets of one picture; those of cameras have some hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Format of the pictures of a stream: ``codec`` is the RFC 6381 name, sizes are in pixels.

    ``coded_width`` and ``coded_height`` are the size before cropping, ``references`` how many pictures a decoder keeps to refer
    to, ``decoded_bytes`` what one takes in memory when it is decoded. Only codec and size tell two formats apart.
    """

    codec: str
    width: int
    height: int
    coded_width: int = field(default=0, compare=False)
    coded_height: int = field(default=0, compare=False)
    references: int = field(default=MOST_REFERENCES, compare=False)
    decoded_bytes: int = field(default=0, compare=False)

    @property
    def samples(self) -> int:
        """Luma samples before cropping."""
        return self.coded_width * self.coded_height


def checked(
    *, codec: str, cropped: tuple[int, int], coded: tuple[int, int], chroma: int, depth: int, references: int
) -> Picture:
    """A picture whose numbers can be true. Raises ``Malformed`` for all others, before anybody allocates what they ask for.

    ``chroma`` is ``chroma_format_idc``, ``depth`` the bits of a sample, ``references`` pictures kept to refer to.
    """
    (width, height), (across, down) = cropped, coded
    if not (0 < width <= across <= LONGEST_SIDE and 0 < height <= down <= LONGEST_SIDE):
        coded_as = "" if cropped == coded else f", cut out of {across}x{down}"
        raise Malformed(
            f"an SPS with a picture of {width}x{height}{coded_as}; 1 to {LONGEST_SIDE} is possible"
        )
    if across * down > LARGEST_PICTURE:
        raise Malformed(
            f"an SPS with a picture of {across}x{down}; at most {LARGEST_PICTURE} samples are possible (level 6.2)"
        )
    if chroma > 3 or not 8 <= depth <= 16 or references > MOST_REFERENCES:
        raise Malformed(
            f"an SPS with chroma format {chroma}, {depth} bits a sample and {references} reference pictures; at most 3, "
            f"16 and {MOST_REFERENCES} are possible"
        )
    samples = across * down * (2, 3, 4, 6)[chroma] // 2
    return Picture(
        codec=codec,
        width=width,
        height=height,
        coded_width=across,
        coded_height=down,
        references=references,
        decoded_bytes=samples * (1 if depth == 8 else 2),
    )


def collected(
    units: Iterator[bytes], kind_of: Callable[[bytes], int], kinds: Sequence[int], slices: range
) -> bytes:
    """The parameter sets of these kinds that stand before the first slice, each once, as a byte stream; empty unless there is one
    of each kind. Raises ``Malformed`` where there are more than any stream has."""
    found: dict[int, dict[bytes, None]] = {kind: {} for kind in kinds}
    size = 0
    for number, unit in enumerate(units):
        kind = kind_of(unit)
        if kind in found:
            if unit not in found[kind]:  # some repeat them before every slice
                size += len(unit)
                found[kind][unit] = None
        elif kind in slices:
            break
        if number >= MOST_UNITS or size > LARGEST_SETS:
            raise Malformed(
                f"more than {MOST_UNITS} NAL units or {LARGEST_SETS >> 10} KiB of parameter sets before a picture"
            )
    if not all(found.values()):
        return b""
    return b"".join(b"\0\0\0\1" + unit for kind in kinds for unit in found[kind])


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
    """The SPS and PPS that stand before the first slice, as a byte stream; empty unless both are there. Raises ``Malformed``
    where there are more than any stream has."""
    return collected(nal_units(data), lambda unit: unit[0] & 31, (SPS, PPS), range(SLICE, IDR + 1))


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
    """Reads the fields of a NAL unit, of whose first 4 KiB. Raises ``IndexError`` at its end, ``Malformed`` for impossible
    numbers."""

    def __init__(self, data: bytes) -> None:
        data = data[:4096].replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bit(self) -> int:
        """The next bit."""
        return self.bits(1)

    def bits(self, count: int) -> int:
        """The next ``count`` bits, ``u(n)`` in the standards."""
        left = self._left - count
        if left < 0:
            raise IndexError("the unit ends")
        self._left = left
        value = self._value >> left
        self._value ^= value << left
        return value

    def unsigned(self) -> int:
        """An Exp-Golomb number, ``ue(v)``."""
        zeros = self._left - self._value.bit_length()
        if zeros > 32:
            raise Malformed("a parameter set with a number of more than 32 bits")
        self.bits(zeros)
        return self.bits(zeros + 1) - 1

    def signed(self) -> int:
        """An Exp-Golomb number with sign, ``se(v)``."""
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _read_sps(unit: bytes) -> Picture:
    codec = f"avc1.{unit[1]:02x}{unit[2]:02x}{unit[3]:02x}"
    bits = Bits(unit[4:])
    bits.unsigned()  # seq_parameter_set_id
    chroma, depth = 1, 8
    if unit[1] in WITH_CHROMA:
        chroma, depth, _ = skip_high_profile(bits)
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
    references = bits.unsigned()  # max_num_ref_frames
    bits.bit()
    columns, rows = bits.unsigned() + 1, bits.unsigned() + 1
    frames_only = bits.bit()
    if not frames_only:
        bits.bit()
    bits.bit()
    coded = (columns * 16, rows * 16 * (2 - frames_only))
    width, height = coded
    if bits.bit():  # frame_cropping_flag
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        across = 1 if chroma in (0, 3) else 2
        down = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= (left + right) * across
        height -= (top + bottom) * down
    return checked(
        codec=codec, cropped=(width, height), coded=coded, chroma=chroma, depth=depth, references=references
    )


def skip_high_profile(bits: Bits) -> tuple[int, int, bool]:
    """Read past the fields only the high profiles have; ``chroma_format_idc``, the bits of a sample, and
    ``separate_colour_plane_flag``."""
    chroma = bits.unsigned()
    planes = bool(bits.bit()) if chroma == 3 else False
    depth = 8 + max(bits.unsigned(), bits.unsigned())
    bits.bit()
    if bits.bit():  # seq_scaling_matrix_present_flag
        for i in range(8 if chroma != 3 else 12):
            if bits.bit():
                last = following = 8
                for _ in range(16 if i < 6 else 64):
                    if following:
                        following = (last + bits.signed()) % 256
                    last = following or last
    return chroma, depth, planes
