"""Wrong, expired and foreign certificates at the centre and at the broker: refused, with words that say which and what to do.

One file, though long: one table of cases, held against every side.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from drivers.contacts.address import BrokerAddress
from drivers.contacts.mqtt import MqttFeed
from drivers.tls.contexts import TlsFiles, client_context
from drivers.tls.reading import read_certificates
from drivers.uplinks.webhook import WebhookPath
from gateway.box.clock import SystemClock
from gateway.domain.errors import Refused
from simulators.centre.signatures import new_secret
from tests.support.certificates import Made, OurCa, StrangeCa, TlsBroker
from tests.support.processes import free_port
from tests.support.signals import wait_until


@dataclass(frozen=True, slots=True)
class Case:
    """Which certificate each side has, and the words expected; none where all is well."""

    server: str = "right"
    client: str | None = "right"
    words: tuple[str, ...] = ()
    #: … of a side that hangs up without an alert, as servers on asyncio do
    without_alert: tuple[str, ...] = ()


#: Expected of either side's refusal, at the centre and at the broker alike.
CASES = {
    "right": Case(),
    "server of another name": Case(
        server="other-name",
        words=("not for 127.0.0.1 but for other.example", "correct the url", "CN=other-name"),
    ),
    "server expired": Case(
        server="expired",
        words=(
            "the certificate of 127.0.0.1:",
            "has expired on 20",
            "CN=expired",
            "its owner has to renew it",
        ),
    ),
    "server not yet valid": Case(
        server="future", words=("is not yet valid before 20", "CN=future", "is this machine's clock right?")
    ),
    "server of a foreign CA": Case(
        server="foreign", words=("is of a foreign CA", "issued by CN=Foreign CA", "ca.pem", "CN=Own CA")
    ),
    "server of a CA that bears the right name": Case(
        server="impostor", words=("is of a foreign CA", "CN=impostor", "somebody stands between")
    ),
    "server with a client's certificate": Case(
        server="client-only", words=("is not one for servers", "CN=client-only")
    ),
    "client without": Case(
        client=None,
        words=("demands a certificate of ours, and none is set", "set cert and key"),
        without_alert=("hung up", "may demand a certificate of ours, and none is set"),
    ),
    "client of a foreign CA": Case(
        client="foreign",
        words=("refuses our certificate", "foreign.pem", "issued by CN=Foreign CA", "does not know the CA"),
        without_alert=("hung up", "does not take our certificate", "foreign.pem", "issued by CN=Foreign CA"),
    ),
    "client expired": Case(
        client="expired",
        words=("refuses our certificate", "expired.pem", "CN=expired", "it says that it has expired"),
        without_alert=("hung up", "does not take our certificate", "expired.pem", "valid until 20"),
    ),
    "client not yet valid": Case(
        client="future",
        words=("refuses our certificate", "future.pem", "CN=future", "valid already?"),
        without_alert=("hung up", "does not take our certificate", "future.pem", "is it valid"),
    ),
    "client with a server's certificate": Case(
        client="server-only",
        words=("refuses our certificate", "server-only.pem", "one for clients"),
        without_alert=("hung up", "does not take our certificate", "server-only.pem", "one for clients"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Every certificate of the cases, by one maker."""

    ca: Path
    made: dict[str, Made]


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """All of them by the openssl command."""
    folder = tmp_path_factory.mktemp("strange")
    own, foreign = StrangeCa(folder / "own", "Own CA"), StrangeCa(folder / "foreign", "Foreign CA")
    impostor = StrangeCa(folder / "impostor", "Own CA")
    day = timedelta(days=1)
    return Box(
        ca=own.bundle,
        made={
            "right": own.leaf("right"),
            "other-name": own.leaf("other-name", names="DNS:other.example"),
            "expired": own.leaf("expired", begins=-3 * day, ends=-day),
            "future": own.leaf("future", begins=day, ends=3 * day),
            "client-only": own.leaf("client-only", usage="clientAuth"),
            "server-only": own.leaf("server-only", usage="serverAuth"),
            "foreign": foreign.leaf("foreign"),
            "impostor": impostor.leaf("impostor"),
        },
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[OurCa, OurCa]:
    """Two sites, each with a CA by our own command."""
    folder = tmp_path_factory.mktemp("ours")
    return OurCa(folder / "own"), OurCa(folder / "foreign", "另一所学校")


@contextlib.asynccontextmanager
async def https_centre(
    server: Made, client_ca: Path | None, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[str]:
    """A centre on asyncio that takes everything, over TLS."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.maximum_version = newest
    context.load_cert_chain(server.cert, server.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_post("/campus", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/campus"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def threaded_centre(server: Made, client_ca: Path, newest: ssl.TLSVersion) -> Iterator[str]:
    """A centre whose sockets block, as most servers outside of Python do it: it sends alerts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.maximum_version = newest
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(server.cert, server.key)

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, address: Any) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure,
            ):
                secure.settimeout(5)
                secure.do_handshake()
                Handler(secure, address, self)

    listening = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.server_port}/campus"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def files(ca: Path, client: Made | None) -> TlsFiles:
    return TlsFiles(ca=ca, cert=client.cert if client else None, key=client.key if client else None)


