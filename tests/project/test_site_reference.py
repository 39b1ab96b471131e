"""The site file's reference and its examples agree with the code."""

from __future__ import annotations

import base64
import re
import typing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import BaseModel

from config.loading import load_site
from config.secret import Secret
from config.site import Site
from config.translating import unwrapped
from config.unbuilt import unbuilt
from tests.support.site_text import ENVIRON

PACKAGE = Path(str(files("config")))
EXAMPLES = sorted(path.name for path in (PACKAGE / "examples").glob("*.yaml"))


def documented() -> dict[str, list[str]]:
    """The rows of REFERENCE.md: key → type, default, meaning, range."""
    rows = {}
    for line in (PACKAGE / "REFERENCE.md").read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| `([^`]+)` \| (.*) \|", line)
        if row:
            assert row[1] not in rows, f"{row[1]} is there twice"
            rows[row[1]] = row[2].split(" | ")
    return rows


def declared(model: type[BaseModel] = Site, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """The same rows, less the range, as the models have them."""
    for name, field in model.model_fields.items():
        inner, is_list = unwrapped(field.annotation)
        section = isinstance(inner, type) and issubclass(inner, BaseModel)
        key = f"{prefix}{name}{'[]' if is_list and section else ''}"
        default = "required" if field.is_required() else _default(field.get_default())
        yield key, [("list of " if is_list else "") + _type(inner), default, field.description or ""]
        if section:
            yield from declared(inner, f"{key}.")


def _type(inner: object) -> str:
    if typing.get_origin(inner) is typing.Literal:
        return ", ".join(typing.get_args(inner))
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Secret: "secret"}
    return names.get(typing.cast("type", inner), "mapping")


def _default(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, BaseModel):
        return "its keys' defaults"
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_reference_has_every_key_and_no_other() -> None:
    """Keys, types, defaults and meanings are those of the models."""
    assert {key: row[:3] for key, row in documented().items()} == dict(declared())


def test_every_value_has_its_range_or_meaning() -> None:
    """Every number says its range, and where it comes from if it has a default."""
    for key, (kind, default, _, source) in documented().items():
        if kind in ("number", "whole number"):
            assert re.search(r"\d", source), key
        if kind in ("number", "whole number") and default not in ("required", "null"):
            assert default in source or "ours" in source, key


def test_examples_are_shipped() -> None:
    """The three examples travel inside the package."""
    assert EXAMPLES == ["bench.yaml", "school.yaml", "small.yaml"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads_and_asks_for_nothing_impossible(name: str) -> None:
    """Each loads with its variables set, warns of nothing but the embedded broker, and could be run."""
    loaded = load_site(PACKAGE / "examples" / name, ENVIRON)
    assert [warning.key for warning in loaded.warnings] == (["mqtt.url"] if name == "bench.yaml" else [])
    findings = unbuilt(loaded.site, loaded.places)
    assert not any(finding.blocking for finding in findings)
    assert {finding.key.partition(".")[2] for finding in findings} <= {"record"}


def test_the_commands_in_the_bench_example_make_legal_secrets() -> None:
    """What the comment tells a technician to type is accepted: 32 bytes for the centre, 24 for a token."""
    text = (PACKAGE / "examples" / "bench.yaml").read_text(encoding="utf-8")
    assert text.count("whsec_$(head -c 32 /dev/urandom | base64)") == 2
    secret = base64.b64encode(bytes(range(32))).decode()
    token = base64.b64encode(bytes(range(24))).decode()
    environ = ENVIRON | {"CENTRE_SECRET": f"whsec_{secret}", "CENTRE_TOKEN": token}
    load_site(PACKAGE / "examples" / "bench.yaml", environ)
