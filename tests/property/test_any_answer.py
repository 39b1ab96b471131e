"""Whatever bytes a centre answers with, an attempt ends as an answer that can be judged and put on record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drivers.uplinks import replies, webhook
from drivers.uplinks.fields import date, seconds
from drivers.uplinks.webhook import WebhookPath
from gateway.box.clock import SystemClock
from gateway.domain.message import Answer, Outcome, judge, understand
from tests.support.raw_centre import RawCentre

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NAMES = (
    b"Date Retry-After Location Set-Cookie Content-Type Content-Length Transfer-Encoding Content-Encoding Connection Upgrade "
    b"Server Trailer WWW-Authenticate webhook-id webhook-timestamp webhook-signature Keep-Alive Content-Range Vary X-Any"
).split()
VALUES = [
    b"Fri, 31 Dec 9999 23:59:59 -0100",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"Mon, 02 Mar 2026 02:15:07 +99999999",
    b"1e999",
    b"-1",
    b"nan",
    b"99999999999999999999999999",
    b"0x10",
    b"\xc2\xb2",
    b"/campus",
    b"http://[::1",
    b"application/json; charset=utf-16",
    b"text/html",
    b"chunked, chunked",
    b"gzip, deflate",
    b"close, keep-alive",
    b"=;;\xff",
    b"",
    b"," * 500,
    b"v1," + b"A" * 5000,
]
BODIES = [
    b"",
    b"{}",
    b'{"replies": [{"id": "r", "alarm": "\\ud800", "reply": "accepted"}]}',
    b'{"replies": ' + b"9" * 5000 + b"}",
    b'{"replies": [{"id": "r", "alarm": 1e999}]}',
    b"[" * 20_000,
    b'{"a":' * 8000,
    b'{"a": NaN}',
    b'{"a": 1, "a": 2}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"<html>",
    b"\x00" * 100,
]
FIELDS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.binary(max_size=40))
    | st.tuples(st.binary(max_size=12), st.binary(max_size=40)),
    max_size=8,
)
STATUSES = st.sampled_from(
    [b"200", b"204", b"202", b"500", b"503", b"301", b"409", b"410", b"000", b"999", b"100"]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A status line and anything at all behind it."""
    head = b"".join(name + b": " + value + b"\r\n" for name, value in draw(FIELDS))
    body = draw(st.sampled_from(BODIES) | st.binary(max_size=60))
    sized = b"Content-Length: %d\r\n" % len(body) if draw(st.booleans()) else b""
    line = b"HTTP/1.1 %s %s\r\n" % (draw(STATUSES), draw(st.sampled_from([b"OK", b"", b"\xff"])))
    return line + head + sized + b"\r\n" + body


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[asyncio.Runner, RawCentre, WebhookPath]]:
    """A path to a centre that closes after each answer, in one loop for all examples."""
    monkeypatch.setattr(webhook, "WHOLE_ATTEMPT_S", 5.0)
    with asyncio.Runner() as runner:
        centre = RawCentre(lambda _head, _body: b"", closes=True)
        server = runner.run(asyncio.start_server(centre.serve, "127.0.0.1", 0))  # type: ignore[arg-type]
        centre.port = server.sockets[0].getsockname()[1]
        path = WebhookPath("first", centre.url, SECRET, SystemClock(), answer_secret=SECRET)
        runner.run(path.start())
        yield runner, centre, path
        runner.run(path.stop())
        server.close()


def _fits(answer: Answer) -> None:
    """It can be judged, and everything of it kept."""
    judge(answer, True)
    assert answer.detail.encode() is not None
    assert answer.retry_after_s is None or 0 <= answer.retry_after_s < float("inf")
    assert answer.said_at is None or answer.said_at.timestamp()
    with suppress(ValueError):
        understand(answer)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(says=answers())
@example(says=b"HTTP/1.1 200 OK\r\nDate: Fri, 31 Dec 9999 23:59:59 -0100\r\nContent-Length: 0\r\n\r\n")
@example(says=b"HTTP/1.1 503 No\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n")
def test_any_answer_is_one(line: tuple[asyncio.Runner, RawCentre, WebhookPath], says: bytes) -> None:
    """A status of three figures is the answer, whatever stands behind it; nothing raises."""
    runner, centre, path = line
    centre.says = lambda _head, _body: says
    answer = runner.run(path.deliver("msg_1", b"{}"))
    _fits(answer)
    if says[9:12] != b"100":
        assert answer.status == int(says[9:12])
        assert (judge(answer) is Outcome.RECEIVED) == (says[9:10] == b"2")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(says=st.binary(max_size=300))
def test_any_bytes_are_an_attempt(line: tuple[asyncio.Runner, RawCentre, WebhookPath], says: bytes) -> None:
    """What is no HTTP at all has no status."""
    runner, centre, path = line
    centre.says = lambda _head, _body: says
    answer = runner.run(path.deliver("msg_1", b"{}"))
    _fits(answer)
    assert answer.status is None


class _Fed:
    """Bytes in pieces of any size, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.buffer = bytearray()
        self._pieces = pieces

    async def more(self) -> bool:
        while self._pieces:
            if piece := self._pieces.pop(0):
                self.buffer += piece
                return True
        return False


@settings(max_examples=300, deadline=None)
@given(says=answers(), cuts=st.lists(st.integers(0, 400), max_size=5))
def test_where_the_pieces_are_cut_does_not_matter(says: bytes, cuts: list[int]) -> None:
    """A line, a length or a chunk may arrive in two parts."""

    async def read(pieces: list[bytes]) -> object:
        source = _Fed(pieces)
        try:
            reply = await replies.read_status(source)
        except (EOFError, replies.NotHttp) as exc:
            return type(exc)
        await replies.read_rest(source, reply, method="POST", most=4096)
        return reply.status, reply.fields, reply.body, reply.lost

    at = [0, *sorted(cuts), len(says)]
    pieces = [says[a:b] for a, b in pairwise(at)]
    assert asyncio.run(read([says])) == asyncio.run(read(pieces))


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,4} \w{3} \d{1,5} \d\d:\d\d:\d\d [+-]\d{1,9}"))
def test_any_field_is_read_or_none(value: str) -> None:
    """Dates and seconds never raise."""
    at = date(value)
    assert at is None or 2000 <= at.year < 2200
    wait_s = seconds(value)
    assert wait_s is None or 0 <= wait_s < float("inf")
