"""Objects in memory, held against the same suite as the stores of the gateway."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import Kept, LockProof, ObjectVersion
from storage.objects.keys import checked


class MemoryObjects:
    """:class:`gateway.ports.objects.ObjectStore` in a dictionary; gone with the process."""

    on_this_box = False

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        try:
            data = await asyncio.to_thread(source.read_bytes)
        except FileNotFoundError as exc:
            raise Refused(f"storing {key}: {source} is not there") from exc
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Refused(f"{source.name} is not what its digest says")
        kept = await self.put_bytes(key, data, locked_until=locked_until)
        await asyncio.to_thread(source.unlink)
        return kept

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        if self._objects.setdefault(checked(key), data) != data:
            raise Refused(f"{key} is stored already with other bytes; an object is never altered")
        return Kept()

    async def size(self, key: str, version: str | None = None) -> int | None:
        data = self._objects.get(checked(key)) if version is None else None
        return None if data is None else len(data)

    @asynccontextmanager
    async def read(
        self, key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AsyncIterator[Callable[[int], Awaitable[bytes]]]:
        if checked(key) not in self._objects or version is not None:
            raise Unavailable(f"reading {key}: no such object")
        left = self._objects[key][start:end]

        async def piece(size: int) -> bytes:
            nonlocal left
            data, left = left[:size], left[size:]
            return data

        yield piece

    async def delete(self, key: str) -> None:
        self._objects.pop(checked(key), None)

    async def delete_version(self, key: str, version: str | None) -> None:
        if version is not None:
            raise Refused(f"deleting {key}: there are no versions here, and {version} was asked for")
        await self.delete(key)

    async def keys(self, prefix: str) -> list[str]:
        return sorted(k for k in self._objects if k.startswith(prefix))

    async def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        found = [
            ObjectVersion(
                key=key,
                version=None,
                bytes=len(self._objects[key]),
                stored_at=None,
                newest=True,
                hides=False,
            )
            for key in await self.keys(prefix)
        ]
        if found:
            yield found

    async def prove_lock(self) -> LockProof:
        return LockProof(holds=False, cause="what is in memory is locked against nobody")

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        if (kept := await self.kept(key, version)) is None:
            raise Refused(f"locking {key}: no such object")
        return kept

    async def kept(self, key: str, version: str | None = None) -> Kept | None:
        return Kept() if checked(key) in self._objects and version is None else None

    async def said(self, key: str, version: str | None = None) -> Kept | None:
        return await self.kept(key, version)

    async def check(self) -> None:
        return
