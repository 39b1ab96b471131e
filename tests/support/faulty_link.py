"""A TCP proxy between the gateway and a server of a test, which fails as networks do: cut, slow, silent, closed."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from tests.support.processes import free_port

_PIECE = 32 * 1024


class FaultyLink:
    """Listens on a port of its own and passes everything on to ``target``, on loopback, until told otherwise.

    ``cut_up`` and ``cut_down`` reset a connection after so many bytes towards the server or from it, ``cuts`` times in all.
    ``bytes_per_s`` limits each direction. ``silent`` takes connections and passes nothing on. ``connections`` counts.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.cuts = 0
        self.bytes_per_s: float | None = None
        self.silent = False
        self.connections = 0
        self.passed_up = 0
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyLink:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Take connections (again)."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and reset those that stand."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        with self._lock:
            standing, self._open = self._open, set()
        for each in standing:
            _reset(each)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(near)
            if self.silent:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                self._end(near)
                continue
            with self._lock:
                self._open.add(far)
            for one, other, up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=(one, other, up), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        try:
            while data := source.recv(_PIECE):
                limit = self.cut_up if up else self.cut_down
                if limit is not None and self.cuts > 0 and passed + len(data) > limit:
                    self.cuts -= 1
                    sink.sendall(data[: limit - passed])
                    time.sleep(0.05)  # lets what was passed on arrive before the reset overtakes it
                    break
                if self.bytes_per_s:
                    time.sleep(len(data) / self.bytes_per_s)
                sink.sendall(data)
                passed += len(data)
                if up:
                    self.passed_up += len(data)
        except OSError:
            pass
        self._end(source, sink)

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with self._lock:
                mine = each in self._open
                self._open.discard(each)
            if mine:
                _reset(each)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
