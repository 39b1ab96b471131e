"""The YAML a site file is written in: what is text, what is a number, and how broken files are told apart."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from config.document import resolve
from config.loading import SiteRefused, load_site
from tests.support.site_text import SITE, changed, load, marked_line, refusal


@pytest.mark.parametrize(
    ("plain", "meaning"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False), ("0", 0), ("-12", -12),
        ("46.8", 46.8), ("1.5e3", 1500.0), ("yes", "yes"), ("on", "on"), ("No", "No"), ("007", "007"), ("0o7", "0o7"),
        ("0x1F", "0x1F"), ("1_000", "1_000"), ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("2026-03-02", "2026-03-02"),
        ("+1", "+1"), ("-0", "-0"), (".5", ".5"), (".inf", ".inf"), (".nan", ".nan"), ("1e3", "1e3"),
        ("9" * 19, "9" * 19), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_it_looks_like(plain: str, meaning: object) -> None:
    """The core schema of YAML 1.2, narrowed: no octal, sexagesimal, date or merge surprises."""
    assert resolve(plain) == meaning
    assert type(resolve(plain)) is type(meaning)


def test_a_whole_number_turns_back_into_its_text(tmp_path: Path) -> None:
    """`input: 1` is the input "1", `input: 01` the input "01"."""
    for written in ("1", '"1"', "01"):
        site = load(tmp_path, changed(("input: left", f"input: {written}"))).site
        assert site.points[0].mqtt is not None
        assert site.points[0].mqtt.input == written.strip('"')
    (finding,) = refusal(tmp_path, changed(("input: left", "input: true # HERE")))
    assert finding.key == "points[0].mqtt.input"
    assert finding.expected == "text"


SYNTAX = {
    "tab": ("    lat: 46.8085", "\tlat: 46.8085 # HERE", "indent with spaces"),
    "unclosed quote": ("    unit: 指挥中心", '    unit: "指挥中心', "begun in line 65"),
    "unclosed bracket": ("[cam-gate]", "[cam-gate", "begun in line 41"),
    "second colon": ("    kind: gate", "    kind: gate: x # HERE", "mapping values are not allowed"),
    "full-width colon": ("    kind: gate", "    kind：gate", "full-width"),
    "full-width colon in braces": (
        "{env: CENTRE_SECRET}",
        "{env：CENTRE_SECRET} # HERE",
        "exactly one of the keys",
    ),
    "at sign": ("    kind: gate", "    kind: @gate # HERE", "go in quotes"),
    "control character": ("    kind: gate", "    kind: g\x07ate # HERE", "U+0007"),
    "line separator": ("    kind: gate", "    kind: g\u2028ate # HERE", "U+2028"),
    "two documents": ("http:\n", "---\nhttp:\n", "a second document"),
    "list as key": ("    kind: gate", "    ? [a]\n    : b", "a key that is no plain text"),
    "too deep": ("  address: 长安路 86 号", f"  address: {'[' * 40}{']' * 40} # HERE", "more than 16 levels"),
    "alias bomb": ("  address: 长安路 86 号", "  address: &a [x, x]\n  other: [*a, *a]", "an anchor"),
    "tag": ("  address: 长安路 86 号", "  address: !!python/object:os.system x # HERE", "a tag"),
    "escaped line break": ("  address: 长安路 86 号", '  address: "a\\nb" # HERE', "U+000A"),
}


@pytest.mark.parametrize("name", SYNTAX)
def test_broken_yaml_is_told_with_its_line(name: str, tmp_path: Path) -> None:
    """Every syntax error has line, column and advice."""
    old, new, words = SYNTAX[name]
    text = changed((old, new))
    found = refusal(tmp_path, text)
    assert words in str(found[0])
    assert found[0].advice
    assert found[0].line > 0
    if "# HERE" in text:
        # U+2028 is a line break to str.splitlines, but to no editor.
        assert found[0].line == marked_line(text.replace("\u2028", ""))


@pytest.mark.parametrize(
    ("raw", "line", "words"),
    [
        (b"", 1, "an empty file"),
        (b"# nothing\n", 1, "an empty file"),
        (b"- a\n", 1, "no mapping"),
        (b"site\n", 1, "no mapping"),
        (SITE.encode("gbk"), 3, "not GBK or UTF-16"),
        (SITE.encode("utf-16"), 1, "UTF-8"),
        (SITE.encode() + b"x: '\xff'\n", 68, "the byte 0xFF"),
        (SITE.encode() + b"#" * 1024 * 1024, 0, "at most 1048576 bytes"),
    ],
)
def test_what_is_no_site_file_at_all(raw: bytes, line: int, words: str, tmp_path: Path) -> None:
    """Empty, of another encoding, of another shape, too large: one finding says which."""
    (finding,) = refusal(tmp_path, raw)
    assert words in str(finding)
    assert finding.line == line


def test_editors_of_other_systems_are_welcome(tmp_path: Path) -> None:
    """A byte order mark and CR LF line ends are read, and lines are counted the same."""
    load(tmp_path, b"\xef\xbb\xbf" + SITE.replace("\n", "\r\n").encode())
    text = changed(("retention_days: 30", "retention_days: 29 # HERE"))
    (finding,) = refusal(tmp_path, text.replace("\n", "\r\n"))
    assert finding.line == marked_line(text)


def test_a_file_that_cannot_be_read_is_a_refusal(tmp_path: Path) -> None:
    """Absent, a folder, a pipe, an impossible name: SiteRefused, nothing else."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "pipe", tmp_path / "a\0b"):
        with pytest.raises(SiteRefused, match="no readable file") as refused:
            load_site(path, {})
        (finding,) = refused.value.findings
        assert (finding.line, finding.key, finding.blocking) == (0, "", True)


def test_the_largest_site_is_read_in_a_moment(tmp_path: Path) -> None:
    """2,000 points and 256 cameras are read in well under 5 s of processor time (0.5 s on the machine of 2026)."""
    cameras = "".join(
        f"  - {{id: c-{n}, name: 摄像机, zone: corridor-3, onvif: {{host: 10.1.{n // 200}.{n % 200 + 1}}}}}\n"
        for n in range(254)
    )
    points = "".join(
        f"  - {{id: q-{n}, name: 触点, zone: corridor-3, mqtt: {{topic: a/{n}}}}}\n" for n in range(1998)
    )
    text = changed(("points:\n", f"{cameras}points:\n"), ("centre:\n  id", f"{points}centre:\n  id"))
    started = time.process_time()
    site = load(tmp_path, text).site
    assert time.process_time() - started < 5
    assert (len(site.cameras), len(site.points)) == (256, 2000)