async def delivered(url: str, tls: TlsFiles) -> tuple[int | None, str]:
    """One attempt: status and detail."""
    path = WebhookPath("first", url, new_secret(), SystemClock(), client_context(tls))
    await path.start()
    try:
        answer = await path.deliver("msg_1", b"{}")
        return answer.status, answer.detail
    finally:
        await path.stop()


def run(work: Coroutine[Any, Any, Any], *, loop: str = "uvloop") -> Any:
    """On the loop the gateway runs on, or on asyncio's own where uvloop cannot be built."""
    factory: Callable[[], asyncio.AbstractEventLoop] = (
        uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    )
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def judge(case: Case, status: int | None, detail: str, *, alerts: bool = True) -> None:
    print(detail)
    assert status == (None if case.words else 204), detail
    for words in case.words if alerts else case.without_alert or case.words:
        assert words in detail
    if case.words:
        assert detail.startswith("TLS: ")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("name", CASES)
def test_the_centre(strange: Box, name: str, loop: str) -> None:
    """Each wrong certificate of either side fails the attempt, and its detail says which; the right ones are received."""
    case = CASES[name]

    async def work() -> None:
        async with https_centre(strange.made[case.server], strange.ca) as url:
            client = strange.made[case.client] if case.client else None
            judge(case, *await delivered(url, files(strange.ca, client)), alerts=False)

    run(work(), loop=loop)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("name", CASES)
def test_a_centre_that_says_why(strange: Box, name: str, newest: ssl.TLSVersion) -> None:
    """Its alert is told in words, though under TLS 1.3 it comes after our handshake and under 1.2 within it."""
    case = CASES[name]
    client = strange.made[case.client] if case.client else None
    with threaded_centre(strange.made[case.server], strange.ca, newest) as url:
        judge(case, *run(delivered(url, files(strange.ca, client))))


# paho leaves a socket whose handshake failed to the garbage collector, which closes it and says so.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.parametrize("name", CASES)
def test_the_broker(strange: Box, tmp_path: Path, name: str) -> None:
    """The same at mosquitto: the feed's cause, which is the fault's, says which certificate; with the right ones it is armed."""
    case = CASES[name]
    client = strange.made[case.client] if case.client else None

    async def work(port: int) -> None:
        address = BrokerAddress(
            host="127.0.0.1",
            port=port,
            client_id="t",
            tls=client_context(files(strange.ca, client)),
        )
        feed = MqttFeed(address, ["campus/x"], SystemClock())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run(lambda _message: None))
            if case.words:
                await wait_until(
                    lambda: feed.cause.startswith("TLS: "), 15, f"the cause is explained: {feed.cause}"
                )
                assert not feed.armed
            else:
                await wait_until(lambda: feed.armed, 15, "armed")
            cause = feed.cause
            running.cancel()
        judge(case, None if case.words else 204, cause)

    with TlsBroker(tmp_path, strange.made[case.server], strange.ca) as broker:
        run(work(broker.port))


def test_our_own_certificates(ours: tuple[OurCa, OurCa]) -> None:
    """Made by our command: taken with the right ones; refused of another site on either side, of another name, and
    expired on either side."""
    own, foreign = ours
    server, client = own.server("centre", "127.0.0.1"), own.client("gateway")
    stranger = foreign.client("gateway")
    foreign_server = foreign.server("centre", "127.0.0.1")
    named = own.server("broker", "broker.example")
    # Two seconds of life: expired by the time the others were looked at.
    short_client, short_server = own.client("short", days=2e-5), own.server("api", "127.0.0.1", days=2e-5)

    async def attempt(server: Made, client: Made | None) -> tuple[int | None, str]:
        async with https_centre(server, own.bundle) as url:
            return await delivered(url, files(own.bundle, client))

    async def work() -> None:
        judge(Case(), *await attempt(server, client))
        judge(CASES["client without"], *await attempt(server, None), alerts=False)
        judge(Case(words=("does not take our certificate", "另一所学校")), *await attempt(server, stranger))
        judge(Case(words=("is of a foreign CA", "另一所学校")), *await attempt(foreign_server, client))
        judge(Case(words=("but for broker.example",)), *await attempt(named, client))
        expired = Case(words=("does not take our certificate", "short.pem", "valid until"))
        ends = read_certificates(short_server.cert)[0].not_after
        await wait_until(lambda: datetime.now(UTC) > ends, 10, "the short ones have expired")
        judge(expired, *await attempt(server, short_client))
        judge(Case(words=("has expired on", "its owner")), *await attempt(short_server, client))

    run(work())


