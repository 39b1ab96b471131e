"""Dockerfile and compose.yaml, held to the tree: no engine builds them where this runs, so each name in them is looked up."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml

from gateway.app.commands.main import main
from tests.support.tree import PACKAGES, ROOT


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        found.append((word, rest.strip()))
    return found


def copied() -> list[str]:
    """Sources of every COPY from the build context."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def test_every_source_that_the_image_copies_exists_and_is_let_through() -> None:
    """Each COPY source is in the tree, and .dockerignore, which shuts out everything else, names it."""
    ignore = (ROOT / ".dockerignore").read_text("utf-8").split("\n")
    assert "*" in ignore
    for source in copied():
        assert (ROOT / source).exists(), f"Dockerfile copies {source}, which is not there"
        assert f"!{source}" in ignore, f".dockerignore keeps {source} from the engine"
    assert set(PACKAGES) <= set(copied())


def test_what_hatchling_needs_is_copied() -> None:
    """pyproject.toml's readme and licence files are at hand when the wheel is built."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"pyproject.toml", project["readme"], *project["license-files"]} <= set(copied())


def test_the_image_starts_a_console_script_by_arguments_it_knows(capsys: Any) -> None:
    """ENTRYPOINT is one of ours, and CMD gets as far as the site file, which is not there."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    found = dict(instructions())
    (entry,) = json.loads(found["ENTRYPOINT"])
    assert entry == "campus-gateway"
    assert entry in scripts
    command = json.loads(found["CMD"])
    assert "/etc/campus-gateway/site.yaml" in command
    check = ["check", *command[1:3]]
    assert main(check) == 2
    assert "/etc/campus-gateway/site.yaml" in "".join(capsys.readouterr())


def test_the_image_runs_as_nobody_special_with_safe_imports() -> None:
    """A user of its own, PYTHONSAFEPATH, a volume for the data, a health check by Python alone."""
    found = instructions()
    assert [rest for word, rest in found if word == "USER"] == ["campus-gateway"]
    assert any("PYTHONSAFEPATH=1" in rest for word, rest in found if word == "ENV")
    assert ("VOLUME", "/var/lib/campus-gateway") in found
    (health,) = (rest for word, rest in found if word == "HEALTHCHECK")
    argv = json.loads(health[health.index("[") :])
    assert argv[:2] == ["python", "-c"]
    compile(argv[2], "HEALTHCHECK", "exec")


def services() -> dict[str, Any]:
    """The services of compose.yaml by name."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return dict(loaded["services"])


def test_every_file_that_compose_mounts_exists() -> None:
    """A mounted path of the tree is there, and every named volume is declared."""
    declared = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["volumes"]
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{[^}]*\}", "/elsewhere", volume).split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}, which is not there"
            elif not source.startswith("/"):
                assert source in declared, f"{name} uses the volume {source}, which is not declared"


def test_compose_keeps_plain_protocols_on_loopback() -> None:
    """Every service is on the host's network, publishes no port, and the broker has our configuration."""
    assert {service["network_mode"] for service in services().values()} == {"host"}
    assert all("ports" not in service for service in services().values())
    mounts = services()["mosquitto"]["volumes"]
    assert any(mount.startswith("./drivers/contacts/mosquitto.conf:") for mount in mounts)


def test_the_s3_store_is_a_profile_and_speaks_tls() -> None:
    """It starts only when asked for, with a certificate and with keys."""
    s3 = services()["s3"]
    assert s3["profiles"] == ["s3"]
    (command,) = s3["command"]
    assert all(option in command for option in ("--cert", "--key", "--auth-key"))
