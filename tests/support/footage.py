"""Footage as the recorder leaves it behind, in small: an object of a few bytes, and its row."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from gateway.domain.recording import Quality, Segment, segment_key
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Store

SITE = "jms-no3-middle"


def segment(
    camera: str,
    start: datetime,
    length: timedelta = timedelta(minutes=1),
    *,
    reckoned_end: datetime | None = None,
    size: int | None = None,
    quality: Quality = Quality.FULL,
) -> tuple[Segment, bytes]:
    """A segment and its bytes; ``size`` says in the ledger what it does not have."""
    data = f"{camera} {start.isoformat()}".encode()
    one = Segment(
        id=f"seg_{camera}_{start:%Y%m%d%H%M%S%f}",
        camera=camera,
        start=start,
        end=start + length,
        frames=25 * round(length.total_seconds()),
        bytes=len(data) if size is None else size,
        key=segment_key(SITE, camera, start),
        sha256=hashlib.sha256(data).hexdigest(),
        stored_at=start + length,
        quality=quality,
        reckoned_end=reckoned_end,
    )
    return one, data


async def recorded(
    store: Store, objects: ObjectStore, camera: str, start: datetime, count: int, **more: object
) -> list[Segment]:
    """So many minutes in a row, objects first, rows in one commit."""
    made = [segment(camera, start + timedelta(minutes=n), **more) for n in range(count)]  # type: ignore[arg-type]
    for one, data in made:
        await objects.put_bytes(one.key, data)

    def work(tx: object) -> None:
        tx.recordings.begin(camera, start)  # type: ignore[attr-defined]
        for one, _ in made:
            assert tx.recordings.add(one)  # type: ignore[attr-defined]

    await store.write(work)
    return [one for one, _ in made]
