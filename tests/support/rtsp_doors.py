"""RTSP servers that serve nothing: they answer DESCRIBE as they are told, and keep what was asked of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class RtspDoor:
    """``port``, and every request that came. ``answer`` is the status line's rest and the header lines; it may be changed."""

    answer: Sequence[str]
    port: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def passwords(self) -> list[str]:
        """Each ``Authorization`` that was sent."""
        lines = [line for request in self.requests for line in request.split("\r\n")]
        return [line.partition(":")[2].strip() for line in lines if line.lower().startswith("authorization:")]

    def reply(self, request: str) -> bytes:
        cseq = next((line for line in request.split("\r\n") if line.lower().startswith("cseq")), "CSeq: 0")
        options = ["200 OK", "Public: OPTIONS, DESCRIBE"]
        lines = options if request.startswith("OPTIONS") else list(self.answer)
        return "\r\n".join([f"RTSP/1.0 {lines[0]}", cseq, *lines[1:], "", ""]).encode()


@contextmanager
def rtsp_door(*answer: str) -> Iterator[RtspDoor]:
    """Serve for a while, on threads: what asks it blocks."""
    door = RtspDoor(answer)
    lines: list[socket.socket] = []

    def serve(line: socket.socket) -> None:
        held = b""
        with contextlib.suppress(OSError), line:
            while piece := line.recv(4096):
                held += piece
                while b"\r\n\r\n" in held:
                    request, _, held = held.partition(b"\r\n\r\n")
                    door.requests.append(request.decode())
                    line.sendall(door.reply(request.decode()))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                lines.append(line)
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        door.port = listener.getsockname()[1]
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield door
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join(5)
            for line in lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
