"""A site with its folders: where data goes, and where the files it names lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from config.loading import Loaded
from config.site import Site

DEFAULT_DATA_DIR = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run needs to know: the site, its data folder, the site file its other paths start from, and the SHA-256 (hex) of
    the text that was accepted."""

    site: Site
    data_dir: Path
    site_path: Path
    text_sha256: str

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
        """The client id the broker keeps the session under, or its first part: a secret one is added where the site file
        gives none (:mod:`gateway.app.broker_session`)."""
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
    digest = hashlib.sha256(loaded.text.encode("utf-8", "surrogatepass")).hexdigest()
    return Settings(site=loaded.site, data_dir=chosen, site_path=original, text_sha256=digest)
