"""docs/operating.md done to the letter, in folders of a test, as the users it names where that can be done.

What needs systemd, a package manager or a disk is left out by name; every other command of the guide is run. The
unit is read as systemd reads it, and its command is started with a service manager that listens.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.environment import read_environment
from tests.support.processes import ROOT, SECRETS, Campus, any_broker, missing, site_yaml, tool

GUIDE = ROOT / "docs/operating.md"
UNIT = ROOT / "docs/campus-gateway.service"
COMMAND = "/opt/campus-gateway/.venv/bin/campus-gateway"
NOT_HERE = {"useradd", "systemctl", "journalctl", "mount", "cp", "chgrp", "apt-get"}
OTHERS = {"The broker", "Docker Compose"}  # sections that have tests of their own
SERVICE_ID, STRANGER_ID = 64123, 64124


def commands() -> list[str]:
    """Every command line of the guide that is run here, in its order."""
    found: list[str] = []
    for section in re.split(r"^## ", GUIDE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        if section.splitlines()[0] not in OTHERS:
            for block in re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
                found += [line for line in block.splitlines() if line.split()[0] not in NOT_HERE]
    return found


def settings() -> list[tuple[str, str]]:
    """The unit's assignments."""
    lines = [line.strip() for line in UNIT.read_text("utf-8").splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in pairs]


class Box:
    """A school's box in a folder: the guide's paths and users, each put in place of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "written-here"
        self.environ = {k: v for k, v in os.environ.items() if k not in SECRETS} | {"PYTHONPATH": str(ROOT)}
        self.switches = os.geteuid() == 0 and shutil.which("setpriv") is not None
        can_run = (
            self.switches
            and self.as_user(SERVICE_ID, [sys.executable, "-P", "-c", "import gateway"]).returncode == 0
        )
        #: The interpreter of a developer's own home cannot be run by another user; the files are looked at by one all the same.
        self.runs_as_service = can_run

    def as_user(self, number: int, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups", "--", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=self.environ,
            timeout=60,
        )

    def words(self, line: str) -> list[str]:
        words = shlex.split(line)
        if words[:4] == ["runuser", "-u", "campus-gateway", "--"]:
            words = words[4:]
            if self.runs_as_service:
                words = [
                    "setpriv",
                    f"--reuid={SERVICE_ID}",
                    f"--regid={SERVICE_ID}",
                    "--clear-groups",
                    "--",
                    *words,
                ]
        if words[0] == "install":
            words = self._owners(words)
        found: list[str] = []
        for word in words:
            if word == COMMAND:
                found += [sys.executable, "-P", "-m", "gateway"]
            else:
                found.append(
                    re.sub(r"^/(etc|var/lib|srv)/campus-gateway", lambda m: str(self.root / m[1]), word)
                )
        return found

    def _owners(self, words: list[str]) -> list[str]:
        found: list[str] = []
        for word, before in zip(words, ["", *words], strict=False):
            if before in ("-o", "-g"):
                if self.switches:
                    found += [before, "0" if word == "root" else str(SERVICE_ID)]
            elif word not in ("-o", "-g"):
                found.append(word)
        return found

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(line),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.work,
            env=self.environ,
            timeout=120,
        )


@pytest.fixture
def box() -> Iterator[Box]:
    """In a folder that other users may enter, as pytest's own may not."""
    root = Path(tempfile.mkdtemp(prefix="campus-guide-"))
    root.chmod(0o755)
    for name in ("etc", "var", "srv", "written-here"):
        (root / name).mkdir()
    try:
        yield Box(root)
    finally:
        shutil.rmtree(root)


