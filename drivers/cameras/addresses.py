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
from drivers.cameras.spec import OnvifAddress
from gateway.ports import Clock

KNOCK_S = 3.0
FIRST_BACK_OFF_S = 2.0
LONGEST_BACK_OFF_S = 30.0
REFUSED_BACK_OFF_S = 600.0
"""After refused credentials: cameras lock an account after a few wrong passwords."""

FRESH_S = 3600.0
"""How long an answer is good while the stream runs: clocks drift, and addresses may change."""

DOUBTED_S = 120.0
"""How long a stream may be down before its address is asked for again: the camera may have been exchanged or set anew."""

ALL_S = 15.0
"""What one round of asking may take; each camera has its own shorter deadline in it."""

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
    due_s: float
    back_off_s: float = FIRST_BACK_OFF_S


class Addresses:
    """Keeps the addresses of the cameras with ONVIF. ``changed`` is told ``(camera, found, cause)``: one of the two."""

    def __init__(
        self,
        cameras: Mapping[str, OnvifAddress],
        clock: Clock,
        changed: Callable[[str, Found | None, str], None],
    ) -> None:
        self._cameras = cameras
        self._clock = clock
        self._changed = changed
        self._states = {camera: _State(0.0) for camera in cameras}

    def doubt(self, camera: str, *, refused: bool) -> None:
        """The camera's stream is down: ask again, though not at once."""
        state, now = self._states.get(camera), self._clock.monotonic()
        if state is not None:
            state.due_s = now + REFUSED_BACK_OFF_S if refused else min(state.due_s, now + DOUBTED_S)

    async def run(self) -> None:
        """Ask whoever is due, until cancelled."""
        while self._cameras:
            now = self._clock.monotonic()
            due = [camera for camera, state in self._states.items() if state.due_s <= now]
            present = [camera for camera, there in zip(due, await self._knock(due), strict=True) if there]
            if present:
                await self._ask(present)
            next_s = min(state.due_s for state in self._states.values())
            await self._clock.sleep(max(0.1, min(1.0, next_s - self._clock.monotonic())))

    async def _knock(self, cameras: Sequence[str]) -> list[bool]:
        """Whether something listens; the costly questions are for those only."""
        return await asyncio.gather(*(self._is_there(camera) for camera in cameras))

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
        state.due_s = self._clock.monotonic() + (REFUSED_BACK_OFF_S if refused else state.back_off_s)
        state.back_off_s = min(LONGEST_BACK_OFF_S, 2 * state.back_off_s)
        self._changed(camera, None, cause)

    async def _ask(self, cameras: Sequence[str]) -> None:
        waiting = set(cameras)
        try:
            async with asyncio.timeout(ALL_S):
                async for answer in _answers({camera: self._cameras[camera] for camera in cameras}):
                    self._take(answer)
                    waiting.discard(answer["id"])
        except (TimeoutError, OSError, ValueError) as exc:
            log.warning("asking %d cameras by ONVIF failed: %s", len(waiting), exc or type(exc).__name__)
        for camera in waiting:
            self._failed(camera, "ONVIF: asking the camera did not come to an end")

    def _take(self, answer: Mapping[str, Any]) -> None:
        camera = answer["id"]
        if "error" in answer:
            hint = f"; not tried again for {REFUSED_BACK_OFF_S / 60:.0f} min, so that it does not lock the account"
            refused = bool(answer["refused"])
            self._failed(camera, answer["error"] + (hint if refused else ""), refused=refused)
            return
        self._states[camera] = _State(self._clock.monotonic() + FRESH_S)
        self._changed(camera, Found(**answer["resolved"]), "")


async def _answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
    """Ask in a process of its own, whose answers come as they are ready."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.to_thread(processes.spawn, "drivers.cameras.onvif_resolve", stdio=theirs)
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
