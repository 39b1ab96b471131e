"""The line to the camera process: starts it, watches it, carries requests and answers, and starts it again when it falls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.cameras import processes
from drivers.cameras.channel import HEAD, Message, check, decode, encode
from gateway.box.pause import pause
from gateway.domain.errors import Malformed, NotPlayable, Unavailable
from gateway.ports.clock import Clock

FIRST_BACK_OFF_S = 0.1
LONGEST_BACK_OFF_S = 5.0
LASTING_S = 30.0
"""A camera process that lived this long was good: the back-off begins anew."""

PING_EVERY_S = 1.0
HUNG_S = 5.0
"""A camera process that answers no ping for this long is killed."""

STOP_S = 2.0
REAP_S = 0.2
"""How long a process whose channel has closed is given to be gone before it is killed, so that its own code is told."""

log = logging.getLogger(__name__)


class ProcessFell(Unavailable):
    """The camera process died with this request on its way."""


@dataclass(slots=True, eq=False)
class Call:
    """A request on its way. ``progress`` is the last word on how far it is, if it is of the kind that tells."""

    answer: asyncio.Future[tuple[Message, bytes]]
    progress: Message | None = None


class WorkerLink:
    """One camera process at a time, kept alive by :meth:`run`.

    ``greeting`` makes the first message to each new process; ``told`` receives what it says unasked; ``fell`` is called with the
    cause when one has ended, after it is certainly dead and before pending calls learn of it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        greeting: Callable[[], Message],
        told: Callable[[Message], None],
        fell: Callable[[str], None],
    ) -> None:
        self.restarts = 0
        self.pid: int | None = None
        self._clock = clock
        self._greeting, self._told, self._fell = greeting, told, fell
        self._calls: dict[int, Call] = {}
        self._number = 0
        self._told_s = 0.0
        self._writer: asyncio.StreamWriter | None = None
        self._stopping = asyncio.Event()

    # ------------------------------------------------------------------ life

    def stop(self) -> None:
        """Let the process end, and :meth:`run` with it; harmless when repeated or never started."""
        self._stopping.set()
        if self._writer is not None:
            self._writer.close()

    async def run(self) -> None:
        """Keep a process alive until :meth:`stop` or cancelled; in both cases it is gone afterwards."""
        back_off = FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            cause = await self._one_life()
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - began > LASTING_S:
                back_off = FIRST_BACK_OFF_S
            self.restarts += 1
            log.error("%s; started again in %.1f s", cause, back_off)
            await pause(self._clock, back_off, self._stopping)
            back_off = min(LONGEST_BACK_OFF_S, 2 * back_off)

    async def _one_life(self) -> str:
        """From start to end of one process; returns why it ended."""
        cause = "the camera process was stopped"
        process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.to_thread(
                    processes.spawn, "drivers.cameras.worker", str(theirs.fileno()), inherit=theirs
                )
            self.pid = process.pid
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self.send(self._greeting())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(reader))
                group.create_task(self._ping())
        except* (_Gone, OSError, Malformed) as fallen:
            cause = str(fallen.exceptions[0])
        finally:
            writer, self._writer, self.pid = self._writer, None, None
            if writer is None:
                ours.close()
            else:
                writer.close()
            if process is not None:
                # Dead first, told after: whoever hears of it may touch the files it wrote.
                patience_s = STOP_S if self._stopping.is_set() else REAP_S
                code = await asyncio.to_thread(processes.end, process, patience_s)
                if not self._stopping.is_set():
                    cause = f"{cause} ({processes.how_it_ended(code)})"
            if writer is not None:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            self._fell(cause)
            for call in self._calls.values():
                if not call.answer.done():
                    call.answer.set_exception(ProcessFell(cause))
        return cause

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                json_bytes, tail_bytes = HEAD.unpack(await reader.readexactly(HEAD.size))
                check(json_bytes, tail_bytes)
                message = decode(await reader.readexactly(json_bytes))
                tail = await reader.readexactly(tail_bytes) if tail_bytes else b""
            except (asyncio.IncompleteReadError, ConnectionError):
                raise _Gone("the camera process ended") from None
            try:
                self._take(message, tail)
            except (KeyError, TypeError, ValueError) as exc:
                raise _Gone(f"the camera process said what nobody understands: {exc!r}") from exc

    def _take(self, message: Message, tail: bytes) -> None:
        if "progress" in message:
            call = self._calls.get(message["progress"])
            if call is not None:
                call.progress = message
        elif "id" in message:
            call = self._calls.get(message["id"])
            if call is None or call.answer.done():
                return
            if "error" in message:
                kind = NotPlayable if message.get("not_playable") else Unavailable
                call.answer.set_exception(kind(message["error"]))
            else:
                call.answer.set_result((message, tail))
        else:
            if "health" in message:
                self._told_s = self._clock.monotonic()
            self._told(message)

    async def _ping(self) -> None:
        self._told_s = self._clock.monotonic()
        while True:
            if self._clock.monotonic() - self._told_s > HUNG_S:
                raise _Gone(
                    f"the camera process told nothing of its cameras for {HUNG_S:.0f} s and was killed"
                )
            try:
                await self.ask({"op": "ping"}, within_s=HUNG_S)
            except Unavailable:
                raise _Gone(
                    f"the camera process answered nothing for {HUNG_S:.0f} s and was killed"
                ) from None
            await self._clock.sleep(PING_EVERY_S)

    # ------------------------------------------------------------------ asking

    def send(self, message: Message) -> None:
        """Say something that asks for no answer; lost if no process is there (the greeting says it all again)."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    def new_call(self) -> Call:
        """A call whose progress somebody wants to see."""
        return Call(asyncio.get_running_loop().create_future())

    async def ask(
        self, message: dict[str, Any], *, within_s: float, call: Call | None = None
    ) -> tuple[Message, bytes]:
        """Send a request and await its answer. Raises ``Unavailable``; a caller that leaves takes its request along."""
        if self._writer is None:
            raise Unavailable("the camera process is not running; it is being started")
        self._number += 1
        number = self._number
        call = call or self.new_call()
        self._calls[number] = call
        try:
            self.send({**message, "id": number})
            async with asyncio.timeout(within_s):
                return await call.answer
        except TimeoutError:
            raise Unavailable(
                f"the camera process gave no answer to {message['op']} in {within_s:.0f} s"
            ) from None
        finally:
            del self._calls[number]
            if not call.answer.done() or call.answer.cancelled():
                self.send({"op": "cancel", "of": number})


class _Gone(Exception):
    """The camera process is no longer there, or no longer itself."""
