"""Kept HTTP connections to one place, with replies read as leniently as they come (``replies.py``).

An own client, because what is wanted is what libraries will not do: take the status line as the answer whatever follows it, say
whether a request had gone out whole when its connection broke, and never send one twice by itself. It is also less work for
an alarm than a library's (``benchmarks/press_to_alert.py``).

One file, though long: a connection, its deadlines and its pool share the state of one socket.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import quote, urlsplit

from drivers.uplinks.replies import NotHttp, Reply, read_rest, read_status

CONNECT_S = 3.0  # API.md, "Messages"; for the connection, and again for its TLS
IDLE_S = 60.0  # a connection unused for longer may be forgotten by a firewall
ADDRESS_KEPT_S = 10.0
STAGGER_S = 0.25  # RFC 8305, 5: to the next of several addresses
RECEIVED_AHEAD_BYTES = 256 * 1024
SAFE_IN_TARGET = "/%:@!$&'()*+,;=~-._?"

Send = Callable[[bytes], Awaitable[None]]


class Body(Protocol):
    """A request body that is made while it is sent."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    async def write(self, send: Send) -> None:
        """Send all of it. What it raises ends the attempt and is passed on."""


class NoReply(Exception):
    """No status line came, and why, in words. ``sent``: the whole request had gone out, so the other side may have acted on it.
    The cause (``__cause__``) is what the network or TLS said."""

    def __init__(self, words: str, *, sent: bool = False) -> None:
        super().__init__(words)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class _Within:
    """Limits of one request on the loop's clock: ``until`` for all of it (``None``: the caller's affair), ``rest_s`` for what
    follows the status line."""

    until: float | None
    rest_s: float


