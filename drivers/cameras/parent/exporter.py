"""The gateway's side of joining recordings: one process for each export, gone with it, whatever a file does to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drivers.cameras import processes
from gateway.domain.bundle import Film, Samples, Taken
from gateway.domain.errors import Malformed, Unavailable

ANSWER_S = 120.0  # for one recording, of a minute, or to close a film of hours on a slow disk
LINE_BYTES = 1 << 20


class SubprocessJoiner:
    """:class:`gateway.ports.recordings.FilmJoiner`."""

    @asynccontextmanager
    async def joining(
        self,
        folder: Path,
        begin: datetime,
        end: datetime,
        gaps: Sequence[tuple[datetime, datetime, str]],
    ) -> AsyncIterator[ProcessJoining]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.to_thread(
                    processes.spawn, "drivers.cameras.export.joining", stdio=theirs
                )
            except OSError as exc:
                ours.close()
                raise Unavailable(f"no process can be made: {exc.strerror or exc}") from exc
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES)
        try:
            joining = ProcessJoining(reader, writer)
            marks = [[start.timestamp(), stop.timestamp(), cause] for start, stop, cause in gaps]
            order = {"folder": str(folder), "begin": begin.timestamp(), "end": end.timestamp(), "gaps": marks}
            await joining.ask(order)
            yield joining
        finally:
            writer.close()
            await asyncio.to_thread(processes.end, process, 1.0)


class ProcessJoining:
    """:class:`gateway.ports.recordings.Joining`: one export on its way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def take(self, path: Path, start: datetime) -> Taken | None:
        found = await self.ask({"path": str(path), "start": start.timestamp()})
        if found is None:
            return None
        return Taken(
            file=found["file"],
            start=datetime.fromtimestamp(found["from"], UTC),
            end=datetime.fromtimestamp(found["to"], UTC),
            video=Samples(**found["video"]),
            sound=Samples(**found["sound"]) if "sound" in found else None,
        )

    async def finish(self) -> list[Film]:
        return [Film(**each) for each in await self.ask({"finish": True})]

    async def ask(self, message: dict[str, Any]) -> Any:
        """One question and its answer. Raises ``Malformed`` for a file that cannot be read, ``Unavailable`` if the process
        fell."""
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(ANSWER_S):
                await self._writer.drain()
                line = await self._reader.readline()
        except (TimeoutError, ConnectionError, ValueError) as exc:
            raise Unavailable(f"joining the recordings did not work: {exc!r}") from exc
        if not line:
            raise Unavailable("joining the recordings did not work: its process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Malformed(answer["error"])
        return answer["ok"]
