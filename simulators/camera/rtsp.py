"""The camera's RTSP server: digest log-in, TCP interleaved, any number of clients on each stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from simulators.camera.connection import RtspConnection
from simulators.camera.digest import DigestGate
from simulators.camera.faults import CameraFaults
from simulators.camera.stream import MediaStream, MediaTrack


class RtspServer:
    """Serves a camera's streams, each under its own path."""

    def __init__(
        self,
        *,
        name: str,
        streams: Sequence[MediaStream],
        gate: DigestGate | None,
        faults: Callable[[], CameraFaults],
    ) -> None:
        self.name = name
        self.gate = gate
        self._faults = faults
        self.sessions_total = 0
        self.refused_logins = 0
        self._streams = tuple(streams)
        self._connections: set[RtspConnection] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return len(self._connections)

    @property
    def playing(self) -> int:
        """Sessions that are being sent frames."""
        return sum(stream.playing for stream in self._streams)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for clients to read, over all connections; the kernel's buffers not counted."""
        return sum(connection.backlog_bytes for connection in self._connections)

    def faults(self) -> CameraFaults:
        """Return what is wrong with the camera now."""
        return self._faults()

    async def listen(self, host: str, port: int) -> int:
        """Open the port (0: any free one) and return it; raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: RtspConnection(self), host, port, reuse_address=True)
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

    def found(self, path: str) -> tuple[MediaStream, MediaTrack | None] | None:
        """Return what a path names: a stream, and a track of it if it goes so far; None if there is no such thing."""
        for stream in self._streams:
            if path == stream.path:
                return stream, None
            for track in stream.tracks:
                if path == f"{stream.path}/{track.control}":
                    return stream, track
        return None

    def opened(self, connection: RtspConnection) -> None:
        """Count a connection."""
        self._connections.add(connection)

    def closed(self, connection: RtspConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
