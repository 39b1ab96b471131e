"""Where each ONVIF camera's stream and snapshot are: asked at start, and again when that may have changed.

What was learned is kept in the gateway's process, so that the camera process opens its streams at once after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from drivers.cameras import processes
from drivers.cameras.spec import REFUSED_BACK_OFF_S, REFUSED_HINT, OnvifAddress
from gateway.box.pause import pause
from gateway.ports.clock import Clock

KNOCK_S = 3.0
FIRST_BACK_OFF_S = 2.0
LONGEST_BACK_OFF_S = 30.0
FRESH_S = 3600.0
"""How long an answer is good while the stream runs: clocks drift, and addresses may change."""

DOUBTED_S = 120.0
"""How long a stream may be down before its address is asked for again: the camera may have been exchanged or set anew."""

ALL_S = 16.0
"""What one process of asking may take; each camera has its own shorter deadline in it."""

TOGETHER_S = 0.1
"""How long whoever is there waits for others, to be asked by the same process."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An ONVIF camera's addresses, as ``drivers.cameras.onvif.Resolved`` has them."""

    stream_url: str
    snapshot_url: str | None
    clock_offset_s: float | None
    profile: str
    live_url: str | None = None
    sub_url: str | None = None


@dataclass(slots=True)
class _State:
    """``busy`` while it is knocked at or asked; ``alone`` where a process of asking died over it, or over another one with it."""

    due_s: float
    back_off_s: float = FIRST_BACK_OFF_S
    busy: bool = False
    alone: bool = False


class Addresses:
    """Keeps the addresses of the cameras with ONVIF. ``changed`` is told ``(camera, found, cause)``: one of the two.

    Each camera takes its own time: one that hangs, or sends what is hard to read, keeps nobody else waiting.
    """

    def __init__(
        self,
        cameras: Mapping[str, OnvifAddress],
        clock: Clock,
        changed: Callable[[str, Found | None, str], None],
    ) -> None:
        self._cameras = dict(cameras)
        self._clock = clock
        self._changed = changed
        self._states = {camera: _State(0.0) for camera in cameras}
        self._there: list[str] = []
        self._woken = asyncio.Event()

    def doubt(self, camera: str, *, refused: bool) -> None:
        """The camera's stream is down: ask again, though not at once."""
        state, now = self._states.get(camera), self._clock.monotonic()
        if state is not None:
            state.due_s = now + REFUSED_BACK_OFF_S if refused else min(state.due_s, now + DOUBTED_S)

    def correct(self, camera: str, address: OnvifAddress) -> None:
        """Another address or other credentials: ask with them at once, whatever pause there was with the old ones."""
        self._cameras[camera] = address
        self._states[camera].due_s = self._clock.monotonic()
        self._woken.set()

    async def run(self) -> None:
        """Ask whoever is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while self._cameras:
                self._woken.clear()
                for camera, state in self._states.items():
                    if state.due_s <= self._clock.monotonic() and not state.busy:
                        state.busy = True
                        group.create_task(self._knock(camera))
                if self._there:
                    await self._clock.sleep(TOGETHER_S)
                    there, self._there = self._there, []
                    together = [camera for camera in there if not self._states[camera].alone]
                    for cameras in [together, *([camera] for camera in there if camera not in together)]:
                        if cameras:
                            group.create_task(self._ask(cameras))
                await self._rest()

    async def _rest(self) -> None:
        """Until somebody is due, or there, or corrected."""
        now = self._clock.monotonic()
        next_s = min((each.due_s for each in self._states.values() if not each.busy), default=now + 1.0)
        await pause(self._clock, max(0.1, min(1.0, next_s - now)), self._woken)

    async def _knock(self, camera: str) -> None:
        """Whether something listens; the costly questions are for those only."""
        if await self._is_there(camera):
            self._there.append(camera)
            self._woken.set()

    async def _is_there(self, camera: str) -> bool:
        address = self._cameras[camera]
        where = f"{address.host}:{address.port}"
        try:
            async with asyncio.timeout(KNOCK_S):
                _, writer = await asyncio.open_connection(address.host, address.port)
        except TimeoutError:
            self._failed(
                camera, f"ONVIF at {where} does not answer: is the camera on, and the address right?"
            )
        except OSError as exc:
            reason = exc.strerror or str(exc)
            self._failed(
                camera,
                f"ONVIF at {where} cannot be reached ({reason}): is the camera on, and the port right?",
            )
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
        return False

    def _failed(self, camera: str, cause: str, *, refused: bool = False) -> None:
        state = self._states[camera]
        state.busy = False
        state.due_s = self._clock.monotonic() + (REFUSED_BACK_OFF_S if refused else state.back_off_s)
        state.back_off_s = min(LONGEST_BACK_OFF_S, 2 * state.back_off_s)
        self._changed(camera, None, cause)

    async def _ask(self, cameras: Sequence[str]) -> None:
        asked = {camera: self._cameras[camera] for camera in cameras}
        try:
            async with asyncio.timeout(ALL_S):
                async for answer in _answers(dict(asked)):
                    self._take(answer, asked.pop(str(answer["id"])))
        except (TimeoutError, OSError, ValueError) as exc:
            log.warning("asking %d cameras by ONVIF failed: %s", len(asked), exc or "it took too long")
        for camera, address in asked.items():
            self._states[camera].alone = True
            where = f"ONVIF at {address.host}:{address.port}"
            self._failed(
                camera,
                f"{where}: asking the camera did not come to an end: the process that asks died or took over {ALL_S:.0f} s",
            )

    def _take(self, answer: Mapping[str, Any], address: OnvifAddress) -> None:
        camera = answer["id"]
        if address != self._cameras[camera]:  # corrected meanwhile: what was found out is of the old one
            self._states[camera] = _State(self._clock.monotonic())
        elif "error" in answer:
            refused = bool(answer["refused"])
            self._failed(camera, answer["error"] + (REFUSED_HINT if refused else ""), refused=refused)
        else:
            self._states[camera] = _State(self._clock.monotonic() + FRESH_S)
            self._changed(camera, Found(**answer["resolved"]), "")


async def _answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
    """Ask in a process of its own, whose answers come as they are ready."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.to_thread(processes.spawn, "drivers.cameras.onvif.resolve", stdio=theirs)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        question = [{"id": camera, **asdict(address)} for camera, address in cameras.items()]
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()
        await asyncio.to_thread(processes.end, process, 0.0)
