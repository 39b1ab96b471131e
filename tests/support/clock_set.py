"""A wall clock that a test sets, for the processes it has started: they read the machine's, and so much besides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SHIFTED = """
import time
_real = time.time

def _shifted():
    try:
        with open({file!r}) as said:
            return _real() + float(said.read() or 0)
    except OSError:
        return _real()

time.time = _shifted
"""


class SetClock:
    """Processes started after this have the clock that :meth:`set` says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = folder / "clock"
        self.set(0)
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SHIFTED.format(file=str(self._file)))
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    def set(self, shift_s: float) -> None:
        """So many seconds from the machine's."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(shift_s))
        fresh.replace(self._file)
