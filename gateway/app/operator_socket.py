"""The channel that only the box's own operator can use: a socket in the data folder, for commands beside a running gateway.

Who may open the socket is the system's business (mode 0600, and the kernel names the caller's user): no token, no network.
One JSON line asks, JSON lines answer; the last one has ``done``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import structlog

from gateway.alarm.drilling import Drilling
from gateway.domain.errors import NotFound, Refused, Unavailable
from gateway.domain.ids import is_drill
from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

SOCKET = "operator.sock"
RECEIVED_WITHIN_S = 30.0  # API.md, "Drills": the command gives up after this
LOOK_EVERY_S = 0.1
MOST_ASKED_BYTES = 4096


class OperatorDoor:
    """Serves the socket until cancelled."""

    def __init__(self, data_dir: Path, drilling: Drilling, clock: Clock) -> None:
        self._data_dir = data_dir
        self._drilling = drilling
        self._clock = clock

    async def run(self) -> None:
        with _short(self._data_dir) as folder:
            path = folder / SOCKET
            path.unlink(
                missing_ok=True
            )  # left by a gateway that was killed; the data folder's lock keeps a second one out
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                listening.bind(str(path))
            finally:
                os.umask(before)
        server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MOST_ASKED_BYTES)
        try:
            await server.serve_forever()
        finally:
            (self._data_dir / SOCKET).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            user = _user(writer)
            if user not in (os.getuid(), 0):
                log.warning("operator.refused", user=user)
                return
            async for answer in self._answers(await reader.readline()):
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as exc:
            log.info("operator.left", cause=str(exc))
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answers(self, line: bytes) -> AsyncIterator[Mapping[str, Any]]:
        try:
            asked = json.loads(line)
            point, for_s = str(asked["point"]), asked.get("arm_s")
            for_s = None if for_s is None else float(for_s)
        except (ValueError, KeyError, TypeError, AttributeError):
            yield {"error": "not understood; is the command of another version?", "done": True}
            return
        try:
            work = self._drill(point) if for_s is None else self._arm(point, for_s)
            async for answer in work:
                yield answer
        except (NotFound, Refused, Unavailable) as exc:
            yield {"error": str(exc), "refused": True, "done": True}

    async def _drill(self, point: str) -> AsyncIterator[Mapping[str, Any]]:
        drill = await self._drilling.drill(point, "the box's operator")
        yield {"drill": drill.id, "cameras": list(drill.cameras)}
        began_s = self._clock.monotonic()
        while True:
            receipt = await self._drilling.receipt(drill.id)
            waited_s = self._clock.monotonic() - began_s
            if receipt.received_at is not None:
                took_s = (receipt.received_at - drill.raised_at).total_seconds()
                yield {"received_after_s": round(took_s, 3), "how": receipt.last, "done": True}
                return
            if waited_s >= RECEIVED_WITHIN_S:
                yield {"not_received_s": round(waited_s), "how": receipt.last, "done": True}
                return
            await self._clock.sleep(LOOK_EVERY_S)

    async def _arm(self, point: str, for_s: float) -> AsyncIterator[Mapping[str, Any]]:
        window = await self._drilling.arm(point, for_s, "the box's operator")
        yield {"window": window.id, "until": window.until.isoformat()}
        told = False
        while True:
            window = await self._drilling.window(window.id)
            if window.ended_by is not None:
                yield {"pressed": window.ended_by, "done": True}
                return
            if self._clock.now() >= window.until:
                yield {"over": True, "known": window.received_at is not None, "done": True}
                return
            if window.received_at is not None and not told:
                told = True
                yield {"armed": True}
            await self._clock.sleep(LOOK_EVERY_S)


def ask(data_dir: Path, question: Mapping[str, Any], within_s: float) -> Iterator[dict[str, Any]]:
    """Ask the gateway that runs on ``data_dir``; yields its answers as they come, the last one with ``done``.

    Raises ``Refused`` if none runs there, or the socket is not for this user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(within_s)
        try:
            with _short(data_dir) as folder:
                line.connect(str(folder / SOCKET))
        except PermissionError as exc:
            raise Refused(
                f"{data_dir / SOCKET} is another user's: run this as the user the gateway runs as"
            ) from exc
        except OSError as exc:
            raise Refused(
                f"no gateway runs on {data_dir} ({exc.strerror}); start it, or name its --data-dir"
            ) from exc
        line.sendall(json.dumps(dict(question)).encode() + b"\n")
        with line.makefile("rb") as answers:
            try:
                for answer in answers:
                    yield json.loads(answer)
            except TimeoutError as exc:
                raise Refused(f"the gateway on {data_dir} does not answer; see its log") from exc


def tell_drill(data_dir: Path, point: str, arm_s: float | None, out: TextIO) -> bool:
    """Ask for a drill and tell how it goes, a line a step; whether it ended as it should.

    Raises ``Refused``, with what to do, if no gateway runs there or it takes no drill.
    """

    def tell(line: str) -> None:
        print(line, file=out, flush=True)

    question = {"point": point} if arm_s is None else {"point": point, "arm_s": arm_s}
    for answer in ask(data_dir, question, RECEIVED_WITHIN_S + (arm_s or 0.0) + 10.0):
        match answer:
            case {"error": str(why)}:
                raise Refused(why)
            case {"drill": str(drill), "cameras": list(cameras)}:
                tell(
                    f"{drill}  raised at {point}, {len(cameras)} cameras; waiting until the centre has received it"
                )
            case {"received_after_s": took_s, "how": how}:
                tell(
                    f"received by the centre after {took_s:.2f} s ({how}); its operator's reply follows in the drill's timeline"
                )
                return True
            case {"not_received_s": waited_s, "how": how}:
                tell(f"NOT RECEIVED within {waited_s} s; the last attempt: {how}")
                tell("check centre.webhook with: campus-gateway check --probe --config SITE.yaml")
                return False
            case {"window": _, "until": until}:
                tell(f"{point} is announced until {until}; do NOT press yet: the centre does not know so far")
            case {"armed": True}:
                tell("the centre knows: press now. Only the next press is the drill")
            case {"pressed": str(what)}:
                tell(
                    f"pressed: {what}" + ("" if is_drill(what) else "  THIS IS A REAL ALARM: call the centre")
                )
                return is_drill(what)
            case {"over": True, "known": known}:
                tell(
                    "not pressed in time" if known else "the centre did not receive the announcement in time"
                )
                return False
    raise Refused("the gateway ended before it had answered; is it being restarted?")


@contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """The folder under a short name: a socket's path may have 107 bytes, a data folder's any number."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _user(writer: asyncio.StreamWriter) -> int:
    """Whose process is at the other end, by the kernel's word."""
    line: socket.socket = writer.get_extra_info("socket")
    _, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)
