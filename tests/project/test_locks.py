"""The lock files: complete, exact, agreeing with each other, and bound to no host."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

import pytest

from tests.support.tree import ROOT

LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")
_PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^ ]+)(?: ; (?P<marker>[^\\]+?))? \\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def pins(lock: str) -> dict[str, set[tuple[str, str]]]:
    """Name to the versions pinned for it, each with its marker."""
    found: dict[str, set[tuple[str, str]]] = {}
    for line in (ROOT / lock).read_text("utf-8").splitlines():
        if pin := _PIN.match(line):
            found.setdefault(pin["name"], set()).add((pin["version"], pin["marker"] or ""))
    return found


def normal(requirement: str) -> str:
    """The requirement's distribution by its normal name (PEP 503)."""
    name = _NAME.match(requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def asked_for() -> Mapping[str, list[str]]:
    """What pyproject.toml asks for, by the lock that must hold it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    run = project["project"]["dependencies"]
    groups = project["dependency-groups"]
    build = [*groups["build"], *project["build-system"]["requires"]]
    dev = [entry for entry in groups["dev"] if isinstance(entry, str)]
    return dict(zip(LOCKS, (run, build, [*run, *build, *dev]), strict=True))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_pinned(lock: str) -> None:
    """Whatever pyproject.toml asks for has its exact version in the lock."""
    missing = {normal(requirement) for requirement in asked_for()[lock]} - set(pins(lock))
    assert missing == set(), f"run scripts/lock: {lock} lacks {sorted(missing)}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_only(lock: str) -> None:
    """No line names a host, a file, an option or a loose version; no pin is without a hash."""
    lines = [
        line for line in (ROOT / lock).read_text("utf-8").splitlines() if line and not line.startswith("#")
    ]
    strange = [line for line in lines if not _PIN.match(line) and not _HASH.match(line)]
    assert strange == []
    bare = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if _PIN.match(line) and not _HASH.match(following)
    ]
    assert bare == []


@pytest.mark.parametrize("lock", LOCKS[:2])
def test_the_tests_run_what_is_shipped(lock: str) -> None:
    """requirements-dev.lock has the very versions of the other two."""
    dev = pins("requirements-dev.lock")
    assert {name: dev.get(name) for name in pins(lock)} == pins(lock)


def test_only_the_headless_opencv_and_the_maintained_onvif_are_locked() -> None:
    """Their namesakes install the same modules over them: one would break a machine without a screen, one is dead."""
    locked = set(pins("requirements-dev.lock"))
    assert locked & {"opencv-python", "opencv-contrib-python", "onvif-zeep", "onvif"} == set()
    assert {"opencv-python-headless", "onvif-zeep-async"} <= locked
