"""What the camera process does with a camera's bytes just now, told to the gateway before it is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

OPENING = "opening the stream of"
READING = "reading a new format of"
DECODING = "decoding pictures of"

SECOND = " (second stream)"
"""Behind a camera's id in the name of its second session."""


class AtWork:
    """``report`` is called with the camera, what is done, and whether it begins; by any thread."""

    def __init__(self) -> None:
        self.report: Callable[[str, str, bool], None] = lambda _camera, _doing, _begins: None

    def begin(self, session: str, doing: str) -> None:
        """From now on until :meth:`end`."""
        self.report(session.removesuffix(SECOND), doing, True)

    def end(self, session: str, doing: str) -> None:
        """It is done."""
        self.report(session.removesuffix(SECOND), doing, False)

    @contextmanager
    def at(self, session: str, doing: str) -> Iterator[None]:
        """While the body runs."""
        self.begin(session, doing)
        try:
            yield
        finally:
            self.end(session, doing)


AT_WORK = AtWork()
"""That of this process."""