def test_a_server_that_refuses_by_a_page(strange: Box) -> None:
    """nginx takes the connection and answers 400 with a page about the certificate: told in the same words."""
    right = strange.made["right"]

    async def work(page: bytes, client: Made | None) -> tuple[int | None, str]:
        async def take(request: web.Request) -> web.Response:
            return web.Response(status=400, body=page, content_type="text/html")

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(right.cert, right.key)
        app = web.Application()
        app.router.add_post("/campus", take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            return await delivered(
                f"https://127.0.0.1:{runner.addresses[0][1]}/campus", files(strange.ca, client)
            )
        finally:
            await runner.cleanup()

    status, detail = run(work(b"<title>400 No required SSL certificate was sent</title>", None))
    assert status == 400
    assert "demands a certificate of ours: none is set" in detail
    status, detail = run(work(b"<title>400 The SSL certificate error</title>", strange.made["expired"]))
    assert "refuses our certificate" in detail
    assert "expired.pem" in detail
    status, detail = run(work(b"<title>400 Bad Request</title>", None))
    assert detail == "Bad Request"


def test_a_hundred_attempts_are_explained_by_one_look(strange: Box) -> None:
    """What fails at once is looked at once: a storm of alerts must not become a storm of handshakes."""
    handshakes = 0

    async def work() -> None:
        async with https_centre(strange.made["expired"], None) as url:
            upstream = int(url.split(":")[2].split("/")[0])

            async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal handshakes
                handshakes += 1
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", upstream)

                async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                    with contextlib.suppress(ConnectionError):
                        while data := await source.read(65536):
                            target.write(data)
                            await target.drain()
                    target.close()

                await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

            front = await asyncio.start_server(pipe, "127.0.0.1", 0)
            async with front:
                port = front.sockets[0].getsockname()[1]
                path = WebhookPath(
                    "first",
                    f"https://127.0.0.1:{port}/campus",
                    new_secret(),
                    SystemClock(),
                    client_context(files(strange.ca, None)),
                )
                await path.start()
                answers = await asyncio.gather(*(path.deliver(f"msg_{n}", b"{}") for n in range(100)))
                await path.stop()
            assert all("has expired" in answer.detail for answer in answers)

    run(work())
    assert 100 <= handshakes <= 102


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("other key", "does not belong to the certificate"),
        ("no key", "cannot be read: No such file or directory"),
        ("key is no key", "holds no key in PEM form"),
        ("certificate is none", "holds no certificate in PEM form"),
        ("ca is none", "holds no CA certificate in PEM form"),
        ("passphrase", "is protected by a passphrase"),
    ],
)
def test_files_of_our_own_that_cannot_be_used(strange: Box, tmp_path: Path, spoil: str, words: str) -> None:
    """Each wrong file is refused by its name before anybody is called; nothing waits for a passphrase to be typed."""
    right = strange.made["right"]
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN NOTHING-----\n")
    ca, cert, key = strange.ca, right.cert, right.key
    if spoil == "other key":
        key = strange.made["expired"].key
    elif spoil == "no key":
        key = tmp_path / "gone.key"
    elif spoil == "key is no key":
        key = nonsense
    elif spoil == "certificate is none":
        cert = nonsense
    elif spoil == "ca is none":
        ca = nonsense
    else:
        key = tmp_path / "locked.key"
        _lock(right.key, key)
    with pytest.raises(Refused, match=words) as refused:
        client_context(TlsFiles(ca=ca, cert=cert, key=key))
    wrong = {"certificate is none": cert, "ca is none": ca}.get(spoil, key)
    assert str(wrong) in refused.value.reason


def _lock(plain: Path, locked: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(plain.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def test_nobody_there_is_no_matter_of_certificates(strange: Box) -> None:
    """A refused connection is told as such; a server without TLS is told as such."""
    status, detail = run(delivered(f"https://127.0.0.1:{free_port()}/campus", files(strange.ca, None)))
    assert status is None
    assert "TLS" not in detail

    async def without_tls() -> tuple[int | None, str]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await delivered(f"https://127.0.0.1:{port}/campus", files(strange.ca, None))

    status, detail = run(without_tls())
    assert status is None
    assert "does not speak TLS: is the port right?" in detail
