"""The time that signatures to one place bear: this box's own, or the one agreed with the other side where ours is refused.

A receiver refuses signatures whose time is more than 5 minutes from its own clock, so a wrong clock here would silence every
alert. The other side says its time in ``Date``. It is agreed once two answers in a row say the same, and it is used only
after ours was refused, and then for as long as it is taken: each refusal makes the other of the two the next one's, so a
wrong ``Date`` costs every other attempt at the most. The price: whoever answers in the centre's place, and can make it refuse
us, can choose the time that a signature bears, and so when it may be shown again; the message's id, which it covers too, is what
tells a repetition.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.domain.clocks import Apart
from gateway.ports.clock import Clock

#: Two answers say the same time: a Date has whole seconds, and is written before an answer that may take seconds.
AGREE_S = 5.0
#: Nearer clocks are both taken or both refused: receivers allow 300 s, strict ones a minute.
APART_S = 30.0
#: What a receiver answers to a signature that it does not take.
REFUSED = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The time of one signature, in unix seconds. ``theirs``: it is the other side's."""

    at_s: int
    theirs: bool


class AgreedTime:
    """What one place's answers have said of the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Seconds between unix time as the other side has it and our clock that never jumps.
        self._heard_s: float | None = None
        self._agreed_s: float | None = None
        self._theirs = False

    def stamp(self) -> Stamp:
        """The time for the next signature."""
        apart = self.apart()
        if apart is not None and apart.used:
            return Stamp(at_s=int(apart.theirs.timestamp()), theirs=True)
        return Stamp(at_s=int(self._clock.now().timestamp()), theirs=False)

    def answered(self, stamp: Stamp, status: int, said_at: datetime | None) -> None:
        """An attempt signed with ``stamp`` was answered; ``said_at`` is the answer's ``Date``, where it has a usable one."""
        if said_at is not None:
            heard_s = said_at.timestamp() - self._clock.monotonic()
            if self._heard_s is not None and abs(heard_s - self._heard_s) <= AGREE_S:
                self._agreed_s = heard_s
            elif self._agreed_s is not None and abs(heard_s - self._agreed_s) > AGREE_S:
                # Not what was agreed: until it is said again, nothing is.
                self._agreed_s = None
            self._heard_s = heard_s
        # Many attempts may have been signed the same way: the first refusal of them changes it, and only that one.
        if status in REFUSED and stamp.theirs == self._theirs:
            self._theirs = not self._theirs
        elif 200 <= status < 300:
            self._theirs = stamp.theirs

    def apart(self) -> Apart | None:
        """Both clocks, if they differ by more than a little and the other one's time is agreed."""
        if self._agreed_s is None:
            return None
        ours = self._clock.now()
        theirs_s = self._clock.monotonic() + self._agreed_s
        if abs(theirs_s - ours.timestamp()) < APART_S:
            return None
        return Apart(ours=ours, theirs=datetime.fromtimestamp(theirs_s, UTC), used=self._theirs)
