"""The pictures of MP4 files and live parts, found by walking their boxes: no library that might mend what is wrong in them."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.boxes import tracks
from simulators.camera.encoded import EncodedStream
from simulators.camera.h264 import read_frame_stamp


def units_of(sample: bytes) -> list[bytes]:
    """The NAL units of a sample; its lengths have to add up."""
    units, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + 4], "big")
        assert 0 < size <= len(sample) - at - 4
        units.append(sample[at + 4 : at + 4 + size])
        at += 4 + size
    return units


def pictures_of(data: bytes | Path) -> list[list[bytes]]:
    """The NAL units of each sample of a file's picture track, in their order."""
    whole = data.read_bytes() if isinstance(data, Path) else data
    (track,) = (each for each in tracks(whole) if each.handler == b"vide")
    assert track.entry in (b"avc1", b"hvc1")
    return [units_of(whole[each.place : each.place + each.size]) for each in track.samples]


def differs(samples: list[list[bytes]], sent: EncodedStream) -> str:
    """How samples differ from what a simulated camera sent from the first one's number on; empty if they do not."""
    if not samples:
        return "no sample"
    first = read_frame_stamp(b"".join(samples[0]))
    if first is None:
        return "the first sample has no number"
    if not sent.keys[first % len(sent.keys)]:
        return f"begins with picture {first}, which is no key picture"
    for place, units in enumerate(samples):
        expected = sent.nals(first + place)
        if units != expected:
            return (
                f"sample {place} of {len(samples)} has {[(u[0], len(u)) for u in units]}, "
                f"picture {first + place} was {[(u[0], len(u)) for u in expected]}"
            )
    return ""
