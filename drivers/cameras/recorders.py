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

from drivers.cameras.either import EitherStream
from drivers.cameras.opening import Address
from drivers.cameras.recording import AFTER_TROUBLE_S, STEP_S, Facts

log = logging.getLogger(__name__)

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


class Recorders:
    """Records all cameras that are to be, with one thread, each camera in its turn; another thread syncs what they write."""

    def __init__(self, closed: Callable[[Facts], None]) -> None:
        """``closed`` hears the facts of every file that is closed, those of an earlier process included."""
        self._closed = closed
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._begun = False

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
                threading.Thread(target=self._work, name="recording", daemon=True).start()
                threading.Thread(target=self._sync, name="recording-sync", daemon=True).start()
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

    def _work(self) -> None:
        if sys.platform == "linux":  # evidence of an alarm goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            self._changed.clear()
            now_s = time.monotonic()
            with self._lock:
                turns = list(self._turns.values())
            for turn in turns:
                if turn.due_s <= now_s:
                    turn.due_s = now_s + STEP_S
                    self._turn(turn, now_s)
            with self._lock:
                due_s = min((turn.due_s for turn in self._turns.values()), default=now_s + 1)
            self._changed.wait(max(0.0, due_s - time.monotonic()))

    def _turn(self, turn: _Turn, now_s: float) -> None:
        recorder = turn.recorder
        try:
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
                cause = f"the spool cannot be used: {exc.strerror or exc}"
            else:
                log.exception("recording camera %s failed", recorder.source.id)
                cause = f"cannot be recorded: {type(exc).__name__}: {exc}"
            recorder.give_up(cause, now_s)
            turn.to_mend = True
            turn.due_s = now_s + AFTER_TROUBLE_S

    def _sync(self) -> None:
        while True:
            time.sleep(STEP_S)
            with self._lock:
                recorders = [turn.recorder for turn in self._turns.values()]
            for recorder in recorders:
                with suppress(
                    OSError, ValueError
                ):  # closed meanwhile, or the disk's trouble, which writing tells
                    recorder.sync()
