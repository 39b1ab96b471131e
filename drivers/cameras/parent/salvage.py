"""What is left of a clip when the camera process dies while writing it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def salvage(target: Path, size: int) -> str:
    """Cut the file to its last whole fragment, sync it and return its SHA-256. Raises ``OSError``."""
    with target.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < size:
            raise OSError(f"{target.name} is shorter than the {size} bytes that were written")
        file.truncate(size)
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
