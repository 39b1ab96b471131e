"""An RTSP server that plays whatever it is given, as fast as it may: streams no encoder makes.

A thread a client, interleaved RTP over TCP, no log-in. What is played is an iterator of *units*: ``(timestamp, NAL unit)``.
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np

from drivers.cameras.codec.sps import nal_units

FPS = 10
TICKS = 90_000 // FPS
PAYLOAD = 1400

Unit = tuple[int, bytes]
Play = Callable[[], Iterator[Unit]]


class CraftedCamera:
    """Serves ``play`` under its ``url`` until :meth:`stop`; ``codec`` is ``H264`` or ``H265``, ``sets`` go into the SDP.

    What is asked ahead of a session is answered after ``slow_s``. A session is described by ``described`` bytes, which never come
    to their end, where that is not 0.
    """

    def __init__(
        self,
        play: Play,
        *,
        codec: str = "H264",
        sets: tuple[bytes, ...] = (),
        slow_s: float = 0.0,
        described: int = 0,
    ) -> None:
        self._play, self._codec, self._sets = play, codec, sets
        self._slow_s, self._described = slow_s, described
        self._stopped = threading.Event()
        self.sessions = 0
        self.sent = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/live"

    def __enter__(self) -> CraftedCamera:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _sdp(self) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=x", "t=0 0", "m=video 0 RTP/AVP 96"]
        lines += [f"a=rtpmap:96 {self._codec}/90000"]
        if self._sets and self._codec == "H264":
            sets = ",".join(base64.b64encode(unit).decode() for unit in self._sets)
            lines += [f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}"]
        return "\r\n".join([*lines, "a=control:track0", ""])

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = b""
            while True:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
                while b"\r\n\r\n" in head:
                    request, _, head = head.partition(b"\r\n\r\n")
                    if self._answer(client, request.decode("latin-1")):
                        self.sessions += 1
                        self._send_all(client)
                        return

    def _answer(self, client: socket.socket, request: str) -> bool:
        method = request.split(" ", 1)[0]
        number = re.search(r"(?i)cseq: *(\d+)", request)
        lines, body = [f"CSeq: {number[1] if number else 0}"], ""
        if method == "OPTIONS":
            lines += ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        elif method == "DESCRIBE" and self._described and "campus-gateway" not in request:
            lines += ["Content-Type: application/sdp", f"Content-Length: {self._described}"]
            client.sendall(("RTSP/1.0 200 OK\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
            while not self._stopped.is_set():
                client.sendall(b"v=0\r\n" * 20_000)
        elif method == "DESCRIBE":
            if "campus-gateway" in request:
                self._stopped.wait(self._slow_s)
            body = self._sdp()
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        else:
            lines += ["Session: 1"]
        client.sendall(("RTSP/1.0 200 OK\r\n" + "\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return method == "PLAY"

    def _send_all(self, client: socket.socket) -> None:
        sequence, began_s, sent = 0, time.monotonic(), 0
        for timestamp, unit in self._play():
            if self._stopped.is_set():
                return
            wire = bytearray()
            for payload in _payloads(unit, hevc=self._codec == "H265"):
                head = struct.pack(">BBHII", 0x80, 96, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 7)
                wire += struct.pack(">BBH", 0x24, 0, len(head) + len(payload)) + head + payload
                sequence += 1
            client.sendall(wire)
            self.sent += len(wire)
            sent += len(wire)
            self._stopped.wait(max(0.0, sent / LINE_BYTES_S - (time.monotonic() - began_s)))


def _payloads(unit: bytes, *, hevc: bool) -> Iterator[bytes]:
    """RFC 6184 §5.8, RFC 7798 §4.4.3: whole, or in fragments. An end that is not wanted is not in the unit: see ``OPEN``."""
    endless = unit.startswith(OPEN)
    unit = unit.removeprefix(OPEN)
    if len(unit) <= PAYLOAD and not endless:
        yield unit
        return
    lead = 2 if hevc else 1
    parts = [unit[at : at + PAYLOAD] for at in range(lead, len(unit), PAYLOAD)]
    for n, part in enumerate(parts):
        flags = (0x80 if n == 0 and not endless else 0) | (0x40 if n == len(parts) - 1 and not endless else 0)
        if hevc:
            yield bytes((unit[0] & 0x81 | 49 << 1, unit[1], flags | unit[0] >> 1 & 63)) + part
        else:
            yield bytes((unit[0] & 0xE0 | 28, flags | unit[0] & 31)) + part


LINE_BYTES_S = 125e6
"""What a camera's line can carry: 1 Gbit/s (IEEE 802.3ab). Loopback carries ten times as much, which no camera can send."""

