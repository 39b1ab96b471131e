"""What people read: links that lead somewhere, two languages that say the same, nothing of one machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.tree import ROOT, project_files

DOCUMENTS = [name for name in project_files() if name.endswith(".md")]
PAIRS = [
    (name, name.removesuffix(".md") + ".zh-CN.md")
    for name in DOCUMENTS
    if name == "README.md" or (name.startswith("docs/") and not name.endswith(".zh-CN.md"))
]
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: Written in pieces, so that this file is not found by its own search.
_OF_ONE_MACHINE = re.compile(
    "|".join(
        [
            r"(?<![\w.])/wo" + r"rk/",
            r"(?<![\w.])/tm" + r"p/[a-z]",
            r"files\.python" + r"hosted\.org",
            r"py" + r"pi\.org",
            r"registry\.npm" + r"js",
            r"deb\.deb" + r"ian\.org",
            r"\bPLAT" + r"FORM\b(?:\.md|:)",
            r"\b(?:CONT" + r"RACT|STAND" + r"ARDS|PEE" + r"RS|STY" + r"LE)\.md",
        ]
    )
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_within_the_project_leads_somewhere(document: str) -> None:
    """Relative links of every Markdown file name files or folders of the tree."""
    text = _FENCE.sub("", (ROOT / document).read_text("utf-8"))
    dead = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = target.partition("#")[0]
        if not ((ROOT / document).parent / path).exists():
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_every_source_file_that_a_document_names_is_there(document: str) -> None:
    """By its name, or the end of its path; the change log speaks of what was."""
    named = set(re.findall(r"`([\w/.-]+\.py)`", (ROOT / document).read_text("utf-8")))
    assert {n for n in named if not any(f"/{file}".endswith(f"/{n}") for file in project_files())} == set()


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_the_same_parts(english: str, chinese: str) -> None:
    """As many headings of each depth, tables' rows, code blocks and links in the Chinese text as in the English one."""
    assert (ROOT / chinese).exists(), f"{english} has no {chinese}"

    def shape(name: str) -> dict[str, object]:
        text = (ROOT / name).read_text("utf-8")
        prose = _FENCE.sub("", text)
        return {
            "headings": [len(hashes) for hashes in re.findall(r"^(#+) ", prose, re.MULTILINE)],
            "rows": len(re.findall(r"^\|", prose, re.MULTILINE)),
            "links": sorted(
                target.replace(".zh-CN", "") for target in _LINK.findall(prose) if "README" not in target
            ),
            "commands": [
                [line.split("#")[0].strip() for line in block.splitlines()[1:-1]]
                for block in _FENCE.findall(text)
            ],
        }

    assert shape(chinese) == shape(english)


def test_nothing_committed_speaks_of_the_machine_it_was_written_on() -> None:
    """No path of a developer's machine and no package index's host in any text file."""
    found = []
    for name in project_files():
        content = (ROOT / name).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            if match := _OF_ONE_MACHINE.search(line):
                found.append(f"{name}:{number}: {match[0]}")
    assert found == []


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    """CHANGELOG.md keeps the form of Keep a Changelog, unreleased changes first."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}$", heading) for heading in headings[1:])


def test_the_licence_is_the_one_that_is_declared() -> None:
    """LICENSE is the text that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    text = Path(ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_every_dependency_is_explained() -> None:
    """README.md says in a table what each direct dependency is for, and names none that is gone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[<>=!~\[; ]", entry)[0] for entry in project["dependencies"]}
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text("utf-8")
        explained = set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE))
        assert explained == declared, name


def test_order_799_is_named_as_the_state_council_s() -> None:
    """It is an administrative regulation of the State Council (国务院令), not a ministry's order; people cite it by our words."""
    wrong = [
        f"{path}:{number}: {line.strip()}"
        for path in project_files()
        if path.endswith((".py", ".md", ".html", ".js", ".yaml", ".toml"))
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), start=1)
        if re.search(r"公安部令[^。；，]{0,6}799", line)
    ]
    assert wrong == []
