"""What an error of the database means: a full disk, somebody else's lock, a disk that fails, a file that is damaged."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from enum import Enum
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from gateway.domain.errors import Unavailable

#: Less free than this and an I/O error is taken for a full disk: SQLite's shared-memory index, which it grows by 32 KiB, is
#: answered with an I/O error where there is no room for it.
FULL_BELOW_BYTES = 64 * 1024
_MISSING = ("no such table", "no such column", "has no column named")


class Harm(Enum):
    """Why the database refuses."""

    FULL = "the disk is full"
    LOCKED = "another process holds its lock"
    DISK = "its disk fails"
    DAMAGED = "its file is damaged"
    GONE = "its file was taken away"
    SLOW = "its disk does not answer"


class Harmed(Unavailable):
    """The database refuses a work, and of all works that wait nothing is kept; ``harm`` says why."""

    def __init__(self, harm: Harm, reason: str) -> None:
        super().__init__(reason)
        self.harm = harm


_BY_CODE = {
    sqlite3.SQLITE_FULL: Harm.FULL,
    sqlite3.SQLITE_BUSY: Harm.LOCKED,
    sqlite3.SQLITE_LOCKED: Harm.LOCKED,
    sqlite3.SQLITE_IOERR: Harm.DISK,
    sqlite3.SQLITE_CANTOPEN: Harm.DISK,
    sqlite3.SQLITE_READONLY: Harm.DISK,
    sqlite3.SQLITE_PERM: Harm.DISK,
    sqlite3.SQLITE_CORRUPT: Harm.DAMAGED,
    sqlite3.SQLITE_NOTADB: Harm.DAMAGED,
}


def harm_of(exc: BaseException | None, folder: Path) -> Harm | None:
    """What an error says of the database, through whatever it was raised from; ``None`` if it is about the work alone.

    ``folder`` is where the database is: an I/O error on a full disk is a full disk.
    """
    while exc is not None:
        if isinstance(exc, Harmed):
            return exc.harm
        own = exc.orig if isinstance(exc, DBAPIError) else exc
        if isinstance(own, sqlite3.Error):
            return _of_sqlite(own, folder)
        if isinstance(own, OSError):
            return Harm.FULL if own.errno in (errno.ENOSPC, errno.EDQUOT) else Harm.DISK
        exc = exc.__cause__
    return None


def refusal(exc: BaseException, harm: Harm) -> Harmed:
    """The error for whoever waits."""
    if isinstance(exc, Harmed):
        return exc
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    told = Harmed(harm, f"the database refuses, {harm.value}: {cause}")
    told.__cause__ = exc
    return told


def _of_sqlite(exc: sqlite3.Error, folder: Path) -> Harm | None:
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None:  # raised by the driver and not by the library
        return None
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return Harm.GONE
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Harm.DAMAGED
    harm = _BY_CODE.get(code & 0xFF)
    if harm is None and any(words in str(exc) for words in _MISSING):
        return Harm.DAMAGED
    return Harm.FULL if harm is Harm.DISK and _is_full(folder) else harm


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL_BELOW_BYTES
    except OSError:
        return False
