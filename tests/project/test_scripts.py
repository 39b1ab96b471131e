"""The scripts a person types first: plain POSIX sh, at home in any folder, and clear about what they lack."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tree import ROOT, project_files

SCRIPTS = sorted(name for name in project_files() if name.startswith("scripts/"))
#: What scripts/install uses besides a Python: all of it in POSIX, all of it in a minimal Debian.
_TOOLS = ("sh", "cat", "cksum", "dirname", "grep", "rm", "tail")


def test_the_promised_scripts_are_there() -> None:
    """Installing, showing, testing and checking have a script each, and CI has its own."""
    promised = {f"scripts/{name}" for name in ("install", "demo", "test", "check")} | {".ci/run"}
    assert promised <= set(project_files())


@pytest.mark.parametrize("script", [*SCRIPTS, ".ci/run"])
def test_a_script_can_be_run(script: str) -> None:
    """It is executable and its shell reads it to the end without complaint."""
    path = ROOT / script
    assert os.access(path, os.X_OK)
    first = path.read_text("utf-8").splitlines()[0]
    if script.startswith("scripts/"):
        assert first == "#!/bin/sh"
        shells = [name for name in ("sh", "dash") if shutil.which(name)]
    else:
        assert first == "#!/usr/bin/env bash"
        shells = ["bash"]
    for shell in shells:
        read = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
        assert (read.returncode, read.stderr) == (0, ""), shell


def clone(into: Path) -> Path:
    """A copy of the committed files in a folder whose path has spaces; returns it."""
    target = into / "a clone of it"
    for name in project_files():
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, destination)
    return target


def install_with(tree: Path, pythons: dict[str, str], elsewhere: Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/install where the only Pythons are `pythons`: name to the shell script that plays it."""
    path = elsewhere / "only these"
    path.mkdir()
    for tool in _TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (path / tool).symlink_to(found)
    for name, body in pythons.items():
        (path / name).write_text(f"#!/bin/sh\n{body}\n", "utf-8")
        (path / name).chmod(0o755)
    return subprocess.run(
        [str(tree / "scripts/install")],
        cwd="/",
        env={"PATH": str(path), "HOME": str(elsewhere)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_a_python_it_says_so(tmp_path: Path) -> None:
    """No python3 at all: exit 1, and the way to one."""
    ran = install_with(clone(tmp_path), {}, tmp_path)
    assert ran.returncode == 1
    assert "no python3 was found" in ran.stderr
    assert "python3" in ran.stderr.splitlines()[-1]


def test_an_old_python_is_refused_by_its_version(tmp_path: Path) -> None:
    """Python 3.9 alone: exit 1, naming what was found and what is needed."""
    ran = install_with(clone(tmp_path), {"python3": "echo 3.9"}, tmp_path)
    assert ran.returncode == 1
    assert "Python 3.11 or newer is needed; found only: python3 (3.9)" in ran.stderr


def test_where_ensurepip_is_missing_the_command_that_brings_it_is_printed(tmp_path: Path) -> None:
    """Debian ships Python without ensurepip: the package of the very version found is named."""
    body = 'case "$2" in *version_info*) echo 3.12 ;; *) exit 1 ;; esac'
    ran = install_with(clone(tmp_path), {"python3": body}, tmp_path)
    assert ran.returncode == 1
    assert "Python 3.12 is here, but its venv and ensurepip modules are not" in ran.stderr
    release = Path("/etc/os-release")
    if release.exists() and "debian" in release.read_text("utf-8"):
        assert "apt-get install python3.12-venv" in ran.stderr
    assert not (tmp_path / "a clone of it/.venv").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fresh_clone_in_a_path_with_spaces_installs_and_runs(tmp_path: Path) -> None:
    """From another folder: .venv is made from the locks, the second call has nothing to do, the commands start."""
    if os.environ.get("CAMPUS_TEST_STRICT") != "1":
        pytest.skip("fetches every package anew: run with CAMPUS_TEST_STRICT=1")
    tree = clone(tmp_path)
    script = str(tree / "scripts/install")
    first = subprocess.run([script], cwd="/", capture_output=True, text=True, timeout=800)
    assert first.returncode == 0, first.stderr
    assert "Ready: " in first.stderr
    second = subprocess.run([script], cwd="/", capture_output=True, text=True, timeout=20)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    for command in ("campus-gateway", "campus-simulators"):
        told = subprocess.run(
            [str(tree / ".venv/bin" / command), "--help"],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert told.returncode == 0, told.stderr
        assert f"usage: {command}" in told.stdout
