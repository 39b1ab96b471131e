"""What the simulated camera puts on the wire in H.265 and as sound, byte by byte, and what a bad way does to it."""

from __future__ import annotations

import base64
import random
import struct

import numpy as np
import pytest

from simulators.camera.audio import AudioLoop
from simulators.camera.codecs import CODECS, described, format_parameters, prepared
from simulators.camera.encoder import first_key_frame
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import read_frame_stamp, split_annex_b
from simulators.camera.h265 import frame_stamp, is_key, nal_type, parameter_sets, stamped
from simulators.camera.rtp import disturbed, packetize_h265
from simulators.camera.settings import StreamSettings
from simulators.camera.sound import Tone, draw_sound, hear

VPS, SPS, PPS = b"\x40\x01\x0c\x01", b"\x42\x01\x01\x60", b"\x44\x01\xc1\x72"


def nal(kind: int, size: int, seed: int = 1) -> bytes:
    """An H.265 NAL unit without zero bytes, so that no start code hides in it."""
    return bytes((kind << 1, 1)) + bytes(random.Random(seed).choices(range(1, 256), k=size - 2))


def reassembled(payloads: list[bytes]) -> list[bytes]:
    """Undo packetization as RFC 7798 says, independently of the code under test."""
    nals: list[bytes] = []
    for payload in payloads:
        kind = payload[0] >> 1 & 0x3F
        if kind == 48:
            at = 2
            while at < len(payload):
                (length,) = struct.unpack_from(">H", payload, at)
                nals.append(payload[at + 2 : at + 2 + length])
                at += 2 + length
        elif kind == 49:
            if payload[2] & 0x80:
                nals.append(bytes((payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1])))
            nals[-1] += payload[3:]
        else:
            nals.append(payload)
    return nals


@pytest.mark.parametrize("size", [3, 1399, 1400, 1401, 1402, 2796, 2797, 30_000])
def test_h265_packets_give_the_units_back(size: int) -> None:
    """Whatever its size, a slice comes out as it went in, in packets that fit, with the parameter sets in one of them."""
    nals = [VPS, SPS, PPS, frame_stamp(7), nal(19, size)]
    payloads = packetize_h265(nals)
    assert max(map(len, payloads)) <= 1400
    assert payloads[0][0] >> 1 & 0x3F == 48
    assert reassembled(payloads) == nals


def test_an_h265_fragment_says_where_it_stands() -> None:
    """The first fragment has the start bit, the last the end bit, none has both, and all name the unit's own type."""
    payloads = packetize_h265([nal(20, 4000)])
    assert [(each[0] >> 1 & 0x3F, each[2] >> 6, each[2] & 0x3F) for each in payloads] == [
        (49, 0b10, 20),
        (49, 0b00, 20),
        (49, 0b01, 20),
    ]


def test_an_h265_frame_is_stamped_anew() -> None:
    """The number in the prefix SEI on the wire is the one asked for, and stands before the first slice."""
    nals = stamped([VPS, SPS, PPS, nal(19, 3000)], 0)
    assert [nal_type(each) for each in nals] == [32, 33, 34, 39, 19]
    frame = prepared("h265", nals)
    for number in (0, 12_345_678, 99_999_999, 100_000_000):
        wire = frame.on_wire(channel=0, sequence=0, timestamp=0, ssrc=0, frame=number)
        assert read_frame_stamp(wire) == number % 10**8


def test_missing_h265_parameter_sets_are_named() -> None:
    """A key frame without VPS cannot be described."""
    with pytest.raises(ValueError, match="VPS"):
        parameter_sets([SPS, PPS, nal(19, 10)])


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_description_has_the_encoders_own_parameter_sets(codec: str, b_frames: int) -> None:
    """What a client is told before the first frame is what stands in the first frame."""
    settings = StreamSettings(codec=codec, width=320, height=180, b_frames=b_frames)
    key_frame = first_key_frame(settings)
    assert CODECS[codec].is_key(key_frame)
    parameters = dict(
        part.split("=", 1) for part in format_parameters(described(settings, key_frame)).split(";")
    )
    told = [
        base64.b64decode(each)
        for name, value in parameters.items()
        if name.startswith("sprop-")
        for each in value.split(",")
    ]
    assert told == key_frame[: len(told)]
    assert len(told) == {"h264": 2, "h265": 3}[codec]


def test_only_an_idr_begins_an_h265_stream() -> None:
    """A CRA frame is none: pictures behind it may refer to what the client never got."""
    assert is_key([nal(19, 9)])
    assert is_key([nal(20, 9)])
    assert not is_key([nal(21, 9)])
    assert not is_key([VPS, nal(1, 9)])


