"""A sweep as a process of its own that kills itself at a named point: ``python -m tests.support.sweeper FOLDER POINT NTH``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

from gateway.recording.deletion import Sweeping
from storage.objects.local import LocalObjects
from storage.sql.store import SqlStore
from tests.support.clock import MORNING, ManualClock

SWEPT_AT = MORNING + timedelta(days=31)
AN_OBJECT = "an object"  # the point of no name: between one object of a batch and the next


class DyingObjects(LocalObjects):
    """A real store that tells of each object it has deleted."""

    def __init__(self, root: Path, passed: object) -> None:
        super().__init__(root)
        self._passed = passed

    async def delete(self, key: str) -> None:
        await super().delete(key)
        self._passed(AN_OBJECT)  # type: ignore[operator]


async def sweep(folder: Path, point: str, nth: int, now: datetime = SWEPT_AT) -> None:
    """Sweep what lies in ``folder``; die as by ``kill -9`` when ``point`` is passed for the ``nth`` time."""
    left = nth

    def passed(at: str) -> None:
        nonlocal left
        if at == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    store = SqlStore(folder / "gateway.db")
    await store.start()
    sweeping = Sweeping(
        store=store,
        clock=ManualClock(now),
        objects=DyingObjects(folder / "objects", passed),
        retention_days=30,
        passed=passed,
    )
    await sweeping.sweep(now)
    await store.stop()


if __name__ == "__main__":
    asyncio.run(sweep(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
