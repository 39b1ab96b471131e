"""One path to the 110 centre on real sockets: what a centre may do to us, and what we make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from drivers.uplinks import webhook
from drivers.uplinks.webhook import WebhookPath
from gateway.box.clock import SystemClock
from gateway.domain.message import Answer, Outcome, judge
from tests.support.clock import run

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Centre:
    """A raw HTTP server that says exactly the bytes it is given, and keeps what it heard."""

    says: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    hold: bool = False
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                self.bodies.append(await reader.readexactly(int(fields[b"Content-Length"])))
                writer.write(self.says)
                await writer.drain()
                if self.hold:
                    await reader.read()
                if b"close" in self.says.lower() or self.hold:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def centre(
    says: bytes | None = None, *, hold: bool = False
) -> AsyncIterator[tuple[Centre, WebhookPath]]:
    """A centre and a started path to it."""
    told = Centre(hold=hold)
    if says is not None:
        told.says = says
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    path = WebhookPath("first", f"http://127.0.0.1:{told.port}/campus", SECRET, SystemClock())
    await path.start()
    try:
        yield told, path
    finally:
        await path.stop()
        server.close()


async def _once(says: bytes, *, hold: bool = False) -> Answer:
    async with centre(says, hold=hold) as (_, path):
        return await path.deliver("msg_1", b"{}")


def test_the_published_library_accepts_every_attempt() -> None:
    """Signature, id and timestamp verify; the id stays over the attempts, the body arrives byte for byte."""

    async def story() -> None:
        body = '{"点":"301"}'.encode()
        async with centre() as (told, path):
            for _ in range(2):
                assert (await path.deliver("msg_1", body)).status == 200
            assert told.connections == 1
        for head, heard in zip(told.heads, told.bodies, strict=True):
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line]
            headers = {name.lower(): value for name, value in lines}
            assert heard == body
            assert headers["webhook-id"] == "msg_1"
            assert headers["content-type"] == "application/cloudevents+json"
            Webhook(SECRET).verify(heard, headers)

    run(story())


def test_a_2xx_is_received_even_if_its_body_breaks_off() -> None:
    """The status says it; the rest of the answer is dropped, and said so."""

    async def story() -> None:
        answer = await _once(
            b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"repl'
        )
        assert judge(answer) is Outcome.RECEIVED
        assert (answer.status, answer.body) == (200, b"")
        assert "broke off" in answer.detail

    run(story())


def test_a_2xx_is_received_even_if_its_body_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A centre that answers and then says nothing more does not cost the whole schedule."""
    monkeypatch.setattr(webhook, "WHOLE_ATTEMPT_S", 0.3)

    async def story() -> None:
        answer = await _once(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nab", hold=True)
        assert (answer.status, answer.body) == (202, b"")

    run(story())


def test_an_answer_without_end_is_not_kept() -> None:
    """Of a huge body nothing is kept, and it is received all the same."""

    async def story() -> None:
        size = webhook.KEPT_ANSWER_BYTES * 4
        answer = await _once(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (answer.status, answer.body) == (200, b"")
        assert "too long" in answer.detail

    run(story())


def test_a_reason_that_is_no_text_can_be_put_on_record() -> None:
    """A centre's garbage never reaches the database as half a character."""

    async def story() -> None:
        answer = await _once(b"HTTP/1.1 500 \xff\xfe\xed\xa0\x80\r\nContent-Length: 0\r\n\r\n")
        assert answer.detail.encode()
        assert judge(answer) is Outcome.FAILED

    run(story())


def test_a_redirect_is_not_followed() -> None:
    """A signed alarm goes to the address of the site file and nowhere else."""

    async def story() -> None:
        async with centre() as (other, _):
            to = b"http://127.0.0.1:%d/" % other.port
            answer = await _once(b"HTTP/1.1 307 Moved\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n")
            assert (answer.status, judge(answer)) == (307, Outcome.FAILED)
            assert other.connections == 0

    run(story())


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("Mon, 02 Mar 2026 02:15:07 GMT", datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)),
        ("Mon, 02 Mar 2026 10:15:07 +0800", datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)),
        ("Mon, 02 Mar 2026 02:15:07", None),
        ("Mon, 99 Mar 2026 02:15:07 GMT", None),
        ("now", None),
        ("", None),
    ],
)
def test_the_other_sides_clock_is_told_where_it_gives_one(value: str, at: datetime | None) -> None:
    """As HTTP has it; what is no date, or has no zone, is no word at all."""

    async def story() -> None:
        answer = await _once(b"HTTP/1.1 204 No\r\nContent-Length: 0\r\nDate: " + value.encode() + b"\r\n\r\n")
        assert (answer.status, answer.said_at) == (204, at)

    run(story())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("2.5", 2.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(value: str, seconds: float | None) -> None:
    """Its date form is not believed, and nonsense is none."""

    async def story() -> None:
        answer = await _once(
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: " + value.encode() + b"\r\n\r\n"
        )
        assert answer.retry_after_s == seconds

    run(story())


@pytest.mark.parametrize(
    "says", [b"\x00\x01\x02\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_what_is_no_http_is_no_answer(says: bytes) -> None:
    """Garbage where an answer should be is an attempt without status, never an exception."""

    async def story() -> None:
        async with centre(says + b"close") as (_, path):
            answer = await path.deliver("msg_1", b"{}")
        assert answer.status is None
        assert answer.detail

    run(story())


def test_a_port_nobody_listens_on_is_no_answer() -> None:
    """Connection refused is said at once."""

    async def story() -> None:
        async with centre() as (told, _):
            free = told.port
        path = WebhookPath("first", f"http://127.0.0.1:{free}/", SECRET, SystemClock())
        await path.start()
        answer = await path.deliver("msg_1", b"{}")
        await path.stop()
        assert answer.status is None
        assert "refused" in answer.detail.lower() or "connect" in answer.detail.lower()

    run(story())


def test_a_centre_that_takes_and_never_answers_costs_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the attempt is over and says so."""
    monkeypatch.setattr(webhook, "WHOLE_ATTEMPT_S", 0.3)

    async def story() -> None:
        answer = await _once(b"", hold=True)
        assert answer.status is None
        assert "no answer within" in answer.detail

    run(story())


def test_a_closed_path_says_so() -> None:
    """An attempt after the end is an answer too."""

    async def story() -> None:
        async with centre() as (_, path):
            await path.stop()
            assert (await path.deliver("msg_1", b"{}")).status is None

    run(story())


ANSWER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SAYS = b'{"replies": []}'


async def _signed_once(
    *, secret: str | None = ANSWER_SECRET, believe_unsigned: bool = True, twice: bytes = b"", **changes: str
) -> Answer:
    """One answer of a centre that signs as the published library does, with headers changed or given twice."""
    at = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(ANSWER_SECRET).sign("msg_1", at, SAYS.decode()),
    } | {f"webhook-{name}": value for name, value in changes.items()}
    head = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items()) + twice
    says = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head
    says += b"Content-Length: %d\r\n\r\n" % len(SAYS) + SAYS
    async with centre(says) as (told, _):
        path = WebhookPath(
            "first",
            f"http://127.0.0.1:{told.port}/campus",
            SECRET,
            SystemClock(),
            answer_secret=secret,
            believe_unsigned=believe_unsigned,
        )
        await path.start()
        try:
            return await path.deliver("msg_1", b"{}")
        finally:
            await path.stop()


def test_an_answer_signed_by_the_published_library_is_believed() -> None:
    """With the answered message's id and the answer secret."""

    async def story() -> None:
        answer = await _signed_once()
        assert (answer.doubt, answer.body) == ("", SAYS)

    run(story())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "msg_2"}, "webhook-id"),
        ({"timestamp": "1614265330"}, "old"),
        ({"signature": "v1,AAAA"}, "does not match"),
        ({"signature": ""}, "not signed"),
        ({"twice": b"webhook-id: msg_1\r\n"}, "webhook-id"),
        ({"twice": b"webhook-signature: v1,AAAA\r\n"}, "does not match"),
        ({"secret": "whsec_" + "QUFB" * 8}, "does not match"),
        ({"secret": None, "believe_unsigned": False}, "answer_secret"),
    ],
)
def test_an_answer_that_is_not_is_doubted(changes: dict[str, Any], said: str) -> None:
    """Also on loopback, once there is a secret; and off loopback where there is none."""

    async def story() -> None:
        assert said in (await _signed_once(**changes)).doubt

    run(story())


def test_on_loopback_without_a_secret_an_answer_is_believed() -> None:
    """A bench needs no signatures; a path that nobody said it of believes nothing."""

    async def story() -> None:
        assert (await _signed_once(secret=None, signature="")).doubt == ""
        assert (await _once(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")).doubt

    run(story())
