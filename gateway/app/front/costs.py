"""What requests cost the loop that alerts come by: measured for each, expected of the next at the same place."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Coroutine, Generator
from typing import Any

UNKNOWN_S = 0.005  # expected at a place that was never asked for
MOST_PLACES = 128
NEWEST = 0.5  # how much the last request at a place counts against those before


class Measured:
    """Awaits a coroutine as it is, and adds up how long each of its steps holds the loop."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self.held_s = 0.0

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        given: Any = None
        thrown: BaseException | None = None
        while True:
            began = time.perf_counter()
            try:
                awaited = steps.throw(thrown) if thrown is not None else steps.send(given)
            except StopIteration:
                return
            finally:
                self.held_s += time.perf_counter() - began
            given, thrown = None, None
            try:
                given = yield awaited
            except BaseException as exc:
                thrown = exc


class Costs:
    """Seconds of the loop by place: the first parts of a path, so that ids make no places of their own."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, float] = OrderedDict()

    def expected_s(self, path: str) -> float:
        return self._known.get(_place(path), UNKNOWN_S)

    def note(self, path: str, held_s: float) -> None:
        """A request at that path held the loop for so long."""
        place = _place(path)
        before = self._known.get(place, held_s)
        self._known[place] = before + (held_s - before) * NEWEST
        self._known.move_to_end(place)
        while len(self._known) > MOST_PLACES:
            self._known.popitem(last=False)


def _place(path: str) -> str:
    parts = path.split("/", 6)
    return "/".join([*parts[:4], *parts[5:6]])[:80]  # /api/v1/alarms/…/replies
