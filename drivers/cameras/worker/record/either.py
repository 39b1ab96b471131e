"""Records a camera from its main stream or, while room is short, from its second, smaller one; no moment between them is lost.

A change of stream is agreed on ahead: it is to be at a key frame of the stream that is next, one that came after everything
written so far, or as good as. The recorder of the old stream writes all that was before that moment and closes its file; that of
the next begins its own there. Until the next stream has such a key frame the old one goes on, so one that is dead costs nothing.

A second stream that falls while it is recorded is left at once: the main stream's ring still has what was since its last frame,
and the main recorder begins there, with the group in which that was. So a few moments are in two files, and none in no file.
"""

from __future__ import annotations

import logging
from math import inf
from pathlib import Path
from typing import Protocol

from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.record.recording import Recorder
from drivers.cameras.worker.stream.beside import Beside
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.rtsp import Session

HOLDER = "recording"

OVERDUE_S = 2.0
"""A stream without a frame for this long (or three frames' time) is left for the other; well below the time that makes a gap."""

STEADY_S = 30.0
"""A second stream that fell is recorded again once it came for this long, or one that comes and goes would make crumbs."""

PATIENCE_S = 15.0
"""How long a second stream may take to come before that is told: opening it, and a first group of pictures."""

log = logging.getLogger(__name__)


class Begin(Protocol):
    """Makes a recorder of a stream of the camera, beginning with a group; ``None`` is the newest."""

    def __call__(self, stream: Session, first: Group | None, *, substream: bool) -> Recorder: ...


