"""RTP over RTSP's TCP connection: packets prepared once per frame, and sender reports.

RFC 3550 (RTP, RTCP), RFC 6184 (H.264), RFC 7798 (H.265), RFC 2326 section 10.12 (interleaving).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from simulators.camera.h264 import FRAME_STAMP_ID, stamp_digits

CLOCK_HZ = 90_000
"""RTP clock of video (RFC 6184, RFC 7798, RFC 2435)."""

VIDEO_PAYLOAD_TYPE = 96
JPEG_PAYLOAD_TYPE = 26

# What fits an Ethernet frame; cameras keep to it on TCP as well.
_PAYLOAD_BYTES = 1400
_NTP_EPOCH_S = 2_208_988_800  # 1900-01-01 to 1970-01-01, RFC 5905


def packetize_h264(nals: list[bytes], *, payload_bytes: int = _PAYLOAD_BYTES) -> list[bytes]:
    """Return the RTP payloads of one frame: STAP-A for small neighbours, FU-A for what is too large, else the unit."""
    payloads: list[bytes] = []
    small: list[bytes] = []

    def flush() -> None:
        if len(small) == 1:
            payloads.append(small[0])
        elif small:
            importance = max(nal[0] & 0x60 for nal in small)
            payloads.append(
                bytes((importance | 24,)) + b"".join(struct.pack(">H", len(nal)) + nal for nal in small)
            )
        small.clear()

    for nal in nals:
        if len(nal) > payload_bytes:
            flush()
            payloads.extend(_fragment(nal, payload_bytes))
            continue
        if small and 1 + sum(2 + len(each) for each in small) + 2 + len(nal) > payload_bytes:
            flush()
        small.append(nal)
    flush()
    return payloads


def _fragment(nal: bytes, payload_bytes: int) -> list[bytes]:
    indicator, unit_type = nal[0] & 0xE0 | 28, nal[0] & 0x1F
    room = payload_bytes - 2
    parts = [nal[at : at + room] for at in range(1, len(nal), room)]
    last = len(parts) - 1
    return [
        bytes((indicator, (0x80 if index == 0 else 0) | (0x40 if index == last else 0) | unit_type)) + part
        for index, part in enumerate(parts)
    ]


def packetize_h265(nals: list[bytes], *, payload_bytes: int = _PAYLOAD_BYTES) -> list[bytes]:
    """Return the RTP payloads of one frame: AP for small neighbours, FU for what is too large, else the unit."""
    payloads: list[bytes] = []
    small: list[bytes] = []

    def flush() -> None:
        if len(small) == 1:
            payloads.append(small[0])
        elif small:
            # Type 48, layer 0, the lowest temporal level of all (4.4.2): the encoder makes one layer and one level.
            payloads.append(b"\x60\x01" + b"".join(struct.pack(">H", len(nal)) + nal for nal in small))
        small.clear()

    for nal in nals:
        if len(nal) > payload_bytes:
            flush()
            payloads.extend(_fragment_h265(nal, payload_bytes))
            continue
        if small and 2 + sum(2 + len(each) for each in small) + 2 + len(nal) > payload_bytes:
            flush()
        small.append(nal)
    flush()
    return payloads


def _fragment_h265(nal: bytes, payload_bytes: int) -> list[bytes]:
    """Cut a unit into FU payloads (4.4.3): its header with type 49, then a byte with start, end and its own type."""
    header, unit_type = bytes((nal[0] & 0x81 | 49 << 1, nal[1])), nal[0] >> 1 & 0x3F
    room = payload_bytes - 3
    parts = [nal[at : at + room] for at in range(2, len(nal), room)]
    last = len(parts) - 1
    return [
        header + bytes(((0x80 if index == 0 else 0) | (0x40 if index == last else 0) | unit_type,)) + part
        for index, part in enumerate(parts)
    ]


@dataclass(slots=True, kw_only=True)
class PreparedFrame:
    """All RTP packets of one frame with their interleaving headers, complete but for what differs by session."""

    _wire: bytearray
    _packets_at: list[int]
    _stamp_at: int
    octets: int
    """Payload bytes, as sender reports count them."""
    packets: int = field(init=False)

    def __post_init__(self) -> None:
        self.packets = len(self._packets_at)

    @classmethod
    def of(cls, payloads: list[bytes], *, payload_type: int, marker: bool = True) -> PreparedFrame:
        """Lay the payloads out; the last packet carries the marker unless there is to be none."""
        wire = bytearray()
        packets_at = []
        for index, payload in enumerate(payloads):
            packets_at.append(len(wire))
            mark = 0x80 if marker and index == len(payloads) - 1 else 0
            wire += struct.pack(">BBHBB10x", 0x24, 0, 12 + len(payload), 0x80, mark | payload_type) + payload
        stamp = wire.find(FRAME_STAMP_ID)
        return cls(
            _wire=wire,
            _packets_at=packets_at,
            _stamp_at=stamp + len(FRAME_STAMP_ID) if stamp >= 0 else -1,
            octets=sum(len(payload) for payload in payloads),
        )

    def on_wire(self, *, channel: int, sequence: int, timestamp: int, ssrc: int, frame: int) -> bytes:
        """Return the bytes to send; `sequence` is the first packet's, `frame` goes into the stamp if there is one."""
        wire = self._wire
        tail = struct.pack(">II", timestamp & 0xFFFFFFFF, ssrc)
        for index, at in enumerate(self._packets_at):
            wire[at + 1] = channel
            struct.pack_into(">H", wire, at + 6, (sequence + index) & 0xFFFF)
            wire[at + 8 : at + 16] = tail
        if self._stamp_at >= 0:
            digits = stamp_digits(frame)
            wire[self._stamp_at : self._stamp_at + len(digits)] = digits
        return bytes(wire)


def disturbed(wire: bytes, *, lose: int | None, repeat: int | None, swap: int | None) -> bytes:
    """Return a frame's interleaved packets as a bad way leaves them.

    Those whose sequence number is divisible by `lose` are missing, by `repeat` there twice, by `swap` behind the next one.
    """
    if not (lose or repeat or swap):
        return wire
    kept: list[bytes] = []
    held: bytes | None = None
    at = 0
    while at < len(wire):
        length, sequence = struct.unpack_from(">H2xH", wire, at + 2)
        packet = wire[at : at + 4 + length]
        at += 4 + length
        if lose and sequence % lose == 0:
            continue
        if held is None and swap and sequence % swap == 0:
            held = packet
            continue
        kept += [packet] * (2 if repeat and sequence % repeat == 0 else 1)
        if held is not None:
            kept.append(held)
            held = None
    return b"".join([*kept, held or b""])


def sender_report(
    *, channel: int, ssrc: int, unix_s: float, timestamp: int, packets: int, octets: int, cname: str
) -> bytes:
    """Return an interleaved RTCP sender report with its SDES: `timestamp` was taken at `unix_s` by the camera's clock."""
    seconds = int(unix_s)
    fraction = int((unix_s - seconds) * 2**32)
    report = struct.pack(
        ">BBHIIIIII",
        0x80,
        200,
        6,
        ssrc,
        (seconds + _NTP_EPOCH_S) & 0xFFFFFFFF,
        fraction,
        timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    name = cname.encode()[:255]
    items = struct.pack(">I", ssrc) + bytes((1, len(name))) + name + b"\x00"
    items += b"\x00" * (-len(items) % 4)
    description = struct.pack(">BBH", 0x81, 202, len(items) // 4) + items
    compound = report + description
    return struct.pack(">BBH", 0x24, channel, len(compound)) + compound
