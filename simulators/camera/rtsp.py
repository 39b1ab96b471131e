"""The camera's RTSP server: digest log-in, TCP interleaved, any number of clients on one stream.

There is no queue of its own behind a client, only the socket's: a client that does not read loses whole groups of
pictures and is cut after `_STALLED_S`.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from simulators.camera.codecs import CODECS, format_parameters
from simulators.camera.digest import DigestGate
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import StreamDescription
from simulators.camera.rtp import (
    CLOCK_HZ,
    JPEG_PAYLOAD_TYPE,
    VIDEO_PAYLOAD_TYPE,
    PreparedFrame,
    sender_report,
)
from simulators.camera.rtsp_messages import (
    Interleaved,
    MalformedRequest,
    Request,
    RequestReader,
    interleaved_channels,
    response,
)

STREAM_PATH = "/live"
_TRACK = "trackID=0"
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
# Two seconds of a 4 Mbit/s stream, over and above what the kernel's socket buffer takes.
_BACKLOG_BYTES = 1_000_000
_STALLED_S = 10.0
_REPORT_EVERY_S = 5.0
_SESSION_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame on its way to the clients."""

    prepared: PreparedFrame
    number: int
    """Counts from 0 since the camera started."""
    key: bool
    rtp_timestamp: int
    taken_at_s: float
    """Unix time at which the picture was taken."""


