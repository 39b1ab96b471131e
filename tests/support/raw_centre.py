"""A 110 centre of raw sockets: it answers each request with exactly the bytes it is given, and keeps what it received."""

from __future__ import annotations

import asyncio
import json
import threading
import time
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


class RawCentreThread:
    """A raw centre on a thread of its own, for tests that run the gateway as a process. ``says`` may be changed at any time;
    ``came`` has the time (``time.time``), the head and the body of every request."""

    def __init__(self, says: Callable[[bytes, bytes], bytes | None]) -> None:
        self.says = says
        self.came: list[tuple[float, bytes, bytes]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve()), daemon=True
        )

    def __enter__(self) -> RawCentreThread:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        async with raw_centre(self._says) as centre:
            self.url = centre.url
            self._up.set()
            await self._ended.wait()

    def _says(self, head: bytes, body: bytes) -> bytes | None:
        self.came.append((time.time(), head, body))
        return self.says(head, body)

    def of_type(self, kind: str) -> list[tuple[float, str]]:
        """When messages of a type came, and their ids."""
        read = [(at, json.loads(body)) for at, _, body in list(self.came)]
        return [(at, event["id"]) for at, event in read if event["type"] == kind]
