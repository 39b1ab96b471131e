"""What H.265's parameter sets and slices say: where they are in a packet, the picture's profile, level and size.

Sources: ITU-T H.265 §7.3.1.2 (NAL unit header), §7.3.2.2 (SPS), §7.3.3 (profile, tier and level), table 7-1 (types);
ISO/IEC 14496-15 annex E.3 (codec string).
"""

from __future__ import annotations

from itertools import islice

from drivers.cameras.codec.sps import MOST_UNITS, Bits, Picture, checked, collected, nal_units
from gateway.domain.errors import Malformed

VPS, SPS, PPS = 32, 33, 34
FIRST_NON_SLICE = 32
RASL = frozenset({8, 9})
"""Pictures that lead a random access point and refer to what came before it: without that they cannot be decoded."""


def kind_of(unit: bytes) -> int:
    """The type of a NAL unit."""
    return unit[0] >> 1 & 63


def parameter_sets(data: bytes) -> bytes:
    """VPS, SPS and PPS that stand before the first slice, as a byte stream; empty unless all three are there. Raises
    ``Malformed`` where there are more than any stream has."""
    return collected(nal_units(data), kind_of, (VPS, SPS, PPS), range(FIRST_NON_SLICE))


def is_rasl(data: bytes) -> bool:
    """Whether the picture is one that cannot be decoded where decoding begins at the random access point it leads."""
    for unit in islice(nal_units(data), MOST_UNITS):
        if kind_of(unit) < FIRST_NON_SLICE:
            return kind_of(unit) in RASL
    return False


def picture_of(parameters: bytes) -> Picture:
    """Profile, level and size from a byte stream with an SPS. Raises ``Malformed`` if there is none or it cannot be read."""
    for unit in nal_units(parameters):
        if kind_of(unit) == SPS:
            try:
                return _read_sps(unit)
            except IndexError:
                raise Malformed(f"an SPS of {len(unit)} bytes ends in the middle of its fields") from None
    raise Malformed(
        "no H.265 sequence parameter set: neither in the session description nor before a key frame"
    )


def _read_sps(unit: bytes) -> Picture:
    bits = Bits(unit[2:])
    bits.bits(4)  # sps_video_parameter_set_id
    sub_layers = bits.bits(3)
    bits.bit()
    codec = _profile(bits)
    if sub_layers:
        present = [(bits.bit(), bits.bit()) for _ in range(sub_layers)]
        bits.bits(2 * (8 - sub_layers))
        for profile, level in present:
            bits.bits(88 * profile + 8 * level)
    bits.unsigned()  # sps_seq_parameter_set_id
    chroma = bits.unsigned()
    if chroma == 3:
        bits.bit()
    coded = (bits.unsigned(), bits.unsigned())
    width, height = coded
    if bits.bit():  # conformance_window_flag
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1)
    depth = 8 + max(bits.unsigned(), bits.unsigned())
    bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
    every_layer = bits.bit()  # sps_sub_layer_ordering_info_present_flag
    references = 0
    for _ in range(sub_layers + 1 if every_layer else 1):
        references = max(references, bits.unsigned() + 1)  # sps_max_dec_pic_buffering_minus1
        bits.unsigned()
        bits.unsigned()
    return checked(
        codec=codec, cropped=(width, height), coded=coded, chroma=chroma, depth=depth, references=references
    )


def _profile(bits: Bits) -> str:
    """``general_*`` of profile_tier_level as the codec string, e.g. ``hvc1.1.6.L93.B0``."""
    space, tier, profile = bits.bits(2), bits.bit(), bits.bits(5)
    compatible = int(f"{bits.bits(32):032b}"[::-1], 2)
    constraints = bits.bits(48).to_bytes(6, "big").rstrip(b"\0")
    level = bits.bits(8)
    parts = [
        f"hvc1.{('', 'A', 'B', 'C')[space]}{profile}",
        f"{compatible:X}",
        f"{'LH'[tier]}{level}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return ".".join(parts)
