"""What is noted of the database outside it: how far it had come, beside its file and in the folder of the objects.

A database that knows less than this was lost, restored from an older copy, or lost its log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.box.durable import write_durably
from storage.objects.local import MARK


def witness_files(database: Path, objects: Path | None) -> list[Path]:
    """Where it is noted. In the folder of objects its name begins like the store's mark, which is no object."""
    return [
        database.with_name(f"{database.name}.head"),
        *([] if objects is None else [objects / f"{MARK}.head"]),
    ]


class WitnessFiles:
    """:class:`gateway.ports.store.Witnesses` in files. Both methods block."""

    def __init__(self, database: Path, objects: Path | None) -> None:
        self._own = database.with_name(f"{database.name}.head")
        self._objects = objects
        self._files = witness_files(database, objects)

    def read(self) -> Sequence[Mapping[str, Any]]:
        """All that can be read; one that cannot has nothing to say."""
        found = []
        for file in self._files:
            try:
                document = json.loads(file.read_text("utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(document, dict):
                found.append(document)
        return found

    def write(self, document: Mapping[str, Any]) -> None:
        """Note it everywhere. Raises ``OSError`` where one place does not take it, after the others."""
        failed: OSError | None = None
        for file in self._files:
            # An unmarked folder may be a mount point whose disk is not there.
            if file != self._own and (self._objects is None or not (self._objects / MARK).exists()):
                continue
            try:
                write_durably(file, json.dumps(document).encode())
            except OSError as exc:
                failed = exc
        if failed is not None:
            raise failed
