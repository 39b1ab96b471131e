"""H.264 parameter sets: found in a byte stream and read."""

from __future__ import annotations

import pytest

from drivers.cameras.codec.sps import Picture, nal_units, parameter_sets, picture_of
from gateway.domain.errors import Malformed

# Written by x264 (baseline 640x360, high 1920x1080 with cropping); the sizes are what ffprobe says of them.
BASELINE = bytes.fromhex(
    "0000000167 42c01eda0280bfe5c05a830303528000000300800000194 78b1750".replace(" ", "")
)
HIGH = bytes.fromhex("00000001 67640028acb403c0113f2e022000000300200000065 1e30654".replace(" ", ""))
PPS = b"\0\0\0\1\x68\xce\x3c\x80"


@pytest.mark.parametrize(
    ("sps", "picture"),
    [
        (BASELINE, Picture(codec="avc1.42c01e", width=640, height=360)),
        (HIGH, Picture(codec="avc1.640028", width=1920, height=1080)),
    ],
)
def test_picture_is_read_from_the_sps(sps: bytes, picture: Picture) -> None:
    """Profile, level and the size after cropping are those the encoder wrote."""
    assert picture_of(sps + PPS) == picture


def test_parameter_sets_before_the_first_slice_are_taken() -> None:
    """SPS and PPS are found between other units; without both there is nothing; what follows a slice does not count."""
    sei = b"\0\0\1\x06\x05\x01\x00\x80"
    slice_ = b"\0\0\1\x65\x88\x84"
    assert parameter_sets(sei + HIGH + PPS + slice_) == HIGH + PPS
    assert parameter_sets(HIGH + slice_ + PPS) == b""
    assert parameter_sets(b"") == b""


def test_units_are_split_at_both_start_codes() -> None:
    """Three- and four-byte start codes and trailing zeros are no part of a unit."""
    assert list(nal_units(b"\0\0\1ab\0\0\0\1cd\0\0\0")) == [b"ab", b"cd"]


@pytest.mark.parametrize("cut", range(6, len(HIGH) - 8))
def test_cut_sps_is_malformed_or_read(cut: int) -> None:
    """An SPS that ends too early never does anything but say so or be read as far as it matters."""
    try:
        picture_of(HIGH[:cut])
    except Malformed:
        return


def test_absence_is_told() -> None:
    """The error says where parameter sets were looked for."""
    with pytest.raises(Malformed, match="key frame"):
        picture_of(PPS)
