"""Recordings from the camera into a bucket and out of it after their period: on a store that locks, and on one that says so."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from minio.error import S3Error

from gateway.box.clock import SystemClock
from gateway.domain.finding import Finding
from gateway.domain.recording import Segment
from gateway.domain.register import Act
from gateway.domain.stored import ObjectVersion
from gateway.fsck.ledger_audit import deletions, sums
from gateway.fsck.object_audit import OnRecord, hashes
from gateway.fsck.object_audit import locks as locks_of
from gateway.fsck.object_audit import objects as audited
from gateway.ports.store import Store
from gateway.recording.deletion import Sweeping, Swept
from storage.objects.s3 import S3Objects
from tests.journey.test_s3 import _environ, _site
from tests.support.clock import ManualClock, run
from tests.support.footage import SITE
from tests.support.processes import run_gateway
from tests.support.recorder import recording, simulated, stream_of
from tests.support.s3_stores import Rclone, S3Store, any_s3
from tests.support.signals import wait_until
from tests.support.stores import opened

LOCKED = timedelta(seconds=25)  # from when a segment is put: the store's clock is real
AFTER_THE_PERIOD = timedelta(days=31)
PREFIX = f"{SITE}/recordings/"
DAYS = 30


async def _recorded(folder: Path, objects: S3Objects, until: Any) -> list[Segment]:
    """What a simulated camera's recording comes to, with every object held against its row."""
    async with (
        simulated() as camera,
        recording(folder, stream_of(camera), kept_in=objects, locked_until=until) as school,
    ):
        await school.until(lambda segments, _: len(segments) >= 3, 60, "three segments in the bucket")
        segments, _ = await school.check()
        return segments


async def _listed(objects: S3Objects) -> list[ObjectVersion]:
    return [one async for page in objects.versions(PREFIX) for one in page]


async def _swept(store: Store, objects: S3Objects) -> Swept:
    later = datetime.now(UTC) + AFTER_THE_PERIOD
    sweeping = Sweeping(store=store, clock=ManualClock(later), objects=objects, retention_days=DAYS)
    return await sweeping.sweep(later)


async def _findings(store: Store, objects: S3Objects) -> list[Finding]:
    now = datetime.now(UTC)
    checks = (
        audited(OnRecord.RECORDINGS, store, objects, SITE),
        locks_of(OnRecord.RECORDINGS, store, objects, now, DAYS, ask=True),
        hashes(store, objects, lambda _done, _whole: None),
        deletions(store, DAYS),
        sums(store),
    )
    return [finding for check in checks async for finding in check]


