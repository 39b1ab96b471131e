"""The box's own keys: made once, kept by this box alone. None of them may stand between a press and the centre: one that is
missing, spoiled or unreadable is made again, for this run at least, and that is a fault."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from gateway.box.durable import write_durably
from gateway.ports.recordings import Signer

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of :data:`KEY_BYTES` bytes, and what is wrong with the file it is kept in, empty if nothing."""

    key: bytes
    cause: str = ""


def own_key(path: Path, *, expected: bool = False) -> OwnKey:
    """The key kept at ``path``; made there if it is missing, which is wrong where it is ``expected``. What is no key is set aside
    and a new one made; where the file can be neither read nor written the key is of this run alone. Raises nothing:
    :attr:`OwnKey.cause` says what happened."""
    spoiled = f"{path} was gone; a new key was made" if expected else ""
    try:
        key = path.read_bytes()
        if _is_key(key):
            return OwnKey(key)
        aside = _unused(path)
        path.rename(aside)
        spoiled = f"{path} held no key ({len(key)} bytes) and is now {aside.name}; a new key was made"
    except FileNotFoundError:
        pass
    except OSError as exc:  # somebody else's, a folder, a dying disk: not ours to replace
        return _of_this_run(f"{path} cannot be read ({exc.strerror or exc})")
    key = secrets.token_bytes(KEY_BYTES)
    try:
        write_durably(path, key)
    except OSError as exc:
        return OwnKey(key, _of_this_run(f"{path} cannot be written ({exc.strerror or exc})").cause)
    return OwnKey(key, spoiled)


def register_signer(path: Path, *, expected: bool = False) -> tuple[Signer, str]:
    """The box's Ed25519 key for the register's head, made once, and what is wrong with its file, as :func:`own_key`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    own = own_key(path, expected=expected)
    key = Ed25519PrivateKey.from_private_bytes(own.key[:KEY_BYTES])
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(sign=key.sign, public=public), own.cause


def _is_key(data: bytes) -> bool:
    """Long enough, and not one byte again and again, as a file is after a power cut: anybody could sign with that."""
    return len(data) >= KEY_BYTES and len(set(data[:KEY_BYTES])) > 1


def _of_this_run(cause: str) -> OwnKey:
    advice = "a key of this run alone is in use; give the file back to the gateway's user, or make room, and restart"
    return OwnKey(secrets.token_bytes(KEY_BYTES), f"{cause}: {advice}")


def _unused(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.spoiled{n or ''}") for n in range(1000))
    return next((name for name in names if not name.exists()), path.with_name(f"{path.name}.spoiled"))
