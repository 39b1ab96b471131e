"""Somebody before the simulated camera's ONVIF service who puts other answers in place of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from simulators.camera.simulated import SimulatedCamera
from tests.support.raw_http import Answer, RawHttp, raw_http

Rewriting = Callable[[bytes, bytes], Answer]
"""From a request and the camera's whole answer (head and body) to what is sent in its place."""


@dataclass(slots=True)
class AnswerProxy:
    """Where it listens, and what was asked, in order."""

    http: RawHttp
    asked: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.http.port


def question_of(request: bytes) -> str:
    """The SOAP operation; the path, for what is none."""
    found = re.search(rb"Body>\s*<(?:[\w.-]+:)?(\w+)", request)
    return (found[1] if found else request.split(b" ")[1]).decode()


@asynccontextmanager
async def answer_proxy(
    camera: SimulatedCamera, rewriting: Mapping[str, Rewriting], moved: Mapping[str, str] | None = None
) -> AsyncIterator[AnswerProxy]:
    """``rewriting`` is by operation, ``*`` for all others. The camera names the proxy's port for what it serves by HTTP.

    ``moved`` are paths of it to where they are instead: there only, and so named in its answers.
    """
    elsewhere = {old.encode(): new.encode() for old, new in (moved or {}).items()}

    async def answer(request: bytes) -> Answer:
        question = question_of(request)
        proxy.asked.append(question)
        path = request.split(b" ")[1]
        if path in elsewhere:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        here = next((old for old, new in elsewhere.items() if new == path), path)
        given = await _passed_on(request.replace(path, here, 1), camera.onvif_port)
        head, _, body = given.partition(b"\r\n\r\n")
        body = body.replace(b":%d/" % camera.onvif_port, b":%d/" % proxy.port)
        for old, new in elsewhere.items():
            body = body.replace(old + b"<", new + b"<")
        if body:
            head = re.sub(rb"(?i)content-length: *[0-9]+", b"Content-Length: %d" % len(body), head)
            given = head + b"\r\n\r\n" + body
        rewrite = rewriting.get(question, rewriting.get("*"))
        return given if rewrite is None else rewrite(request, given)

    async with raw_http(answer) as http:
        proxy = AnswerProxy(http)
        yield proxy


async def _passed_on(request: bytes, port: int) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"(?i)\r\nconnection: *[^\r]*", b"", head) + b"\r\nConnection: close"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + b"\r\n\r\n" + body)
        return await asyncio.wait_for(reader.read(-1), 10)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# ------------------------------------------------------------------ what may be put in its place


def instead(
    body: bytes = b"", status: str = "200 OK", kind: str = "application/soap+xml", head: str = ""
) -> Rewriting:
    """This answer, whatever the camera's was."""
    lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
    return lambda _, __: lines + body


def edited(*pairs: tuple[str, str]) -> Rewriting:
    """The camera's own answer with these patterns replaced in its body; one that is not found is a mistake of the test."""

    def rewrite(_: bytes, answer: bytes) -> bytes:
        body = answer.partition(b"\r\n\r\n")[2].decode()
        for pattern, replacement in pairs:
            body, times = re.subn(pattern, replacement, body, flags=re.DOTALL)
            assert times, f"{pattern} is not in {body}"
        return instead(body.encode())(b"", b"")  # type: ignore[return-value]

    return rewrite


def fault(code: str, subcode: str, text: str = "no", status: str = "400 Bad Request") -> Rewriting:
    """A SOAP fault."""
    return instead(
        (
            '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:ter="http://www.onvif.org/ver10/error">'
            f"<e:Body><e:Fault><e:Code><e:Value>e:{code}</e:Value><e:Subcode><e:Value>ter:{subcode}</e:Value></e:Subcode>"
            f'</e:Code><e:Reason><e:Text xml:lang="en">{text}</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>'
        ).encode(),
        status,
    )
