"""What is installed: the packages whole, and nothing that could be taken for something else's."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.support.tree import PACKAGES, ROOT, project_files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project's wheel, built by hatchling without fetching anything."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No test, script or benchmark is ever installed."""
    tops = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Pages, examples, migrations, type markers and the broker's configuration travel with the code."""
    wanted = {
        name for name in project_files() if name.split("/")[0] in PACKAGES and Path(name).name != "DESIGN.md"
    }
    assert wanted - set(wheel.namelist()) == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= wanted
    assert "config/examples/small.yaml" in wanted
    assert "drivers/contacts/mosquitto.conf" in wanted
    assert any(name.startswith("storage/sql/migrations/versions/") for name in wanted)


def test_the_wheel_carries_the_licence_and_commands_that_exist(wheel: zipfile.ZipFile) -> None:
    """Each console script names a function that is there."""
    names = wheel.namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    scripts = dict(parser["console_scripts"])
    assert set(scripts) == {"campus-gateway", "campus-simulators"}
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_no_other_distribution_installs_one_of_our_packages() -> None:
    """The names are general: a dependency that brought its own `config` would overwrite ours without a word."""
    owners = importlib.metadata.packages_distributions()
    strangers = {name: set(owners.get(name, [])) - {"campus-gateway"} for name in PACKAGES}
    assert strangers == {name: set() for name in PACKAGES}


def test_no_package_has_the_name_of_a_standard_module() -> None:
    """Nor does one hide a module of Python itself."""
    assert set(PACKAGES) & sys.stdlib_module_names == set()


def test_no_module_is_named_like_a_package() -> None:
    """`gateway/storage.py` would stand in for `storage` wherever a file of `gateway` is run by its path."""
    namesakes = [
        name
        for name in project_files()
        if name.endswith(".py") and "/" in name and Path(name).stem in PACKAGES
    ]
    assert namesakes == []


def test_importing_a_package_imports_nothing_else() -> None:
    """Other packages import `gateway.domain` through `gateway`, so that must stay empty."""
    assert (ROOT / "gateway/__init__.py").read_text("utf-8") == ""


def test_every_package_is_named_wherever_they_are_listed() -> None:
    """Wheel, import contracts, types and import order speak of the same ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    tool = project["tool"]
    assert set(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert set(tool["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(tool["mypy"]["packages"]) == {*PACKAGES, "tests", "benchmarks"}
    assert set(tool["ruff"]["lint"]["isort"]["known-first-party"]) == set(PACKAGES)
