"""A kill while an object is being put into files: its bytes are in the spool or in the store, whatever a start clears away."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.domain.errors import Unavailable
from storage.objects.local import LocalObjects
from tests.support.clock import run

KEY = "school/recordings/cam/2026/03/02/021500Z.mp4"
DATA = b"a minute of one camera" * 1000
#: Ends itself as by ``kill -9`` when the disk is asked for the NTH time to keep something.
DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from storage.objects.local import LocalObjects

folder, nth = Path(sys.argv[1]), int(sys.argv[2])
left, fsync = [nth], os.fsync

def dying(handle):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

os.fsync = dying
asyncio.run(LocalObjects(folder / "objects").put(sys.argv[3], folder / "spooled.mp4", sha256=sys.argv[4]))
"""


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_kill_within_a_put_loses_nothing(tmp_path: Path, nth: int) -> None:
    """While the disk is still writing it, which takes longest, the spool has it; later the store."""
    spooled, sha256 = tmp_path / "spooled.mp4", hashlib.sha256(DATA).hexdigest()
    spooled.write_bytes(DATA)
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(nth), KEY, sha256], timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    objects = LocalObjects(tmp_path / "objects")

    async def again() -> None:
        await objects.start()
        if spooled.exists():
            await objects.put(KEY, spooled, sha256=sha256)

    run(again())
    assert (tmp_path / "objects" / KEY).read_bytes() == DATA
    assert not spooled.exists()


def test_a_start_beside_a_put_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage that starts the store is started again alone, while recordings go on being put: clearing takes no bytes."""
    spooled, sha256 = tmp_path / "spooled.mp4", hashlib.sha256(DATA).hexdigest()
    spooled.write_bytes(DATA)
    objects, other = LocalObjects(tmp_path / "objects"), LocalObjects(tmp_path / "objects")
    fsync, begun = os.fsync, []

    def started_meanwhile(handle: int) -> None:
        if not begun:
            begun.append(True)
            asyncio.run(other.start())
        fsync(handle)

    async def put() -> None:
        try:
            await objects.put(KEY, spooled, sha256=sha256)
        except Unavailable:
            await objects.put(KEY, spooled, sha256=sha256)

    run(objects.start())
    monkeypatch.setattr(os, "fsync", started_meanwhile)
    run(put())
    assert (tmp_path / "objects" / KEY).read_bytes() == DATA
