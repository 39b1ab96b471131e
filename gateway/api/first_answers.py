"""What answers over HTTP before the web framework has been imported, which takes most of a second on a small box.

``/healthz`` and ``/readyz`` are answered from the first moment, since a supervisor and a technician wait for
them; everything else waits until the whole face is there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.api.parts import ApiParts, readiness

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Opening:
    """An ASGI application that becomes another one: :meth:`load` builds it beside the running loop."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._app: App | None = None
        self._loaded = asyncio.Event()

    async def load(self) -> None:
        """Import and build the whole face in a thread, so that a press in that second does not wait for it."""
        self._app = await asyncio.to_thread(self._build)
        self._loaded.set()

    def _build(self) -> App:
        from gateway.api.app import build_app

        return build_app(self._parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None and scope["type"] == "http" and scope["path"] in ("/healthz", "/readyz"):
            status, document = (
                (200, {"status": "ok"})
                if scope["path"] == "/healthz"
                else readiness(self._parts, names=False)
            )
            await _answer(send, status, document)
            return
        await self._loaded.wait()
        assert self._app is not None
        await self._app(scope, receive, send)


async def _answer(send: Send, status: int, document: Mapping[str, object]) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
