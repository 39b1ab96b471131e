"""YAML with positions: from the bytes of a site file to plain data in which every key knows its line and
column.

The dialect is the core schema of YAML 1.2 made narrower: `yes`, `on`, `1:30`, `2026-03-02`, `0x1F` and
`007` are text; a whole number is one only in its canonical spelling, so that turning it back into text
loses nothing. Refused are duplicate keys, anchors and aliases (a few lines of them can mean gigabytes),
tags, several documents, and nesting deeper than any site file needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from config.findings import Complaint, Mark, Path, Places

FILE_BYTES_MAX = 1024 * 1024  # the largest legal file, 2,000 points and 256 cameras, has about half of that
DEPTH_MAX = 16  # the deepest legal key lies at 5

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,30}([eE][-+]?[0-9]{1,3})?")
# Control characters, and the breaks YAML counts as lines but editors do not (NEL, LS, PS).
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN_IN_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_ECHO = re.compile(r"'(?!<)[^']{2,}'|\"[^\"]{2,}\"")


class BadDocument(Exception):
    """Reading had to stop here; the complaint says why."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.expected)
        self.complaint = complaint


@dataclass(slots=True, kw_only=True)
class Document:
    """What was read: plain data (mappings as dict, lists as tuple), places, and complaints that did not
    stop reading."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)

    @property
    def places(self) -> Places:
        return Places(file=self.file, values=self.values, keys=self.keys)


def decode(raw: bytes) -> str:
    """The file's text; BadDocument if it is too large, no UTF-8, or has characters no line of text has."""
    if len(raw) > FILE_BYTES_MAX:
        raise BadDocument(
            _stop(None, f"{len(raw)} bytes", f"at most {FILE_BYTES_MAX} bytes", "split nothing: shorten it")
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        mark = _mark_in(raw[: wrong.start].decode("utf-8", "replace"))
        raise BadDocument(
            _stop(
                mark,
                f"the byte 0x{raw[wrong.start]:02X}",
                "UTF-8 text",
                "save the file as UTF-8 (not GBK or UTF-16)",
            )
        ) from None
    odd = _FORBIDDEN.search(text)
    if odd:
        mark = _mark_in(text[: odd.start()])
        raise BadDocument(
            _stop(mark, f"the character U+{ord(odd.group()):04X}", "printable text", "delete it")
        )
    return text


def read(text: str, file: str) -> Document:
    """Read one YAML mapping. BadDocument where the syntax leaves nothing to go on with; milder faults are
    collected."""
    document = Document(file=file)
    reader = _Reader(document, _events(text))
    reader.read()
    return document


class _Reader:
    """Builds data from parser events, so that depth, aliases and duplicates are judged before anything is
    built."""

    def __init__(self, document: Document, events: Iterator[yaml.Event]) -> None:
        self._document = document
        self._events = events

    def read(self) -> None:
        next(self._events)  # StreamStart
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise BadDocument(
                _stop(Mark(line=1, column=1), "an empty file", "a site file", "see the examples")
            )
        first = next(self._events)
        mark = _mark(first)
        data = self._value(first, ())
        if not isinstance(data, dict):
            raise BadDocument(
                _stop(mark, "no mapping", "keys such as site:, zones:, points:", "see the examples")
            )
        next(self._events)  # DocumentEnd
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise BadDocument(
                _stop(_mark(after), "a second document (---)", "one document", "keep one site to a file")
            )
        self._document.data = data
        self._document.values[()] = mark

    def _value(self, event: yaml.Event, path: Path) -> Any:
        mark = _mark(event)
        self._document.values.setdefault(path, mark)
        if isinstance(event, yaml.AliasEvent):
            self._complain(
                path, mark, "an alias (*…)", "the value itself", "write it out, or put the text in quotes"
            )
            return None
        if getattr(event, "anchor", None) is not None:
            self._complain(
                path, mark, "an anchor (&…)", "the value only", "leave it out, or put the text in quotes"
            )
        if getattr(event, "tag", None) is not None:
            self._complain(
                path, mark, "a tag (!…)", "the value only", "leave it out, or put the text in quotes"
            )
        if len(path) > DEPTH_MAX:
            raise BadDocument(
                _stop(mark, f"more than {DEPTH_MAX} levels", "a site file's few levels", "see the examples")
            )
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, mark)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _scalar(self, event: yaml.ScalarEvent, path: Path, mark: Mark) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or tagged
            odd = _FORBIDDEN_IN_TEXT.search(text)
            if odd:
                self._complain(
                    path, mark, f"the character U+{ord(odd.group()):04X}", "one line of text", "delete it"
                )
            return text
        return resolve(text)

    def _sequence(self, path: Path) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return tuple(items)

    def _mapping(self, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = _mark(event)
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise BadDocument(
                    _stop(mark, "a key that is no plain text", "a key", "put texts in quotes", path)
                )
            key: str = event.value
            here = (*path, key)
            if _FORBIDDEN_IN_TEXT.search(key):
                raise BadDocument(
                    _stop(mark, "a key with line breaks or control characters", "a key", "correct it", path)
                )
            if key in data:
                self._complain(
                    here,
                    mark,
                    "the key again",
                    "each key once",
                    f"it stands already in line {self._document.keys[here].line}",
                )
                self._value(next(self._events), (*path, f"{key} (again)"))
                continue
            self._document.keys[here] = mark
            value_event = next(self._events)
            if not isinstance(value_event, yaml.ScalarEvent) or _empty(value_event):
                self._document.values[here] = (
                    mark  # where the eye finds a whole section, or a value that is not there
                )
            data[key] = self._value(value_event, here)
        return data

    def _complain(self, path: Path, mark: Mark, found: str, expected: str, advice: str) -> None:
        self._document.complaints.append(
            Complaint(path=path, found=found, expected=expected, advice=advice, mark=mark, of_key=True)
        )


def resolve(text: str) -> Any:
    """What a plain (unquoted) scalar means."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _events(text: str) -> Iterator[yaml.Event]:
    """The parser's events; its errors as BadDocument, without any text of the file that could be a secret."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it: 20 times as fast
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark if wrong.problem_mark is not None else wrong.context_mark
        said = _ECHO.sub("…", " ".join(part for part in (wrong.context, wrong.problem) if part))
        begun = wrong.context_mark
        if begun is not None and mark is not None and begun.line != mark.line:
            said += f" (begun in line {begun.line + 1})"
        place = Mark(line=mark.line + 1, column=mark.column + 1) if mark is not None else None
        complaint = _stop(place, said, "YAML", _advice(text, place))
    except yaml.YAMLError:
        complaint = _stop(None, "characters YAML cannot read", "YAML", "save the file as plain UTF-8 text")
    else:
        return
    raise BadDocument(complaint)


def _advice(text: str, place: Mark | None) -> str:
    lines = text.splitlines()
    line = lines[place.line - 1] if place and place.line <= len(lines) else ""
    above = lines[place.line - 2] if place and 2 <= place.line <= len(lines) + 1 else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or (
        place and line[place.column - 1 : place.column] == "\t"
    ):
        return "indent with spaces: YAML knows no tabs"
    if "\uff1a" in line + above:
        return "YAML needs the ASCII colon and a space (: ), not the full-width \uff1a"
    return (
        "look here and at the line above: indentation, quotes, brackets; texts with : # * & ! @ go in quotes"
    )


def _mark(event: yaml.Event) -> Mark:
    start = event.start_mark
    assert start is not None  # the parser marks every event
    return Mark(line=start.line + 1, column=start.column + 1)


def _mark_in(before: str) -> Mark:
    return Mark(line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))


def _empty(event: yaml.ScalarEvent) -> bool:
    return bool(event.implicit[0]) and not event.value


def _stop(mark: Mark | None, found: str, expected: str, advice: str, path: Path = ()) -> Complaint:
    return Complaint(path=path, found=found, expected=expected, advice=advice, mark=mark)
