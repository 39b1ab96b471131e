"""What a technician sees first: one command, and the whole main job with the time of each step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, free_port

WITHIN_S = 60.0
STEPS = (
    "contact closed, published by MQTT",
    "alarm committed",
    "alarm.raised received",
    "still press cam-1 ring fetched, digest right",
    "still before cam-2 ring fetched, digest right",
    "still after cam-3 ring fetched, digest right",
    "clip before cam-4 ring fetched, digest right",
    "clip whole cam-1 ring fetched, digest right",
    "manifest 1 received",
    "watching cam-2 live",
    "operator's reply accepted",
    "operator's reply dispatched",
    "operator's reply arrived",
    "operator's reply closed",
    "every step happened",
)


PUSHED_STEPS = tuple(
    step.replace("fetched, digest right", "PUT here, digest right").replace(
        "watching cam-2 live", "cam-2 live comes by PUT"
    )
    for step in STEPS
)


@pytest.mark.slow
@pytest.mark.parametrize("push", [False, True], ids=["link", "push"])
def test_demo_once_shows_every_step_within_a_minute(tmp_path: Path, push: bool) -> None:
    """`campus-gateway demo --once` exits 0 in under 60 s, its timeline has every step, and it leaves no process; in
    a folder of its own, nothing else either."""
    began_s = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "gateway", "demo", "--once", *(["--push"] if push else [])),
            *(("--data-dir", str(tmp_path / "demo")) if push else ()),
            *("--http-port", str(free_port())),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    took_s = time.monotonic() - began_s
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(f"exit 0 after {took_s:.1f} s\n" + done.stdout[done.stdout.index("timeline") :])
    assert took_s < WITHIN_S
    timeline = done.stdout[done.stdout.index("timeline") :]
    steps = PUSHED_STEPS if push else STEPS
    assert [step for step in steps if step not in timeline] == []
    assert "FAILED" not in timeline
    folder = str(tmp_path).encode()
    left = [p.parent.name for p in Path("/proc").glob("[0-9]*/cmdline") if folder in _words(p)]
    assert left == []
    if not push:
        assert list(tmp_path.iterdir()) == []
        assert [p for p in Path("/dev/shm").glob("campus-gateway-*/*") if folder in _words(p)] == []


def _words(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
