"""A 110 centre of raw sockets: it answers each request with exactly the bytes it is given, and keeps what it received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class RawCentre:
    """``says`` makes the answer to a request from its head and body; ``None`` is a connection cut without one. ``closes`` ends
    the connection after each answer."""

    says: Callable[[bytes, bytes], bytes | None]
    closes: bool = False
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/campus"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line]
                fields = {name.lower(): value.strip() for name, value in lines}
                body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
                self.heads.append(head)
                self.bodies.append(body)
                answer = self.says(head, body)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def raw_centre(
    says: bytes | Callable[[bytes, bytes], bytes | None], *, closes: bool = False
) -> AsyncIterator[RawCentre]:
    """A centre listening on loopback until the block ends."""
    answer = (lambda _head, _body: says) if isinstance(says, bytes) else says
    centre = RawCentre(answer, closes)
    server = await asyncio.start_server(centre.serve, "127.0.0.1", 0)
    centre.port = server.sockets[0].getsockname()[1]
    try:
        yield centre
    finally:
        server.close()
