"""One connection: uvicorn's protocol within limits of bytes, time and turns.

uvicorn's parser takes heads, bodies and pipelined requests without an end, and gives an idle connection no time. Here each is
counted as it comes, a few KiB are parsed in one turn of the loop, and nothing further is parsed while a request waits. Who may
have a request carried out is decided before the application is asked: what carries no right of its own costs a few
microseconds when its source is on the brake.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.app.front import limits
from gateway.app.front.brake import Brake, Pace, Refusal, source_of
from gateway.app.front.costs import Costs, Measured
from gateway.ports.clock import Clock

#: Nothing of uvicorn's own words: they stand in the log once for each bad byte of a stranger. The face logs what fails.
_SILENT = logging.getLogger("gateway.app.front.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL + 1)

_MALFORMED = (400, "malformed", "The request cannot be read", "Send HTTP/1.1 as RFC 9112 has it.")
_HEAD_TOO_LARGE = (
    431,
    "head-too-large",
    "The request's head is too large",
    "Send at most 16 KiB of headers.",
)
_BODY_TOO_LARGE = (413, "body-too-large", "The body is too large", "Send at most 64 KiB.")
_SLOW = (408, "too-slow", "The request did not come in time", "Send it again, without pauses.")
_MANY = (
    429,
    "too-many-refused",
    "Too many refused requests",
    "Wait the seconds in Retry-After; check the token or the link.",
)
_BUSY = (
    503,
    "unavailable",
    "Not available now",
    "Try again after the seconds in Retry-After; what is on record stays.",
)
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}

_SECURE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"private, no-store"))


#: What an answer to a request without a right of its own says of it. 410 is not among them: such a link was rightly signed.
_REFUSALS = {
    400: Refusal.MALFORMED,
    401: Refusal.NO_TOKEN,
    403: Refusal.LINK,
    404: Refusal.NOT_FOUND,
    405: Refusal.METHOD,
}


_REFUSED_RIGHTLY = {403: Refusal.ROLE}


class Right(Enum):
    """By what a request may be carried out, judged before the application is asked."""

    PROVEN = "a right token or link"
    OPEN = "a path that is open to all, or a link that was right"
    NONE = "neither"


RIGHT = "campus.right"  # in a request's state


class Judge(Protocol):
    """Judges requests by their path, query and headers; cheap, since it is asked for each."""

    def __call__(self, scope: Any) -> Right: ...


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all connections of a front share."""

    config: Config
    state: ServerState
    clock: Clock
    judge: Judge
    brake: Brake
    admitted: Pace
    strangers: Pace
    costs: Costs
    refused: Pace
    closed: Callable[[Any], None]


class _Step(Enum):
    IDLE = "between two requests"
    HEAD = "in a request's head"
    BODY = "in its body"


_WITHIN_S = {_Step.IDLE: limits.IDLE_S, _Step.HEAD: limits.HEAD_WITHIN_S, _Step.BODY: limits.BODY_WITHIN_S}
_AT_MOST = {
    _Step.IDLE: (limits.BLANK_BYTES, _MALFORMED),
    _Step.HEAD: (limits.HEAD_BYTES, _HEAD_TOO_LARGE),
    _Step.BODY: (limits.BODY_BYTES, _BODY_TOO_LARGE),
}


class _Flow(FlowControl):
    """Reads nothing more while what came before is not parsed, whatever asks for it."""

    def __init__(self, transport: asyncio.Transport, rest: bytearray) -> None:
        super().__init__(transport)
        self._rest = rest
        self._shut = False

    def resume_reading(self) -> None:
        if not self._rest and not self._shut:
            super().resume_reading()

    def shut(self) -> None:
        """Read nothing more at all."""
        self._shut = True
        if not self._transport.is_closing():
            self.pause_reading()


