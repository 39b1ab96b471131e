"""The errors of the house. Each answers one question: what should the caller do?"""

from __future__ import annotations


class Malformed(Exception):
    """What came in cannot be read: keep it in quarantine, never try it again."""


class Unavailable(Exception):
    """It does not work now: try again later, after ``retry_after_s`` where the other side named one."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotPlayable(Unavailable):
    """The camera gives pictures, and none that a browser can play: it works, and trying again soon is of no use."""


class Refused(Exception):
    """The other side said no, and would say so again: stop, and tell a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllowed(Exception):
    """The life-cycle table has no such step; nothing has changed. ``state`` is what holds now."""

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(f"an alarm that is {state} cannot become {wanted}")
        self.state = state
        self.wanted = wanted


class InvariantBroken(Exception):
    """The program contradicts itself: the process stops and is started again by its supervisor."""


class NotFound(Exception):
    """There is no such thing; ``what`` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")
        self.what = what
