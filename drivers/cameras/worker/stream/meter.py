"""How much a camera has sent since its last whole picture, asked of the system: the media library collects what belongs to one
picture without end, and tells nobody how much it holds.

One thread looks at all connections. The library opens its sockets by itself; each is found by the address of its other end.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from drivers.cameras.worker.bounds import LARGEST_HELD
from drivers.cameras.worker.stream.opening import Fallen
from drivers.cameras.worker.threads import THREADS

LOOK_S = 0.05
"""How often connections are looked at: at 2 Gbit/s 12 MB come meanwhile."""

RTSP_PORT = 554

TAKEN_AT = 128
"""Where ``tcpi_bytes_received`` lies in Linux's ``struct tcp_info`` (since 4.1)."""

PAUSE_S = 30.0

Peer = tuple[str, int]


class Meter:
    """One session's connection. ``picture`` is called by the session for each whole picture; ``flooded`` says that it was cut."""

    def __init__(self) -> None:
        self.peers: frozenset[Peer] = frozenset()
        self.flooded = False
        self._connection: socket.socket | None = None
        self._device = -1
        self._base: int | None = 0
        self._lock = threading.Lock()

    def picture(self) -> None:
        """A whole picture is there: what comes from now on belongs to the next ones."""
        self._base = None

    def connecting(self, url: str) -> None:
        """The library is about to connect to this address: the next connection there is the session's. What was asked before, on
        a connection of ours or on one that came to nothing, is none. Raises :class:`Fallen` where that had to be cut."""
        if self.flooded:
            raise flooded()
        peers = _peers(url)
        self.close()
        self._base, self.peers = 0, peers

    @property
    def place(self) -> int:
        """The socket's number in the system, -1 while it was not found."""
        return self._device

    def claim(self, connection: socket.socket, place: int) -> None:
        """This is the session's connection."""
        self._connection, self._device = connection, place

    def look(self) -> None:
        """Cut the connection if too much came."""
        with self._lock:
            if self._connection is None or self.flooded:
                return
            taken = _bytes_received(self._connection)
            if taken is None:
                return
            if self._base is None:
                self._base = taken
            if taken - self._base > LARGEST_HELD:
                self.flooded = True
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The session is over."""
        with self._lock:
            connection, self._connection, self._device = self._connection, None, -1
            if connection is not None:
                connection.close()


class Meters:
    """The thread, and what it looks at. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: set[Meter] = set()
        self._wanted = threading.Event()
        self._begun = False

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Watch the connection of a session, once its meter is told where to. Raises :class:`Fallen` where it had to be cut."""
        meter = Meter()
        with self._lock:
            self._meters.add(meter)
            if not self._begun:
                self._begun = True
                THREADS.begin("meter", self._work)
        self._wanted.set()
        try:
            yield meter
        except Exception:
            if not meter.flooded:
                raise
        finally:
            with self._lock:
                self._meters.discard(meter)
            meter.close()
        if meter.flooded:
            raise flooded()

    def _work(self) -> None:
        stop = threading.Event()
        while True:
            with self._lock:
                meters = list(self._meters)
                if not meters:
                    self._wanted.clear()
            if not meters:
                self._wanted.wait()
                continue
            unknown = [meter for meter in meters if meter.place < 0 and meter.peers]
            if unknown:
                self._find(unknown, {meter.place for meter in meters})
            for meter in meters:
                meter.look()
            stop.wait(LOOK_S)

    def _find(self, unknown: list[Meter], known: set[int]) -> None:
        with suppress(OSError):
            for name in os.listdir("/proc/self/fd"):
                with suppress(OSError, ValueError):
                    found = os.stat(int(name))
                    if (found.st_mode & 0o170000) != 0o140000 or found.st_ino in known:
                        continue
                    connection = socket.socket(fileno=os.dup(int(name)))
                    peer = _peer(connection)
                    meter = next((each for each in unknown if peer in each.peers), None)
                    if meter is None:
                        connection.close()
                        continue
                    with self._lock:
                        if meter not in self._meters:  # it ended meanwhile
                            connection.close()
                            continue
                        meter.claim(connection, found.st_ino)
                    unknown.remove(meter)
                    known.add(found.st_ino)


def flooded() -> Fallen:
    """What is told of a session that was cut."""
    return Fallen(
        f"it sent more than {LARGEST_HELD >> 20} MB without one whole picture, and was cut so that others have memory: "
        "restart it, or set a lower bit rate",
        pause_s=PAUSE_S,
    )


def _peer(connection: socket.socket) -> Peer | None:
    try:
        if connection.type != socket.SOCK_STREAM or connection.family not in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            return None
        host, port = connection.getpeername()[:2]
    except OSError:
        return None
    return host, port


def _peers(url: str) -> frozenset[Peer]:
    """The addresses a URL's host may have. Empty where nobody knows it: opening says so."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or RTSP_PORT
    with suppress(ValueError):
        return frozenset({(str(ipaddress.ip_address(host)), port)})
    with suppress(OSError):
        return frozenset(
            (str(found[4][0]), port) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
    return frozenset()


def _bytes_received(connection: socket.socket) -> int | None:
    """All bytes that came on it, as far as the system tells."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TAKEN_AT + 8)
    except (OSError, AttributeError):
        return None
    return struct.unpack_from("=Q", info, TAKEN_AT)[0] if len(info) >= TAKEN_AT + 8 else None
