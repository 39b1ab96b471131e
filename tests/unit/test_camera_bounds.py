"""What a camera's own numbers may ask for: what cannot be true is refused, all that cameras send is read."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from av.packet import Packet

from drivers.cameras.codec import hevc, sps
from drivers.cameras.codec.sps import Picture
from drivers.cameras.parent.bank import of_process
from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.bounds import (
    DECODING_BYTES,
    MOST_ALLOCATED,
    Rate,
    Room,
    Volume,
    allocate_at_most,
    decoding_bytes,
    most_samples,
    together,
)
from drivers.cameras.worker.evidence.decoding import decode
from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.stream.opening import LIBRARY_IS_BOUNDED
from drivers.cameras.worker.stream.ring import Ring
from gateway.domain.errors import Malformed, Unavailable
from gateway.domain.fault import FaultKind
from tests.support.crafted_stream import pictures, resized, resized_hevc
from tests.support.h264_packets import lay, packets_of

H264 = {unit[0] & 31: unit for unit in pictures()[0]}
H265 = {unit[0] >> 1 & 63: unit for unit in pictures("hevc")[0]}


def stream(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize(
    ("across", "down", "references", "said"),
    [
        (120, 68, 4, ""),  # 1080p
        (240, 135, 4, ""),  # 4K
        (250, 188, 5, ""),  # 12 megapixels
        (480, 270, 5, ""),  # 8K
        (1024, 136, 1, ""),  # the widest panorama of the largest level
        (1024, 137, 1, "at most"),
        (512, 512, 1, "at most"),
        (1024, 1024, 1, "at most"),
        (1025, 1, 1, "1 to 16384"),
        (1, 1025, 1, "1 to 16384"),
        (4096, 4096, 1, "1 to 16384"),
        (65536, 65536, 1, "1 to 16384"),
        (1 << 31, 1, 1, "1 to 16384|32 bits"),
        (120, 68, 16, ""),
        (120, 68, 17, "17 reference pictures"),
        (120, 68, 1 << 30, "reference pictures"),
    ],
)
def test_h264_sizes(across: int, down: int, references: int, said: str) -> None:
    """By macroblocks and reference pictures."""
    sets = stream(resized(H264[7], across, down, references=references), H264[8])
    if said:
        with pytest.raises(Malformed, match=said):
            sps.picture_of(sets)
        return
    picture = sps.picture_of(sets)
    assert (picture.width, picture.height) == (16 * across, 16 * down)
    assert picture.references == references
    assert picture.decoded_bytes == 16 * across * 16 * down * 3 // 2


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (1920, 1080, ""),
        (3840, 2160, ""),
        (8192, 4320, ""),
        (8192, 4360, "at most"),
        (16_384, 16_384, "at most"),
        (16_392, 8, "1 to 16384"),
        (65_528, 65_528, "1 to 16384"),
        (0, 1080, "1 to 16384"),
    ],
)
def test_h265_sizes(width: int, height: int, said: str) -> None:
    """By pixels."""
    sets = stream(resized_hevc(H265[33], width, height))
    if said:
        with pytest.raises(Malformed, match=said):
            hevc.picture_of(sets)
        return
    assert (hevc.picture_of(sets).width, hevc.picture_of(sets).height) == (width, height)


@pytest.mark.parametrize(
    "before",
    [
        [b"\x06\x05\x01"] * 600,
        [b"\x09\xf0"] * 600,
        [b"\x68" + n.to_bytes(3, "big") + b"\x80" for n in range(0x111111, 0x111111 + 600)],
        [b"\x67" + bytes([n % 200 + 1]) * 2000 for n in range(60)],
    ],
    ids=["SEI", "delimiters", "many sets", "large sets"],
)
def test_what_stands_before_a_picture_is_bounded(before: list[bytes]) -> None:
    """So many units and bytes of sets no stream has; a few of each are as ever."""
    whole = stream(H264[7], H264[8], *before, H264[5])
    with pytest.raises(Malformed, match="before a picture"):
        sps.parameter_sets(whole)
    few = stream(H264[7], H264[8], *before[:3], H264[5])
    assert sps.parameter_sets(few).startswith(stream(H264[7]))
    of_h265 = [bytes((33 << 1, 1)) + unit for unit in before]
    with pytest.raises(Malformed, match="before a picture"):
        hevc.parameter_sets(
            stream(*H265.values())[: len(stream(H265[32], H265[33], H265[34]))] + stream(*of_h265)
        )


@pytest.mark.parametrize(
    ("width", "height", "references", "reordered", "given"),
    [
        (1920, 1088, 4, True, True),
        (1920, 1088, 16, True, True),
        (3840, 2160, 4, True, True),
        (4000, 3008, 4, True, True),
        (7680, 4320, 5, False, True),
        (7680, 4320, 16, False, False),
        (7680, 4320, 2, True, False),
    ],
)
def test_what_decoding_may_take(
    width: int, height: int, references: int, reordered: bool, given: bool
) -> None:
    """Every camera of schools has room; what may take more than is given is refused before a decoder is made."""
    picture = Picture(
        codec="avc1",
        width=width,
        height=height,
        coded_width=width,
        coded_height=height,
        references=references,
        decoded_bytes=width * height * 3 // 2,
    )
    needed = decoding_bytes(picture, reordered=reordered, threads=1)
    assert (needed <= DECODING_BYTES) is given
    assert together(picture) >= 1
    assert most_samples(picture) >= width * height
    room = Room()
    if given:
        with room.taken(needed, "it"):
            pass
    else:
        with (
            pytest.raises(Unavailable, match="set the camera to a smaller picture"),
            room.taken(needed, "it"),
        ):
            pass


def test_room_is_waited_for_and_given_back() -> None:
    """Two that need all of it go one after the other."""
    room = Room(100, 100)
    order: list[str] = []

    def second() -> None:
        with room.taken(100, "it"):
            order.append("second")

    other = threading.Thread(target=second)
    broken = room.taken(100, "it")
    broken.__enter__()
    other.start()
    other.join(0.1)
    order.append("first")
    broken.__exit__(RuntimeError, RuntimeError(), None)
    other.join(10)
    assert order == ["first", "second"]


def test_a_rate_is_of_a_span() -> None:
    """So many within it and no more; after it as many again."""
    rate = Rate(3, 1.0)
    assert [rate.exceeded(at) for at in (0.0, 0.1, 0.2, 0.3, 1.4, 1.5, 1.6, 1.7)] == [
        False,
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]


def test_a_larger_picture_within_a_group_is_not_decoded() -> None:
    """A frame that brings an SPS of 4096 x 2048 into a group of 64 x 64: the others come, it is refused unread."""
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    (group,) = lay(ring, packets_of(1), 1, 1000.0)
    assert isinstance(group, Group)
    large = stream(resized(H264[7], 256, 128), H264[8], H264[5])
    frame = group.frames[-1]
    packet = Packet(large)
    packet.pts = frame.pts
    group.frames[-1] = type(frame)(packet, frame.pts, frame.arrival_s, False, len(large))
    shown = decode(group, {group.frames[-1]}, every_core=False)
    assert all(each.picture.width == 64 for each in shown.values())


def test_a_volume_is_counted_by_spans() -> None:
    """A burst may come once in a span, and what came before it does not count."""
    volume = Volume(100, 5.0, 10.0)
    assert not any(volume.exceeded(20, 10.0 + n) for n in range(5))
    assert volume.exceeded(1, 14.9)
    assert not volume.exceeded(100, 15.0)
    assert volume.exceeded(1, 15.1)


def test_a_media_library_that_could_not_be_bounded_is_a_fault() -> None:
    """Here it could; where it cannot, that is told, beside whatever else is wrong with the camera process."""
    assert LIBRARY_IS_BOUNDED
    assert of_process([], [], None, "", bounded=True) == {}
    found = of_process([("live", "", "OSError", 2)], ["cam"], "it dies", "it hangs", bounded=False)
    assert set(found) == {
        (FaultKind.CAMERA, "thread live"),
        (FaultKind.CAMERA, "camera process"),
        (FaultKind.DISK, "recordings hang"),
        (FaultKind.CAMERA, "camera memory"),
    }
    assert "scripts/install" in found[FaultKind.CAMERA, "camera memory"]


def test_a_library_that_is_not_there_is_bounded_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one without that function, nor a system without /proc: each is said, and ends nothing."""
    for maps in ("", "7f00 r-xp 0 0 0 /nowhere/libavutil.so.60\n", "7f00 r-xp 0 0 0 /usr/lib/libc.so.6\n"):
        monkeypatch.setattr(Path, "read_text", lambda *_, maps=maps: maps)
        assert not allocate_at_most(MOST_ALLOCATED)

    def away(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", away)
    assert not allocate_at_most(MOST_ALLOCATED)
