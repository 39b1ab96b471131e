"""Files of pictures: named as players want them, and every picture in them as it came, whatever its bytes spell."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.clip_file import ClipFile
from drivers.cameras.worker.live import hls
from drivers.cameras.worker.record.segment_file import SegmentFile
from drivers.cameras.worker.stream.ring import Ring
from gateway.domain.boxes import tracks
from tests.support.h264_packets import lay, packets_of

CODES = (
    b"hev1",
    b"hvc1",
    b"avc1",
    b"stsd" + bytes(7) + b"\1\0\0\0\x56hev1",
    b"moov",
    b"\0\0\0\x08mdat",
    b"ftyp",
)
ENTRIES = {"h264": b"avc1", "hevc": b"hvc1"}


def spelling(packets: list[Any], code: bytes, codec: str) -> list[Any]:
    """The same pictures, each with these bytes in a message (SEI) of the camera's own before its slices."""
    text = (code * 4).replace(b"\0\0", b"\0\0\3")  # emulation prevention, as an encoder has it
    head = b"\x06" if codec == "h264" else b"\x4e\x01"
    message = (
        b"\0\0\0\1" + head + b"\x05" + bytes((16 + len(code) * 4,)) + b"campus-test-uuid" + text + b"\x80"
    )
    made = []
    for packet in packets:
        data = bytes(packet)
        whole: Any = av.Packet(len(data) + len(message))
        # The parameter sets stay first: the message stands where the first slice began.
        at = data.rindex(b"\0\0\1")
        at -= data[at - 1] == 0
        whole.update(data[:at] + message + data[at:])
        whole.is_keyframe = packet.is_keyframe
        made.append(whole)
    return made


def units_of(sample: bytes) -> list[bytes]:
    """The NAL units of a sample of a file."""
    units = []
    while sample:
        size = int.from_bytes(sample[:4], "big")
        units.append(sample[4 : 4 + size])
        sample = sample[4 + size :]
    return units


def sent_units(packet: Any) -> list[bytes]:
    """The NAL units of a packet of a byte stream."""
    return [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:]]


def pictures_in(data: bytes, entry: bytes) -> list[list[bytes]]:
    """The NAL units of each sample of a file, found by walking its boxes."""
    (track,) = tracks(data)
    assert (track.handler, track.entry) == (b"vide", entry)
    return [units_of(data[each.place : each.place + each.size]) for each in track.samples]


@pytest.mark.parametrize("kind", ["recording", "clip"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("code", CODES, ids=["hev1", "hvc1", "avc1", "a description", "moov", "mdat", "ftyp"])
def test_no_bytes_of_a_picture_are_altered(kind: str, codec: str, code: bytes, tmp_path: Path) -> None:
    """A picture that spells a box's name, at the very beginning of the file too, is written as it came, and so it is hashed."""
    packets = spelling(packets_of(2, codec), code, codec)
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    groups = lay(ring, packets, 1, 100.0, codec)
    path = tmp_path / "film.mp4"
    first = groups[0].frames[0]
    if kind == "recording":
        segment = SegmentFile(path, groups[0], first, sound=None, lag=0)
        for group in groups:
            segment.add(group, list(group.frames))
        segment.close()
        told = segment.sha256()
    else:
        clip = ClipFile(path, groups[0], first, sound=None, progress=lambda _progress: None)
        for group in groups:
            clip.film.add(group, list(group.frames), float("inf"))
        told = clip.finish()[2]
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == told
    assert pictures_in(data, ENTRIES[codec]) == [sent_units(packet) for packet in packets]


@pytest.mark.parametrize("code", CODES)
def test_no_bytes_of_a_live_picture_are_altered(code: bytes) -> None:
    """The same of live parts, whose number and time are written in afterwards."""
    packets = spelling(packets_of(3), code, "h264")
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    groups = lay(ring, packets, 1, 100.0)
    head = hls.part(ring, f"init-{groups[0].epoch}.mp4")
    for group in groups[:-1]:
        part = hls.part(ring, f"{group.epoch}-{group.segment}.m4s")
        sent = [sent_units(frame.packet) for frame in group.frames]
        assert pictures_in(head + part, b"avc1") == sent
