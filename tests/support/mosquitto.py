"""A real mosquitto for tests: on a free loopback port, ended by its own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_READY_WITHIN_S = 10.0


def mosquitto_binary() -> str:
    """Where mosquitto is; skips the test without it, or fails it under CAMPUS_TEST_STRICT=1."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("CAMPUS_TEST_STRICT") == "1":
            pytest.fail(
                "mosquitto is not installed (Debian: mosquitto), and CAMPUS_TEST_STRICT=1 asks for it"
            )
        pytest.skip("mosquitto is not installed (Debian: mosquitto)")
    return found


@contextlib.contextmanager
def running_mosquitto(
    directory: Path, *, config: str = "allow_anonymous true\n", port: int = 0
) -> Iterator[str]:
    """Run a broker with `config` besides its listener; yields `mqtt://127.0.0.1:port`, any free port for 0."""
    binary = mosquitto_binary()
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    file = directory / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\n{config}", encoding="utf-8")
    log = directory / "mosquitto.log"
    with log.open("wb") as output:
        broker = subprocess.Popen([binary, "-c", str(file)], stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if broker.poll() is not None or time.monotonic() > deadline_s:
                    pytest.fail(f"mosquitto did not start: {log.read_text('utf-8', 'replace')}")
                time.sleep(0.02)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        broker.terminate()
        broker.wait(10)