def test_the_guide_works_as_it_is_written(box: Box, tmp_path: Path) -> None:
    """Folders and modes, check as the service's user, the unit's own command until READY and WATCHDOG, probe and fsck beside it,
    and an end with STOPPING."""
    lines = commands()
    words = [line.split()[0] for line in lines]
    assert set(words) == {"install", "runuser"}, "a command that this test does not know"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus, listening:
        (box.work / "site.yaml").write_text(site_yaml(broker=broker, centre=campus.centre_url), "utf-8")
        (box.work / "secrets.env").write_text(
            "# 秘密\n" + "".join(f"{k}='{v}'\n" for k, v in SECRETS.items()), "utf-8"
        )
        for line in lines:
            if line.startswith("install"):
                done = box.run(line)
                assert done.returncode == 0, (line, done.stderr)
        _only_the_service_reads_the_secrets(box)
        asked = [line for line in lines if line.startswith("runuser")]
        plain = [line for line in asked if " check " in line and "--probe" not in line]
        assert len(plain) == 1
        done = box.run(plain[0])
        assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
        without = box.run(plain[0].partition(" --env-file")[0])
        assert without.returncode == 2, "the secrets come from the file alone"

        address = str(box.root / "notify")
        listening.bind(address)
        Path(address).chmod(0o777)
        listening.settimeout(60)
        unit = dict(settings())
        environ = box.environ | read_environment(box.root / "etc/secrets.env")
        environ |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"}
        prefix = "runuser -u campus-gateway -- " if box.runs_as_service else ""
        process = subprocess.Popen(
            box.words(prefix + unit["ExecStart"]),
            env=environ,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert listening.recv(100) == b"READY=1"
            assert listening.recv(100) == b"WATCHDOG=1"
            assert listening.recv(100) == b"WATCHDOG=1"
            for line in asked:
                done = box.run(line)
                assert done.returncode == 0, (line, done.stdout, done.stderr)
            listening.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:  # the manager reads all the time; a full queue would take nothing more
                    listening.recv(100)
            listening.settimeout(60)
            process.send_signal(signal.SIGTERM)
            while (said := listening.recv(100)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1"
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()


def _only_the_service_reads_the_secrets(box: Box) -> None:
    for name in ("site.yaml", "secrets.env"):
        file = box.root / "etc" / name
        assert file.stat().st_mode & 0o777 == 0o640
        if box.switches:
            assert box.as_user(SERVICE_ID, ["cat", str(file)]).returncode == 0
            assert box.as_user(SERVICE_ID, ["sh", "-c", f"echo x >> {file}"]).returncode != 0
            assert box.as_user(STRANGER_ID, ["cat", str(file)]).returncode != 0
    if box.switches:
        assert box.as_user(SERVICE_ID, ["touch", str(box.root / "var/lib/x")]).returncode == 0
        assert box.as_user(STRANGER_ID, ["ls", str(box.root / "var/lib")]).returncode != 0


def test_the_unit_has_what_an_unattended_box_needs() -> None:
    """Watched, started again without a limit, enough descriptors, the last to go when memory is short, its disks writable."""
    unit = settings()
    given = dict(unit)
    assert given["Type"] == "notify"
    assert int(given["WatchdogSec"]) <= 60
    assert (given["Restart"], given["StartLimitIntervalSec"]) == ("always", "0")
    assert int(given["LimitNOFILE"]) >= 4096
    assert int(given["OOMScoreAdjust"]) < 0
    assert given["OOMPolicy"] == "continue"
    guide = GUIDE.read_text("utf-8")
    writable = [
        path.lstrip("-") for name, value in unit if name == "ReadWritePaths" for path in value.split()
    ]
    writable.append("/var/lib/" + given["StateDirectory"])
    for path in re.findall(r"file:(/[\w/-]+)", guide):
        assert any(path.startswith(root) for root in writable), f"objects in {path} could not be written"
    assert f"cp /opt/campus-gateway/{UNIT.relative_to(ROOT)} /etc/systemd/system/{UNIT.name}" in guide


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Read by systemd itself, with a command and a user that are here."""
    analyze = tool("systemd-analyze", "systemd")
    text = UNIT.read_text("utf-8").replace(COMMAND, "/bin/true").replace("=campus-gateway\n", "=root\n")
    (tmp_path / UNIT.name).write_text(text.replace("EnvironmentFile=", "EnvironmentFile=-"), "utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "Failed to" in done.stderr and "bus" in done.stderr:
        missing("systemd-analyze needs a running systemd here")
    about = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, about) == (0, []), done.stderr
