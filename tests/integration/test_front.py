"""The front by real sockets: every limit of bytes, time, turns and connections.

One file, though long: every limit is tried by the same raw sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.app.front import limits, protocol
from gateway.app.front.limits import Descriptors
from gateway.app.front.protocol import Right
from gateway.app.front.serving import Serving
from gateway.box.clock import SystemClock
from gateway.domain.fault import FaultKind

RIGHT_TOKEN = b"Authorization: Bearer right\r\n"
ANSWER_WITHIN_S = 20.0
BIG = b"x" * (8 * 1024 * 1024)  # more than the system's buffers take on both sides


class World:
    """A front with a small application behind it: it reads the body and answers by the path."""

    def __init__(self, serving: Serving, port: int) -> None:
        self.serving, self.port = serving, port
        self.asked: list[str] = []
        self.bodies: list[int] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *sent: bytes) -> bytes:
        """Send pieces on a connection of its own; all that comes until it is closed."""
        reader, writer = await self.open()
        try:
            with contextlib.suppress(ConnectionError):
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
            return await _until_closed(reader)
        finally:
            writer.close()

    async def ask(self, path: bytes = b"/", headers: bytes = RIGHT_TOKEN) -> bytes:
        """One request on a connection of its own."""
        return await self.say(
            b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n"
        )


async def _until_closed(reader: asyncio.StreamReader, within_s: float = ANSWER_WITHIN_S) -> bytes:
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(within_s):
            while piece := await reader.read(65536):
                found += piece
    return bytes(found)


@asynccontextmanager
async def front(descriptors: int = 4096) -> AsyncIterator[World]:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    opened = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        world.asked.append(scope["path"])
        length = 0
        while (message := await receive())["type"] == "http.request":
            length += len(message["body"])
            if not message["more_body"]:
                break
        world.bodies.append(length)
        status = {"/wrong": 401, "/altered": 403, "/nothing": 404}.get(scope["path"], 200)
        body = BIG if scope["path"] == "/big" else scope["path"].encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def judge(scope: Any) -> Right:
        if (b"authorization", b"Bearer right") in scope["headers"]:
            return Right.PROVEN
        return Right.OPEN if scope["path"] == "/healthz" else Right.NONE

    serving = Serving(
        app,
        listening,
        tls=None,
        judge=judge,
        clock=SystemClock(),
        descriptors=Descriptors(descriptors),
        opened=opened.set,
    )
    world = World(serving, listening.getsockname()[1])
    task = asyncio.create_task(serving.run())
    try:
        await opened.wait()
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        listening.close()


def on_front(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run ``async def test(world, …)`` on a fresh front."""
    import inspect

    def run(**given: Any) -> None:
        async def inside() -> None:
            async with front() as world:
                await test(world, **given)

        asyncio.run(inside())

    wanted = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run


