"""The pictures of MP4 files and live parts, found by walking their boxes: no library that might mend what is wrong in them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av

from drivers.cameras.worker.frames.mp4 import MARK
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


def film_of(codec: str, samples: list[list[bytes]], *, marked: bool) -> bytes:
    """A fragmented MP4 with these samples, as this version or an earlier one wrote it."""
    out = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof+skip_trailer", "frag_duration": "800000"}
    with av.open(out, "w", format="mp4", options=options) as film:
        if marked:
            film.metadata["comment"] = MARK
        data = b"".join(b"\0\0\0\1" + unit for unit in samples[0])
        with av.open(io.BytesIO(data), "r", format=codec) as probe:
            stream: Any = film.add_stream_from_template(probe.streams.video[0])
        for n, units in enumerate(samples):
            packet: Any = av.Packet(b"".join(b"\0\0\0\1" + unit for unit in units))
            packet.stream, packet.pts, packet.dts = stream, n * 1000, n * 1000
            packet.time_base, packet.duration = stream.time_base, 1000
            packet.is_keyframe = n % 12 == 0
            film.mux(packet)
    return out.getvalue()