OPEN = b"<a unit that goes on>"
"""Before a unit: its bytes are sent as fragments from the middle of one that neither began nor ends here."""


def pictures(codec: str = "h264", size: int = 64, count: int = FPS) -> list[list[bytes]]:
    """So many coded pictures, the first one a key frame with its parameter sets; NAL units of each."""
    encoder: Any = av.CodecContext.create("libx264" if codec == "h264" else "libx265", "w")
    encoder.width = encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, FPS)
    encoder.options = {
        "g": str(count),
        "bf": "0",
        "tune": "zerolatency",
        "x265-params": "log-level=none:bframes=0",
    }
    made: list[Any] = []
    for n in range(count):
        picture = av.VideoFrame.from_ndarray(
            np.full((size * 3 // 2, size), 10 * n % 250, np.uint8), format="yuv420p"
        )
        picture.pts = n
        made += encoder.encode(picture)
    made += encoder.encode(None)
    return [list(nal_units(bytes(packet))) for packet in made]


def paced(coded: list[list[bytes]], *, live: bool = True) -> Iterator[Unit]:
    """A group of pictures, again and again, in its time."""
    began, n = time.monotonic(), 0
    while True:
        for units in coded:
            for unit in units:
                yield n * TICKS, unit
            n += 1
            if live:
                time.sleep(max(0.0, began + n / FPS - time.monotonic()))


def resized(sps: bytes, width: int, height: int, *, references: int | None = None) -> bytes:
    """An H.264 SPS of ours (baseline or high, no scaling lists) with another size, in macroblocks of 16, and nothing cropped."""
    bits = "".join(f"{byte:08b}" for byte in sps[4:].replace(b"\0\0\3", b"\0\0"))
    reader = _Reader(bits)
    reader.unsigned()
    if sps[1] in (100, 110, 122, 244):
        reader.unsigned(), reader.unsigned(), reader.unsigned()
        reader.at += 2
    reader.unsigned()  # log2_max_frame_num_minus4
    order = reader.unsigned()
    assert order in (0, 2)
    if order == 0:
        reader.unsigned()
    before = bits[: reader.at]
    known = reader.unsigned()
    reader.at += 1
    reader.unsigned(), reader.unsigned()
    frames_only = bits[reader.at]
    reader.at += 2
    assert frames_only == "1"
    cropped = bits[reader.at]
    reader.at += 1
    if cropped == "1":
        for _ in range(4):
            reader.unsigned()
    fresh = before + golomb(known if references is None else references) + "0"
    fresh += golomb(width - 1) + golomb(height - 1) + "11" + "0" + bits[reader.at :]
    return sps[:4] + escaped(fresh)


def resized_hevc(sps: bytes, width: int, height: int) -> bytes:
    """An H.265 SPS of one layer with another size, in pixels, and nothing cropped."""
    bits = "".join(f"{byte:08b}" for byte in sps[2:].replace(b"\0\0\3", b"\0\0"))
    assert int(bits[4:7], 2) == 0
    reader = _Reader(bits)
    reader.at = 8 + 88 + 8
    reader.unsigned()
    assert reader.unsigned() == 1
    before = bits[: reader.at]
    reader.unsigned(), reader.unsigned()
    cropped = bits[reader.at]
    reader.at += 1
    if cropped == "1":
        for _ in range(4):
            reader.unsigned()
    return sps[:2] + escaped(before + golomb(width) + golomb(height) + "0" + bits[reader.at :])


class _Reader:
    def __init__(self, bits: str) -> None:
        self.bits, self.at = bits, 0

    def unsigned(self) -> int:
        zeros = self.bits.index("1", self.at) - self.at
        value = int(self.bits[self.at + zeros : self.at + 2 * zeros + 1], 2) - 1
        self.at += 2 * zeros + 1
        return value


def golomb(value: int) -> str:
    """``ue(v)``."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def escaped(bits: str) -> bytes:
    """Bits as the bytes of a NAL unit, with emulation prevention."""
    bits += "0" * (-len(bits) % 8)
    out = bytearray()
    zeros = 0
    for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
