"""The stage that brings recordings home, on files laid into its spool by hand and with its objects in a bucket that locks.

Run as a program it ends itself by SIGKILL at a named point, the stage's or the store's: ``python -m tests.support.taker FOLDER
POINT NTH``, with the bucket in ``TAKER_BUCKET`` (JSON: endpoint, bucket, access_key, secret_key).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.parent.recorded import SpooledRecordings
from gateway.box.clock import SystemClock
from gateway.domain.plan import Camera
from gateway.ports.objects import ObjectStore
from storage.objects.s3 import S3Objects
from storage.objects.s3_address import S3Address
from tests.support.builders import site
from tests.support.recording_stages import build_recording
from tests.support.stores import WatchedStore, opened

LOCKED = timedelta(hours=1)
BUCKET = "TAKER_BUCKET"


def lay(folder: Path, start: datetime, data: bytes) -> str:
    """Lay a finished minute of ``cam`` into the spool, as the cameras' process does; returns its SHA-256."""
    place = folder / "recording" / "cam"
    place.mkdir(parents=True, exist_ok=True)
    stem, sha256 = str(round(start.timestamp() * 1000)), hashlib.sha256(data).hexdigest()
    (place / f"{stem}.mp4").write_bytes(data)
    facts = {
        "camera": "cam",
        "start": start.timestamp(),
        "end": start.timestamp() + 60,
        "frames": 600,
        "bytes": len(data),
        "sha256": sha256,
        "pauses": [],
    }
    (place / f"{stem}.json").write_text(json.dumps(facts), "utf-8")
    return sha256


def bucket_of(said: Mapping[str, str], passed: Callable[[str], None] = lambda _: None) -> S3Objects:
    """Our store on that bucket, with parts of the smallest size."""
    address = S3Address(**said, region="us-east-1", prefix=f"{site().id}/")
    return S3Objects(address, SystemClock(), random.Random(1), part_bytes=5 * 1024 * 1024, passed=passed)


@asynccontextmanager
async def taking(
    folder: Path, objects: ObjectStore, passed: Callable[[str], None] = lambda _: None
) -> AsyncIterator[WatchedStore]:
    """The stage at work on ``folder``; entering again is a restart."""
    clock = SystemClock()
    plan = replace(
        site(cameras=()), cameras={"cam": Camera(id="cam", name="南门枪机", zone="b1-301", continuous=True)}
    )
    async with opened(folder) as store:
        stage = build_recording(
            store=store,
            clock=clock,
            objects=objects,
            files=SpooledRecordings(folder / "recording"),
            # Never run: no camera is reached, and what is recorded was laid there.
            cameras=SubprocessCameraBank(
                [], ring_s=5, ring_bytes_total=1 << 20, spool=folder / "spool", clock=clock
            ),
            site=plan,
            locked_until=lambda end: end + LOCKED,
            passed=passed,
        )
        task = asyncio.create_task(stage.run())
        try:
            yield store
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _until_killed(folder: Path, point: str, nth: int) -> None:
    left = [nth]

    def passed(now_at: str) -> None:
        left[0] -= now_at == point
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async with taking(folder, bucket_of(json.loads(os.environ[BUCKET]), passed), passed):
        await asyncio.Event().wait()


if __name__ == "__main__":
    where, at_point, which = sys.argv[1:]
    asyncio.run(_until_killed(Path(where), at_point, int(which)))
