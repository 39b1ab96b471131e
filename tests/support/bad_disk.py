"""A disk that fails on command: a library that is preloaded into the gateway stands between it and the files below one folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.processes import ROOT, missing, tool


class BadDisk:
    """``environ`` is for the process whose files below ``folder`` are on it; sound until :meth:`turn`."""

    def __init__(self, tmp_path: Path, folder: Path) -> None:
        compiler = tool("cc", "gcc")
        library = tmp_path / "bad_disk.so"
        made = subprocess.run(
            [
                compiler,
                "-shared",
                "-fPIC",
                "-O1",
                "-o",
                str(library),
                str(ROOT / "tests/support/bad_disk.c"),
                "-ldl",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            missing(f"the library that makes a disk fail cannot be compiled ({made.stderr.strip()[:500]})")
        self._control = tmp_path / "bad-disk"
        self.turn("sound")
        self.environ = {
            "LD_PRELOAD": str(library),
            "BAD_DISK_DIR": str(folder),
            "BAD_DISK_CONTROL": str(self._control),
        }

    def turn(self, how: str) -> None:
        """``hang``, ``syncs-hang``, ``eio``, ``writes-eio``, ``erofs`` or ``sound`` (see ``bad_disk.c``)."""
        fresh = self._control.with_suffix(".new")
        fresh.write_text(f"{how}\n", "utf-8")
        fresh.replace(self._control)
