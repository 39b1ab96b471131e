"""The walk over an MP4's boxes ends, whatever the file is, and says what it cannot read."""

from __future__ import annotations

import io
import random
from pathlib import Path

import av
import pytest

from gateway.domain.boxes import Box, OpenFile, boxes, find, tracks
from gateway.domain.errors import Malformed
from tests.support.h264_packets import packets_of

FLAGS = {
    "plain": "",
    "index in front": "faststart",
    "fragments": "empty_moov+default_base_moof+frag_keyframe+skip_trailer",
    "fragments with places of their own": "empty_moov+frag_keyframe+skip_trailer",
    "both": "hybrid_fragmented+frag_keyframe+default_base_moof",
}


def film(flags: str, path: Path) -> list[bytes]:
    """Write a film of two seconds as a file of this layout; its pictures as FFmpeg's own reader finds them."""
    made = packets_of(2)
    with av.open(str(path), "w", format="mp4", options={"movflags": flags} if flags else {}) as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for n, packet in enumerate(made):
            packet.stream, packet.pts, packet.dts = stream, n, n
            out.mux(packet)
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(video=0) if packet.size]


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_samples_are_where_another_reader_finds_them(flags: str, tmp_path: Path) -> None:
    """In a file with an index, in one of fragments, and in one with both, read from memory and from the disk."""
    path = tmp_path / "film.mp4"
    pictures = film(flags, path)
    data = path.read_bytes()
    with path.open("rb") as file:
        from_disk, from_memory = tracks(OpenFile(file)), tracks(data)
    assert from_disk == from_memory
    (track,) = from_memory
    assert (track.handler, track.entry, track.configuration[:1]) == (b"vide", b"avc1", b"\1")
    assert [data[each.place : each.place + each.size] for each in track.samples] == pictures


def test_any_damage_is_said_or_does_not_matter(tmp_path: Path) -> None:
    """With bytes changed or an end cut off the walk gives what is there, or says that the file is malformed."""
    path = tmp_path / "film.mp4"
    film(FLAGS["fragments"], path)
    data, chance = path.read_bytes(), random.Random(50)
    for _ in range(400):
        damaged = bytearray(data[: chance.randrange(len(data))])
        for _ in range(chance.randrange(4)):
            if damaged:
                damaged[chance.randrange(min(900, len(damaged)))] = chance.choice((0, 1, 8, 127, 255))
        try:
            found = tracks(bytes(damaged))
        except Malformed:
            continue
        assert all(isinstance(each.samples, list) for each in found)


@pytest.mark.parametrize("size", [2, 7, 300])
def test_a_box_that_does_not_fit_is_malformed(size: int) -> None:
    """Or ends the walk over a file that may have been cut off."""
    data = b"\0\0\0\x08free" + size.to_bytes(4, "big") + b"moov" + bytes(20)
    with pytest.raises(Malformed):
        list(boxes(data))
    walked = list(boxes(data, partial=True))
    assert walked[0] == Box(b"free", 0, 8, 8)
    assert [each.end > len(data) for each in walked[1:]] == ([True] if size == 300 else [])


def test_wide_and_open_ended_boxes_are_walked() -> None:
    """64-bit sizes, and the size 0 of a last box (§4.2)."""
    data = b"\0\0\0\1free" + (20).to_bytes(8, "big") + b"abcd" + b"\0\0\0\0mdat" + bytes(9)
    assert [(each.kind, each.content, each.end) for each in boxes(data)] == [
        (b"free", 16, 20),
        (b"mdat", 28, 37),
    ]
    assert find(data, None, b"moov") is None
    assert len(OpenFile(io.BytesIO(data))) == len(data)