class FrontProtocol(HttpToolsProtocol):
    """See the module. A :class:`gateway.app.front.connections.Connected`."""

    flow: _Flow

    def __init__(self, shared: Shared, peer: str) -> None:
        super().__init__(config=shared.config, server_state=shared.state, app_state={})
        self.logger, self.access_log = _SILENT, False
        self.app = self._judged
        self.peer, self.source = peer, peer
        self.proven = False
        self.entering: asyncio.Task[None] | None = None  # its TLS handshake
        self._shared = shared
        self._clock = shared.clock
        self._step = _Step.HEAD  # the first head is awaited from the start
        self._step_s = self._clock.monotonic()
        self._step_bytes = 0
        self._rest = bytearray()  # what came and is not parsed yet
        self._pumping = False
        self._chunks = 0
        self._deaf = False  # nothing more is read: an upgrade that is not done, or the end
        self._unsent: tuple[float, int] | None = None

    # What the registry asks.

    @property
    def busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def abort(self) -> None:
        self._deaf = True
        self._rest.clear()
        if self.transport is not None:
            self.transport.abort()
        elif self.entering is not None:
            self.entering.cancel()

    def shutdown(self) -> None:
        if self.transport is None:
            self.abort()
        else:
            super().shutdown()

    def overdue(self, now_s: float) -> bool:
        """Whether it has to go. A head or body that is late is answered once, if nothing was yet."""
        if self.transport is None:
            return False
        if self._stalled(now_s):
            return True
        if self.transport.is_closing() or (self._step is not _Step.BODY and self.busy):
            return False
        if now_s - self._step_s < _WITHIN_S[self._step]:
            return False
        if self._step is _Step.HEAD and self._step_bytes:
            self._break_off(_SLOW)
        return True

    def _stalled(self, now_s: float) -> bool:
        """Whether who asked does not take what is sent."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._unsent = None
        elif (
            self._unsent is None
            or self._unsent[1] - waiting >= limits.STALLED_BYTES
            or waiting > self._unsent[1]
        ):
            self._unsent = (now_s, waiting)
        return self._unsent is not None and now_s - self._unsent[0] >= limits.STALLED_S

    # What comes in.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self._rest)
        self._step_s = self._clock.monotonic()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._rest += data
        if not self._pumping:
            self._pump()

    def _pump(self) -> None:
        """Parse one piece of what came; the next in a later turn of the loop, and none while a request waits for its turn."""
        self._pumping = False
        if self.parser is None or self._deaf or self.transport.is_closing():
            self._rest.clear()
            return
        if not self.pipeline and self._rest:
            piece = bytes(self._rest[: limits.PIECE_BYTES])
            del self._rest[: limits.PIECE_BYTES]
            self._step_bytes += len(piece)
            super().data_received(piece)
            most, problem = _AT_MOST[self._step]
            many = self._step is _Step.BODY and self._chunks > limits.BODY_CHUNKS
            if (self._step_bytes > most or many) and not self.transport.is_closing():
                self._break_off(problem)
                return
        if not self._rest:
            if not self.pipeline:
                self.flow.resume_reading()
            return
        self.flow.pause_reading()
        if not self.pipeline:
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _enter(self, step: _Step) -> None:
        self._step, self._step_s, self._step_bytes = step, self._clock.monotonic(), 0

    def on_message_begin(self) -> None:
        if self._step is not _Step.HEAD:
            self._enter(_Step.HEAD)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._enter(_Step.BODY)
        self._chunks = 0
        super().on_headers_complete()  # the application begins in a later turn of the loop
        right = self._shared.judge(self.scope)
        self.scope["state"][RIGHT] = right
        self.proven = self.proven or right is Right.PROVEN
        if right is not Right.PROVEN and _header(self.scope, b"transfer-encoding"):
            self._end_with_this()  # whoever has no right to anything is not read to the end

    def on_body(self, body: bytes) -> None:
        self._chunks += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_Step.IDLE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._step is _Step.IDLE:
            self._step_s = self._clock.monotonic()
        if not self.transport.is_closing() and not self._pumping and (self._rest or not self.pipeline):
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever wants another protocol is answered in this one, and what follows is not read."""
        self._end_with_this()

    def _end_with_this(self) -> None:
        """The request that has just begun is the connection's last, and has no body."""
        self._deafen()
        if self.cycle is not None:
            self.cycle.keep_alive = False
            self.cycle.more_body = False
            self.cycle.message_event.set()
        self._enter(_Step.IDLE)

    def send_400_response(self, msg: str) -> None:
        self._break_off(_MALFORMED)

    def _break_off(self, problem: tuple[int, str, str, str]) -> None:
        """Answer what cannot be read or is too long, unless something is being answered, and close."""
        if problem is not _BODY_TOO_LARGE or not self.proven:
            why = Refusal.MALFORMED
            self._shared.brake.refused(self.source, why, problem[2], self._clock.monotonic())
        self._deafen()
        if self.busy:
            self.transport.abort()
            return
        status, body = problem[0], _document(*problem)
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "content-type: application/problem+json"]
        lines += [f"{name.decode()}: {value.decode()}" for name, value in _SECURE]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()

    def _deafen(self) -> None:
        self._deaf = True
        self._rest.clear()
        self.flow.shut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._rest.clear()
        super().connection_lost(exc)
        self._shared.closed(self)

    # Who may have it carried out.

    async def _judged(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, after the request's turn has come; or the answer that it will not be carried out."""
        shared, now_s = self._shared, self._clock.monotonic()
        self.source = _forwarded_for(scope, self.peer)
        right: Right = scope["state"][RIGHT]
        what = f"{scope['method']} {scope['path']}"
        presented = right is Right.NONE and bool(_header(scope, b"authorization"))
        if right is Right.NONE and (held_s := shared.brake.held_s(self.source, now_s)):
            shared.brake.refused(self.source, Refusal.BRAKED, what, now_s)
            await self._clock.sleep(min(limits.TURN_WITHIN_S, shared.refused.wait_s(self.source, now_s)))
            await _answer(send, _MANY, held_s)
            return
        if presented:  # also where the path asks for none: nobody tries tokens on those
            shared.brake.refused(self.source, Refusal.TOKEN, what, now_s)
        turns = shared.admitted if right is Right.PROVEN else shared.strangers
        if (late_s := turns.late_s(self.source, now_s)) > limits.TURN_WITHIN_S:
            await self._clock.sleep(1.0)
            await _answer(send, _BUSY, late_s)
            return
        if wait_s := turns.wait_s(self.source, now_s, shared.costs.expected_s(scope["path"])):
            await self._clock.sleep(wait_s)

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start" and not presented:
                proven = right is Right.PROVEN
                why = (_REFUSED_RIGHTLY if proven else _REFUSALS).get(message["status"])
                if why is not None:
                    shared.brake.refused(self.source, why, what, now_s)
            await send(message)

        work = Measured(shared.config.loaded_app(scope, receive, noted))
        try:
            await work
        finally:
            shared.costs.note(scope["path"], work.held_s)


def _header(scope: Any, wanted: bytes) -> bytes:
    found: bytes = next((value for name, value in scope["headers"] if name == wanted), b"")
    return found


def _forwarded_for(scope: Any, peer: str) -> str:
    """Whom a proxy on this box asks for: the last address it names, which it has added itself."""
    if peer in ("127.0.0.1", "::1") and (named := _header(scope, b"x-forwarded-for")):
        return source_of(named.decode("latin-1").rpartition(",")[2].strip())
    return peer


def _document(status: int, kind: str, title: str, detail: str) -> bytes:
    found = {"type": f"urn:campus-gateway:problem:{kind}", "title": title, "status": status, "detail": detail}
    return json.dumps(found).encode()


async def _answer(send: Any, problem: tuple[int, str, str, str], retry_s: float) -> None:
    body = _document(*problem)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(max(1, ceil(retry_s))).encode()),
        *_SECURE,
    ]
    await send({"type": "http.response.start", "status": problem[0], "headers": headers})
    await send({"type": "http.response.body", "body": body})
