"""A 110 centre by somebody else: nothing of ours, only the published reference libraries."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook


@dataclass(slots=True)
class StrangeReceiver:
    """Verifies every POST with ``standardwebhooks`` and parses it with the ``cloudevents`` SDK; runs on a thread."""

    secret: str
    events: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    url: str = ""
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> StrangeReceiver:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def of_type(self, kind: str) -> list[BaseCloudEvent]:
        """Events of one type in the order they came."""
        return [event for event in list(self.events) if event.get_type() == kind]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/campus", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/campus"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body, headers = await request.read(), dict(request.headers)
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            Webhook(self.secret).verify(body.decode(), lower)
            event = from_http_event(HTTPMessage(headers, body), JSONFormat())
            if event.get_id() != lower["webhook-id"]:
                raise ValueError(f"id {event.get_id()} is not the webhook-id {lower['webhook-id']}")
        except Exception as exc:
            self.refused.append(f"{type(exc).__name__}: {exc}: {body[:300]!r}")
            return web.Response(status=400)
        self.events.append(event)
        return web.Response(status=204)
