"""A disk small enough to be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import missing, tool


@contextmanager
def mounted_small_disk(tmp_path: Path, megabytes: int = 60) -> Iterator[Path]:
    """Memory mounted as a disk. Skips (or fails, strictly) where this user may not mount."""
    if os.geteuid() != 0:
        missing("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        [tool("mount", "mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        missing(f"a small disk cannot be mounted ({mounted.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run([tool("umount", "mount"), str(place)], check=True, timeout=20)


def fill(file: Path) -> None:
    """Take what is left of the disk, to the last block."""
    with file.open("ab", buffering=0) as out:
        for size in (1 << 20, 1 << 12):
            block = b"\xff" * size
            try:
                while out.write(block) == size:
                    pass
            except OSError:
                continue
