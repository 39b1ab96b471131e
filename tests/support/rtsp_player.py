"""Play a camera with PyAV as a gateway would, and speak raw RTSP to it where a player is too polite."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import av

from simulators.camera.picture import Reading, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One packet and what its picture says; `reading` is None if it was not decoded."""

    data: bytes
    pts: int | None
    """In 1/90000 s; FFmpeg gives the first packet of an RTSP stream none."""
    key: bool
    arrived_s: float
    reading: Reading | None


def play(url: str, *, packets: int, decode: bool = True, timeout_s: float = 10.0) -> list[Received]:
    """Return the first packets of a stream over TCP; raises what `av` raises."""
    options = {"rtsp_transport": "tcp", "analyzeduration": "100000", "probesize": "50000"}
    received: list[Received] = []
    with av.open(url, options=options, timeout=timeout_s) as container:
        for packet in container.demux(container.streams.video[0]):
            arrived_s = time.time()
            frames = packet.decode() if decode else []
            received.append(
                Received(
                    data=bytes(packet),
                    pts=packet.pts,
                    key=packet.is_keyframe,
                    arrived_s=arrived_s,
                    reading=read(frames[0].to_ndarray(format="bgr24")) if frames else None,
                )
            )
            if len(received) == packets:
                break
    return received


class RawClient:
    """RTSP by hand, for cameras without log-in."""

    def __init__(self, port: int, *, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.url = f"rtsp://127.0.0.1:{port}/live"
        self._cseq = 0
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def ask(self, method: str, path: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """Send one request and return status, headers (lower case) and body; `$` packets before it are skipped."""
        self._cseq += 1
        lines = [f"{method} {self.url}{path} RTSP/1.0", f"CSeq: {self._cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while self._file.peek(1)[:1] == b"$":
            self.packet()
        first = self._file.readline().split()
        if not first:
            raise EOFError("the camera closed the connection")
        status = int(first[1])
        answered: dict[str, str] = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(":")
            answered[name.lower()] = value.strip()
        return status, answered, self._file.read(int(answered.get("content-length", "0"))).decode()

    def start(self, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> None:
        """Set up and play."""
        _, headers, _ = self.ask("SETUP", "/trackID=0", Transport=transport)
        status, _, _ = self.ask("PLAY", Session=headers["session"].partition(";")[0])
        assert status == 200

    def packet(self) -> tuple[int, bytes]:
        """Return channel and content of the next interleaved packet; EOFError at the end."""
        head = self._file.read(4)
        if len(head) < 4:
            raise EOFError("the camera closed the connection")
        length = int.from_bytes(head[2:], "big")
        content = self._file.read(length)
        if len(content) < length:
            raise EOFError("the camera cut a packet short")
        return head[1], content


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Poll until the condition holds; AssertionError after the deadline."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.01)
