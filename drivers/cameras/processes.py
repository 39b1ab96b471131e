"""Starting and ending the processes of this package: same interpreter, same code, none of the gateway's secrets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import drivers
from gateway.box.malloc_limits import ENVIRON

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""The environment they get: the site's other secrets are none of their business."""


def spawn(
    module: str, *arguments: str, inherit: socket.socket | None = None, stdio: socket.socket | None = None
) -> subprocess.Popen[bytes]:
    """Run one of our modules. ``inherit`` is passed on under its number, ``stdio`` as standard input and output.

    Raises ``OSError`` if no process can be made. Blocks for some milliseconds.
    """
    root = str(Path(drivers.__file__).resolve().parents[1])
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= ENVIRON | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        pass_fds=() if inherit is None else (inherit.fileno(),),
        stdin=subprocess.DEVNULL if stdio is None else stdio.fileno(),
        stdout=None if stdio is None else stdio.fileno(),
        env=environment,
        start_new_session=True,  # a Ctrl-C is for the gateway; these end when their channel closes
    )


def end(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Wait for the process to end by itself, then kill it; returns its exit code, negative for a signal. Blocks."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(patience_s)
    process.kill()
    return process.wait()


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {signal.strsignal(-code) or 'unknown'}"
