"""The folder of a site CA: what lies where, who may read it, and how it is replaced.

``ca.pem`` is what everybody gets who checks our certificates: every CA of this site that still holds. ``NAME.pem`` and
``NAME.key`` are a certificate and its key. ``ca/ca-N.pem`` and ``ca/ca-N.key`` are the CA itself, oldest first; that folder may
lie elsewhere, since nothing but these commands needs it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gateway.app.commands.certs.making import Pair, read_pair
from gateway.domain.errors import Refused

KEY_MODE, CERTIFICATE_MODE, FOLDER_MODE = 0o600, 0o644, 0o700
BUNDLE = "ca.pem"
#: A new CA signs nothing before everybody can have it: until then the one before goes on (ours).
OVERLAP_DAYS = 30.0
_CA_FILE = re.compile(r"ca-(\d+)\.pem")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One CA of the site. ``pair`` is ``None`` where its key is not there."""

    number: int
    certificate_pem: bytes
    pair: Pair


class CertsFolder:
    """The files. Every method raises ``Refused`` with what to do where they are not as they should be."""

    def __init__(self, folder: Path, ca_folder: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.ca_folder = (ca_folder or folder / "ca").absolute()

    # The CA.

    @property
    def bundle(self) -> Path:
        return self.folder / BUNDLE

    def authorities(self) -> list[Authority]:
        """The site's CAs with their keys, oldest first; empty before ``certs init``."""
        found = []
        for file in self.ca_folder.glob("ca-*.pem") if self.ca_folder.is_dir() else ():
            match = _CA_FILE.fullmatch(file.name)
            if match:
                number = int(match[1])
                pem = _read(file)
                key = _read(file.with_suffix(".key"))
                found.append(Authority(number=number, certificate_pem=pem, pair=_pair(file, pem, key)))
        return sorted(found, key=lambda one: one.number)

    def signer(self, now: datetime, overlap: timedelta) -> Authority:
        """The CA that signs now: the newest that has been known for ``overlap``, else the oldest that still holds."""
        held = [a for a in self.authorities() if a.pair.certificate.not_valid_after_utc > now]
        if not held:
            raise Refused(
                f"{self.ca_folder} holds no CA that still holds with its key: bring the folder back from where it is kept "
                "(--ca-dir), or make a new one with `campus-gateway certs init`"
            )
        known = [a for a in held if now - a.pair.certificate.not_valid_before_utc >= overlap]
        return known[-1] if known else held[0]

    def add_authority(self, pair: Pair, now: datetime) -> Authority:
        """Keep a further CA and put it into the bundle, beside those that still hold."""
        before = self.authorities()
        number = before[-1].number + 1 if before else 1
        self._make(self.ca_folder)
        self._make(self.folder)
        file = self.ca_folder / f"ca-{number}.pem"
        write(file.with_suffix(".key"), pair.key_pem, KEY_MODE)
        write(file, pair.certificate_pem, CERTIFICATE_MODE)
        added = Authority(number=number, certificate_pem=pair.certificate_pem, pair=pair)
        held = [a for a in before if a.pair.certificate.not_valid_after_utc > now]
        # The newest first: what shows only the first certificate of a file shows the one that stays.
        write(self.bundle, b"".join(a.certificate_pem for a in [added, *reversed(held)]), CERTIFICATE_MODE)
        return added

    def forget_authorities(self) -> None:
        """Remove the CA and its bundle, for ``init --force``; what it signed stays and is worth nothing."""
        for file in [*self.ca_folder.glob("ca-*.pem"), *self.ca_folder.glob("ca-*.key")]:
            file.unlink()
        self.bundle.unlink(missing_ok=True)

    # What it signed.

    def place(self, name: str) -> Path:
        """Where the certificate of that name lies."""
        if not _NAME.fullmatch(name) or name == "ca":
            raise Refused(f"{name!r} is no name for a certificate here: a-z, 0-9 and -, at most 63, not 'ca'")
        return self.folder / f"{name}.pem"

    def leaves(self) -> list[Path]:
        """Every certificate with a key beside it."""
        found = self.folder.glob("*.pem") if self.folder.is_dir() else ()
        return sorted(file for file in found if file.name != BUNDLE and file.with_suffix(".key").exists())

    def leaf(self, file: Path) -> Pair:
        """The pair that lies there."""
        return _pair(file, _read(file), _read(file.with_suffix(".key")))

    def keep_leaf(self, file: Path, pair: Pair) -> None:
        """Write a pair. Both are complete on disk before either takes the old one's place: whoever reads between the two
        renames sees a key that does not belong, and reads again."""
        self._make(self.folder)
        key = file.with_suffix(".key")
        fresh = [(_fresh(key, pair.key_pem, KEY_MODE), key)]
        fresh.append((_fresh(file, pair.certificate_pem, CERTIFICATE_MODE), file))
        for new, place in fresh:
            new.replace(place)
        _sync_folder(self.folder)

    def _make(self, folder: Path) -> None:
        try:
            # Only the CA's own folder is closed: the broker and the centre read theirs as other users.
            folder.mkdir(mode=FOLDER_MODE if folder == self.ca_folder else 0o755, parents=True, exist_ok=True)
        except OSError as exc:
            raise Refused(f"{folder} cannot be made: {exc.strerror}") from exc


def write(file: Path, data: bytes, mode: int) -> None:
    """Write so that a crash leaves the old file or the new one. Raises ``Refused``."""
    _fresh(file, data, mode).replace(file)
    _sync_folder(file.parent)


def _fresh(file: Path, data: bytes, mode: int) -> Path:
    """The new file beside the old one, synced, with the old one's owner and mode: a renewal by root must leave it readable
    to the service it is for."""
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)  # left by a crash
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE), "wb") as opened:
            if file.exists():
                was = file.stat()
                if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
                    os.fchown(opened.fileno(), was.st_uid, was.st_gid)
                mode = was.st_mode & 0o777
            os.fchmod(opened.fileno(), mode)
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as exc:
        raise Refused(f"{file} cannot be written: {exc.strerror}") from exc
    return new


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise Refused(f"{file} cannot be read: {exc.strerror}") from exc


def _pair(file: Path, certificate_pem: bytes, key_pem: bytes) -> Pair:
    try:
        return read_pair(certificate_pem, key_pem)
    except ValueError as exc:
        raise Refused(f"{file} and its key cannot be used: {exc}") from exc
