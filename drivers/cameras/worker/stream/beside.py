"""Sessions to a camera beside its main one: opened for whoever needs one, shared by all who need the same, closed after the last.

Cameras serve few sessions at once, many of them two or three, so no address is ever opened twice by us.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.at_work import SECOND
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.ring import Ring
from drivers.cameras.worker.stream.rtsp import Session, numbers_from

LIMITS = RingLimits(seconds=10.0, bytes=16 << 20)
"""What is kept of a second stream: what a playlist lists, of up to 10 Mbit/s."""


@dataclass(slots=True)
class _Open:
    session: Session
    holders: set[str] = field(default_factory=set)


class Beside:
    """The sessions beside the main ones, of all cameras. Thread-safe."""

    def __init__(self, clock: HouseClock, *, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._open: dict[tuple[str, Address], _Open] = {}

    def open(self, main: Session, address: Address, holder: str) -> Session:
        """The session of the camera at this address, for ``holder`` until it lets go. Waits for no camera."""
        with self._lock:
            found = self._open.get((main.id, address))
            if found is None:
                found = self._open[main.id, address] = _Open(self._begun(main, address))
            found.holders.add(holder)
            return found.session

    def let_go(self, camera: str, address: Address, holder: str) -> None:
        """``holder`` needs it no longer; the last one closes it. Harmless when repeated."""
        with self._lock:
            found = self._open.get((camera, address))
            if found is None:
                return
            found.holders.discard(holder)
            if found.holders:
                return
            del self._open[camera, address]
        found.session.end()
        self._changed()

    def _begun(self, main: Session, address: Address) -> Session:
        session = Session(
            f"{main.id}{SECOND}",
            Ring(LIMITS, first_number=numbers_from()),
            self._clock,
            on_frame=lambda _: None,
            on_change=self._changed,
            audio=main.audio,
        )
        session.point_at(address)
        session.start()
        return session
