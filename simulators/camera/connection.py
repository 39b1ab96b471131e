"""One RTSP client: its requests, its session, and what it is sent.

There is no queue of its own behind a client, only the socket's: a client that does not read loses whole groups of
pictures and is cut after `_STALLED_S`.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

from simulators.camera.digest import DigestGate
from simulators.camera.faults import CameraFaults
from simulators.camera.rtp import disturbed, sender_report
from simulators.camera.rtsp_messages import (
    Interleaved,
    MalformedRequest,
    Request,
    RequestReader,
    interleaved_channels,
    response,
)
from simulators.camera.stream import Frame, MediaStream, MediaTrack

_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
# Two seconds of a 4 Mbit/s stream, over and above what the kernel's socket buffer takes.
_BACKLOG_BYTES = 1_000_000
_STALLED_S = 10.0
_REPORT_EVERY_S = 5.0
_SESSION_TIMEOUT_S = 60


@dataclass(slots=True, kw_only=True)
class _Sending:
    """One track as it is sent to one client."""

    channels: tuple[int, int]
    packets: int = 0
    octets: int = 0
    reported_at_s: float = 0.0


class Server(Protocol):
    """What a connection knows of the server it came to."""

    name: str
    gate: DigestGate | None
    sessions_total: int
    refused_logins: int

    def faults(self) -> CameraFaults:
        """Return what is wrong with the camera now."""

    def found(self, path: str) -> tuple[MediaStream, MediaTrack | None] | None:
        """Return what a path names: a stream, and a track of it if it goes so far; None if there is no such thing."""

    def opened(self, connection: RtspConnection) -> None:
        """Count a connection."""

    def closed(self, connection: RtspConnection) -> None:
        """Forget a connection."""


class RtspConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None
        self._session = ""
        self._stream: MediaStream | None = None
        self._sending: dict[MediaTrack, _Sending] = {}
        self._waits_for_key = True
        self._frames = 0
        self._stalled_since_s: float | None = None

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
        self._silence()
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

    def channel_of(self, track: MediaTrack) -> int | None:
        """Return the interleaved channel on which the client wants the track, None if not at all."""
        sending = self._sending.get(track)
        return None if sending is None else sending.channels[0]

    def send(self, track: MediaTrack, frame: Frame, wire: bytes) -> bool:
        """Write a frame, or leave it out for a client that does not keep up; tell whether it was written."""
        transport = self._transport
        faults = self._server.faults()
        if transport is None or transport.is_closing() or faults.freeze:
            return False
        if self._lags(transport):
            return False
        if track.picture:
            if self._waits_for_key and not frame.key:
                return False
            self._waits_for_key = False
            if faults.cut_after_frames is not None and self._frames >= faults.cut_after_frames:
                transport.write(wire[: len(wire) // 2])
                transport.close()
                self._silence()
                return False
            self._frames += 1
        sending = self._sending[track]
        if frame.taken_at_s - sending.reported_at_s >= _REPORT_EVERY_S:
            sending.reported_at_s = frame.taken_at_s
            transport.write(
                sender_report(
                    channel=sending.channels[1],
                    ssrc=track.ssrc,
                    unix_s=frame.taken_at_s + faults.clock_skew_s,
                    timestamp=frame.rtp_timestamp,
                    packets=sending.packets,
                    octets=sending.octets,
                    cname=self._server.name,
                )
            )
        if track.picture:
            wire = disturbed(
                wire,
                lose=faults.lose_every_packets,
                repeat=faults.repeat_every_packets,
                swap=faults.swap_every_packets,
            )
        transport.write(wire)
        sending.packets += frame.prepared.packets
        sending.octets += frame.prepared.octets
        return True

    def _lags(self, transport: asyncio.Transport) -> bool:
        """Tell whether the client has so much to read that it gets no more, and cut it after a while of that."""
        if transport.get_write_buffer_size() <= _BACKLOG_BYTES:
            self._stalled_since_s = None
            return False
        self._waits_for_key = True
        now_s = time.monotonic()
        self._stalled_since_s = now_s if self._stalled_since_s is None else self._stalled_since_s
        if now_s - self._stalled_since_s > _STALLED_S:
            self.cut()
        return True

    def _silence(self) -> None:
        if self._stream is not None:
            self._stream.silence(self)

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
        named = self._server.found(urlsplit(request.url).path.rstrip("/"))
        if named is None:
            return response(404, cseq)
        stream, track = named
        match request.method:
            case "DESCRIBE":
                return self._describe(request, cseq, stream)
            case "SETUP":
                return self._setup(request, cseq, stream, track or stream.tracks[0])
            case "PLAY" | "TEARDOWN" | "GET_PARAMETER" | "SET_PARAMETER":
                return self._within_session(request, cseq)
            case _:
                return response(405, cseq, {"Allow": _METHODS})

    def _admits(self, request: Request) -> bool:
        if self._server.faults().reject_login:
            return False
        gate = self._server.gate
        return gate is None or gate.admits(request.headers.get("authorization"), method=request.method)

    def _describe(self, request: Request, cseq: str, stream: MediaStream) -> bytes:
        url = urlsplit(request.url)
        # The base is the address the client used, so that the answer is right behind any port mapping.
        base = f"rtsp://{url.netloc.rpartition('@')[2]}{stream.path}/"
        headers = {"Content-Base": base, "Content-Type": "application/sdp", "Cache-Control": "no-cache"}
        sdp = stream.sdp(name=self._server.name, host=url.hostname or "0.0.0.0")
        return response(200, cseq, headers, sdp)

    def _setup(self, request: Request, cseq: str, stream: MediaStream, track: MediaTrack) -> bytes:
        if self._session and stream is not self._stream:
            return response(459, cseq)
        channels = interleaved_channels(request.headers.get("transport", ""))
        if channels is None:
            return response(461, cseq)
        if not self._session:
            self._session = secrets.token_hex(8)
            self._server.sessions_total += 1
            self._stream, self._sending = stream, {}
        taken = {
            each for other, sending in self._sending.items() if other != track for each in sending.channels
        }
        if taken & set(channels):
            # The client reads in the answer which channels they are.
            free = next(low for low in range(0, 256, 2) if not taken & {low, low + 1})
            channels = (free, free + 1)
        self._sending[track] = _Sending(channels=channels)
        transport = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]};ssrc={track.ssrc:08X}"
        session = f"{self._session};timeout={_SESSION_TIMEOUT_S}"
        return response(200, cseq, {"Transport": transport, "Session": session})

    def _within_session(self, request: Request, cseq: str) -> bytes:
        named = request.headers.get("session", "").partition(";")[0].strip()
        if request.method in ("PLAY", "TEARDOWN") and (not self._session or named != self._session):
            return response(454, cseq)
        headers = {"Session": self._session} if self._session else {}
        if request.method == "PLAY" and self._stream is not None:
            # No sequence number and no time: the stream begins at the next key frame, whichever that will be.
            url = urlsplit(request.url)
            base = f"{url.scheme}://{url.netloc}{self._stream.path}"
            tracks = ",".join(f"url={base}/{track.control}" for track in self._sending)
            headers |= {"Range": "npt=now-", "RTP-Info": tracks}
            self._stream.play(self)
        elif request.method == "TEARDOWN":
            self._silence()
            self._session, self._stream, self._sending = "", None, {}
            self._waits_for_key = True
        return response(200, cseq, headers)
