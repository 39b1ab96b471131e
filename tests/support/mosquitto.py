"""A real mosquitto for tests: on a free loopback port, ended by its own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
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


class GuardedBroker:
    """mosquitto that lets in users with passwords and by an access list; both can be changed while it runs."""

    def __init__(
        self, folder: Path, passwords: dict[str, str], acl: str, extra: str = "", head: str = ""
    ) -> None:
        """``head`` is put before the listener, ``extra`` behind it."""
        self._binary = mosquitto_binary()
        self._folder = folder / "guarded"
        self._folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._log = self._folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords = passwords
        self._write_passwords()
        self.acl_file.write_text(acl, "utf-8")
        self._config = self._folder / "mosquitto.conf"
        # As root it would become a user of its own, who may not read here.
        own = ("user root\n" if os.geteuid() == 0 else "") + head
        self._config.write_text(
            f"{own}listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {self.password_file}\n"
            f"acl_file {self.acl_file}\n{extra}",
            "utf-8",
        )

    @property
    def acl_file(self) -> Path:
        return self._folder / "acl"

    @property
    def password_file(self) -> Path:
        return self._folder / "passwords"

    def __enter__(self) -> GuardedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-c", str(self._config)], stdout=log, stderr=log)
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"mosquitto did not start: {self._log.read_text('utf-8', 'replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def reload(self, *, acl: str | None = None, passwords: dict[str, str] | None = None) -> None:
        """Change its files and have it read them, as `systemctl reload mosquitto` does; returns once it does."""
        if acl is not None:
            self.acl_file.write_text(acl, "utf-8")
        if passwords is not None:
            self._passwords = passwords
            self._write_passwords()
        assert self._process is not None
        before = self._reloads()
        self._process.send_signal(signal.SIGHUP)
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while self._reloads() == before:
            assert time.monotonic() < deadline_s, "mosquitto does not read its files again"
            time.sleep(0.02)

    def _reloads(self) -> int:
        return self._log.read_text("utf-8", "replace").count("Reloading config")

    def _write_passwords(self) -> None:
        tool = shutil.which("mosquitto_passwd")
        if tool is None:
            pytest.fail("mosquitto_passwd is not installed (Debian: mosquitto)")
        self.password_file.write_text("".join(f"{u}:{p}\n" for u, p in self._passwords.items()), "utf-8")
        subprocess.run([tool, "-U", str(self.password_file)], check=True, capture_output=True, timeout=10)
