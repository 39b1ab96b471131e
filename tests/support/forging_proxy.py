"""Somebody on the way between the school and the centre, who passes messages on and puts answers of his own in their place."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import aiohttp
from aiohttp import web

from simulators.centre.signatures import key_of, new_secret, sign

Forgery = Literal["pass", "unsigned", "wrong-key", "replayed", "stale", "altered", "swallow"]


@dataclass(slots=True)
class ForgingProxy:
    """An HTTP proxy on a thread of its own. Use ``with``.

    ``mode`` says what becomes of an answer: passed on; replaced by a forged ``accepted`` for ``alarm`` that is unsigned,
    signed with another key, or signed an hour ago; a true answer of the centre kept back and given to other messages; the
    centre's own words altered; or swallowed. In every mode but ``pass`` nothing true of what the centre says gets through.
    ``stale`` needs the true ``answer_secret``: it stands for a recording of long ago.
    """

    target: str
    answer_secret: str
    mode: Forgery = "pass"
    alarm: str = ""
    forged: int = 0
    url: str = ""
    _kept: tuple[dict[str, str], bytes] | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> ForgingProxy:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more: from now on connecting is refused. Harmless when repeated."""
        thread, self._thread = self._thread, None
        if thread is not None:
            assert self._loop is not None
            assert self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/campus", self._pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/campus"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.post(self.target, data=body, headers=headers) as answer,
        ):
            text = await answer.read()
            kept = {
                k: v for k, v in answer.headers.items() if k.lower().startswith(("webhook-", "content-type"))
            }
            status = answer.status
        if self.mode == "pass" or status >= 300:
            return web.Response(status=status, body=text, headers=kept)
        return self._forge(request.headers["webhook-id"], kept, text)

    def _forge(self, message: str, headers: dict[str, str], text: bytes) -> web.Response:
        nothing = web.Response(status=204)
        if self.mode == "swallow":
            return nothing
        if self.mode == "replayed":
            if self._kept is None:
                self._kept = (headers, text) if text else None
                return nothing
            headers, text = self._kept
        elif self.mode == "altered":
            if not text:
                return nothing
            text = text.replace(b"dispatched", b"accepted")
        else:
            text = json.dumps({"replies": [self._item()]}).encode()
            headers = {"Content-Type": "application/json"} | self._signed(message, text)
        self.forged += 1
        return web.Response(status=200, body=text, headers=headers)

    def _item(self) -> dict[str, Any]:
        operator = {"name": "nobody", "unit": "110"}
        return {"id": f"forged-{self.forged}", "alarm": self.alarm, "reply": "accepted", "operator": operator}

    def _signed(self, message: str, text: bytes) -> dict[str, str]:
        if self.mode == "unsigned":
            return {}
        stale = self.mode == "stale"
        key = key_of(self.answer_secret if stale else new_secret())
        at_s = int(time.time()) - (3600 if stale else 0)
        return {
            "webhook-id": message,
            "webhook-timestamp": str(at_s),
            "webhook-signature": sign(key, message_id=message, timestamp_s=at_s, body=text),
        }
