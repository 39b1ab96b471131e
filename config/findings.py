"""What the reading of a site file has to say: one finding each, with its place in the file.

A `Complaint` knows the path of a key; a `Finding` adds file, line and column, and is what people see. No
finding ever carries a secret: `describe` hides what looks like one, and callers pass no value of a secret
key at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

_USERINFO = re.compile(r"//\S*@")
_SECRET_QUERY = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
_WEBHOOK_SECRET = re.compile(r"whsec_\S*")
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place in the file; both numbers count from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A finding that still lacks its place.

    `of_key`: it is the key that is wrong, not its value; `meant`: the key its writer may have meant.
    """

    path: Path
    found: str
    expected: str
    advice: str
    blocking: bool = True
    of_key: bool = False
    meant: str = ""
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence about one key of one site file.

    `line` and `column` count from 1; 0 means that the place is not known (the file could not be read, or the
    site was not loaded from a file). `blocking` findings refuse the file, the others are warnings.
    """

    file: str
    line: int
    column: int
    key: str
    found: str
    expected: str
    advice: str
    blocking: bool

    def __str__(self) -> str:
        file = printable(self.file)
        place = f"{file}:{self.line}" if self.line else file
        said = [f"found {self.found}"] if self.found else []
        said += [f"expected {self.expected}"] if self.expected else []
        said += [self.advice] if self.advice else []
        kind = "" if self.blocking else "warning: "
        return f"{place}: {self.key + ': ' if self.key else ''}{kind}{'; '.join(said)}"


class SiteRefused(Exception):
    """The site file cannot be used. `findings` says why, in the order of the file; `str()` is the printable
    report."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(sorted(findings, key=in_file_order))
        super().__init__(report(self.findings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where each key of a site file stands. `values`: where to point for a value; `keys`: the key itself."""

    file: str = "site file"
    values: Mapping[Path, Mark] = field(default_factory=dict, repr=False)
    keys: Mapping[Path, Mark] = field(default_factory=dict, repr=False)

    def finding(self, complaint: Complaint, *, shown_path: Path | None = None) -> Finding:
        """Give a complaint its line; a key that is absent is reported where its nearest parent stands."""
        mark = complaint.mark or self._mark(complaint.path, of_key=complaint.of_key)
        return Finding(
            file=self.file,
            line=mark.line if mark else 0,
            column=mark.column if mark else 0,
            key=printable(dotted(complaint.path if shown_path is None else shown_path)),
            found=printable(complaint.found),
            expected=complaint.expected,
            advice=printable(complaint.advice),
            blocking=complaint.blocking,
        )

    def line(self, path: Path) -> int:
        """The line of a key, 0 if unknown."""
        mark = self._mark(path, of_key=False)
        return mark.line if mark else 0

    def _mark(self, path: Path, *, of_key: bool) -> Mark | None:
        if of_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return None


def in_file_order(finding: Finding) -> tuple[int, int, str]:
    """Sort key: the order in which a person walks through the file."""
    return (finding.line, finding.column, finding.key)


def report(findings: Iterable[Finding]) -> str:
    """One finding a line."""
    return "\n".join(str(finding) for finding in findings)


def dotted(path: Path) -> str:
    """`("points", 2, "mqtt", "topic")` → `points[2].mqtt.topic`; list positions count from 0."""
    key = ""
    for step in path:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
    return key


def printable(text: str) -> str:
    """The text with control characters and half surrogates escaped, so that it is safe on any terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def describe(value: object) -> str:
    """A value as an error may show it: short, and with anything that looks like a secret hidden."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__name__}"


def quoted(text: str) -> str:
    """Text in quotes, cut to a readable length, user information and webhook secrets hidden."""
    text = _WEBHOOK_SECRET.sub("<secret>", text)
    text = _USERINFO.sub("//<secret>@", text)
    text = _SECRET_QUERY.sub(r"\1<secret>", text)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    return f'"{text}"'
