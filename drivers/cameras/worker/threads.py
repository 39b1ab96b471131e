"""The threads of the camera process: one that dies is begun again and told of, for what it did would else just stop.

Whatever a camera, a disk or a clock does to a thread (a sleep refused after the clock was set, memory that ran out) ends
that turn of it only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from drivers.cameras.unforeseen import in_words

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
LASTING_S = 60.0
"""A thread that worked this long is well again: its death is told no longer, and the next pause is the first one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """A thread ended by an error at ``at_s``, for the ``count``-th time in a row; ``camera`` is whose it is, empty for all."""

    camera: str
    cause: str
    at_s: float
    count: int


class Threads:
    """All of them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deaths: dict[str, Death] = {}
        self._never = threading.Event()

    def begin(self, name: str, work: Callable[[], None], *, camera: str = "") -> None:
        """Run ``work`` on a thread of its own until it returns; again where it raises."""
        threading.Thread(target=self._keep, args=(name, work, camera), name=name, daemon=True).start()

    def deaths(self, now_s: float) -> dict[str, Death]:
        """By thread: those that died, and have not yet worked for :data:`LASTING_S` since."""
        with self._lock:
            self._deaths = {
                name: death for name, death in self._deaths.items() if now_s - death.at_s < LASTING_S
            }
            return dict(self._deaths)

    def _keep(self, name: str, work: Callable[[], None], camera: str) -> None:
        while True:
            try:
                work()
                return
            except Exception as exc:
                log.exception("thread %s ended by an error and is begun again", name)
                count = self._note(name, camera, exc)
            self._never.wait(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(count - 1, 10)))

    def _note(self, name: str, camera: str, exc: Exception) -> int:
        now_s = time.monotonic()
        with self._lock:
            known = self._deaths.get(name)
            count = known.count + 1 if known is not None and now_s - known.at_s < LASTING_S else 1
            self._deaths[name] = Death(camera, in_words(exc), now_s, count)
        return count


THREADS = Threads()
"""Those of this process."""
