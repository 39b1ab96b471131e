"""A bounded number of threads for calls that block, kept apart from the loop's own.

Daemons on purpose: a call that hangs in a dead network must not hold up the end of the process, which ``ThreadPoolExecutor``
would wait for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """``count`` threads, started with the first call. A call whose awaiter was cancelled before its turn is not made."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count = name, count
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None]
        self._jobs = queue.SimpleQueue()
        self._running = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Make the call on one of the threads and hand on what it returns or raises. If the awaiter is cancelled
        meanwhile, the call goes on to its end and its result is dropped."""
        self._start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((call, future))
        return await future

    def later(self, call: Callable[[], object]) -> None:
        """Make a call nobody waits for; what it raises is dropped."""
        self._start()
        self._jobs.put((call, None))

    def stop(self) -> None:
        """Let the threads end once what was asked is done. Waits for none of them; a later call starts them again."""
        running, self._running = self._running, 0
        for _ in range(running):
            self._jobs.put(None)

    def _start(self) -> None:
        while self._running < self._count:
            self._running += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._running}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            if future is not None and future.cancelled():
                continue
            result, error = None, None
            try:
                result = call()
            except BaseException as exc:
                error = exc
            if future is not None:
                try:
                    future.get_loop().call_soon_threadsafe(_settle, future, result, error)
                except RuntimeError:
                    return  # the loop is closed: the process ends
            del job, call, future, result, error  # nothing large is held while waiting for the next


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
