"""The gateway's side of the camera process: starts it, watches it, asks it, and tells its callers when it falls.

Implements ``gateway.ports.CameraBank``. Imports no media library: what a camera sends is never read in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import drivers
from drivers.cameras.channel import HEAD, Message, check, decode, encode
from drivers.cameras.salvage import salvage
from drivers.cameras.spec import CameraSpec
from gateway.domain.errors import Malformed, Unavailable
from gateway.domain.evidence import ClipTaken, StillTaken
from gateway.ports import CameraHealth, Clock, LivePlaylist, LiveSegment

FIRST_BACK_OFF_S = 0.1
LONGEST_BACK_OFF_S = 5.0
LASTING_S = 30.0
"""A camera process that lived this long was good: the back-off begins anew."""

PING_EVERY_S = 1.0
HUNG_S = 5.0
"""A camera process that answers no ping for this long is killed."""

ANSWER_S = 10.0
"""What an answer may take beyond the instant asked for: a clip of 16 cameras is written and synced well within it."""

STOP_S = 2.0
REAP_S = 0.2
"""How long a process whose channel has closed is given to be gone before it is killed, so that its own code is told."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""The environment the camera process gets: the gateway's other secrets are none of its business."""

MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "1000000", "MALLOC_MMAP_THRESHOLD_": "1000000"}
"""glibc gives every thread an arena of its own by default, which costs more than the threads here."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A request on its way. ``target`` and ``done`` are a clip's: its file, and what of it is safe on disk."""

    answer: asyncio.Future[tuple[Message, bytes]]
    target: Path | None = None
    done: Message | None = None


