"""Serving: accepts connections for the HTTP interface, within limits that leave alerts what they need.

It accepts by itself, because a library's server takes every connection there is, gives a TLS handshake a minute, and keeps
what never asks for anything. It shares the loop with the alerts: so it takes turns, parses little at once, and lets nobody
without a right have much carried out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import structlog
import uvicorn
from uvicorn.server import ServerState

from gateway.app.front import limits
from gateway.app.front.brake import Brake, Pace, Refusal, source_of
from gateway.app.front.connections import Connections
from gateway.app.front.costs import Costs
from gateway.app.front.limits import Descriptors
from gateway.app.front.protocol import FrontProtocol, Judge, Shared
from gateway.domain.fault import FaultKind
from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

ACCEPTED_AT_ONCE = 2  # in one turn of the loop
ACCEPTED_A_SECOND = 200.0
ACCEPTED_IN_A_BURST_S = 0.1
WAITING = 256  # connections that the system keeps until they are accepted
SWEEP_EVERY_S = 1.0
DESCRIPTORS_EVERY_S = 5
NO_DESCRIPTOR_PAUSE_S = 1.0
HANDSHAKE_RECORD, HELLO_HEAD, MOST_HELLO = 0x16, 5, 16 * 1024  # RFC 8446 §5.1
HELLO_AGAIN_S = 0.1


class Serving:
    """The stage. ``run`` serves until cancelled; ``found`` is what is wrong now."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        judge: Judge,
        clock: Clock,
        descriptors: Descriptors,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        """``opened`` is called once connections are accepted. The socket is bound, and stays the caller's."""
        self._listening = listening
        self._tls = tls
        self._clock = clock
        self._descriptors = descriptors
        self._opened = opened
        self._brake = Brake()
        self._connections = Connections(descriptors.connections)
        self._handshakes = Pace(limits.HANDSHAKES_A_SECOND, limits.HANDSHAKES_IN_ALL)
        self._accepts = Pace(ACCEPTED_A_SECOND, ACCEPTED_A_SECOND, burst_s=ACCEPTED_IN_A_BURST_S)
        self._state = ServerState()
        self._scarce = ""
        self._resting: asyncio.TimerHandle | None = None
        self._shared = Shared(
            config=uvicorn.Config(
                app,
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=int(limits.IDLE_S),
            ),
            state=self._state,
            clock=clock,
            judge=judge,
            brake=self._brake,
            admitted=Pace(
                limits.ADMITTED_A_SECOND,
                limits.ADMITTED_IN_ALL,
                burst_s=limits.ADMITTED_IN_A_BURST_S,
                shares=(limits.SHARE_OF_ONE, limits.SHARE_OF_ALL),
            ),
            strangers=Pace(
                limits.ADMITTED_A_SECOND,
                limits.STRANGERS_IN_ALL,
                burst_s=limits.ADMITTED_IN_A_BURST_S,
                shares=(limits.STRANGERS_SHARE, limits.STRANGERS_SHARE),
            ),
            costs=Costs(),
            refused=Pace(limits.REFUSED_A_SECOND, limits.REFUSED_IN_ALL),
            closed=self._connections.remove,
        )
        self._shared.config.load()

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        self._listening.listen(WAITING)
        self._dated()
        try:
            self._listen()
            self._opened()
            count = 0
            while True:
                await self._clock.sleep(SWEEP_EVERY_S)
                now_s = self._clock.monotonic()
                self._dated()
                self._connections.sweep(now_s)
                self._brake.sum_up(now_s)
                if count % DESCRIPTORS_EVERY_S == 0:
                    self._look_at_descriptors()
                count += 1
        finally:
            await self._end()

    def found(self) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """What is wrong, as faults."""
        if self._descriptors.cause:
            yield (FaultKind.STAGE, "http descriptors"), self._descriptors.cause
        if self._scarce:
            yield (FaultKind.STAGE, "http descriptors used"), self._scarce
        yield from self._brake.found(self._clock.monotonic())

    def tls_refused(self, cause: str) -> None:
        """A caller's certificate was refused: why, for the log."""
        self._brake.note("tls.caller_refused", cause, self._clock.monotonic())

    def _dated(self) -> None:
        date = formatdate(self._clock.now().timestamp(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]

    # Accepting.

    def _listen(self) -> None:
        self._resting = None
        if not self._scarce:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _rest(self, seconds: float) -> None:
        """Accept nothing for a moment; who comes meanwhile waits in the system's queue."""
        self._loop.remove_reader(self._listening.fileno())
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:  # no descriptor, no memory
                log.error("http.cannot_accept", cause=exc.strerror)
                self._connections.shed(ACCEPTED_AT_ONCE)
                self._rest(NO_DESCRIPTOR_PAUSE_S)
                return
            self._take(accepted, source_of(str(address[0])))
            wait_s = self._accepts.wait_s("all", self._clock.monotonic())
            if wait_s:
                self._rest(wait_s)
                return

    def _take(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one = FrontProtocol(self._shared, peer)
        if not self._connections.add(one):
            accepted.close()
            return
        one.entering = self._loop.create_task(self._enter(one, accepted), name="http-enter")

    async def _enter(self, one: FrontProtocol, accepted: socket.socket) -> None:
        """Hand the connection to its protocol, after its TLS handshake."""
        secured: dict[str, Any] = {}
        if self._tls is not None:
            secured = {"ssl": self._tls, "ssl_handshake_timeout": limits.HANDSHAKE_WITHIN_S}
        try:
            if secured and not await self._greeted(accepted):
                raise ConnectionError("no TLS client hello")
            if secured and (wait_s := self._handshakes.wait_s(one.peer, self._clock.monotonic())):
                await self._clock.sleep(wait_s)
            await self._loop.connect_accepted_socket(lambda: one, accepted, **secured)
        except (OSError, TimeoutError):  # an SSLError is one of them
            if secured:
                self._brake.refused(one.peer, Refusal.TLS, "handshake", self._clock.monotonic())
            self._connections.remove(one)
            accepted.close()
        except BaseException:
            self._connections.remove(one)
            accepted.close()
            raise
        finally:
            one.entering = None

    async def _greeted(self, accepted: socket.socket) -> bool:
        """Whether a whole client hello lies in the socket, which is only looked at: who sends none, or no TLS, takes no turn
        from others and none of OpenSSL's time."""
        until_s = self._clock.monotonic() + limits.HANDSHAKE_WITHIN_S
        readable = asyncio.Event()
        self._loop.add_reader(accepted.fileno(), readable.set)
        try:
            async with asyncio.timeout(limits.HANDSHAKE_WITHIN_S):
                await readable.wait()
        finally:
            self._loop.remove_reader(accepted.fileno())
        while self._clock.monotonic() < until_s:
            head = accepted.recv(HELLO_HEAD + MOST_HELLO, socket.MSG_PEEK)
            if not head or head[0] != HANDSHAKE_RECORD:
                return False
            length = int.from_bytes(head[3:HELLO_HEAD], "big")
            if len(head) >= HELLO_HEAD and (length > MOST_HELLO or len(head) >= HELLO_HEAD + length):
                return length <= MOST_HELLO
            await self._clock.sleep(HELLO_AGAIN_S)
        return False

    def _look_at_descriptors(self) -> None:
        """Accept nothing while the reserve is touched, whoever it is that has so much open."""
        left = self._descriptors.limit - self._descriptors.used()
        scarce = left < limits.RESERVED_DESCRIPTORS // 2
        if scarce:
            self._connections.shed(len(self._connections))
        if scarce and not self._scarce:
            self._loop.remove_reader(self._listening.fileno())
            self._scarce = (
                f"only {left} of the {self._descriptors.limit} files that the process may open are left: no connection is "
                "accepted until there are more; restart the service at a quiet time, and send the log to whoever maintains it"
            )
        elif self._scarce and not scarce:
            self._scarce = ""
            self._listen()

    async def _end(self) -> None:
        """Nothing new; what is being answered has a second."""
        self._loop.remove_reader(self._listening.fileno())
        if self._resting is not None:
            self._resting.cancel()
        for one in self._connections:
            one.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=limits.ENDING_S)
        for task in list(self._state.tasks):
            task.cancel()
        for one in self._connections:
            one.abort()