class Wire:
    """Connections to the origin of one URL. Use it in one running loop; :meth:`close` when done."""

    def __init__(
        self, url: str, tls: ssl.SSLContext | None = None, *, most: int, send_buffer_bytes: int | None = None
    ) -> None:
        """``most`` connections at once; further requests wait. ``tls`` is used for https, the system's CAs without one."""
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.where = f"{shown}:{self.port}"
        self._host_field = self.where if self.port != (443 if self.secure else 80) else shown
        self._tls = (tls or ssl.create_default_context()) if self.secure else None
        self._send_buffer_bytes = send_buffer_bytes
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(most)
        self._addresses: list[tuple[Any, ...]] = []
        self._addresses_at_s = 0.0
        self.closed = False

    def close(self) -> None:
        """Close the kept connections; what is under way ends by itself."""
        self.closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def ask(
        self,
        method: str,
        target: str,
        fields: Mapping[str, str],
        body: bytes | Body = b"",
        *,
        whole_s: float | None,
        rest_s: float = 3600.0,
        most: int,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Reply:
        """One request, sent once. ``answering`` hears the status as soon as its line is here; headers and body, at most ``most``
        bytes of it, are awaited for ``rest_s`` more and within ``whole_s`` in all.

        Raises :class:`NoReply` where no status line came, and what ``body.write`` raises.
        """
        loop = asyncio.get_running_loop()
        within = _Within(None if whole_s is None else loop.time() + whole_s, rest_s)
        connection: _Connection | None = None
        head = self._head(method, target, fields, body)
        try:
            async with asyncio.timeout_at(within.until):
                await self._free.acquire()
        except TimeoutError as exc:
            raise NoReply(f"no connection was free within {whole_s or 0:.0f} s") from exc
        try:
            async with asyncio.timeout_at(within.until):
                connection = await self._connected()
                reply = await self._sent(connection, head, body)
            answering(reply.status)
            await self._rest(connection, reply, method, most, within)
            return reply
        except TimeoutError as exc:
            sent = connection is not None and connection.sent_whole(body)
            self._drop(connection)
            raise NoReply(f"no answer within {whole_s or 0:.0f} s", sent=sent) from exc
        except BaseException:
            self._drop(connection)
            raise
        finally:
            self._free.release()

    async def _rest(
        self, connection: _Connection, reply: Reply, method: str, most: int, within: _Within
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        until_s = now_s + within.rest_s
        if within.until is not None:
            until_s = min(until_s, max(within.until, now_s + 0.1))
        clean = connection.request_done  # else the answer came before the whole had been sent
        try:
            async with asyncio.timeout_at(until_s):
                await read_rest(connection, reply, method=method, most=most)
        except TimeoutError:
            reply.body, reply.lost, reply.reusable = b"", "did not end in time", False
        if clean and reply.reusable and not connection.buffer and not connection.ended and not self.closed:
            self._keep(connection, asyncio.get_running_loop().time())
        else:
            connection.abort()

    async def _sent(self, connection: _Connection, head: bytes, body: bytes | Body) -> Reply:
        """Send the request and read up to the status line."""
        if isinstance(body, bytes):
            connection.send(head + body)
            connection.request_done = True
            return await self._status(connection, body)
        connection.send(head)
        writing = asyncio.ensure_future(body.write(connection.send_drained))
        reading = asyncio.ensure_future(self._status(connection, body))
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not writing.cancelled():
                failure = writing.exception()
                if failure is not None and not isinstance(failure, OSError):
                    raise failure
                connection.request_done = failure is None
            # A connection that broke while sending may have brought a refusal first.
            return await reading
        finally:
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _status(self, connection: _Connection, body: bytes | Body) -> Reply:
        try:
            return await read_status(connection)
        except NotHttp as exc:
            raise NoReply(str(exc), sent=connection.sent_whole(body)) from exc
        except EOFError as exc:
            error = connection.error or ConnectionResetError("closed by the other side")
            raise NoReply(
                f"{self.where} closed the connection before it answered ({error})",
                sent=connection.sent_whole(body),
            ) from (error if isinstance(error, OSError) else exc)

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh(loop.time()):
                connection.begin()
                return connection
            connection.abort()
        made = await self._connect()
        made.begin()
        return made

    def _keep(self, connection: _Connection, now_s: float) -> None:
        connection.idle_since_s = now_s
        self._idle.append(connection)
        while self._idle and not self._idle[0].fresh(now_s):
            self._idle.pop(0).abort()

    @staticmethod
    def _drop(connection: _Connection | None) -> None:
        if connection is not None:
            connection.abort()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolve()
        try:
            async with asyncio.timeout(CONNECT_S):
                sock = await _first_connected(addresses)
        except TimeoutError as exc:
            raise NoReply(f"cannot connect to {self.where} within {CONNECT_S:.0f} s") from exc
        except OSError as exc:
            self._addresses = []
            why = exc.strerror or str(exc)
            raise NoReply(f"cannot connect to {self.where}: {why}") from exc
        try:
            if self._send_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
            _, connection = await loop.create_connection(
                _Connection,
                sock=sock,
                ssl=self._tls,
                server_hostname=self.host if self._tls else None,
                ssl_handshake_timeout=CONNECT_S if self._tls else None,
            )
        except OSError as exc:  # ssl.SSLError is one
            sock.close()
            raise NoReply(f"TLS with {self.where} fails: {exc}") from exc
        except BaseException:
            sock.close()
            raise
        return connection

    async def _resolve(self) -> list[tuple[Any, ...]]:
        """The addresses of the host; those of before where the name server does not answer now."""
        loop = asyncio.get_running_loop()
        if self._addresses and loop.time() - self._addresses_at_s < ADDRESS_KEPT_S:
            return self._addresses
        try:
            async with asyncio.timeout(CONNECT_S if self._addresses else None):
                self._addresses = list(await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
        except OSError as exc:  # socket.gaierror and TimeoutError are
            if not self._addresses:
                raise NoReply(f"the name {self.host} cannot be resolved: {exc}; check the DNS") from exc
        except UnicodeError as exc:
            raise NoReply(f"{self.host} is no name of a host: {exc}") from exc
        self._addresses_at_s = loop.time()
        return self._addresses

    def _head(self, method: str, target: str, fields: Mapping[str, str], body: bytes | Body) -> bytes:
        size = len(body) if isinstance(body, bytes) else body.size
        lines = [f"{method} {quote(target, safe=SAFE_IN_TARGET)} HTTP/1.1", f"Host: {self._host_field}"]
        # What is packed would have to be unpacked: the bodies are small, and proxies pack whatever may be.
        lines += ["User-Agent: campus-gateway", "Accept: */*", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        if size or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {size}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Connection(asyncio.Protocol):
    """One connection: what arrives is kept until it is read, what is sent is waited for where it piles up."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self.request_done = False
        self.idle_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._flushed = False
        self._waiter: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._note_flushed()
        self.buffer += data
        if len(self.buffer) > RECEIVED_AHEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._note_flushed()
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.error = True, exc
        self._wake()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    def pause_writing(self) -> None:
        self._drain = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._note_flushed()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        self._drain = None

    # Reading.

    async def more(self) -> bool:
        """Wait for further bytes; see :class:`drivers.uplinks.replies.Source`."""
        if self.ended:
            return False
        assert self._transport is not None
        self._transport.resume_reading()
        had = len(self.buffer)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return len(self.buffer) > had

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Writing.

    def begin(self) -> None:
        """Another request starts here."""
        self.request_done = self._flushed = False

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)
        self._note_flushed()
        if not self._flushed:  # some loops send at the end of their turn
            asyncio.get_running_loop().call_soon(self._note_flushed)

    async def send_drained(self, data: bytes) -> None:
        """Send and wait until most of it has gone. Raises ``OSError`` if the connection is gone."""
        if self.ended:
            raise ConnectionResetError("the connection is closed")
        self.send(data)
        if self._drain is not None:
            await asyncio.shield(self._drain)
            if self.ended:
                raise ConnectionResetError("the connection is closed")

    def sent_whole(self, body: bytes | Body) -> bool:
        """Whether all of the request was given to the network."""
        if not self.ended:
            self._note_flushed()
        return self._flushed and (isinstance(body, bytes) or self.request_done)

    def _note_flushed(self) -> None:
        # A broken transport forgets what it had not sent, so this is asked while it stands.
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._flushed = transport.get_write_buffer_size() == 0

    # Keeping.

    def fresh(self, now_s: float) -> bool:
        """Whether another request may go over it."""
        closing = self._transport is None or self._transport.is_closing()
        return not (self.ended or self.buffer or closing) and now_s - self.idle_since_s < IDLE_S

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _first_connected(addresses: list[tuple[Any, ...]]) -> socket.socket:
    """A socket to the first address that takes one; each gets a quarter of a second before the next is tried beside it. Raises
    the last ``OSError`` if none does."""
    if len(addresses) == 1:
        return await _connected_to(addresses[0])
    waiting = list(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failure: OSError = OSError("it has no address")
    won: asyncio.Task[socket.socket] | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_connected_to(waiting.pop(0))))
            done, running = await asyncio.wait(
                running, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if not isinstance(error := task.exception(), OSError):
                    won = won or task
                else:
                    failure = error
            if won is not None:
                return won.result()
        raise failure
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(OSError, asyncio.CancelledError):
                (await task).close()


async def _connected_to(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, where = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made
