"""The room on the disk that recordings wait on for the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

ANSWERS_WITHIN_S = 2.0  # a disk that hangs must not stop the watch for gaps
#: Left to the database and to evidence on the disk of the spool, beside the site file's reserve.
LEFT_FREE_BYTES = 500_000_000
WELL_AGAIN_BYTES = 1_000_000_000


class SpoolRoom:
    """Whether that disk is so full that alarms would suffer. It is well again with a gigabyte more, or cameras would flap."""

    def __init__(self, clock: Clock, free_bytes: Callable[[], int], reserve_bytes: int = 0) -> None:
        """``free_bytes`` measures the disk, and blocks; ``reserve_bytes`` is the site file's reserve."""
        self._clock, self._free_bytes, self._reserve_bytes = clock, free_bytes, reserve_bytes
        self._measuring: asyncio.Future[int] | None = None
        #: As last measured.
        self.full = False
        #: Why it could not be measured last, empty if it could.
        self.unmeasured = ""

    async def measure(self) -> bool:
        """Whether it is full. Where the disk does not answer: what it was last."""
        measuring = self._measuring or asyncio.ensure_future(asyncio.to_thread(self._free_bytes))
        timer = asyncio.ensure_future(self._clock.sleep(ANSWERS_WITHIN_S))
        try:
            await asyncio.wait((measuring, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        self._measuring = None if measuring.done() else measuring
        if not measuring.done():
            self.unmeasured = (
                "the disk of the data folder does not answer when it is asked for its room: check the disk"
            )
            return self.full
        try:
            free_bytes = measuring.result()
        except OSError as exc:
            self.unmeasured = (
                f"the room for recordings on this box cannot be measured ({exc.strerror or exc}); it was "
                f"{'short' if self.full else 'enough'} before: check the disk of the data folder"
            )
            log.error("recording.spool_not_measured", cause=exc.strerror or str(exc))
        else:
            limit = self._reserve_bytes + LEFT_FREE_BYTES + (WELL_AGAIN_BYTES if self.full else 0)
            self.full, self.unmeasured = free_bytes < limit, ""
        return self.full
