"""The process that brings recordings home is killed between putting an object and locking it: nothing stays unlocked."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.recording import segment_key
from gateway.recording.taking import CRASH_POINTS as TAKING_POINTS
from storage.objects import s3
from tests.support.builders import site
from tests.support.clock import run
from tests.support.processes import ROOT
from tests.support.s3_stores import S3Store
from tests.support.taker import BUCKET, LOCKED, bucket_of, lay, taking

LARGE = bytes(range(250)) * 44_000  # 11 MB: three parts, of which Ceph 16.2 forgets the lock


@pytest.mark.parametrize("data", [b"a small minute", LARGE], ids=["one put", "parts"])
@pytest.mark.parametrize("point", [*s3.CRASH_POINTS, TAKING_POINTS[1]])
def test_a_kill_between_put_and_lock_leaves_nothing_unlocked(
    ceph: S3Store, tmp_path: Path, point: str, data: bytes
) -> None:
    """What the store has by then has its lock after the restart, in one version, and the row says which and until when."""
    said = {
        "endpoint": f"127.0.0.1:{ceph.port}",
        "bucket": f"locked-{random.SystemRandom().randrange(10**9)}",
        "access_key": ceph.access_key,
        "secret_key": ceph.secret_key,
    }
    objects = bucket_of(said)
    assert run(objects.make_bucket())
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
    sha256 = lay(tmp_path, start, data)
    key = segment_key(site().id, "cam", start)
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.taker", str(tmp_path), point, "1"],
        cwd=ROOT,
        env={**os.environ, BUCKET: json.dumps(said)},
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    left = run(objects.said(key))
    assert left is not None, "it was stored before the kill"
    if point == s3.CRASH_POINTS[0] and data is LARGE:
        assert left.locked_until is None, "a store that locks parts by itself: this test shows nothing there"

    async def after() -> None:
        registered = asyncio.Event()
        done = TAKING_POINTS[2]
        async with taking(tmp_path, objects, lambda at: registered.set() if at == done else None) as store:
            await asyncio.wait_for(registered.wait(), 30)
            row = await store.inner.read(lambda tx: tx.recordings.at_key(key))
            assert row is not None
            kept = await objects.kept(key)
            assert kept is not None
            assert kept.locked_until is not None
            assert kept.locked_until >= start + timedelta(minutes=1) + LOCKED
            assert (row.sha256, row.version, row.locked_until) == (sha256, kept.version, kept.locked_until)
            versions = [one async for page in objects.versions(key) for one in page]
            assert [one.version for one in versions] == [kept.version]

    run(after(), 60)