async def until(true: Callable[[], bool]) -> None:
    """Wait; the caller bounds the time."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN
PIECE = 32 * 1024


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param([GET + b"X: ", *[b"a" * PIECE] * 8], b"431", id="endless header"),
        pytest.param([GET, *[b"a: b\r\n" * 5000] * 8], b"431", id="endless headers"),
        pytest.param([GET, *[b"a" * PIECE] * 8], b"431", id="endless name of a header"),
        pytest.param([GET, *[b" folded\r\n" * 4000] * 8], b"4", id="endless folded header"),
        pytest.param([b"GET /", *[b"a" * PIECE] * 8], b"431", id="endless address"),
        pytest.param([b"GET /?", *[b"a=b&" * 8000] * 8], b"431", id="endless query"),
        pytest.param([b"\r\n" * PIECE], b"4", id="endless blank lines"),
        pytest.param([b"G" * PIECE], b"400", id="endless method"),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500], b"400", id="TLS on a plain port"),
        pytest.param([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], b"400", id="HTTP/2"),
        pytest.param([b"GET / HTTP/9.9\r\n\r\n"], b"400", id="a version there is not"),
        pytest.param([b"GET / HTTP/1.1\r\nX: \0\r\n\r\n"], b"400", id="NUL in a header"),
        pytest.param([b"GET /\xff\xfe HTTP/1.1\r\n\r\n"], b"400", id="raw bytes in the address"),
        pytest.param([POST + b"Content-Length: -1\r\n\r\n"], b"400", id="negative length"),
        pytest.param([POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"], b"400", id="length beyond 64 bits"),
        pytest.param([POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"], b"400", id="two lengths"),
        pytest.param([POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"], b"400", id="length and chunks"),
        pytest.param([POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], b"", id="a chunk that is none"),
        pytest.param([POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 5000] * 8], b"", id="endless chunks"),
        pytest.param(
            [POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1;", *[b"x" * PIECE] * 16], b"", id="endless chunk extension"
        ),
        pytest.param(
            [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"a: b\r\n" * 5000] * 16], b"", id="endless trailers"
        ),
        pytest.param([POST + b"Content-Length: 9999999999\r\n\r\n", *[b"x" * PIECE] * 16], b"", id="endless body"),
    ],
)  # fmt: skip
@on_front
async def test_what_has_no_end_or_no_sense_is_broken_off(
    world: World, sent: list[bytes], status: bytes
) -> None:
    """It is answered where nothing was yet, and the connection is closed; the next one is served."""
    got = await world.say(*sent)
    assert got.startswith(b"HTTP/1.1 " + status if status else b""), got[:200]
    if got:
        assert b"application/problem+json" in got
        assert b"connection: close" in got
    assert (await world.ask()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", GET, GET + b"X: y\r\n", POST + b"Content-Length: 500\r\n\r\nab", b"\r\n",
     POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"],
)  # fmt: skip
def test_what_does_not_come_in_time_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all, half a head, half a body; and the same in one byte after the other, which is no progress."""
    for step in list(protocol._WITHIN_S):
        monkeypatch.setitem(protocol._WITHIN_S, step, 1.5)

    async def trickled(world: World) -> bytes:
        reader, writer = await world.open()
        writer.write(sent)
        answered = asyncio.create_task(_until_closed(reader))
        while not answered.done() and sent:
            with contextlib.suppress(ConnectionError):
                writer.write(b"a" if sent != b"\r\n" else b"\r\n")
                await writer.drain()
            await asyncio.sleep(0.2)
        writer.close()
        return await answered

    async def inside() -> None:
        async with front() as world:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                got = await asyncio.gather(world.say(sent), trickled(world))
            for answer in got:
                assert not answer or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), answer[:100]
            assert not len(world.serving._connections)

    asyncio.run(inside())


def test_a_kept_connection_is_closed_when_idle_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one after the other on one connection, with pauses below the limit; then it is closed."""
    monkeypatch.setattr(limits, "IDLE_S", 1)
    monkeypatch.setitem(protocol._WITHIN_S, protocol._Step.IDLE, 1.0)

    async def inside() -> None:
        async with front() as world:
            reader, writer = await world.open()
            for _ in range(3):
                writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN + b"\r\n")
                assert (await reader.readuntil(b"/a")).startswith(b"HTTP/1.1 200")
                await asyncio.sleep(0.2)
            assert await _until_closed(reader) == b""
            writer.close()

    asyncio.run(inside())


def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that takes nothing goes, also when its request is answered as far as the application knows."""
    monkeypatch.setattr(limits, "STALLED_S", 2.0)

    async def inside() -> None:
        async with front() as world:
            _, stalled = await world.open()
            stalled.transport.pause_reading()  # type: ignore[attr-defined]
            reader, slow = await world.open()
            for writer in (stalled, slow):
                writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + RIGHT_TOKEN + b"\r\n")
            got = 0
            async with asyncio.timeout(60):
                while piece := await reader.read(256 * 1024):
                    got += len(piece)
                    await asyncio.sleep(0.15)
                assert got > len(BIG)
                await until(lambda: not len(world.serving._connections))
            slow.close()
            stalled.transport.abort()

    asyncio.run(inside())


