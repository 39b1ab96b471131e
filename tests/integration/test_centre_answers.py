# ruff: noqa: E501 -- one row a line, as the bytes come
"""Answers of centres and proxies as they really come: the status line is the answer, and nothing behind it takes that back."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest

from drivers.uplinks import webhook
from drivers.uplinks.media_push import MediaPush
from drivers.uplinks.webhook import WebhookPath
from gateway.box.clock import SystemClock
from gateway.domain.message import Answer, Outcome, judge, understand
from tests.support.clock import run
from tests.support.raw_centre import raw_centre

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REPLIES = json.dumps({"replies": [{"id": "r-1", "alarm": "alm_1", "reply": "accepted"}]}).encode()
OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"


async def _once(says: bytes, *, closes: bool = False) -> tuple[Answer, list[int]]:
    """One attempt, and the statuses as they were announced."""
    announced: list[int] = []
    async with raw_centre(says, closes=closes) as centre:
        path = WebhookPath("first", centre.url, SECRET, SystemClock(), believe_unsigned=True)
        await path.start()
        try:
            answer = await path.deliver("msg_1", b"{}", answering=announced.append)
        finally:
            await path.stop()
        assert len(centre.bodies) == 1, "an attempt is one request, whatever comes back"
    return answer, announced


def _sized(body: bytes, size: int | None = None) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % (len(body) if size is None else size) + body


#: Name, what the centre sends, whether it closes then, and whether its replies can be read.
STRANGE = [
    ("as it should be", OK + JSON + _sized(REPLIES), False, True),
    ("a date without a name", OK + b"Tue, 12 Jun 2012 01:56:34 GMT\r\n" + JSON + _sized(REPLIES), False, True),
    ("a line of words", OK + b"this is no header\r\n" + JSON + _sized(REPLIES), False, True),
    ("a name with blanks in it", OK + b"X Powered By: x\r\n" + JSON + _sized(REPLIES), False, True),
    ("a name that is empty", OK + b": x\r\n" + JSON + _sized(REPLIES), False, True),
    ("a blank before the colon", OK + b"Content-Type : application/json\r\n" + _sized(REPLIES), False, True),
    ("a folded line", OK + b"X-Long: a\r\n  b\r\n" + JSON + _sized(REPLIES), False, True),
    ("a folded line first", OK + b"  b: c\r\n" + JSON + _sized(REPLIES), False, True),
    ("zero bytes in a value", OK + b"X-Zero: a\x00b\r\n" + JSON + _sized(REPLIES), False, True),
    ("bytes that are no text", OK + b"X-\xff: \xfe\xed\xa0\x80\r\n" + JSON + _sized(REPLIES), False, True),
    ("a carriage return in a value", OK + b"X-Cr: a\rb\r\n" + JSON + _sized(REPLIES), False, True),
    ("line feeds alone", (OK + JSON + _sized(REPLIES)).replace(b"\r\n", b"\n"), False, True),
    ("a header of 30 kB", OK + b"X-Long: " + b"x" * 30_000 + b"\r\n" + JSON + _sized(REPLIES), False, True),
    ("a thousand headers", OK + b"X-N: 1\r\n" * 1000 + JSON + _sized(REPLIES), False, True),
    ("a header of 300 kB", OK + b"X-Long: " + b"x" * 300_000 + b"\r\n" + JSON + _sized(REPLIES), False, False),
    ("headers without end", OK + b"X-N: 1\r\n" * 50_000, True, False),
    ("cookies of all sorts", OK + b"Set-Cookie: =;;,=\xff\r\nSet-Cookie: \r\n" + JSON + _sized(REPLIES), False, True),
    ("no reason", b"HTTP/1.1 200\r\n" + JSON + _sized(REPLIES), False, True),
    ("a blank and no reason", b"HTTP/1.1 200 \r\n" + JSON + _sized(REPLIES), False, True),
    ("a reason that is no text", b"HTTP/1.1 200 \xff\xfe\r\n" + JSON + _sized(REPLIES), False, True),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + JSON + _sized(REPLIES), True, True),
    ("HTTP/1.0 without a length", b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + REPLIES, True, True),
    ("no length, closed", OK + JSON + b"\r\n" + REPLIES, True, True),
    ("no length, left open", OK + JSON + b"\r\n" + REPLIES, False, False),
    ("nothing more, left open", OK + b"\r\n", False, None),
    ("a version of two figures", b"HTTP/1.10 200 OK\r\n" + JSON + _sized(REPLIES), True, True),
    ("empty lines before", b"\r\n\r\n" + OK + JSON + _sized(REPLIES), False, True),
    ("a hint before", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + JSON + _sized(REPLIES), False, True),
    ("100 before", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + JSON + _sized(REPLIES), False, True),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n" + JSON + _sized(REPLIES), False, None),
    ("204 in chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False, None),
    ("more than its length", OK + JSON + _sized(REPLIES + b"and more", len(REPLIES)), False, True),
    ("less than its length", OK + JSON + _sized(REPLIES, len(REPLIES) + 48), True, False),
    ("a negative length", OK + JSON + _sized(REPLIES, -1), True, True),
    ("a length in words", OK + JSON + b"Content-Length: ten\r\n\r\n" + REPLIES, True, True),
    ("two lengths", OK + JSON + b"Content-Length: 1\r\n" + _sized(REPLIES), True, True),
    ("the same length twice", OK + JSON + b"Content-Length: %d\r\n" % len(REPLIES) + _sized(REPLIES), False, True),
    ("a length of 30 figures", OK + JSON + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + REPLIES, True, True),
    (
        "chunks and a length, in chunks",
        OK + JSON + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(REPLIES), REPLIES),
        False,
        True,
    ),
    ("chunks and a length, counted", OK + JSON + b"Transfer-Encoding: chunked\r\n" + _sized(REPLIES), False, True),
    ("chunks that are none", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n" + REPLIES, False, False),
    ("a chunk of another size", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + REPLIES, False, False),
    ("chunks that break off", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + REPLIES, True, False),
    ("a chunk without end", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + REPLIES, False, False),
    (
        "chunks with words and trailers",
        OK + JSON + b"Transfer-Encoding: Chunked\r\n\r\n%X ; a=b\r\n%s\r\n000\r\nX-T: 1\r\n\r\n" % (len(REPLIES), REPLIES),
        False,
        True,
    ),
    ("trailers without end", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(REPLIES), REPLIES) + b"X-T: 1\r\n" * 50_000, False, True),
    ("a trailer that stops in its line", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-T: 1" % (len(REPLIES), REPLIES), False, True),
    ("a trailer of 300 kB", OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-T: " % (len(REPLIES), REPLIES) + b"x" * 300_000 + b"\r\n\r\n", False, True),
    ("cut behind the status line", OK, True, False),
    ("cut in the head", OK + b"Content-Ty", True, False),
    ("cut behind the head", OK + JSON + _sized(b"", 50), True, False),
    ("a type of garbage", OK + b"Content-Type: \xff/;;=\r\n" + _sized(REPLIES), False, True),
    ("a charset nobody knows", OK + b"Content-Type: application/json; charset=klingon\r\n" + _sized(REPLIES), False, True),
    ("gzip", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(gzip.compress(REPLIES)), False, True),
    ("x-gzip in capitals", OK + JSON + b"Content-Encoding: X-GZip\r\n" + _sized(gzip.compress(REPLIES)), False, True),
    ("gzip of two members", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(gzip.compress(REPLIES[:9]) + gzip.compress(REPLIES[9:])), False, True),
    ("gzip, padded", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(gzip.compress(REPLIES) + b"\0" * 9), False, True),
    ("deflate", OK + JSON + b"Content-Encoding: deflate\r\n" + _sized(zlib.compress(REPLIES)), False, True),
    ("deflate without its wrapping", OK + JSON + b"Content-Encoding: deflate\r\n" + _sized(zlib.compress(REPLIES, wbits=-15)), False, True),
    ("packed twice", OK + JSON + b"Content-Encoding: deflate, gzip\r\n" + _sized(gzip.compress(zlib.compress(REPLIES))), False, True),
    ("packed twice, two lines", OK + JSON + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n" + _sized(gzip.compress(gzip.compress(REPLIES))), False, True),
    ("identity", OK + JSON + b"Content-Encoding: identity\r\n" + _sized(REPLIES), False, True),
    ("gzip in chunks", OK + JSON + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(REPLIES)), gzip.compress(REPLIES)), False, True),
    ("says gzip and is not", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(REPLIES), False, False),
    ("gzip that breaks off", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(gzip.compress(REPLIES)[:-12]), False, False),
    ("gzip of 60 MB", OK + JSON + b"Content-Encoding: gzip\r\n" + _sized(gzip.compress(b" " * 60_000_000)), False, False),
    ("gzip in gzip in gzip in gzip", OK + JSON + b"Content-Encoding: gzip,gzip,gzip,gzip\r\n" + _sized(REPLIES), False, False),
    ("brotli, which nobody asked for", OK + JSON + b"Content-Encoding: br\r\n" + _sized(b"\x0b\x02\x80{}\x03"), False, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("says", "closes", "read"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE]
)
def test_a_2xx_is_an_answer_whatever_comes_with_it(says: bytes, closes: bool, read: bool | None) -> None:
    """It is received at the first request. What it says is read, or is a complaint; ``None``: it says nothing."""

    async def story() -> None:
        answer, announced = await _once(says, closes=closes)
        assert judge(answer) is Outcome.RECEIVED
        assert announced == [answer.status], "known before the rest is here"
        if read:
            assert understand(answer) == json.loads(REPLIES)
        elif read is None:
            assert understand(answer) == {}
        else:
            with pytest.raises(ValueError, match="answer"):
                understand(answer)

    run(story())


def test_a_status_is_known_while_its_body_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the message would go out again and again beside an answer that has come."""
    monkeypatch.setattr(webhook, "WHOLE_ATTEMPT_S", 0.5)

    async def story() -> None:
        for says in (OK + _sized(b"ab", 50), OK + b"X-Never: "):
            answer, announced = await _once(says)
            assert (announced, judge(answer)) == ([200], Outcome.RECEIVED)

    run(story())


