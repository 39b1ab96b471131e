"""What is connected, so that no source and no crowd keeps others out: who is idle goes when there is no room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from gateway.app.front.limits import MOST_FROM_ONE


class Connected(Protocol):
    """One connection, also one whose TLS handshake is not finished."""

    peer: str  # the source it comes from
    proven: bool  # it carried a right token or link

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""

    def shutdown(self) -> None:
        """Close it once what is being answered is sent."""

    def abort(self) -> None:
        """Close it at once, with whatever it has not sent."""

    def overdue(self, now_s: float) -> bool:
        """Whether it has been longer in its present state than is allowed."""


class Connections:
    """All of them. Not more than ``most`` in all and :data:`MOST_FROM_ONE` from one source, whoever comes; a new one takes the
    place of the one that is worth least: not proven before proven, older before newer, never one that is being answered."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[str, dict[Connected, None]] = {}  # by source, in the order of their coming
        self._count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Connected]:
        for mine in list(self._open.values()):
            yield from list(mine)

    def add(self, one: Connected) -> bool:
        """Take one in; False if there is no room, since all others are being answered."""
        mine = self._open.get(one.peer, {})
        if len(mine) >= MOST_FROM_ONE and not self._drop([mine]):
            return False
        if self._count >= self.most:
            crowds = sorted(self._open.values(), key=len, reverse=True)
            if not self._drop(crowds):
                return False
        self._open.setdefault(one.peer, {})[one] = None
        self._count += 1
        return True

    def remove(self, one: Connected) -> None:
        """It is closed."""
        mine = self._open.get(one.peer, {})
        if one in mine:
            del mine[one]
            self._count -= 1
            if not mine:
                del self._open[one.peer]

    def sweep(self, now_s: float) -> None:
        """Close what has been longer in its state than is allowed."""
        for one in [one for one in self if one.overdue(now_s)]:
            one.abort()
            self.remove(one)

    def shed(self, count: int) -> None:
        """Close so many that are not being answered, of the largest crowds first."""
        for _ in range(count):
            if not self._drop(sorted(self._open.values(), key=len, reverse=True)):
                return

    def _drop(self, crowds: Iterable[dict[Connected, None]]) -> bool:
        worst = None
        for crowd in crowds:
            for one in crowd:
                if one.busy:
                    continue
                if not one.proven:
                    worst = one
                    break
                worst = worst or one
            if worst is not None:
                break
        if worst is None:
            return False
        self.dropped += 1
        worst.abort()
        self.remove(worst)
        return True