def packets_of(wire: bytes) -> list[tuple[int, bytes]]:
    """Sequence number and bytes of interleaved packets."""
    packets, at = [], 0
    while at < len(wire):
        length, sequence = struct.unpack_from(">H2xH", wire, at + 2)
        packets.append((sequence, wire[at : at + 4 + length]))
        at += 4 + length
    return packets


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ({}, [8, 9, 10, 11, 12]),
        ({"lose": 5}, [8, 9, 11, 12]),
        ({"lose": 1}, []),
        ({"repeat": 4}, [8, 8, 9, 10, 11, 12, 12]),
        ({"swap": 5}, [8, 9, 11, 10, 12]),
        ({"swap": 4}, [9, 8, 10, 11, 12]),
        ({"swap": 1}, [9, 8, 11, 10, 12]),
        ({"lose": 5, "swap": 3}, [8, 11, 9, 12]),
    ],
)
def test_a_bad_way_does_what_it_says(way: dict[str, int], left: list[int]) -> None:
    """Packets are missing, there twice or behind the next one; what is left is unchanged."""
    frame = prepared("h265", [nal(19, 6000)])
    wire = frame.on_wire(channel=0, sequence=8, timestamp=0, ssrc=0, frame=0)
    bad = packets_of(disturbed(wire, lose=way.get("lose"), repeat=way.get("repeat"), swap=way.get("swap")))
    assert [sequence for sequence, _ in bad] == left
    assert set(bad) <= set(packets_of(wire))


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_the_sound_is_heard_as_it_was_drawn(rate_hz: int) -> None:
    """Each second's tone is found at its place with its number, noise and another loudness notwithstanding."""
    sound = draw_sound(rate_hz=rate_hz)
    noisy = 0.6 * sound + np.random.default_rng(3).normal(0, 0.01, len(sound))
    for heard in (hear(sound, rate_hz=rate_hz), hear(noisy, rate_hz=rate_hz)):
        assert [tone.second for tone in heard] == list(range(8))
        assert [tone.at_s for tone in heard] == pytest.approx(list(range(8)), abs=0.002)


def test_half_a_tone_is_none() -> None:
    """A tone that the recording cuts off is left out: its place would be wrong."""
    sound = draw_sound(rate_hz=8000)[400:]
    assert hear(sound, rate_hz=8000)[0] == Tone(at_s=pytest.approx(0.95, abs=0.002), second=1)
    assert hear(np.zeros(800), rate_hz=8000) == []


def test_sound_packets_are_counted_since_1970() -> None:
    """Time stamp and time of a packet follow from its number, and the loop has a whole number of packets."""
    for codec, rate_hz, samples, payload_type in (
        ("aac", 16_000, 1024, 97),
        ("pcmu", 8000, 320, 0),
        ("pcma", 8000, 320, 8),
    ):
        loop = AudioLoop.make(codec)
        assert (loop.rate_hz, loop.samples, loop.payload_type) == (rate_hz, samples, payload_type)
        assert len(loop.payloads) * samples == 8 * rate_hz
        frame = loop.frame(len(loop.payloads) * 3 + 1)
        assert frame.rtp_timestamp == 24 * rate_hz + samples
        assert frame.taken_at_s == 24 + samples / rate_hz
        wire = frame.prepared.on_wire(channel=2, sequence=5, timestamp=1, ssrc=2, frame=0)
        assert wire[16:] == loop.payloads[1]
        assert wire[5] == payload_type | (0x80 if codec == "aac" else 0)


def test_an_aac_packet_carries_one_unit() -> None:
    """The AU header says 16 bits of headers and the size of the unit behind it (RFC 3640, 3.2.1 and 3.3.6)."""
    for payload in AudioLoop.make("aac").payloads:
        headers, header = struct.unpack_from(">HH", payload)
        assert (headers, header >> 3, header & 7) == (16, len(payload) - 4, 0)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"codec": "av1"}, "av1"),
        ({"fps": 0}, "0 frames"),
        ({"gop": 0}, "groups of 0"),
        ({"b_frames": 4}, "4 B-frames"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], named: str) -> None:
    """What no camera can be set to is refused with the value in question."""
    with pytest.raises(ValueError, match=named):
        StreamSettings(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mp3"):
        AudioLoop.make("mp3")


def test_changes_leave_alone_what_they_do_not_name() -> None:
    """A change of rate keeps the seconds between key frames; a change of those ends key frames on demand."""
    settings = StreamSettings(codec="h265", width=640, height=360, fps=25, gop=50, b_frames=1)
    assert CameraFaults().changed(settings) == settings
    slower = CameraFaults(change_fps=10).changed(settings)
    assert (slower.fps, slower.gop, slower.keys_on_demand) == (10, 20, True)
    rare = CameraFaults(change_gop_s=10, change_codec="h264", change_b_frames=0).changed(settings)
    assert (rare.codec, rare.fps, rare.gop, rare.b_frames, rare.keys_on_demand) == ("h264", 25, 250, 0, False)
    with pytest.raises(ValueError, match="change_gop_s"):
        CameraFaults.from_json({"change_gop_s": float("inf")})


def test_h265_annex_b_is_split_like_h264() -> None:
    """Start codes are the same in both."""
    nals = [VPS, SPS, PPS, nal(19, 100)]
    assert split_annex_b(b"".join(b"\x00\x00\x00\x01" + each for each in nals)) == nals
