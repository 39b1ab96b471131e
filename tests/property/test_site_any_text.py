"""Whatever stands in a site file, it is accepted or refused with a reason; nothing else ever happens."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.loading import SiteRefused, load_site
from tests.support.site_text import ENVIRON, SITE

SOUND = yaml.safe_load(SITE)
BOUNDED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all examples: the file is overwritten each time."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def judge(folder: Path, raw: bytes) -> None:
    """Load the bytes; a refusal must have findings with a place that exists, and print no secret."""
    path = folder / "site.yaml"
    path.write_bytes(raw)
    try:
        loaded = load_site(path, ENVIRON)
    except SiteRefused as refused:
        findings = list(refused.findings)
        assert findings
        assert all(finding.blocking for finding in findings)
    else:
        findings = loaded.warnings
        assert not any(finding.blocking for finding in findings)
        assert not any(value in repr(loaded) for value in ENVIRON.values())
    lines = raw.count(b"\n") + raw.count(b"\r") + 1
    for finding in findings:
        assert 0 <= finding.line <= lines + 1
        assert finding.found or finding.advice
        printed = str(finding)
        printed.encode("utf-8")
        assert "\n" not in printed
        assert not any(value in printed for value in ENVIRON.values())


@BOUNDED
@given(raw=st.binary(max_size=300))
def test_any_bytes(folder: Path, raw: bytes) -> None:
    """Bytes of any kind."""
    judge(folder, raw)


YAML_LIKE = st.text(
    alphabet=st.sampled_from("ab:{}[]-,#&*!|>'\"%@`?~ \n\t\\x0\u00e9：触\x85\u2028"), max_size=120
)


@BOUNDED
@given(text=YAML_LIKE)
def test_any_text_that_looks_like_yaml(folder: Path, text: str) -> None:
    """Texts of the characters YAML gives a meaning to."""
    judge(folder, text.encode())


@BOUNDED
@given(start=st.integers(0, len(SITE)), length=st.integers(0, 40), text=YAML_LIKE)
def test_a_sound_file_with_a_piece_replaced(folder: Path, start: int, length: int, text: str) -> None:
    """A cut, a slip of the hand, a paste in the wrong place."""
    judge(folder, (SITE[:start] + text + SITE[start + length :]).encode())


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["embedded", "file:x", "s3+https://h/bucket", "sqlite:x", "postgresql://u@h/d", "http://[", "mqtts://h",
                       "https://h:0", "rtsp://h?password=1", "127.0.0.1:0", "[::1]:1", "::", "cam-gate", "gate-south"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["env", "file", "id", "url", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a document, the root left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in inner:
        yield (*path, step)
        yield from paths(below, (*path, step))


@BOUNDED
@given(
    path=st.sampled_from(sorted(paths(SOUND), key=str)),
    value=VALUES,
    key=st.sampled_from(["", "id", "ca", "tls", "input"]),
)
def test_a_sound_file_with_a_value_replaced(
    folder: Path, path: tuple[str | int, ...], value: object, key: str
) -> None:
    """Any value, of any type, in any place, or one more key beside it."""
    document = yaml.safe_load(SITE)
    here = document
    for step in path[:-1]:
        here = here[step]
    if key and isinstance(here, dict):
        here[key] = value
    else:
        here[path[-1]] = value
    judge(folder, yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))
