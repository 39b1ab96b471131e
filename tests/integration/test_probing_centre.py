"""The probe's question to the centre: it claims nothing, and its words are those of the running fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.settings import resolve
from drivers.uplinks.webhook import WebhookPath
from gateway.alarm.reach import BEAT, Reach
from gateway.app.commands.probe.centre import probe_centre
from gateway.app.commands.probe.table import Line, Result
from gateway.box.clock import SystemClock
from tests.support.clock import run
from tests.support.raw_centre import raw_centre
from tests.support.site_text import ENVIRON, changed, load


async def probed(folder: Path, says: bytes | None) -> tuple[Line, str, list[bytes]]:
    """The probe's line about a centre that answers so, the cause of the running fault there, and what the probe sent."""
    lines: list[Line] = []
    async with raw_centre(lambda _head, _body: says, closes=True) as centre:
        text = changed(("https://110.example.gov.cn/campus", centre.url))
        await probe_centre(resolve(load(folder, text), folder / "data"), lines.append)
        sent = list(centre.bodies)
        path = WebhookPath("first", centre.url, ENVIRON["CENTRE_SECRET"], SystemClock())
        await path.start()
        reach = Reach(SystemClock(), ["first"])
        reach.missed(0, BEAT, await path.deliver("msg_1", b"{}"), 0.0)
        await path.stop()
    (line,) = lines
    return line, reach.health[0].cause, sent


def status(line: bytes, body: bytes = b"", type_: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (line, type_, len(body), body)


def test_it_claims_nothing(tmp_path: Path) -> None:
    """No heartbeat: that would say how many alarms are open, and that another one follows."""

    async def story() -> None:
        line, _, sent = await probed(tmp_path, status(b"204 No Content"))
        assert line.result is Result.OK
        (message,) = [json.loads(body) for body in sent]
        assert (message["type"], message["data"]) == ("link.probe", {"path": "first"})

    run(story())


@pytest.mark.parametrize(
    ("says", "result", "words"),
    [
        (status(b"200 OK"), Result.OK, "received"),
        (status(b"200 OK", b"{}"), Result.OK, "received"),
        (status(b"200 OK", b"ok", b"text/plain"), Result.OK, "received"),
        (status(b"200 OK", b"{", b"application/json"), Result.WARN, "JSON"),
        (status(b"200 OK", b"<html>login</html>", b"text/html"), Result.FAIL, "web page"),
        (status(b"400 Bad"), Result.FAIL, "both clocks"),
        (status(b"401 No"), Result.FAIL, "centre.webhook.secret"),
        (status(b"302 Found"), Result.FAIL, "redirects are not followed"),
        (status(b"404 Not Found"), Result.FAIL, "centre.webhook.url"),
        (status(b"409 Conflict"), Result.FAIL, "proxy"),
        (status(b"503 Away"), Result.FAIL, "ask the centre"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Result.FAIL, "no HTTP reply"),
        (None, Result.FAIL, "closed the connection"),
    ],
)  # fmt: skip
def test_what_it_says_the_running_fault_says_as_well(
    tmp_path: Path, says: bytes | None, result: Result, words: str
) -> None:
    """Whatever a technician reads in the probe also stands in the fault, word by word."""

    async def story() -> None:
        line, cause, _ = await probed(tmp_path, says)
        assert line.result is result
        assert words in line.detail
        if result is Result.FAIL and words != "web page":
            assert line.detail.startswith(cause)

    run(story())
