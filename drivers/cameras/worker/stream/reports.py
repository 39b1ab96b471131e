"""What a camera's RTCP sender reports say of when its pictures were, against the gateway's clock. For one session.

A report stands beside the first packet behind it, and the media library goes on from it: every later packet says when it was by
that report. A picture is laid into the ring when the next one begins, so what its first packet says goes with it until it lies
there. Told sooner, a session's first report would be of nothing, and the next one comes after 5 s or more.
"""

from __future__ import annotations

import struct
from typing import Any

from drivers.cameras.worker.frames.timing import Arrival, HouseClock
from drivers.cameras.worker.stream.ring import Ring

LOOKED_EVERY_S = 1.0
"""How often it is looked at once it is known: a report may come between two packets of a picture, and a look costs some 3 µs."""


class Reports:
    """``of`` a packet, and ``tell`` of its picture once that lies in the ring."""

    def __init__(self, ring: Ring, clock: HouseClock) -> None:
        self._ring = ring
        self._clock = clock
        self._next_s = 0.0

    def of(self, packet: Any, now_s: float) -> int | None:
        """When this packet's picture was by the camera's clock, in µs since 1970; ``None`` where it does not say, or where it is
        not yet time to look again. ``now_s`` is monotonic."""
        if now_s < self._next_s or not packet.has_sidedata("prft"):
            return None
        (camera_us,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
        return camera_us if camera_us > 0 else None

    def tell(self, pts: int, came: Arrival, now_s: float) -> float | None:
        """Tell the ring what was said of the picture it took in last. Returns by how much that is later than its arrival says, in
        seconds; ``None`` if nothing was said or nothing is open in the ring: then the next picture is asked."""
        if came.camera_us is None:
            return None
        off_s = self._ring.report(pts, self._clock.to_monotonic(came.camera_us / 1e6))
        if off_s is not None:
            self._next_s = now_s + LOOKED_EVERY_S
        return off_s
