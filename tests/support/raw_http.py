"""A camera's web server that sends exactly the bytes it is told to: what no HTTP library would send."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Sequence[bytes]
Answering = Callable[[bytes], Answer | Awaitable[Answer]]
"""From a request (head and body) to the answer's bytes, or its pieces."""


@dataclass(slots=True)
class RawHttp:
    """``port`` and the requests that came, head and body together."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    hold: bool = False
    """Keep the connection open behind the answer."""

    def credentials(self) -> list[str]:
        """The ``Authorization`` of each request, empty where there was none."""
        return [header_of(each, "authorization") for each in self.requests]


def header_of(request: bytes, name: str) -> str:
    """A header of a request, empty if it has none."""
    for line in request.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


@asynccontextmanager
async def raw_http(
    answering: Answering, *, hold: bool = False, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawHttp]:
    """Serve for a while; every connection is answered once and closed (or held open)."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(header_of(head, "content-length") or 0)
                request = head + (await reader.readexactly(length) if length else b"")
                server.requests.append(request)
                answering_ = answering(request)
                answer = await answering_ if inspect.isawaitable(answering_) else answering_
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                if server.hold:
                    await reader.read()
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, host, 0, ssl=tls)
    server = RawHttp(listener.sockets[0].getsockname()[1], hold=hold)
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
