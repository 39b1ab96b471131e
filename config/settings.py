"""A site with its folders: where data goes, where the files it names lie, and the copy kept of what was accepted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.loading import Loaded, load_site
from config.site import Site

DEFAULT_DATA_DIR = "data"
ACCEPTED_COPY = "accepted-site.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run needs to know: the site, its data folder, and the site file its other paths start from."""

    site: Site
    data_dir: Path
    site_path: Path

    @property
    def objects_dir(self) -> Path | None:
        """Folder of a `file:` object store; None for another store."""
        kind, _, rest = self.site.storage.objects.partition(":")
        return self.data_dir / rest if kind == "file" else None

    @property
    def database_file(self) -> Path | None:
        """File of a `sqlite:` database; None for another one."""
        kind, _, rest = self.site.storage.database.partition(":")
        return self.data_dir / rest if kind == "sqlite" else None

    @property
    def mqtt_client_id(self) -> str:
        """The client id the broker keeps the session under; the same at every start, or queued presses are lost."""
        return self.site.mqtt.client_id or f"campus-gateway-{self.site.site.id}"

    @property
    def certificate_files(self) -> dict[str, Path]:
        """Every certificate and CA file the site names, by its key there; keys are not among them."""
        site = self.site
        named = {
            "http.tls.cert": site.http.tls.cert if site.http.tls else None,
            "http.tls.client_ca": site.http.tls.client_ca if site.http.tls else None,
            "centre.webhook.cert": site.centre.webhook.cert,
            "centre.webhook.ca": site.centre.webhook.ca,
            "mqtt.cert": site.mqtt.cert,
            "mqtt.ca": site.mqtt.ca,
            "storage.ca": site.storage.ca,
        }
        return {key: self.beside_site_file(name) for key, name in named.items() if name is not None}

    def beside_site_file(self, name: str) -> Path:
        """A certificate, key or CA the site file names: relative paths start from the site file's folder."""
        return self.site_path.parent / name


def resolve(loaded: Loaded, data_dir: Path | None, *, site_path: Path | None = None) -> Settings:
    """The settings of a run. `data_dir` is by default `data` beside the site file; nothing is created.

    `site_path` is the original's when `loaded` is the copy of an accepted file.
    """
    original = (site_path or loaded.path).absolute()
    chosen = original.parent / DEFAULT_DATA_DIR if data_dir is None else data_dir.absolute()
    return Settings(site=loaded.site, data_dir=chosen, site_path=original)


def keep_accepted(data_dir: Path, text: str) -> Path:
    """Keep the text of an accepted site file, so that a later, refused one does not stop the gateway.

    The copy replaces the former one in one step that survives a power cut, and only the gateway's own user can read
    it (0600: it may have plain secrets of loopback services). Raises OSError if it cannot be written; the former
    copy is then unharmed.
    """
    data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    kept, fresh = data_dir / ACCEPTED_COPY, data_dir / f".{ACCEPTED_COPY}.new"
    with suppress(FileNotFoundError):
        fresh.unlink()  # left by a crash; made anew below, so that nobody's file or link is written through
    try:
        with open(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(kept)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return kept


def load_accepted(data_dir: Path, site_path: Path, environ: Mapping[str, str]) -> Loaded | None:
    """The last accepted site file, judged again; None if there is no copy, SiteRefused if it no longer holds.

    `site_path` is the original: the relative paths in the copy start from its folder.
    """
    kept = data_dir / ACCEPTED_COPY
    if not kept.exists():
        return None
    return load_site(kept, environ, relative_to=site_path.absolute().parent)
