"""Which camera the camera process dies of: found by what it was at as it died, and left out for growing pauses, so that the
others go on. Pure.

A process may be killed by chance. So one death is nobody's fault; at the second one within a while those cameras are suspected
that the process was at each time. Where they are several they are opened one after another, until one of them is alone. One that
is away, and opened in vain again and again, is at work nearly always: it stands aside meanwhile, so that others can be alone.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

WITHIN_S = 600.0
"""Deaths further apart have nothing to do with each other."""

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0

WELL_S = 30.0
"""A camera that was tried again is well when it delivered for so long."""

ALONE_S = 10.0
"""How long one of several suspects is opened alone at most; then the next one's turn comes."""

OFTEN, OFTEN_WITHIN_S = 3, 300.0
"""So many deaths within so long are told, whoever is at fault."""


@dataclass(slots=True)
class _Suspect:
    deaths: int = 0  # as the only one the process was at
    last_s: float = 0.0
    until_s: float = 0.0
    doing: str = ""
    how: str = ""
    well_since_s: float | None = None


class Suspects:
    """``begun`` and ``ended`` as the process tells what it is at, ``fell`` when it died, ``looked`` about every second."""

    def __init__(self) -> None:
        self._at: Counter[tuple[str, str]] = Counter()
        self._known: dict[str, _Suspect] = {}
        self._together: dict[str, float] = {}  # those the process was at together, and when last
        self._queue: list[str] = []  # to be opened one after another
        self._aside: set[str] = (
            set()
        )  # those that had their turn and gave nothing, until the others had theirs
        self._turn_until_s = 0.0
        self._deaths: deque[tuple[float, str]] = deque(maxlen=64)

    # ------------------------------------------------------------------ what happened

    def begun(self, camera: str, doing: str) -> None:
        """The process is at this camera's bytes."""
        self._at[camera, doing] += 1

    def ended(self, camera: str, doing: str) -> None:
        """It is done with that."""
        self._at[camera, doing] -= 1

    def fell(self, how: str, now_s: float) -> None:
        """The process died."""
        at = {camera: doing for (camera, doing), count in self._at.items() if count > 0}
        # Who stands aside was opened alone and did nothing; that may still be coming to its end.
        at = {camera: doing for camera, doing in at.items() if camera not in self._aside} or at
        self._at.clear()
        self._deaths.append((now_s, how))
        for known in self._known.values():
            known.well_since_s = None
        if len(at) == 1:
            ((camera, doing),) = at.items()
            alone = camera in self._queue or camera in self._together
            self._suspect(camera, doing, how, now_s, sure=alone)
        elif len(tried := [c for c in at if c in self._known and self._known[c].until_s]) == 1:
            self._suspect(tried[0], at[tried[0]], how, now_s, sure=True)  # it was tried again
        elif at:
            again = [c for c in at if now_s - self._together.get(c, -WITHIN_S) < WITHIN_S]
            self._together = dict.fromkeys(at, now_s)
            if again:  # one of these, most likely: each by itself
                self._queue = sorted(again, key=lambda camera: self._deaths_of(camera))
                self._aside.difference_update(again)
                self._turn_until_s = now_s + ALONE_S

    def looked(self, healthy: dict[str, bool], now_s: float) -> None:
        """How the cameras are now."""
        if self._queue and (healthy.get(self._queue[0], False) or now_s >= self._turn_until_s):
            camera = self._queue.pop(0)
            if not healthy.get(camera, False):
                self._aside.add(camera)
            self._turn_until_s = now_s + ALONE_S
        if not self._queue:
            self._aside.clear()
        for camera, known in list(self._known.items()):
            if now_s < known.until_s or not healthy.get(camera, False):
                known.well_since_s = None
                continue
            if known.well_since_s is None:
                known.well_since_s = now_s
            elif now_s - known.well_since_s >= WELL_S:
                del self._known[camera]

    # ------------------------------------------------------------------ what follows

    def left_out(self, now_s: float) -> frozenset[str]:
        """The cameras that are not to be opened now."""
        paused = {camera for camera, known in self._known.items() if now_s < known.until_s}
        return frozenset(paused | set(self._queue[1:]) | self._aside)

    def cause(self, camera: str, now_s: float) -> str:
        """What is told of a camera the process dies of, until it is well; empty of all others."""
        known = self._known.get(camera)
        if known is None or not known.until_s:
            if camera in self._queue[1:]:
                return "the camera process died; cameras are opened one after another, and its turn comes in seconds"
            if camera in self._aside:
                return (
                    "the camera process died; cameras are opened one after another, and this one gave no picture in its turn: "
                    "it is opened again when the others had theirs"
                )
            return ""
        now = (
            f"it is left out for {known.until_s - now_s:.0f} s more, so that the other cameras go on, and tried again then"
            if now_s < known.until_s
            else "it is tried again now"
        )
        return (
            f"the camera process died {known.deaths} times while it was {known.doing} this camera ({known.how}); {now}: restart "
            "the camera, set its stream anew, or take it out of the site file"
        )

    def often(self, now_s: float) -> str:
        """What is told of a process that keeps dying; empty while it does not."""
        lately = [how for at_s, how in self._deaths if now_s - at_s < OFTEN_WITHIN_S]
        if len(lately) < OFTEN:
            return ""
        named = sorted(camera for camera, known in self._known.items() if known.until_s)
        of = f"of {', '.join(named)}" if named else "and no camera is known to be the cause"
        return (
            f"the camera process died {len(lately)} times in {OFTEN_WITHIN_S / 60:.0f} minutes, {of} ({lately[-1]}); each time "
            "some seconds of all cameras are lost: check the cameras named and this box's memory"
        )

    def _suspect(self, camera: str, doing: str, how: str, now_s: float, *, sure: bool) -> None:
        known = self._known.setdefault(camera, _Suspect())
        lately = now_s - known.last_s < WITHIN_S + LONGEST_PAUSE_S
        known.deaths = known.deaths + 1 if lately else 1
        known.last_s, known.doing, known.how = now_s, doing, how
        if known.deaths >= 2 or sure:
            pause_s = FIRST_PAUSE_S * 2 ** min(max(0, known.deaths - 2), 10)
            known.until_s = now_s + min(LONGEST_PAUSE_S, pause_s)
            self._together.clear()
            self._queue = [other for other in self._queue if other != camera]
            self._turn_until_s = now_s + ALONE_S

    def _deaths_of(self, camera: str) -> int:
        known = self._known.get(camera)
        return known.deaths if known is not None else 0
