"""Which site file a run goes by: the one it is given, or the copy of the last one a gateway has started with.

A copy is replaced only once a gateway has started with the new file, so that a file which reads well and cannot be run with
stops no gateway either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.findings import Finding, SiteRefused
from config.loading import Loaded, load_site
from config.settings import DEFAULT_DATA_DIR, Settings, resolve
from config.unbuilt import unbuilt
from gateway.box.durable import write_durably

ACCEPTED_COPY = "accepted-site.yaml"
#: Beside the copy: the path of the file it is a copy of, so that a mistyped path is not taken for a file that is gone.
COPIED_FROM = "accepted-site.from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A site file to run with. ``standing`` are things known to be wrong with it, as ``(subject, cause)``; ``text`` is what is
    kept as the accepted copy once a gateway has started with it, ``None`` where it is that copy."""

    settings: Settings
    standing: list[tuple[str, str]]
    warnings: list[Finding]
    text: str | None


def new_file(path: Path, data_dir: Path | None, environ: Mapping[str, str]) -> Choice:
    """The file that was given. Raises :class:`SiteRefused` if it is refused, or cannot be run with by this version."""
    loaded = load_site(path, environ)
    return _choice(loaded, resolve(loaded, data_dir), text=loaded.text)


def last_accepted(
    path: Path, data_dir: Path | None, environ: Mapping[str, str], *, cause: str, unlike: str | None = None
) -> Choice | None:
    """The accepted copy, with a fault that says why the file at ``path`` is not used. ``None`` where there is no copy that can
    be run with, where it is that of another path and nothing is at this one (it was mistyped), and where its text is
    ``unlike``, which has just failed to start."""
    data = data_dir if data_dir is not None else path.absolute().parent / DEFAULT_DATA_DIR
    if not path.exists() and _copied_from(data) not in (None, path.absolute()):
        return None
    try:
        copy = load_accepted(data, path, environ)
        if copy is None or copy.text == unlike:
            return None
        choice = _choice(copy, resolve(copy, data_dir, site_path=path), text=None)
    except SiteRefused:
        return None
    choice.standing.insert(0, ("site-file", f"{path.name} {cause}; the last accepted copy is in use"))
    return choice


def _choice(loaded: Loaded, settings: Settings, *, text: str | None) -> Choice:
    findings = unbuilt(loaded.site, loaded.places)
    blocking = [f for f in findings if f.blocking]
    if blocking:
        raise SiteRefused(blocking)
    standing = [(f.key, f"{f.found}: {f.advice}") for f in findings]
    return Choice(settings=settings, standing=standing, warnings=findings, text=text)


def keep_accepted(data_dir: Path, text: str, path: Path | None = None) -> Path:
    """Keep the text of the site file at ``path``, with which a gateway has started.

    The copy replaces the former one in one step that survives a power cut, and only the gateway's own user can read it (0600:
    it may have plain secrets of loopback services). Raises OSError if it cannot be written; the former one is then unharmed.
    """
    data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    kept = data_dir / ACCEPTED_COPY
    write_durably(kept, text.encode("utf-8"))
    if path is not None and _copied_from(data_dir) != path.absolute():
        write_durably(data_dir / COPIED_FROM, str(path.absolute()).encode("utf-8", "surrogateescape"))
    return kept


def load_accepted(data_dir: Path, site_path: Path, environ: Mapping[str, str]) -> Loaded | None:
    """The last accepted site file, judged again; None if there is no copy, SiteRefused if it no longer holds.

    `site_path` is the original: the relative paths in the copy start from its folder.
    """
    kept = data_dir / ACCEPTED_COPY
    if not kept.exists():
        return None
    return load_site(kept, environ, relative_to=site_path.absolute().parent)


def _copied_from(data_dir: Path) -> Path | None:
    """Whose copy is kept; ``None`` where that is not known."""
    try:
        return Path((data_dir / COPIED_FROM).read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None
