"""All recorders of the site, each in its turn, on one thread; another has the disk keep what they wrote."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from drivers.cameras.unforeseen import in_words
from drivers.cameras.worker.record.either import EitherStream
from drivers.cameras.worker.record.recording import AFTER_TROUBLE_S, STEP_S
from drivers.cameras.worker.record.segment_file import Facts
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.threads import THREADS

log = logging.getLogger(__name__)

HANGS_S = 3.0
"""A write or a sync that takes longer is told: a gap is noted after 5 s."""

NICE = 3
"""How much the thread stands back: evidence of an alarm goes first."""


@dataclass(slots=True)
class _Turn:
    """One camera in the thread's round. ``mend`` is called before its first step, and before the next one after a file had to be
    given up, until it succeeds: what is whole of that file would else lie there, in no ledger, until the process ends."""

    recorder: EitherStream
    mend: Callable[[], list[Facts]]
    due_s: float
    to_mend: bool = True
    unsynced: str = ""  # what the disk said as it was to keep what is written


class Recorders:
    """Records all cameras that are to be, with one thread, each camera in its turn; another thread syncs what they write."""

    def __init__(self, closed: Callable[[Facts], None]) -> None:
        """``closed`` hears the facts of every file that is closed, those of an earlier process included."""
        self._closed = closed
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._begun = False
        self._looked_s = 0.0
        self._waits: dict[
            str, tuple[str, float]
        ] = {}  # by thread: on whose behalf it uses the disk, and since when
        self._never = threading.Event()

    def record(self, recorder: EitherStream, mend: Callable[[], list[Facts]]) -> None:
        """From now on record this camera; harmless if it is recorded."""
        camera = recorder.source.id
        with self._lock:
            turn = self._turns.get(camera)
            if turn is not None:
                turn.recorder.ending = False
                return
            due_s = time.monotonic() + len(self._turns) * STEP_S / 16 % STEP_S
            self._turns[camera] = _Turn(recorder, mend, due_s)
            if not self._begun:
                self._begun = True
                self._looked_s = time.monotonic()
                THREADS.begin("recording", self._work)
                THREADS.begin("recording-sync", self._sync)
        self._changed.set()

    def keep(
        self, camera: str, *, keys_only: bool, substream: bool, second: Address | None, no_second: str
    ) -> None:
        """Whether only its key frames are kept, or its second stream in place of the main one: from the next group of pictures
        on, in a file of its own. ``second`` is where that stream is; without one ``no_second`` says why."""
        with self._lock:
            turn = self._turns.get(camera)
            if turn is not None:
                turn.recorder.point_at(second, no_second)
                turn.recorder.keys_only, turn.recorder.substream = keys_only, substream

    def stop(self, camera: str) -> None:
        """Record it no longer: its file is closed, soon."""
        with self._lock:
            turn = self._turns.get(camera)
            if turn is not None:
                turn.recorder.ending = True

    def health(self, camera: str) -> EitherStream | None:
        """The camera's recorder, if it is recorded."""
        turn = self._turns.get(camera)
        return None if turn is None else turn.recorder

    def hangs(self, now_s: float) -> str:
        """What is told of a disk that takes nothing and refuses nothing; empty while none hangs."""
        for camera, since_s in list(self._waits.values()):
            if now_s - since_s > HANGS_S:
                return (
                    f"the disk of the recordings has not answered for {now_s - since_s:.0f} s (writing of camera {camera}); "
                    "nothing is recorded meanwhile: check the disk"
                )
        idle_s = now_s - self._looked_s
        if self._begun and idle_s > HANGS_S:
            return f"the recorder had no turn for {idle_s:.0f} s; nothing is recorded meanwhile: restart the gateway if it lasts"
        return ""

    def _work(self) -> None:
        if sys.platform == "linux":  # evidence of an alarm goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            self._changed.clear()
            now_s = self._looked_s = time.monotonic()
            with self._lock:
                turns = list(self._turns.values())
            for turn in turns:
                if turn.due_s <= now_s:
                    turn.due_s = now_s + STEP_S
                    self._waits["recording"] = (turn.recorder.source.id, time.monotonic())
                    try:
                        self._turn(turn, now_s)
                    finally:
                        self._waits.pop("recording", None)
            with self._lock:
                due_s = min((turn.due_s for turn in self._turns.values()), default=now_s + 1)
            self._changed.wait(max(0.0, due_s - time.monotonic()))

    def _turn(self, turn: _Turn, now_s: float) -> None:
        recorder = turn.recorder
        try:
            unsynced, turn.unsynced = turn.unsynced, ""
            if (
                unsynced
            ):  # it may have lost what it had taken: what is whole of the file is kept, and another one begun
                recorder.give_up(f"cannot be written in {turn.recorder.folder}: {unsynced}", now_s)
                turn.to_mend, turn.due_s = True, now_s + AFTER_TROUBLE_S
                return
            if turn.to_mend:
                for facts in turn.mend():
                    self._closed(facts)
                turn.to_mend = False
            if recorder.ending:
                recorder.end()
                with self._lock:
                    if recorder.ending:  # nobody wants it again meanwhile
                        del self._turns[recorder.source.id]
                return
            recorder.step(now_s)
            turn.to_mend = bool(recorder.cause)
        except Exception as exc:  # this thread records all cameras
            if isinstance(exc, OSError):
                cause = f"the spool {recorder.folder} cannot be used: {exc.strerror or exc}"
            else:
                log.exception("recording camera %s failed", recorder.source.id)
                cause = f"cannot be recorded: {in_words(exc)}"
            recorder.give_up(cause, now_s)
            turn.to_mend = True
            turn.due_s = now_s + AFTER_TROUBLE_S

    def _sync(self) -> None:
        while True:
            self._never.wait(STEP_S)
            with self._lock:
                turns = list(self._turns.values())
            for turn in turns:
                self._waits["sync"] = (turn.recorder.source.id, time.monotonic())
                try:
                    with suppress(ValueError):  # closed meanwhile
                        turn.recorder.sync()
                except OSError as exc:
                    turn.unsynced = exc.strerror or str(exc)
                finally:
                    self._waits.pop("sync", None)
