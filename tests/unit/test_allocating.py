"""What the C library keeps of freed memory: in a process of its own, because the limits hold for all of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway.box.malloc_limits import ENVIRON

ROOT = Path(__file__).resolve().parents[2]

PUTS = """
import sys, threading

from gateway.box.malloc_limits import keep_little

def held() -> int:
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Private_Dirty:"))

def put() -> None:
    for _ in range(3):
        bytes(bytearray(8 << 20))  # a part, and its copy

if sys.argv[1] == "limited":
    keep_little()
before = held()
threads = [threading.Thread(target=put) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(held() - before)
"""


def kept_kb(how: str, environ: dict[str, str]) -> int:
    """What a process keeps, in kB, once six threads have each had blocks of 8 MiB and freed them."""
    done = subprocess.run(
        [sys.executable, "-c", PUTS, how],
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


def test_parts_that_were_put_are_given_back_to_the_system() -> None:
    """In the gateway's own process and in those it starts; without limits they are kept."""
    assert kept_kb("unlimited", {}) > 8 << 10
    assert kept_kb("limited", {}) < 2 << 10
    assert kept_kb("unlimited", ENVIRON) < 2 << 10
