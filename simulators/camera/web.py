"""The camera's HTTP port: ONVIF, the snapshot, and the control endpoint that makes it ill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from simulators.camera.digest import DigestGate
from simulators.camera.faults import CameraFaults
from simulators.camera.onvif import DEVICE_PATH, MEDIA2_PATH, MEDIA_PATH, SNAPSHOT_PATH, OnvifService

CONTROL_PATH = "/_faults"
STATUS_PATH = "/_status"
_MOST_BODY_BYTES = 65_536


class CameraHttp:
    """One HTTP server."""

    def __init__(
        self,
        *,
        gate: DigestGate | None,
        onvif: OnvifService,
        faults: Callable[[], CameraFaults],
        set_faults: Callable[[CameraFaults], Awaitable[None]],
        snapshot: Callable[[], Awaitable[bytes]],
        status: Callable[[], dict[str, object]],
    ) -> None:
        self._gate = gate
        self._onvif = onvif
        self._faults = faults
        self._set_faults = set_faults
        self._snapshot = snapshot
        self._status = status
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def listen(self, host: str, port: int) -> int:
        """Open the port (0: any free one) and return it; raises OSError if it is taken."""
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        for path in (DEVICE_PATH, MEDIA_PATH, MEDIA2_PATH):
            app.router.add_post(path, self._soap)
        app.router.add_get(SNAPSHOT_PATH, self._picture)
        app.router.add_get(CONTROL_PATH, self._show_faults)
        app.router.add_post(CONTROL_PATH, self._change_faults)
        app.router.add_get(STATUS_PATH, self._show_status)
        self._stopping.clear()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        opened: int = runner.addresses[0][1]
        return opened

    async def stop(self) -> None:
        """Close the port; harmless if it is closed."""
        self._stopping.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _is_dead(self, request: web.Request) -> bool:
        """Reset the connection if the camera is to look dead."""
        faults = self._faults()
        dead = faults.refuse_connections or faults.drop_connections
        if dead and request.transport is not None:
            request.transport.abort()
        return dead

    def _digest_admits(self, request: web.Request) -> bool:
        if self._faults().reject_login:
            return False
        if self._gate is None:
            return True
        return self._gate.admits(request.headers.get("Authorization"), method=request.method)

    def _challenge(self) -> web.Response:
        gate = self._gate or DigestGate(realm="camera", username="", password="")
        return web.Response(status=401, headers={"WWW-Authenticate": gate.challenge(with_qop=True)})

    async def _soap(self, request: web.Request) -> web.Response:
        if self._is_dead(request):
            return web.Response(status=503)
        await self._pause(self._faults().onvif_delay_s)
        answer = self._onvif.answer(
            await request.read(), host=request.host, logged_in=self._digest_admits(request)
        )
        if answer.status == 401:
            return self._challenge()
        return web.Response(
            status=answer.status, body=answer.body, content_type="application/soap+xml", charset="utf-8"
        )

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        if self._is_dead(request):
            return web.Response(status=503)
        if not self._digest_admits(request):
            return self._challenge()
        faults = self._faults()
        await self._pause(faults.snapshot_delay_s)
        jpeg = await self._snapshot()
        if not faults.snapshot_hangs and not faults.snapshot_cut:
            return web.Response(body=jpeg, content_type="image/jpeg", headers={"Cache-Control": "no-store"})
        unfinished = web.StreamResponse(
            headers={"Content-Type": "image/jpeg", "Content-Length": str(len(jpeg))}
        )
        await unfinished.prepare(request)
        await unfinished.write(jpeg[: len(jpeg) // 2])
        if not faults.snapshot_cut:
            await self._stopping.wait()
        if request.transport is not None:
            request.transport.abort()
        return unfinished

    async def _pause(self, delay_s: float) -> None:
        """Wait, but not beyond the camera's end."""
        if delay_s > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            except TimeoutError:
                return

    async def _show_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._faults().as_json())

    async def _change_faults(self, request: web.Request) -> web.Response:
        try:
            await self._set_faults(CameraFaults.from_json(json.loads(await request.read())))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self._show_faults(request)

    async def _show_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status())
