"""A ledger as large as a month of 32 cameras, written past the gateway, with tiny objects for what is due."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.sql.store import SqlStore

CAMERAS, OBJECTS = 32, 1_500_000
MINUTES = OBJECTS // CAMERAS  # of each camera: 32 days and a half, of which two and a half are due
SITE = "bench"
BYTES = 30_000_000  # of a minute at 4 Mbit/s, in the ledger only
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cameras() -> list[str]:
    return [f"cam-{n:02}" for n in range(CAMERAS)]


def build(data: Path, now: datetime, *, due_before: datetime | None = None) -> int:
    """Fill a new database in ``data``, minutes up to ``now``, and make the objects that ended before ``due_before``; how many."""
    data.mkdir(parents=True, exist_ok=True)
    asyncio.run(_created(data / "gateway.db"))
    begin = now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)
    made = 0
    with closing(sqlite3.connect(data / "gateway.db")) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.executemany(
            "INSERT INTO recorded (camera, since) VALUES (?, ?)", [(c, _us(begin)) for c in cameras()]
        )
        for day in range(MINUTES // 1440 + 1):
            rows = list(_rows(begin, day * 1440, min((day + 1) * 1440, MINUTES)))
            database.executemany(
                'INSERT INTO segment (id, camera, start, "end", frames, bytes, key, sha256, stored_at, quality) '
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'full')",
                rows,
            )
            for row in rows if due_before is not None else ():
                if row[3] < _us(due_before):  # type: ignore[operator]
                    path = data / "objects" / str(row[6])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"a minute")
                    made += 1
        database.execute(
            'INSERT INTO coverage SELECT camera, start / 3600000000 * 3600000000, sum("end" - start) / 1000, '
            "sum(frames), sum(bytes) FROM segment GROUP BY 1, 2"
        )
        database.commit()
    return made


def _rows(begin: datetime, first: int, last: int) -> Iterator[tuple[object, ...]]:
    for minute in range(first, last):
        start = begin + timedelta(minutes=minute)
        at = _us(start)
        for number, camera in enumerate(cameras()):
            name = f"{SITE}/recordings/{camera}/{start:%Y/%m/%d/%H%M%S}Z.mp4"
            id_ = f"seg_{minute:08x}{number:02x}"
            end = at + 60_000_000
            yield id_, camera, at, end, 1500, BYTES, name, f"{minute:032x}{number:032x}", end


async def _created(path: Path) -> None:
    store = SqlStore(path)
    await store.start()
    await store.stop()


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
