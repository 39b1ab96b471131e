"""Setting a database aside whole, and the list of what was lost with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.box.durable import write_durably
from gateway.domain.loss import Loss

#: What belongs to one SQLite database: its write-ahead log has commits that are not in the file yet.
PARTS = ("", "-wal", "-shm", "-journal")


def set_aside(path: Path, at: datetime) -> Path:
    """Move a database with its log into a folder ``damaged-<time>`` beside it and return that folder. Nothing is removed.

    Raises ``OSError`` where the disk does not let it.
    """
    stem = f"damaged-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while (folder := path.parent / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    folder.mkdir(mode=0o750)
    # The log first: a file without its log would be opened as older than it is, a log without its file by nobody.
    for part in reversed(PARTS):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{part}", folder / f"{path.name}{part}")
    sync_folder(path.parent)
    return folder


def losses_file(path: Path) -> Path:
    """Where the losses of the database at ``path`` are listed until somebody acknowledges them."""
    return path.with_name(f"{path.name}.lost")


def read_losses(path: Path) -> list[Loss]:
    """The losses nobody has acknowledged. A list that cannot be read is told as a loss of its own by whoever asks."""
    try:
        return [Loss.read(one) for one in json.loads(losses_file(path).read_text("utf-8"))]
    except FileNotFoundError:
        return []


def write_losses(path: Path, losses: Sequence[Loss]) -> None:
    """Keep the list, over a power cut too. Raises ``OSError``."""
    file = losses_file(path)
    if not losses:
        file.unlink(missing_ok=True)
        sync_folder(path.parent)
    else:
        write_durably(
            file, json.dumps([one.document() for one in losses], ensure_ascii=False, indent=1).encode()
        )


def sync_folder(folder: Path) -> None:
    """Make the folder's entries survive a power cut. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