@on_front
async def test_pipelined_requests_are_answered_in_order_and_not_piled_up(world: World) -> None:
    """A hundred in one write, with bodies and without; what is not parsed yet is not read from the system either."""
    requests = [
        (b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" % n + RIGHT_TOKEN + b"\r\nabcde")
        if n % 3
        else (b"GET /%d HTTP/1.1\r\nHost: x\r\n" % n + RIGHT_TOKEN + b"\r\n")
        for n in range(100)
    ]
    reader, writer = await world.open()
    writer.write(b"".join(requests))
    for n in range(100):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(str(n)) + 1) == b"/%d" % n
    writer.close()
    assert world.asked == [f"/{n}" for n in range(100)]
    assert world.bodies == [5 if n % 3 else 0 for n in range(100)]


@on_front
async def test_pipelining_without_end_takes_no_memory(world: World) -> None:
    """Nobody reads the answers, and the requests go on: what lies here stays below a read of the system."""
    _, writer = await world.open()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(3):
            while True:
                writer.write((b"GET / HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN + b"\r\n") * 500)
                await writer.drain()
    held = [len(one._rest) + 1000 * len(one.pipeline) for one in world.serving._connections]  # type: ignore[attr-defined]
    assert max(held, default=0) < 600 * 1024
    writer.transport.abort()


@pytest.mark.parametrize("wanted", [b"websocket", b"h2c", b"TLS/1.0", b"x" * 300])
@on_front
async def test_another_protocol_is_not_spoken(world: World, wanted: bytes) -> None:
    """The request is answered as it stands, the junk behind it is not read, and the connection is closed."""
    got = await world.say(
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
        + wanted
        + b"\r\n"
        + RIGHT_TOKEN
        + b"\r\n",
        *[b"\x81\xfe\xff\xff" * 8192] * 4,
    )
    assert got.startswith(b"HTTP/1.1 200"), got[:100]
    assert b"connection: close" in got
    assert world.asked == ["/a"]


@on_front
async def test_a_chunked_body_of_nobody_is_not_read(world: World) -> None:
    """Without a right the answer comes at once, whatever follows."""
    got = await world.say(
        b"POST /wrong HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 5000] * 8
    )
    assert got.startswith(b"HTTP/1.1 401") or not got
    assert sum(world.bodies) < limits.PIECE_BYTES  # what came with the head


@on_front
async def test_wrong_tokens_are_braked_and_right_ones_pass(world: World) -> None:
    """401 while it may be a slip, then 429 with Retry-After; from the same address a right token is answered as ever,
    and so is what is open to all. The fault names the address."""
    answers = [await world.ask(b"/wrong", b"Authorization: Bearer wrong\r\n") for _ in range(80)]
    statuses = [int(answer[9:12]) for answer in answers]
    assert statuses[:60] == [401] * 60
    assert statuses[-1] == 429
    assert b"retry-after: 1\r\n" in answers[-1]
    assert b"too-many-refused" in answers[-1]
    held = await world.ask(b"/nothing", b"")
    assert held.startswith(b"HTTP/1.1 429")
    assert (await world.ask(b"/")).startswith(b"HTTP/1.1 200")
    assert (await world.ask(b"/healthz", b"")).startswith(b"HTTP/1.1 200")
    found = dict(world.serving.found())
    assert "wrong token" in found[FaultKind.SECURITY, "caller 127.0.0.1"]


@on_front
async def test_a_refusal_is_logged_without_its_secrets(world: World) -> None:
    """By address, kind and path; neither the token nor the query, where a link's signature stands, is written."""
    with capture_logs() as lines:
        for _ in range(30):
            await world.ask(b"/wrong?signature=s3cret&token=s3cret", b"Authorization: Bearer s3cret\r\n")
            await world.ask(b"/altered?signature=s3cret", b"")
    told = str(lines)
    assert "/altered" in told
    assert "s3cret" not in told
    assert len(lines) <= 22


@on_front
async def test_a_proxy_on_this_box_is_not_held_for_its_callers(world: World) -> None:
    """Behind a proxy the caller is whom the proxy names, last in X-Forwarded-For."""
    evil = b"Authorization: Bearer wrong\r\nX-Forwarded-For: 203.0.113.9, 192.0.2.66\r\n"
    for _ in range(70):
        answer = await world.ask(b"/wrong", evil)
    assert answer.startswith(b"HTTP/1.1 429")
    other = await world.ask(b"/wrong", b"X-Forwarded-For: 192.0.2.66, 198.51.100.1\r\n")
    assert other.startswith(b"HTTP/1.1 401")
    assert (FaultKind.SECURITY, "caller 192.0.2.66") in dict(world.serving.found())


def test_connections_are_bounded_and_a_new_one_always_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle ones of a source make room for its next, those that showed no right first; what is being answered stays."""
    monkeypatch.setattr("gateway.app.front.connections.MOST_FROM_ONE", 20)

    async def inside() -> None:
        async with front() as world:
            kept_reader, kept = await world.open()
            kept.write(b"GET /kept HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN + b"\r\n")
            await kept_reader.readuntil(b"/kept")
            _, busy = await world.open()
            busy.transport.pause_reading()  # type: ignore[attr-defined]
            busy.write(b"GET /big HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN + b"\r\n")
            crowd = [await world.open() for _ in range(100)]
            async with asyncio.timeout(ANSWER_WITHIN_S):
                assert (await world.ask()).startswith(b"HTTP/1.1 200")
                await until(lambda: world.serving._connections.dropped >= 80)
            assert len(world.serving._connections) <= 20
            kept.write(b"GET /again HTTP/1.1\r\nHost: x\r\n" + RIGHT_TOKEN + b"\r\n")
            assert await kept_reader.readuntil(b"/again")
            for writer in (kept, busy, *(writer for _, writer in crowd)):
                writer.transport.abort()

    asyncio.run(inside())


def test_too_few_descriptors_are_a_fault_and_bound_the_connections() -> None:
    """With a limit of 300 a few are accepted; the fault says what to set."""

    async def inside() -> None:
        async with front(descriptors=300) as world:
            crowd = [await world.open() for _ in range(80)]
            assert (await world.ask()).startswith(b"HTTP/1.1 200")
            assert len(world.serving._connections) <= 300 - limits.RESERVED_DESCRIPTORS
            found = dict(world.serving.found())
            assert "LimitNOFILE" in found[FaultKind.STAGE, "http descriptors"]
            for _, writer in crowd:
                writer.transport.abort()

    asyncio.run(inside())


def test_nothing_is_accepted_while_the_reserve_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the descriptors: what alerts need is left, a fault says so, and it goes on when there are more."""
    used = 0
    monkeypatch.setattr(Descriptors, "used", lambda _self: used)
    monkeypatch.setattr("gateway.app.front.serving.DESCRIPTORS_EVERY_S", 1)
    monkeypatch.setattr("gateway.app.front.serving.SWEEP_EVERY_S", 0.05)

    async def inside() -> None:
        nonlocal used
        async with front(descriptors=2000) as world:
            assert (await world.ask()).startswith(b"HTTP/1.1 200")
            used = 1990
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await until(lambda: bool(dict(world.serving.found())))
            found = dict(world.serving.found())
            assert "only 10 of the 2000" in found[FaultKind.STAGE, "http descriptors used"]
            waiting = asyncio.create_task(world.ask())
            await asyncio.sleep(0.3)
            assert not waiting.done()
            used = 100
            assert (await waiting).startswith(b"HTTP/1.1 200")
            assert not dict(world.serving.found())

    asyncio.run(inside())


def test_no_descriptor_at_all_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE and ENOBUFS of accept(): a pause, and it goes on."""
    import errno

    class Failing:
        def __init__(self, real: socket.socket) -> None:
            self.real, self.left = real, [errno.EMFILE, errno.ENOBUFS, errno.ENFILE]

        def accept(self) -> Any:
            if self.left:
                raise OSError(self.left.pop(), "no more")
            return self.real.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    monkeypatch.setattr("gateway.app.front.serving.NO_DESCRIPTOR_PAUSE_S", 0.05)

    async def inside() -> None:
        async with front() as world:
            world.serving._listening = Failing(world.serving._listening)  # type: ignore[assignment]
            assert (await world.ask()).startswith(b"HTTP/1.1 200")

    asyncio.run(inside())
