"""Hostile HTTP clients, in a process of their own: ``python -m tests.support.http_attacks KIND HOST:PORT [TOKEN]``.

Each kind runs until its standard input closes, and then prints one JSON line of what it did. It is bounded: at most ``MOST``
connections at once, and it ends by itself after ``LONGEST_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

MOST = 1200  # connections at once
LONGEST_S = 120.0

done: Counter[str] = Counter()


class Target:
    """Where the attack goes. ``token`` is a valid one, for the kinds that need one."""

    def __init__(self, address: str, token: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port, self.token = int(port), token

    async def open(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened = await asyncio.open_connection(self.host, self.port, ssl=tls)
        done["connections"] += 1
        return opened


Attack = Callable[[Target], Awaitable[None]]
KINDS: dict[str, tuple[int, Attack]] = {}


def attack(count: int) -> Callable[[Attack], Attack]:
    """Register an attack that is run ``count`` times at once, again and again."""

    def register(work: Attack) -> Attack:
        KINDS[work.__name__.replace("_", "-")] = (count, work)
        return work

    return register


async def _for_ever(work: Attack, target: Target) -> None:
    while True:
        try:
            await work(target)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            done["broken off"] += 1
            await asyncio.sleep(0.01)


async def _stream(target: Target, head: bytes, piece: bytes, pause_s: float = 0.0) -> None:
    """Send ``head`` and then ``piece`` without end, reading what comes."""
    reader, writer = await target.open()
    gone = asyncio.ensure_future(reader.read())
    try:
        writer.write(head)
        while not gone.done():
            writer.write(piece)
            await writer.drain()
            done["bytes"] += len(piece)
            if pause_s:
                await asyncio.sleep(pause_s)
    finally:
        gone.cancel()
        writer.close()


async def _ask_on(target: Target, request: Callable[[], bytes]) -> None:
    """One request after the other on one connection, each answered before the next."""
    reader, writer = await target.open()
    try:
        while True:
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            done[head[9:12].decode()] += 1
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0][15:]) if length else 0)
    finally:
        writer.close()


@attack(4)
async def endless_header(target: Target) -> None:
    await _stream(target, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", b"a" * 65536)


@attack(4)
async def endless_headers(target: Target) -> None:
    await _stream(target, b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:\r\n" * 16384)


@attack(4)
async def endless_address(target: Target) -> None:
    await _stream(target, b"GET /", b"a" * 65536)


@attack(4)
async def endless_blank_lines(target: Target) -> None:
    await _stream(target, b"", b"\r\n" * 32768)


@attack(300)
async def slow_header(target: Target) -> None:
    await _stream(target, b"GET / HTTP/1.1\r\n", b"X: y\r\n", 0.5)


@attack(MOST)
async def idle(target: Target) -> None:
    reader, writer = await target.open()
    try:
        await reader.read()
    finally:
        writer.close()


@attack(4)
async def endless_chunks(target: Target) -> None:
    await _stream(target, _post(target, b"wrong"), b"1\r\nx\r\n" * 8192)


@attack(4)
async def endless_chunks_with_a_token(target: Target) -> None:
    await _stream(target, _post(target, target.token.encode()), b"1\r\nx\r\n" * 8192)


def _post(target: Target, token: bytes) -> bytes:
    return (
        b"POST /api/v1/drills HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + token + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


@attack(4)
async def pipelining(target: Target) -> None:
    await _stream(
        target, b"", b"GET /api/v1/site HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n" * 500
    )


@attack(60)
async def slow_reader(target: Target) -> None:
    """Asks for the largest file again and again and never reads."""
    _, writer = await target.open()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        for _ in range(40):
            writer.write(b"GET /static/hls.light.min.js HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.25)
    finally:
        writer.transport.abort()


@attack(16)
async def wrong_tokens(target: Target) -> None:
    await _ask_on(
        target, lambda: b"GET /api/v1/site HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wr0ng\r\n\r\n"
    )


@attack(16)
async def altered_links(target: Target) -> None:
    await _ask_on(
        target,
        lambda: (
            b"GET /media/a/b.jpg?expires=9999999999&alarm=alm_1&signature=AAAA HTTP/1.1\r\nHost: x\r\n\r\n"
        ),
    )


@attack(16)
async def not_found(target: Target) -> None:
    await _ask_on(target, lambda: b"GET /admin/%d.php HTTP/1.1\r\nHost: x\r\n\r\n" % done["404"])


@attack(16)
async def wrong_methods(target: Target) -> None:
    await _ask_on(target, lambda: b"DELETE /api/v1/site HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")


@attack(16)
async def readiness(target: Target) -> None:
    await _ask_on(target, lambda: b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")


@attack(16)
async def valid_token(target: Target) -> None:
    """Not hostile, only somebody's broken script."""
    request = (
        b"GET /api/v1/points HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % target.token.encode()
    )
    await _ask_on(target, lambda: request)


@attack(16)
async def upgrades(target: Target) -> None:
    await _stream(
        target,
        b"GET /live/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"\x81\xfe\xff\xff" * 16384,
    )


@attack(16)
async def nonsense(target: Target) -> None:
    await _stream(target, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\xff" * 32768)


@attack(16)
async def connects(target: Target) -> None:
    _, writer = await target.open()
    writer.transport.abort()


@attack(16)
async def handshakes(target: Target) -> None:
    """TLS handshakes one after the other, each given up once it is done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await target.open(context)
    done["handshakes"] += 1
    writer.transport.abort()


@attack(300)
async def handshakes_not_finished(target: Target) -> None:
    """Slow and idle as ``slow-header``, before anything is encrypted."""
    await _stream(target, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00", 0.5)


async def _main(kind: str, address: str, token: str) -> None:
    count, work = KINDS[kind]
    target = Target(address, token)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    tasks = [asyncio.ensure_future(_for_ever(work, target)) for _ in range(count)]
    print(json.dumps({"kind": kind, "count": count}), flush=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(sys.stdin.buffer.read), LONGEST_S)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=2)
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
