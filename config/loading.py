"""Reading a site file: all of it is judged before anything is used, and every error says where and what
to do.

`load_site` either returns a site with its warnings, or raises `SiteRefused` with every fault it could
find; it raises nothing else. No error carries a secret, and none is chained to an exception that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from config.document import FILE_BYTES_MAX, BadDocument, Document, decode, read
from config.exposure import exposure_rules, secrets_exposed
from config.findings import Complaint, Finding, Path, Places, SiteRefused, in_file_order
from config.rules import Parts, entry_rules
from config.secret import Secret, SecretRefused, SecretSources, resolve
from config.site import Access, Camera, Point, Site, Zone
from config.translating import complaint_of, missing_key, shown, type_at, unknown_key, wrong_type

__all__ = ["Finding", "Loaded", "SiteRefused", "load_site"]

_LISTS: dict[str, type[BaseModel]] = {"zones": Zone, "cameras": Camera, "points": Point, "access": Access}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A site file that was accepted. `text` is what it said, for `settings.keep_accepted`; it is never
    shown."""

    site: Site
    warnings: list[Finding]
    text: str = field(repr=False)
    path: FilePath
    places: Places = field(repr=False)


def load_site(path: FilePath, environ: Mapping[str, str], *, relative_to: FilePath | None = None) -> Loaded:
    """Read the site file at `path`; raise SiteRefused, and nothing else, if it cannot be used.

    `environ` answers `{env: NAME}`. Relative paths in the file start from `relative_to`, by default the
    file's own folder; the kept copy of an accepted file names the folder of the original.
    """
    base_dir = (path.parent if relative_to is None else relative_to).absolute()
    try:
        text = decode(_bytes_of(path))
        document = read(text, str(path))
    except BadDocument as stopped:
        refusal = [Places(file=str(path)).finding(stopped.complaint)]
    else:
        site, complaints = _judge(document, SecretSources(environ=environ, base_dir=base_dir))
        findings = sorted(
            (_placed(complaint, document.places) for complaint in complaints), key=in_file_order
        )
        refusal = [finding for finding in findings if finding.blocking]
        if not refusal and site is not None:
            return Loaded(site=site, warnings=findings, text=text, path=path, places=document.places)
    # Raised here, outside every handler: a chained exception could carry what the file says.
    raise SiteRefused(refusal)


def _bytes_of(path: FilePath) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "not a regular file")
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as wrong:
        reason = (wrong.strerror if isinstance(wrong, OSError) else None) or "not a path"
    raise BadDocument(
        Complaint(
            path=(),
            found=f"no readable file ({reason})",
            expected="a site file",
            advice="correct the path or permissions",
        )
    )


def _judge(document: Document, sources: SecretSources) -> tuple[Site | None, list[Complaint]]:
    parts = Parts()
    judged = _Judged(document.complaints)
    data: dict[str, Any] = _with_secrets(document.data, (), sources, judged)
    judged.add(_validate(data, parts))
    site = None
    if not judged.complaints:
        try:
            site = Site(**_whole(parts, data))
        except ValidationError as wrong:
            judged.add(complaint_of(error, ()) for error in _details(wrong))
    judged.add(entry_rules(parts))
    judged.add(exposure_rules(parts, sources.base_dir))
    judged.add(secrets_exposed(dict(_secrets(parts))))
    return site, judged.complaints