def fsck(folder: Path, s3: S3Store, bucket: str) -> tuple[int, str]:
    """The command on what the recorder left, with every lock asked for and every byte read."""
    config = folder / "site.yaml"
    config.write_text(_site(s3, bucket, broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1", site=SITE))
    words = ("--data-dir", str(folder), "--locks", "--hashes", "--read-only", "--json")
    done = run_gateway("fsck", "--config", str(config), *words, environ=_environ(s3))
    return done.returncode, done.stdout + done.stderr


def test_a_recording_is_locked_in_the_store_until_its_time_and_then_leaves_nothing_but_its_record(
    ceph: S3Store, tmp_path: Path
) -> None:
    """From a camera's frames to a version with its lock on record; neither we nor the bucket's owner can delete it, and a sweep
    that comes too early claims nothing; once its lock is over the sweep takes every version, also what others laid over it, the
    list shows none, and record and register name each."""
    bucket = f"school-{random.SystemRandom().randrange(10**9)}"
    objects, client, clock = ceph.objects(bucket, prefix=f"{SITE}/"), ceph.client(), SystemClock()
    assert run(objects.make_bucket())
    segments = run(_recorded(tmp_path, objects, lambda _end: clock.now() + LOCKED), 120)

    async def kept() -> None:
        versions = await _listed(objects)
        assert [(one.key, one.version) for one in versions] == sorted((s.key, s.version) for s in segments)
        for one in segments:
            assert one.version is not None
            assert one.locked_until is not None
            assert await objects.kept(one.key, one.version) == await objects.said(one.key, one.version)

    run(kept())
    newest = segments[-1]
    assert newest.locked_until is not None
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_object(bucket, newest.key, version_id=newest.version)
    code, said = fsck(tmp_path, ceph, bucket)
    assert code == 0, said

    async def too_early() -> None:
        async with opened(tmp_path) as store:
            swept = await _swept(store, objects)
            left = await store.read(lambda tx: tx.recordings.by_key("", 100))
            assert newest in left
            assert any(newest.key in refused for refused in swept.refused)
            assert len(left) + swept.objects == len(segments)
            assert datetime.now(UTC) < newest.locked_until, "the machine is too slow for this lock"

    run(too_early())
    # Behind our back: other bytes over one that is still there, and a mark of deletion over that.
    client._put_object(bucket, newest.key, b"something else", {})
    client.remove_object(bucket, newest.key)

    async def over() -> None:
        over_at = max(s.locked_until or s.end for s in segments) + timedelta(seconds=1)
        await wait_until(
            lambda: datetime.now(UTC) > over_at, 2 * LOCKED.total_seconds(), "the last lock is over"
        )
        async with opened(tmp_path) as store:
            swept = await _swept(store, objects)
            assert swept.refused == []
            assert await _listed(objects) == []
            assert await store.read(lambda tx: tx.recordings.by_key("", 100)) == []
            records = [one for _, one, _ in await store.read(lambda tx: tx.deletions.after(0, 100))]
            items = {str(item["key"]): item for record in records for item in record.items}
            assert {key: (i["version"], i["sha256"]) for key, i in items.items()} == {
                s.key: (s.version, s.sha256) for s in segments
            }
            for record in records:
                assert record.register_line is not None
                number = record.register_line
                (line,) = await store.read(lambda tx, n=number: tx.register.lines(after=n - 1, limit=1))  # type: ignore[misc]
                body = json.loads(line.body)
                assert (body["act"], body["detail"]["deletion"]) == (Act.DELETED.value, record.id)
                assert body["detail"]["items_sha256"] == hashlib.sha256(record.lines).hexdigest()
            assert await _findings(store, objects) == []

    run(over(), 90)


def test_recordings_on_a_store_that_only_pretends_come_back_byte_for_byte(tmp_path: Path) -> None:
    """rclone says that it locks and writes its words over what it is asked to lock: the canary is all that meets with that. What
    the camera gave is registered without a lock, is there with its own SHA-256, and goes after its period like any other."""
    with any_s3() as rclone:
        _pretended(rclone, tmp_path)


def _pretended(rclone: Rclone, folder: Path) -> None:
    bucket = rclone.bucket()
    objects = rclone.objects(bucket, prefix=f"{SITE}/")
    segments = run(_recorded(folder, objects, lambda end: end + timedelta(days=DAYS)), 120)
    assert {(one.version, one.locked_until) for one in segments} == {(None, None)}
    proof = run(objects.prove_lock())
    assert not proof.holds
    assert "put other bytes in its place" in proof.cause
    # One more is asked to be locked after the trial, as the renewal would: it is not even tried.
    assert run(objects.lock(segments[0].key, datetime.now(UTC) + timedelta(days=DAYS))).locked_until is None
    there = rclone.content(bucket)
    by_key = {one.key: one.sha256 for one in segments}
    assert {key: hashlib.sha256(data).hexdigest() for key, data in there.items() if key in by_key} == by_key
    code, said = fsck(folder, rclone, bucket)
    assert code == 0, said

    async def over() -> None:
        async with opened(folder) as store:
            swept = await _swept(store, objects)
            assert (swept.objects, swept.refused) == (len(segments), [])
            assert await _listed(objects) == []
            assert await _findings(store, objects) == []

    run(over())
