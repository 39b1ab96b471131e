"""When the thread that reads a camera rests, so that several pictures cost one turn of it and not one each.

Most of what receiving a stream costs is waking up for it: a turn of the processor and of the interpreter for every picture of
every camera, for evidence that is wanted once in a year. So a thread that has read all there was leaves the next pictures in
its socket for a moment and takes them together: measured, a quarter less processor time for 16 cameras and half as much for 32
(``benchmarks/recording.py``). Whoever wants pictures at once says so (:meth:`Pace.hurry`), and no thread rests until then.
"""

from __future__ import annotations

import random
import threading
import time
from typing import NamedTuple

LONGEST_S = 0.2
"""No rest is longer; longer ones were measured to save nothing more."""

MOST_BYTES = 64 << 10
"""What may come meanwhile, as far as the stream's rate tells: half of what Linux keeps for a socket before it has seen how fast
it is read (tcp_rmem, 128 KiB). A key frame larger than that may keep its camera waiting for some tens of milliseconds (24 to 42
measured, of 250 KB), about as long as a line of 100 Mbit/s takes for it."""

SETTLED_S = 10.0
"""A session younger than this is read as it comes: how its time lies to ours is still being found out."""

WAITED_S = 0.001
"""A picture for which one waited this long was not there yet: all that had come is read."""

STEADY_S = 0.01
"""Where pictures come less steadily than this, each of them is wanted: the one least delayed tells when all of them were."""

SHORTEST_S = 0.01
"""A rest shorter than this saves nothing."""

CAUGHT_UP = 2.5
"""How many times the time between pictures the newest one may lie back: the next one tells that it is whole, and some time goes
by on the way. A thread that is further behind has not read all there is, whatever it waited for."""


class Flow(NamedTuple):
    """A stream as it is now: how far the newest picture lies back, the time between two, the rate, by how much the camera
    holds back pictures that are shown out of order, how far pictures typically come later than the least delayed, and by what
    rate the camera's time runs wrong."""

    behind_s: float
    interval_s: float
    bytes_per_s: float
    reorder_s: float
    unsteady_s: float
    skew: float


class Pace:
    """The rests of one session. ``rest`` is called by its thread, ``hurry`` by any."""

    def __init__(self) -> None:
        self._hurried = threading.Event()
        self._until_s = 0.0
        self._since_s = time.monotonic()

    def begin(self) -> None:
        """The session was opened anew."""
        self._since_s = time.monotonic()

    def hurry(self, until_s: float) -> None:
        """Read pictures as they come up to this moment (of the monotonic clock), beginning at once."""
        self._until_s = max(self._until_s, until_s)
        self._hurried.set()

    def rest(self, flow: Flow) -> bool:
        """Rest for as long as this stream allows; whether that was at all."""
        longest_s = rest_s(flow, time.monotonic() - self._since_s)
        if longest_s < SHORTEST_S:
            return False
        self._hurried.clear()
        if time.monotonic() < self._until_s:
            return False
        # Spread, or the threads of all cameras would come to rest and wake together.
        self._hurried.wait(longest_s * random.uniform(0.7, 1.0))
        return True


def rest_s(flow: Flow, age_s: float) -> float:
    """How long the thread of such a stream may rest after a picture it has waited for.

    A stream whose pictures come out of order is read as it comes, as is one that comes unsteadily and one whose time runs wrong:
    how all of them come tells when they were. So is one of few pictures a second, where there is nothing to be saved, and one
    that is behind.
    """
    if age_s < SETTLED_S or flow.reorder_s > 0 or flow.bytes_per_s <= 0:
        return 0.0
    if flow.unsteady_s > STEADY_S or flow.skew:
        return 0.0
    if flow.interval_s > LONGEST_S / 2 or flow.behind_s > CAUGHT_UP * flow.interval_s:
        return 0.0
    return min(LONGEST_S, MOST_BYTES / flow.bytes_per_s)