@pytest.mark.parametrize("status", [b"000", b"199", b"299", b"300", b"599", b"999"])
def test_any_status_of_three_figures_is_one(status: bytes) -> None:
    """What is no 2xx has not been received, and can be put on record."""

    async def story() -> None:
        answer, _ = await _once(b"HTTP/1.1 " + status + b" What\r\n" + _sized(b""), closes=True)
        if status == b"199":  # interim, and nothing after it
            assert answer.status is None
        else:
            assert answer.status == int(status)
        assert (judge(answer) is Outcome.RECEIVED) == (status == b"299")

    run(story())


@pytest.mark.parametrize(
    "says",
    [b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 -200 OK\r\n\r\n", b"<html>200 OK</html>\r\n", b"HTTP/1.1 100 C\r\n\r\n" * 30],
)  # fmt: skip
def test_what_is_no_status_line_is_no_answer(says: bytes) -> None:
    """And it says what came."""

    async def story() -> None:
        answer, announced = await _once(says, closes=True)
        assert (answer.status, announced) == (None, [])
        assert answer.detail
        assert answer.sent, "it went out whole, and may have been received"

    run(story())


def test_connections_are_kept_where_they_stand_clean() -> None:
    """And never where bytes of one answer could be taken for the next one's."""
    dirty = {"more than its length", "204 with a body", "chunks and a length, in chunks", "204 in chunks"}
    dirty |= {"trailers without end", "a trailer that stops in its line", "a trailer of 300 kB"}

    async def story() -> None:
        for name, says, closes, read in STRANGE:
            if closes or (not read and name not in dirty):
                continue
            async with raw_centre(says) as centre:
                path = WebhookPath("first", centre.url, SECRET, SystemClock(), believe_unsigned=True)
                await path.start()
                for _ in range(3):
                    answer = await path.deliver("msg_1", b"{}")
                    assert judge(answer) is Outcome.RECEIVED, name
                await path.stop()
                assert len(centre.bodies) == 3, name
                if name in dirty or name == "chunks and a length, counted":
                    assert centre.connections == 3, name
                else:
                    assert centre.connections == 1, name

    run(story())


@pytest.mark.parametrize(("says", "closes"), [row[1:3] for row in STRANGE], ids=[row[0] for row in STRANGE])
def test_a_part_of_a_live_picture_is_taken_by_any_2xx(says: bytes, closes: bool) -> None:
    """As with messages."""

    async def story() -> None:
        async with raw_centre(says, closes=closes) as centre:
            media = MediaPush(centre.url, "token")
            await media.start()
            answer = await media.put_part("a/live/c/1.m4s", b"x" * 5000, "video/mp4")
            await media.stop()
            assert answer.status in (200, 204)
            assert len(centre.bodies) == 1

    run(story())


def test_altered_lengths_cost_no_memory(tmp_path: Path) -> None:
    """An answer that says it has exabytes is dropped at once."""

    async def story() -> None:
        answer, _ = await _once(OK + JSON + b"Content-Length: 999999999999999999\r\n\r\n{")
        assert "too long" in answer.lost

    run(story())
