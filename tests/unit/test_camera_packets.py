"""What the simulated camera puts on the wire, byte by byte."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from simulators.camera.h264 import (
    frame_stamp,
    join_annex_b,
    nal_type,
    parameter_sets,
    read_frame_stamp,
    split_annex_b,
    stamped,
)
from simulators.camera.jpeg import encode_jpeg, packetize_jpeg
from simulators.camera.rtp import PreparedFrame, packetize_h264, sender_report
from simulators.camera.rtsp_messages import (
    Interleaved,
    MalformedRequest,
    Request,
    RequestReader,
    interleaved_channels,
)

SPS, PPS = bytes.fromhex("6742c01ed9"), bytes.fromhex("68cb83cb20")


def nal(kind: int, size: int, seed: int = 1) -> bytes:
    """A NAL unit without zero bytes, so that no start code hides in it."""
    return bytes((0x60 | kind,)) + bytes(random.Random(seed).choices(range(1, 256), k=size - 1))


def reassembled(payloads: list[bytes]) -> list[bytes]:
    """Undo packetization as RFC 6184 says, independently of the code under test."""
    nals: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            at = 1
            while at < len(payload):
                (length,) = struct.unpack_from(">H", payload, at)
                nals.append(payload[at + 2 : at + 2 + length])
                at += 2 + length
        elif kind == 28:
            if payload[1] & 0x80:
                nals.append(bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)))
            nals[-1] += payload[2:]
        else:
            nals.append(payload)
    return nals


@pytest.mark.parametrize("size", [2, 1399, 1400, 1401, 1402, 2797, 2798, 30_000])
def test_packets_give_the_units_back(size: int) -> None:
    """Whatever its size, a slice comes out as it went in, in packets that fit."""
    nals = [SPS, PPS, frame_stamp(7), nal(5, size)]
    payloads = packetize_h264(nals)
    assert max(map(len, payloads)) <= 1400
    assert reassembled(payloads) == nals


def test_a_fragment_says_where_it_stands() -> None:
    """The first fragment has the start bit, the last the end bit, none has both."""
    payloads = packetize_h264([nal(5, 4000)])
    assert [payload[1] >> 6 for payload in payloads] == [0b10, 0b00, 0b01]


def test_only_the_last_packet_has_the_marker() -> None:
    """Sequence numbers count on and wrap, time stamp and source are the same, the marker ends the frame."""
    prepared = PreparedFrame.of(packetize_h264([nal(5, 4000)]), payload_type=96)
    wire = prepared.on_wire(channel=4, sequence=65_535, timestamp=2**32 + 5, ssrc=0xCAFE, frame=0)
    seen = []
    at = 0
    while at < len(wire):
        magic, channel, length, version, kind, sequence, timestamp, ssrc = struct.unpack_from(
            ">BBHBBHII", wire, at
        )
        assert (magic, channel, version, timestamp, ssrc) == (0x24, 4, 0x80, 5, 0xCAFE)
        seen.append((sequence, kind))
        at += 4 + length
    assert seen == [(65_535, 96), (0, 96), (1, 96 | 0x80)]
    assert prepared.packets == 3


def test_a_prepared_frame_is_stamped_anew() -> None:
    """The frame number on the wire is the one asked for, and nothing else changes."""
    nals = stamped([SPS, PPS, nal(5, 3000)], 0)
    prepared = PreparedFrame.of(packetize_h264(nals), payload_type=96)
    for number in (0, 12_345_678, 99_999_999, 100_000_000):
        wire = prepared.on_wire(channel=0, sequence=0, timestamp=0, ssrc=0, frame=number)
        assert read_frame_stamp(wire) == number % 10**8


def test_the_stamp_stands_before_the_first_slice() -> None:
    """Other SEI units keep their place before it, as a buffering period must."""
    other = bytes((6, 0, 1, 0xAA, 0x80))
    kinds = [nal_type(each) for each in stamped([SPS, PPS, other, nal(5, 50), nal(12, 9)], 3)]
    assert kinds == [7, 8, 6, 6, 5, 12]
    assert read_frame_stamp(join_annex_b([SPS, nal(1, 40)])) is None


def test_annex_b_there_and_back() -> None:
    """Three- and four-byte start codes and trailing zeros are understood."""
    nals = [SPS, PPS, nal(5, 100)]
    assert split_annex_b(join_annex_b(nals)) == nals
    assert split_annex_b(b"".join(b"\x00\x00\x01" + each + b"\x00" for each in nals)) == nals
    assert split_annex_b(b"") == []


def test_missing_parameter_sets_are_named() -> None:
    """A key frame without SPS and PPS cannot be described."""
    with pytest.raises(ValueError, match="SPS"):
        parameter_sets([nal(5, 10)])


def test_a_sender_report_maps_the_time_stamp() -> None:
    """NTP seconds and fraction are those of the instant given; the compound ends on a word."""
    report = sender_report(
        channel=1, ssrc=9, unix_s=1_700_000_000.5, timestamp=2**32 + 77, packets=3, octets=400, cname="gate"
    )
    magic, channel, length = struct.unpack_from(">BBH", report)
    assert (magic, channel, length) == (0x24, 1, len(report) - 4)
    assert length % 4 == 0
    _, kind, words, ssrc, seconds, fraction, timestamp, packets, octets = struct.unpack_from(
        ">BBHIIIIII", report, 4
    )
    assert (kind, words, ssrc) == (200, 6, 9)
    assert (seconds, fraction) == (1_700_000_000 + 2_208_988_800, 2**31)
    assert (timestamp, packets, octets) == (77, 3, 400)
    assert report[4 + 28 + 1] == 202
    assert b"gate" in report


def test_jpeg_packets_hold_the_whole_scan() -> None:
    """Offsets join up, the first packet brings both quantization tables, and dimensions are in blocks of eight."""
    noise = np.random.default_rng(2).integers(16, 235, (120, 160), dtype=np.uint8)
    jpeg = encode_jpeg(noise)
    expected_offset = 0
    for index, payload in enumerate(packetize_jpeg(jpeg)):
        offset, kind, quality, width, height = struct.unpack_from(">IBBBB", payload)
        assert (offset, kind, quality, width, height) == (expected_offset, 1, 255, 20, 15)
        part = payload[8 + (4 + 128 if index == 0 else 0) :]
        assert part in jpeg
        expected_offset += len(part)
    with pytest.raises(ValueError, match="JPEG"):
        packetize_jpeg(b"\xff\xd8\xff\xd9")


REQUEST = b"SETUP rtsp://h/live RTSP/1.0\r\nCSeq: 3\r\nContent-Length: 4\r\n\r\nbody"


def test_requests_come_in_any_pieces() -> None:
    """Byte by byte or at once, requests and binary packets come out in order."""
    stream = REQUEST + b"$\x01\x00\x02\xab\xcd" + b"\r\n" + REQUEST
    whole = RequestReader().feed(stream)
    reader = RequestReader()
    in_bytes = [item for byte in stream for item in reader.feed(bytes((byte,)))]
    assert whole == in_bytes
    assert [type(item) for item in whole] == [Request, Interleaved, Request]
    first = whole[0]
    assert isinstance(first, Request)
    assert (first.method, first.headers["cseq"], first.body) == ("SETUP", "3", b"body")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\xfd\r\n\r\n",
        b"one two\r\n\r\n",
        b"A b RTSP/1.0\r\nno colon\r\n\r\n",
        b"A b RTSP/1.0\r\nContent-Length: x\r\n\r\n",
        b"A b RTSP/1.0\r\nContent-Length: 999999999\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_what_is_no_request_is_refused(garbage: bytes) -> None:
    """Garbage raises the one documented error."""
    with pytest.raises(MalformedRequest):
        RequestReader().feed(garbage)


@pytest.mark.parametrize(
    ("transport", "channels"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=0-1", (0, 1)),
        ("RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;unicast;interleaved=4-5", (4, 5)),
        ("RTP/AVP/TCP;unicast;interleaved=6", (6, 7)),
        ("RTP/AVP/TCP", (0, 1)),
        ("RTP/AVP;unicast;client_port=5000-5001", None),
        ("", None),
    ],
)
def test_transport_offers(transport: str, channels: tuple[int, int] | None) -> None:
    """The interleaved offer is found wherever it stands; UDP alone is none."""
    assert interleaved_channels(transport) == channels


@pytest.mark.parametrize("channels", ["a-b", "0-256", "-1-0"])
def test_impossible_channels_are_refused(channels: str) -> None:
    """Channel numbers that do not fit a byte are an error of the client."""
    with pytest.raises(MalformedRequest):
        interleaved_channels(f"RTP/AVP/TCP;interleaved={channels}")