class RtspServer:
    """Serves one stream at `STREAM_PATH`."""

    def __init__(
        self,
        *,
        name: str,
        description: StreamDescription,
        gate: DigestGate | None,
        faults: Callable[[], CameraFaults],
        on_playing: Callable[[int], None],
    ) -> None:
        self.name = name
        self.description = description
        self.gate = gate
        self.faults = faults
        self.sessions_total = 0
        self.refused_logins = 0
        self.ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)
        self._on_playing = on_playing
        self._connections: set[_Connection] = set()
        self._playing: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return len(self._connections)

    @property
    def playing(self) -> int:
        """Sessions that are being sent frames."""
        return len(self._playing)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for clients to read, over all connections; the kernel's buffers not counted."""
        return sum(connection.backlog_bytes for connection in self._connections)

    async def listen(self, host: str, port: int) -> int:
        """Open the port (0: any free one) and return it; raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, reuse_address=True)
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    def close_port(self) -> None:
        """Stop accepting; open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut_all(self) -> None:
        """Reset every open connection."""
        for connection in list(self._connections):
            connection.cut()

    def publish(self, frame: Frame) -> int:
        """Send a frame to every client that plays; return how many it was written to."""
        first = self._sequence
        self._sequence = (first + frame.prepared.packets) & 0xFFFF
        rendered: dict[int, bytes] = {}
        sent_to = 0
        for connection in list(self._playing):
            channel = connection.channels[0]
            if channel not in rendered:
                rendered[channel] = frame.prepared.on_wire(
                    channel=channel,
                    sequence=first,
                    timestamp=frame.rtp_timestamp,
                    ssrc=self.ssrc,
                    frame=frame.number,
                )
            sent_to += connection.send(frame, rendered[channel])
        return sent_to

    def opened(self, connection: _Connection) -> None:
        """Count a connection."""
        self._connections.add(connection)

    def play(self, connection: _Connection) -> None:
        """Begin sending to a connection."""
        if connection not in self._playing:
            self._playing.add(connection)
            self._on_playing(len(self._playing))

    def silence(self, connection: _Connection) -> None:
        """Stop sending to a connection."""
        if connection in self._playing:
            self._playing.discard(connection)
            self._on_playing(len(self._playing))

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self.silence(connection)
        self._connections.discard(connection)

    def sdp(self, host: str) -> str:
        """Describe the stream (RFC 4566)."""
        about = self.description
        jpeg = self.faults().wrong_codec
        payload_type = JPEG_PAYLOAD_TYPE if jpeg else VIDEO_PAYLOAD_TYPE
        lines = [
            "v=0",
            f"o=- {self.ssrc} 1 IN IP4 {host}",
            f"s={self.name}",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            "a=range:npt=now-",
            f"m=video 0 RTP/AVP {payload_type}",
            f"a=rtpmap:{payload_type} {'JPEG' if jpeg else CODECS[about.codec].sdp_name}/{CLOCK_HZ}",
        ]
        if not jpeg:
            lines.append(f"a=fmtp:{payload_type} {format_parameters(about)}")
        lines += [f"a=framerate:{about.fps}", f"a=control:{_TRACK}"]
        return "\r\n".join(lines) + "\r\n"


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: RtspServer) -> None:
        self._server = server
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None
        self._session = ""
        self.channels = (0, 1)
        self._waits_for_key = True
        self._frames = self._packets = self._octets = 0
        self._stalled_since_s: float | None = None
        self._reported_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do all that asyncio's do and inherit from none of them.
        self._transport = cast(asyncio.Transport, transport)
        self._server.opened(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        faults = self._server.faults()
        if faults.drop_connections or faults.refuse_connections:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)

    def cut(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for item in self._reader.feed(data):
                if isinstance(item, Interleaved):
                    continue  # receiver reports: a camera that ignores them loses nothing
                self._write(self._answer(item))
        except MalformedRequest:
            self._write(response(400, "0"))
            if self._transport is not None:
                self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for this client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, frame: Frame, wire: bytes) -> bool:
        """Write a frame, or leave it out for a client that does not keep up; tell whether it was written."""
        transport = self._transport
        faults = self._server.faults()
        if transport is None or transport.is_closing() or faults.freeze:
            return False
        if transport.get_write_buffer_size() > _BACKLOG_BYTES:
            self._waits_for_key = True
            now_s = time.monotonic()
            self._stalled_since_s = now_s if self._stalled_since_s is None else self._stalled_since_s
            if now_s - self._stalled_since_s > _STALLED_S:
                self.cut()
            return False
        self._stalled_since_s = None
        if self._waits_for_key and not frame.key:
            return False
        self._waits_for_key = False
        if faults.cut_after_frames is not None and self._frames >= faults.cut_after_frames:
            transport.write(wire[: len(wire) // 2])
            transport.close()
            self._server.silence(self)
            return False
        if frame.taken_at_s - self._reported_at_s >= _REPORT_EVERY_S:
            self._reported_at_s = frame.taken_at_s
            transport.write(
                sender_report(
                    channel=self.channels[1],
                    ssrc=self._server.ssrc,
                    unix_s=frame.taken_at_s + faults.clock_skew_s,
                    timestamp=frame.rtp_timestamp,
                    packets=self._packets,
                    octets=self._octets,
                    cname=self._server.name,
                )
            )
        transport.write(wire)
        self._frames += 1
        self._packets += frame.prepared.packets
        self._octets += frame.prepared.octets
        return True

    def _answer(self, request: Request) -> bytes:
        cseq = request.headers.get("cseq", "0")
        if request.version != "RTSP/1.0":
            return response(505, cseq)
        if request.method == "OPTIONS":
            return response(200, cseq, {"Public": _METHODS})
        if not self._admits(request):
            self._server.refused_logins += "authorization" in request.headers
            gate = self._server.gate or DigestGate(realm=self._server.name, username="", password="")
            return response(401, cseq, {"WWW-Authenticate": gate.challenge(with_qop=False)})
        path = urlsplit(request.url).path.rstrip("/")
        if path not in (STREAM_PATH, f"{STREAM_PATH}/{_TRACK}"):
            return response(404, cseq)
        match request.method:
            case "DESCRIBE":
                return self._describe(request, cseq)
            case "SETUP":
                return self._setup(request, cseq)
            case "PLAY" | "TEARDOWN" | "GET_PARAMETER" | "SET_PARAMETER":
                return self._within_session(request, cseq)
            case _:
                return response(405, cseq, {"Allow": _METHODS})

    def _admits(self, request: Request) -> bool:
        if self._server.faults().reject_login:
            return False
        gate = self._server.gate
        return gate is None or gate.admits(request.headers.get("authorization"), method=request.method)

    def _describe(self, request: Request, cseq: str) -> bytes:
        url = urlsplit(request.url)
        # The base is the address the client used, so that the answer is right behind any port mapping.
        base = f"rtsp://{url.netloc.rpartition('@')[2]}{STREAM_PATH}/"
        headers = {"Content-Base": base, "Content-Type": "application/sdp", "Cache-Control": "no-cache"}
        return response(200, cseq, headers, self._server.sdp(url.hostname or "0.0.0.0"))

    def _setup(self, request: Request, cseq: str) -> bytes:
        channels = interleaved_channels(request.headers.get("transport", ""))
        if channels is None:
            return response(461, cseq)
        if not self._session:
            self._session = secrets.token_hex(8)
            self._server.sessions_total += 1
        self.channels = channels
        transport = (
            f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]};ssrc={self._server.ssrc:08X}"
        )
        session = f"{self._session};timeout={_SESSION_TIMEOUT_S}"
        return response(200, cseq, {"Transport": transport, "Session": session})

    def _within_session(self, request: Request, cseq: str) -> bytes:
        named = request.headers.get("session", "").partition(";")[0].strip()
        if request.method in ("PLAY", "TEARDOWN") and (not self._session or named != self._session):
            return response(454, cseq)
        headers = {"Session": self._session} if self._session else {}
        if request.method == "PLAY":
            # No sequence number and no time: the stream begins at the next key frame, whichever that will be.
            track = request.url.rstrip("/").removesuffix(f"/{_TRACK}") + f"/{_TRACK}"
            headers |= {"Range": "npt=now-", "RTP-Info": f"url={track}"}
            self._server.play(self)
        elif request.method == "TEARDOWN":
            self._server.silence(self)
            self._session = ""
            self._waits_for_key, self._reported_at_s = True, 0.0
        return response(200, cseq, headers)
