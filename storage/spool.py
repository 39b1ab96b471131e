"""Captured evidence on this box's own disk, from when a camera gave it until the object store has it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from gateway.box.film import film_of
from gateway.domain.errors import Unavailable
from storage.objects.local import flushed, sync_directory

T = TypeVar("T")

HALF_WRITTEN = ".new-"
#: Kept free for the database, so that presses go on being committed without touching their own reserve; of a small disk less.
LEFT_FREE_BYTES = 256 * 1000 * 1000
LEFT_FREE_OF_DISK = 0.02


class Spool:
    """:class:`gateway.ports.objects.Spool` in a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    async def keep(self, name: str, data: bytes) -> None:
        def write() -> None:
            self.folder.mkdir(
                parents=True, exist_ok=True
            )  # a full disk may have had no room for it at the start
            fresh = self.folder / f"{HALF_WRITTEN}{name}"
            try:
                with fresh.open("wb") as file:
                    file.write(data)
                    flushed(file)
                fresh.replace(self.folder / name)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
            sync_directory(self.folder)

        await self._on_disk(f"keeping {name}", write)

    async def seal(self, name: str) -> None:
        def sync() -> None:
            with (self.folder / name).open("rb") as file:
                os.fsync(file.fileno())
            sync_directory(self.folder)

        await self._on_disk(f"keeping {name}", sync)

    async def digest(self, name: str) -> str | None:
        def read() -> str | None:
            try:
                with (self.folder / name).open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                return None

        return await self._on_disk(f"reading {name}", read)

    async def lasts_s(self, name: str) -> float:
        return await self._on_disk(f"reading {name}", lambda: film_of(self.folder / name).lasts_s)

    async def clear(self, but: Collection[str]) -> list[str]:
        def remove() -> list[str]:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Folders are not ours: a disk of its own has its lost+found here.
            gone = [file for file in self.folder.iterdir() if file.name not in but and not file.is_dir()]
            for file in gone:
                file.unlink()
            return [file.name for file in gone]

        return await self._on_disk("clearing the spool", remove)

    def no_room(self) -> str:
        try:
            disk = shutil.disk_usage(self.folder if self.folder.exists() else self.folder.parent)
        except OSError as exc:
            return f"the disk below {self.folder} cannot be looked at: {exc.strerror or exc}"
        left = min(LEFT_FREE_BYTES, int(disk.total * LEFT_FREE_OF_DISK))
        if disk.free >= left:
            return ""
        return (
            f"{disk.free / 1e6:.0f} MB are free below {self.folder}, and {left / 1e6:.0f} MB stay free for presses: "
            "no further evidence can be captured; make room"
        )

    async def _on_disk(self, doing: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as exc:
            raise Unavailable(f"{doing} in {self.folder}: {exc.strerror or exc}") from exc