class EitherStream:
    """The recorder of one camera, whichever stream it is of. ``step`` and ``end`` are called by one thread.

    ``substream`` asks for the second stream, ``keys_only`` for the main stream's key frames, ``ending`` for an end; any thread
    may set them. ``missing`` says why the second stream is not recorded although it is asked for.
    """

    def __init__(self, main: Session, beside: Beside, begin: Begin) -> None:
        self.source = main
        self.ending = False
        self.keys_only = False
        self.substream = False
        self.missing = ""
        self.cause = ""
        self.since_s: float | None = None  # the first frame of the file being written
        self.until_s: float | None = None  # the newest frame written
        self._beside = beside
        self._begin = begin
        self._now = begin(main, None, substream=False)
        self._next: Recorder | None = None
        self._where: tuple[Address | None, str] = (None, "")
        self._second: tuple[Session, Address] | None = None
        self._wanted_s: float | None = None  # since when the second stream is asked for and not recorded
        self._not_before_s = -inf
        self._known: Group | None = None  # the group of the other stream that was the newest at the last look
        self._fell = ""
        # Why a file was left open as the other stream took over: it is mended before anything new is written beside it.
        self._left = ""

    @property
    def folder(self) -> Path:
        """Where its files are written."""
        return self._now.folder

    @property
    def recorded_substream(self) -> bool:
        """Whether it is the second stream that is recorded now."""
        return self._now.substream

    def point_at(self, address: Address | None, cause: str) -> None:
        """Where the second stream is; ``None`` with the cause if there is none."""
        self._where = (address, cause)

    def step(self, now_s: float) -> None:
        """Write what is new, and change streams where that is due. Never raises what a stream or a disk can do to it."""
        self._left = ""
        self._look(now_s)
        if not self._left:
            self._now.keys_only = self.keys_only and not self._now.substream
            self._now.step(now_s)
        if self._next is not None and (self._now.reached or now_s - self._now.upto_s > OVERDUE_S):
            following, self._next = self._next, None
            self._go_on_with(following, now_s)
        self.cause = self._left or self._now.cause
        self.since_s = self._now.since_s or self.since_s
        self.until_s = max((at for at in (self.until_s, self._now.until_s) if at is not None), default=None)

    def give_up(self, cause: str, now_s: float) -> None:
        """Leave the file being written as it is, to be mended: what went wrong is ``cause``."""
        self._next = None
        self._now.upto_s = inf
        self._now.give_up(cause, now_s)
        self.cause = cause

    def sync(self) -> None:
        """Have the disk keep what is written so far. Raises ``OSError``."""
        self._now.sync()

    def end(self) -> None:
        """Close what is open, the second session too: this camera is no longer recorded. Raises ``OSError``."""
        self._next = None
        self._close_second()
        self._now.end()

    # ------------------------------------------------------------------ which stream

    def _look(self, now_s: float) -> None:
        wanted, on_second = self.substream, self._now.substream
        second = self._second_session() if wanted or on_second else None
        came = second is not None and not self._is_overdue(second, now_s)
        if on_second and (not came or self._now.source is not second):
            self._fall_back(second, now_s)
        elif on_second and not wanted:
            self._agree(self.source, now_s, substream=False)
        elif on_second or not came:
            self._take_back()
        elif wanted and second is not None and now_s >= self._not_before_s:
            self._agree(second, now_s, substream=True)
        if self._fell and not came:
            self._not_before_s = now_s + STEADY_S
        if not wanted and not self._now.substream:
            self._take_back()
            self._close_second()
            self._wanted_s, self._fell, self._not_before_s = None, "", -inf
        self.missing = self._why_missing(second, now_s) if wanted and not self._now.substream else ""

    def _agree(self, session: Session, now_s: float, *, substream: bool) -> None:
        """Find the moment from which on this stream is recorded, if that was not found yet."""
        if self._next is not None or self._is_overdue(session, now_s):
            return
        groups = session.ring.groups()
        if session.ring.key_frames_apart_s() is None or session.ring.open_group() is not groups[-1]:
            return  # a whole group of it was never seen, or it has just ended
        begun, self._known = groups[-1] is not self._known and self._known is not None, groups[-1]
        begins_s = groups[-1].time_of(groups[-1].frames[0])
        since_s, until_s = self._now.since_s, self._now.until_s
        # A camera that holds frames back sends a key frame after the other stream has shown its moment: those are in both files.
        # So much is allowed for a group that has begun since the last look only, or any that goes on already would do.
        late_s = session.ring.patience_s() if begun else 0.0
        if until_s is not None and begins_s <= until_s - late_s:
            return
        if since_s is not None and begins_s <= since_s:
            return  # the file being written would be left with nothing that is not in the next one
        self._next = self._begin(session, groups[-1], substream=substream)
        self._now.upto_s = begins_s

    def _take_back(self) -> None:
        """What was agreed on is no longer to be: the stream that is recorded goes on."""
        if self._next is not None:
            self._next = None
            self._now.upto_s = inf

    def _fall_back(self, second: Session | None, now_s: float) -> None:
        """The second stream fell, or is another one now: go on with the main one from there, if that has anything later."""
        newest_s, until_s = self.source.ring.newest_s(), self._now.until_s
        if newest_s is None or until_s is None or newest_s <= until_s or self._is_overdue(self.source, now_s):
            if second is not None and second is not self._now.source:
                self._agree(second, now_s, substream=True)
            return
        self._take_back()
        self._fell = (second.cause if second is not None else self._where[1]) or "no frame came"
        log.warning("camera %s: recorded by its main stream again: %s", self.source.id, self._fell)
        self._go_on_with(self._begin(self.source, self.source.ring.covering(until_s), substream=False), now_s)

    def _go_on_with(self, recorder: Recorder, now_s: float) -> None:
        self._known = None
        self._now.hand_over(now_s)
        self._left = self._now.cause
        self._now = recorder
        self._now.keys_only = self.keys_only and not recorder.substream
        if not self._left:
            self._now.step(now_s)
        if recorder.substream:
            self._wanted_s, self._fell, self._not_before_s = None, "", -inf

    @staticmethod
    def _is_overdue(session: Session, now_s: float) -> bool:
        last_s = session.last_frame_s
        patience_s = max(OVERDUE_S, 3 * session.ring.interval_s())
        return bool(session.cause) or last_s is None or now_s - last_s > patience_s

    def _why_missing(self, second: Session | None, now_s: float) -> str:
        self._wanted_s = now_s if self._wanted_s is None else self._wanted_s
        if second is None:
            return self._where[1]
        if self._fell:
            return second.cause or f"{self._fell}; it is recorded again once it came for {STEADY_S:.0f} s"
        if now_s - self._wanted_s > PATIENCE_S:
            return second.cause or "no whole group of its pictures came"
        return ""

    # ------------------------------------------------------------------ the second session

    def _second_session(self) -> Session | None:
        """The second session, opened if it was not; ``None`` if there is none."""
        address, _ = self._where
        if self._second is not None and self._second[1] != address:
            self._close_second()
        if self._second is None and address is not None:
            self._second = (self._beside.open(self.source, address, HOLDER), address)
        return self._second[0] if self._second is not None else None

    def _close_second(self) -> None:
        if self._second is not None:
            self._beside.let_go(self.source.id, self._second[1], HOLDER)
            self._second = None