class SubprocessCameraBank:
    """All cameras of the site, in a process of their own. ``run`` supervises it until cancelled or stopped.

    ``ring_s`` is what each camera's ring covers at least; ``ring_bytes_total`` bounds all rings together and is shared
    out evenly. Clips are only written below ``spool``.
    """

    def __init__(
        self, specs: Sequence[CameraSpec], *, ring_s: float, ring_bytes_total: int, spool: Path, clock: Clock
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._ring_s = ring_s
        self._ring_bytes = ring_bytes_total // max(1, len(specs))
        self._spool = spool.absolute()
        self._clock = clock
        self._calls: dict[int, _Call] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = asyncio.Event()
        self.restarts = 0
        now = clock.now()
        self._health = {
            spec.id: CameraHealth(
                camera=spec.id, healthy=False, cause="the camera process is starting", since=now
            )
            for spec in specs
        }

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Make the spool ready. Raises ``OSError`` where it cannot be written; waits for no camera."""
        await asyncio.to_thread(self._spool.mkdir, parents=True, exist_ok=True)

    async def stop(self) -> None:
        """End the camera process and make ``run`` return; harmless when repeated or never started."""
        self._stopping.set()
        if self._writer is not None:
            self._writer.close()

    async def run(self) -> None:
        """Keep the camera process alive until cancelled or :meth:`stop`. Its falls are told in ``health`` and the log."""
        back_off = FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            cause = await self._live_once()
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - began > LASTING_S:
                back_off = FIRST_BACK_OFF_S
            self.restarts += 1
            log.error("%s; started again in %.1f s", cause, back_off)
            await self._clock.sleep(back_off)
            back_off = min(LONGEST_BACK_OFF_S, 2 * back_off)

    async def _live_once(self) -> str:
        """One life of the process; returns why it ended. Pending calls have failed when this returns."""
        ours, theirs = socket.socketpair()
        cause = "the camera process was stopped"
        process: subprocess.Popen[bytes] | None = None
        try:
            with theirs:
                process = await asyncio.to_thread(self._spawn, theirs.fileno())
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._send(self._configuration())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(reader))
                group.create_task(self._ping())
        except* (_Gone, OSError, Malformed) as fallen:
            cause = str(fallen.exceptions[0])
        finally:
            writer, self._writer = self._writer, None
            if writer is None:
                ours.close()
            else:
                writer.close()
            if process is not None:
                # Dead first, told after: whoever hears of it may touch the files it wrote.
                code = await asyncio.to_thread(_end, process, STOP_S if self._stopping.is_set() else REAP_S)
                if not self._stopping.is_set():
                    cause = f"{cause} ({_how_it_ended(code)})"
            self._fail_everything(cause)
        return cause

    def _spawn(self, descriptor: int) -> subprocess.Popen[bytes]:
        root = str(Path(drivers.__file__).resolve().parents[1])
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= MEMORY | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "drivers.cameras.worker", str(descriptor)],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for the gateway; this process ends when its channel closes
        )

    def _configuration(self) -> Message:
        cameras = [
            {"id": spec.id, "address": asdict(spec.stream) if spec.stream is not None else None}
            for spec in self._specs.values()
        ]
        return {"op": "cameras", "cameras": cameras, "ring_s": self._ring_s, "ring_bytes": self._ring_bytes}

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                json_bytes, tail_bytes = HEAD.unpack(await reader.readexactly(HEAD.size))
                check(json_bytes, tail_bytes)
                message = decode(await reader.readexactly(json_bytes))
                tail = await reader.readexactly(tail_bytes) if tail_bytes else b""
            except (asyncio.IncompleteReadError, ConnectionError):
                raise _Gone("the camera process ended") from None
            self._take(message, tail)

    def _take(self, message: Message, tail: bytes) -> None:
        if "health" in message:
            for facts in message["health"]:
                self._take_health(facts)
        elif "progress" in message:
            call = self._calls.get(message["progress"])
            if call is not None:
                call.done = message
        else:
            call = self._calls.get(message["id"])
            if call is not None and not call.answer.done():
                if "error" in message:
                    call.answer.set_exception(Unavailable(message["error"]))
                else:
                    call.answer.set_result((message, tail))

    def _take_health(self, facts: dict[str, Any]) -> None:
        known = self._health.get(facts["camera"])
        if known is None:
            return
        last = facts["last_frame_at"]
        self._health[known.camera] = replace(
            known,
            healthy=facts["healthy"],
            cause=facts["cause"],
            since=_wall(facts["since"]),
            last_frame_at=known.last_frame_at if last is None else _wall(last),
            codec=facts["codec"],
            width=facts["width"],
            height=facts["height"],
            clock_offset_s=facts["clock_offset_s"],
            ring_s=facts["ring_s"],
            ring_bytes=facts["ring_bytes"],
            sessions=facts["sessions"],
            timing_error_s=facts["timing_error_s"],
        )

    async def _ping(self) -> None:
        while True:
            try:
                await self._ask({"op": "ping"}, within_s=HUNG_S)
            except Unavailable:
                raise _Gone(
                    f"the camera process answered nothing for {HUNG_S:.0f} s and was killed"
                ) from None
            await self._clock.sleep(PING_EVERY_S)

    def _fail_everything(self, cause: str) -> None:
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(Unavailable(cause))
        now = self._clock.now()
        for camera, known in self._health.items():
            self._health[camera] = replace(
                known, healthy=False, cause=cause, since=now, ring_s=0.0, ring_bytes=0
            )

    # ------------------------------------------------------------------ asking

    def _send(self, message: Message) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def _ask(
        self, message: Message, *, within_s: float, call: _Call | None = None
    ) -> tuple[Message, bytes]:
        """Send a request and await its answer. Raises ``Unavailable``; a caller that leaves takes its request along."""
        if self._writer is None:
            raise Unavailable("the camera process is not running; it is being started")
        self._number += 1
        number = self._number
        call = call or _Call(asyncio.get_running_loop().create_future())
        self._calls[number] = call
        try:
            self._send({**message, "id": number})
            async with asyncio.timeout(within_s):
                return await call.answer
        except TimeoutError:
            raise Unavailable(
                f"the camera process gave no answer to {message['op']} in {within_s:.0f} s"
            ) from None
        finally:
            del self._calls[number]
            if not call.answer.done() or call.answer.cancelled():
                self._send({"op": "cancel", "of": number})

    def _inside_spool(self, target: Path) -> Path:
        path = Path(os.path.abspath(target))
        if not path.is_relative_to(self._spool):
            raise ValueError(f"{target} is not below the spool {self._spool}")
        return path

    def _known(self, camera: str) -> str:
        if camera not in self._specs:
            raise Unavailable(f"no camera {camera!r} in the plan")
        return camera

    async def take_still(self, camera: str, at: datetime) -> StillTaken:
        """See :meth:`gateway.ports.CameraBank.take_still`."""
        within_s = max(0.0, (at - self._clock.now()).total_seconds()) + ANSWER_S
        message, jpeg = await self._ask(
            {"op": "still", "camera": self._known(camera), "at": at.timestamp()}, within_s=within_s
        )
        taken_at = _wall(message["taken_at"])
        offset_ms = round((taken_at - at) / timedelta(milliseconds=1))
        return StillTaken(jpeg=jpeg, taken_at=taken_at, offset_ms=offset_ms, clock="arrival", source="ring")

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        """See :meth:`gateway.ports.CameraBank.fetch_snapshot`."""
        self._known(camera)
        raise Unavailable("the camera offers no snapshot: it is reached by its stream alone")

    async def cut_clip(self, camera: str, start: datetime, end: datetime, target: Path) -> ClipTaken:
        """See :meth:`gateway.ports.CameraBank.cut_clip`. ``target`` lies below the spool.

        If the camera process dies meanwhile, what it had written is kept as a shorter clip.
        """
        path = self._inside_spool(target)
        if end <= start:
            raise ValueError(f"a clip from {start} to {end} is no span")
        within_s = max(0.0, (end - self._clock.now()).total_seconds()) + 2 * ANSWER_S
        call = _Call(asyncio.get_running_loop().create_future(), target=target)
        request = {
            "op": "clip",
            "camera": self._known(camera),
            "start": start.timestamp(),
            "end": end.timestamp(),
            "target": str(path),
        }
        try:
            message, _ = await self._ask(request, within_s=within_s, call=call)
        except Unavailable as exc:
            if self._writer is not None or call.done is None:
                raise
            return await self._salvaged(target, call.done, end, exc.reason)
        return ClipTaken(
            start=_wall(message["start"]),
            end=_wall(message["end"]),
            bytes=message["bytes"],
            sha256=message["sha256"],
            clock="arrival",
            shortfall=message["shortfall"],
        )

    async def _salvaged(self, target: Path, done: Message, end: datetime, reason: str) -> ClipTaken:
        try:
            digest = await asyncio.to_thread(salvage, target, done["bytes"])
        except OSError as exc:
            raise Unavailable(f"{reason}, and the clip it was writing cannot be kept: {exc}") from exc
        until = _wall(done["end"])
        return ClipTaken(
            start=_wall(done["start"]),
            end=until,
            bytes=done["bytes"],
            sha256=digest,
            clock="arrival",
            shortfall=f"ends {(end - until).total_seconds():.1f} s early: {reason}",
        )

    async def live_playlist(self, camera: str) -> LivePlaylist:
        """See :meth:`gateway.ports.CameraBank.live_playlist`."""
        message, _ = await self._ask({"op": "playlist", "camera": self._known(camera)}, within_s=ANSWER_S)
        epoch = message["epoch"]
        return LivePlaylist(
            codec=message["codec"],
            init=f"init-{epoch}.mp4",
            epoch=epoch,
            segments=[
                LiveSegment(
                    name=f"{epoch}-{number}.m4s",
                    sequence=number,
                    duration_s=duration_s,
                    begins_at=_wall(begins),
                )
                for number, duration_s, begins in message["segments"]
            ],
        )

    async def live_part(self, camera: str, name: str) -> bytes:
        """See :meth:`gateway.ports.CameraBank.live_part`."""
        request = {"op": "part", "camera": self._known(camera), "name": name}
        _, data = await self._ask(request, within_s=ANSWER_S)
        return data

    def health(self) -> Mapping[str, CameraHealth]:
        """See :meth:`gateway.ports.CameraBank.health`."""
        return dict(self._health)


class _Gone(Exception):
    """The camera process is no longer there, or no longer itself."""


def _wall(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _end(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Wait for the process to end by itself, then kill it; returns its exit code, negative for a signal."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(patience_s)
    process.kill()
    return process.wait()


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {signal.strsignal(-code) or 'unknown'}"