class _Judged:
    """Complaints so far. A value already refused was left out or read as null: what follows from that is dropped."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints: list[Complaint] = []
        self._refused: set[Path] = set()
        self.add(complaints)

    def add(self, complaints: Iterable[Complaint]) -> None:
        before = set(self._refused)
        for complaint in complaints:
            if any(complaint.path[:length] in before for length in range(len(complaint.path) + 1)):
                continue
            self.complaints.append(complaint)
            if complaint.blocking:
                self._refused.add(complaint.path)
                if complaint.meant:
                    self._refused.add((*complaint.path[:-1], complaint.meant))


def _with_secrets(value: Any, path: Path, sources: SecretSources, judged: _Judged) -> Any:
    """The data with every secret resolved; one that cannot be had is complained about and marked as missing."""
    if value is not None and type_at(path) is Secret:
        try:
            return resolve(value, sources)
        except SecretRefused as wrong:
            judged.add(
                [Complaint(path=path, found=wrong.found, expected=wrong.expected, advice=wrong.advice)]
            )
            return Secret("", given="missing")
    if isinstance(value, dict):
        return {key: _with_secrets(inner, (*path, key), sources, judged) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(
            _with_secrets(inner, (*path, index), sources, judged) for index, inner in enumerate(value)
        )
    return value


def _validate(data: Mapping[str, Any], parts: Parts) -> Iterator[Complaint]:
    """Validate each section, and each entry of the lists, by itself; put what is sound into `parts`."""
    for key in data:
        if key not in Site.model_fields:
            yield unknown_key((key,))
    for name, declared in Site.model_fields.items():
        if name not in data:
            if declared.is_required():
                yield missing_key((name,))
            elif name not in _LISTS:
                setattr(parts, name, declared.get_default())
        elif name not in _LISTS:
            value, complaints = _validated(declared.annotation, data[name], (name,))
            setattr(parts, name, value)
            yield from complaints
        elif not isinstance(data[name], tuple):
            yield wrong_type((name,), "tuple_type", data[name])
        else:
            yield from _validate_list(name, data[name], parts)


def _validate_list(name: str, items: tuple[Any, ...], parts: Parts) -> Iterator[Complaint]:
    entries: dict[int, BaseModel] = {}
    for index, item in enumerate(items):
        value, complaints = _validated(_LISTS[name], item, (name, index))
        yield from complaints
        if value is None:
            value, _ = _validated(_LISTS[name], _without(item, complaints), (name, index))
        if value is not None:
            entries[index] = value
    setattr(parts, name, entries)
    parts.known_ids[name] = {
        item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)
    }


def _without(item: Any, complaints: list[Complaint]) -> Any:
    """A faulty entry less its faulty keys, so that what else it says can be judged by the rules."""
    if not isinstance(item, dict):
        return item
    rest = {key: dict(value) if isinstance(value, dict) else value for key, value in item.items()}
    for complaint in complaints:
        key, inner = complaint.path[2:3], complaint.path[3:4]
        below = rest.get(str(key[0])) if key else None
        if inner and isinstance(below, dict):
            below.pop(str(inner[0]), None)
        elif key:
            rest.pop(str(key[0]), None)
    return rest


def _validated(declared: Any, value: Any, path: Path) -> tuple[Any, list[Complaint]]:
    try:
        return _adapter(declared).validate_python(value), []
    except ValidationError as wrong:
        return None, [complaint_of(error, path) for error in _details(wrong)]


@cache
def _adapter(declared: Any) -> TypeAdapter[Any]:
    return TypeAdapter(declared)


def _details(wrong: ValidationError) -> list[Any]:
    return wrong.errors(include_url=False)


def _whole(parts: Parts, data: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: getattr(parts, name) for name in Site.model_fields if name in data}
    return {name: tuple(value.values()) if name in _LISTS else value for name, value in given.items()}


def _secrets(parts: Parts) -> Iterator[tuple[Path, Secret]]:
    """Every secret of the site, with its path."""
    waiting: list[tuple[Path, object]] = [((name,), getattr(parts, name)) for name in Site.model_fields]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Secret):
            yield path, value
        elif isinstance(value, BaseModel):
            waiting += [((*path, name), getattr(value, name)) for name in type(value).model_fields]
        elif isinstance(value, dict):
            waiting += [((*path, index), entry) for index, entry in value.items()]


def _placed(complaint: Complaint, places: Places) -> Finding:
    return places.finding(complaint, shown_path=shown(complaint.path))
