"""The running parts of a gateway: those it cannot do without, and those that are started again alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.ports.clock import Clock
from gateway.watch.supervising import Standing

log = structlog.get_logger(__name__)

RESTART_PAUSE_S = 1.0
STOP_WITHIN_S = 4.0  # SIGTERM ends everything within 5 s


class Tasks:
    """Make it inside the running loop. ``standing`` takes the fault of each part that had to be started again."""

    def __init__(self, clock: Clock, standing: Standing) -> None:
        self._clock = clock
        self._standing = standing
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Return once stopped; raises what ended a vital part, ``RuntimeError`` if it returned."""
        await asyncio.shield(self._ended)

    def vital(self, name: str, work: Awaitable[None]) -> None:
        """Run what a press cannot do without: when it ends, ``wait`` raises."""

        async def guarded() -> None:
            try:
                await work
                error: Exception = RuntimeError(f"{name} ended by itself")
            except Exception as exc:
                error = exc
            self._fail(name, error)

        self._tasks.append(asyncio.create_task(guarded(), name=name))

    def restarted(self, name: str, make: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
        """Run what may end alone: started again after a second, with a fault. With ``once`` it is done when it returns."""

        async def guarded() -> None:
            while True:
                try:
                    await make()
                    if once:
                        return
                    cause = "ended by itself"
                except Unavailable as exc:
                    cause = exc.reason
                except Exception as exc:
                    cause = repr(exc)
                    log.exception("stage.failed", stage=name)
                self._standing.causes[FaultKind.STAGE, name] = f"had to be started again: {cause}"
                await self._clock.sleep(RESTART_PAUSE_S)

        self._tasks.append(asyncio.create_task(guarded(), name=name))

    def fail(self, error: Exception) -> None:
        """``wait`` raises this: a deferred write, which no task awaits, contradicts what is stored."""
        self._fail("deferred write", error)

    async def stop(self) -> None:
        """Cancel all parts and wait for them, at most 4 s in all. ``wait`` returns after :meth:`ended` only."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_WITHIN_S)

    def ended(self) -> None:
        """Everything is stopped: ``wait`` returns."""
        if not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, name: str, error: Exception) -> None:
        if not self._ended.done():
            log.critical("vital.ended", stage=name, cause=repr(error))
            self._ended.set_exception(error)
