"""Object lock, on a store that has it (Ceph RGW) and on stores that only say so: what is locked cannot be lost by anybody.

One file, though long: every story needs the same started Ceph.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import random
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio.commonconfig import COMPLIANCE, GOVERNANCE
from minio.error import S3Error
from minio.objectlockconfig import DAYS, YEARS, ObjectLockConfig
from minio.retention import Retention

from gateway.box.clock import SystemClock
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import ObjectVersion
from storage.objects.s3 import S3Objects
from tests.contract.object_store import KEY, digest, whole
from tests.support.clock import run
from tests.support.s3_stores import Rclone, S3Store, any_s3

LARGE = bytes(range(250)) * 44_000  # 11 MB: three parts


def now() -> datetime:
    return datetime.now(UTC)


def locking_bucket(s3: S3Store) -> str:
    """A fresh bucket, made by ourselves as an operator would have it made."""
    bucket = f"locked-{random.SystemRandom().randrange(10**9)}"
    assert run(s3.objects(bucket).make_bucket())
    return bucket


def quick(s3: S3Store, bucket: str, *, canary: timedelta = timedelta(hours=1), **more: object) -> S3Objects:
    """Our store, whose canary is locked for that long."""
    return S3Objects(
        s3.address(bucket),
        SystemClock(),
        random.Random(1),
        part_bytes=5 * 1024 * 1024,
        canary_locked=canary,
        **more,  # type: ignore[arg-type]
    )


async def _versions(store: S3Objects, prefix: str = "") -> list[ObjectVersion]:
    return [one async for page in store.versions(prefix) for one in page]


@pytest.mark.parametrize("data", [b"a still", LARGE], ids=["one put", "parts"])
def test_a_locked_object_is_deleted_by_nobody_until_its_time_and_then_for_good(
    ceph: S3Store, tmp_path: Path, data: bytes
) -> None:
    """By us, by version, by the bucket's owner: refused, and byte for byte there, also behind a mark; once over, it goes."""
    bucket = locking_bucket(ceph)
    store, client = ceph.objects(bucket), ceph.client()
    source = tmp_path / "clip.mp4"
    source.write_bytes(data)
    assert run(store.prove_lock()).holds  # before the span below begins
    until = now() + timedelta(seconds=12)

    async def story() -> None:
        kept = await store.put(KEY, source, sha256=digest(data), locked_until=until)
        assert kept.version is not None
        assert kept.locked_until is not None
        assert until <= kept.locked_until < until + timedelta(seconds=1.1)
        assert await store.kept(KEY) == kept
        for attempt in (store.delete(KEY), store.delete_version(KEY, kept.version)):
            with pytest.raises(Refused, match=r"locked there until"):
                await attempt
        with pytest.raises(S3Error, match="AccessDenied"):
            client.remove_object(bucket, KEY, version_id=kept.version)
        soon = Retention(COMPLIANCE, now() + timedelta(seconds=3))
        with pytest.raises(S3Error, match="AccessDenied"):
            client.set_object_retention(bucket, KEY, soon, version_id=kept.version)
        assert now() < kept.locked_until
        assert await whole(store, KEY, piece=1 << 20) == data

        client.remove_object(bucket, KEY)  # anybody's plain delete: succeeds, and hides
        assert await store.size(KEY) is None
        hidden = await _versions(store, KEY)
        assert sorted((v.version == kept.version, v.hides, v.newest) for v in hidden) == [
            (False, True, True),
            (True, False, False),
        ]
        assert await store.kept(KEY, kept.version) == kept
        for mark in hidden:
            if mark.hides:
                await store.delete_version(KEY, mark.version)
        assert await whole(store, KEY, piece=1 << 20) == data

        while now() < kept.locked_until + timedelta(seconds=1):
            await SystemClock().sleep(0.2)
        await store.delete(KEY)
        assert await _versions(store, KEY) == []

    run(story(), 60)


def test_a_lock_is_made_longer_and_never_shorter(ceph: S3Store) -> None:
    """Renewing moves the end outwards; asking for less leaves it where it is; the same put again makes up for none."""
    store = ceph.objects(locking_bucket(ceph))
    first, second = now() + timedelta(hours=1), now() + timedelta(hours=3)

    async def story() -> None:
        plain = await store.put_bytes(KEY, b"data")
        assert plain.locked_until is None
        again = await store.put_bytes(KEY, b"data", locked_until=first)
        assert again.version == plain.version
        assert again.locked_until is not None
        assert again.locked_until >= first
        longer = await store.lock(KEY, second, again.version)
        assert longer.locked_until is not None
        assert longer.locked_until >= second
        assert await store.lock(KEY, first) == longer
        assert await store.put_bytes(KEY, b"data", locked_until=first) == longer
        assert len(await _versions(store, KEY)) == 1

    run(story())


@pytest.mark.parametrize("data", [b"a still", LARGE], ids=["one put", "parts"])
def test_what_is_put_is_locked(ceph: S3Store, data: bytes) -> None:
    """Also in parts, whose lock the store forgets: it is locked when the put returns, and says so."""
    store, until = ceph.objects(locking_bucket(ceph)), now() + timedelta(hours=1)

    async def story() -> None:
        kept = await store.put_bytes(KEY, data, locked_until=until)
        assert kept.locked_until is not None
        assert kept.locked_until >= until
        assert await store.kept(KEY) == kept
        with pytest.raises(Refused, match="locked there until"):
            await store.delete(KEY)

    run(story())


def test_what_is_on_record_is_read_although_another_version_lies_over_it(ceph: S3Store) -> None:
    """Whoever has the keys can put other bytes over a locked object or a mark of deletion: a reader who names the version gets
    what was stored, and the audit lists everything by its key."""
    bucket = locking_bucket(ceph)
    store, client = ceph.objects(bucket), ceph.client()

    async def story() -> None:
        kept = await store.put_bytes(KEY, b"what was stored", locked_until=now() + timedelta(hours=1))
        await store.put_bytes(KEY + "x", b"a neighbour")
        client._put_object(bucket, KEY, b"something else", {})
        client.remove_object(bucket, KEY + "x")
        client._put_object(bucket, KEY + "y", b"another", {})
        assert await whole(store, KEY) == b"something else"
        async with store.read(KEY, 5, version=kept.version) as piece:
            assert await piece(100) == b"was stored"
        assert await store.size(KEY, kept.version) == len(b"what was stored")
        assert await store.said(KEY, kept.version) == kept
        found = [(v.key, v.hides, v.newest) for v in await _versions(store, KEY)]
        assert found == sorted(found, key=lambda one: one[0])
        assert len(found) == 5
        client.remove_object(bucket, KEY)
        async with store.read(KEY, version=kept.version) as piece:
            assert await piece(100) == b"what was stored"
        with pytest.raises(Unavailable, match="no such object"):
            async with store.read(KEY, version="n" + (kept.version or "")[1:]):
                pass

    run(story())


def test_the_trial_leaves_one_canary_which_goes_when_its_hour_is_over(ceph: S3Store) -> None:
    """What is locked for a while cannot be deleted meanwhile, and the next trial proves that it can be afterwards."""
    bucket = locking_bucket(ceph)
    store = quick(ceph, bucket, canary=timedelta(seconds=8))
    ceph.client()._put_object(bucket, "canary/somebody-elses.txt", b"not ours", {})

    async def story() -> None:
        assert (await store.prove_lock()).holds
        first = [v for v in await _versions(store, "canary/") if "somebody" not in v.key]
        assert len(first) == 1
        with pytest.raises(Refused, match="locked"):
            await store.delete(first[0].key)
        over_at = (await store.kept(first[0].key)).locked_until  # type: ignore[union-attr]
        assert over_at is not None
        while now() < over_at + timedelta(seconds=1):
            await SystemClock().sleep(0.2)
        proof = await store.prove_lock()
        assert (proof.holds, proof.stuck) == (True, "")
        second = [v.key for v in await _versions(store, "canary/") if "somebody" not in v.key]
        assert len(second) == 1
        assert second != [first[0].key]

    run(story(), 60)


def test_what_cannot_be_removed_after_its_lock_is_told(ceph: S3Store) -> None:
    """A legal hold somebody else put on an old canary: the trial holds, and says that one does not go."""
    bucket = locking_bucket(ceph)
    store, client = ceph.objects(bucket), ceph.client()
    client._put_object(bucket, "canary/20260101T000000Z-old.txt", b"old", {})
    client.enable_object_legal_hold(bucket, "canary/20260101T000000Z-old.txt")

    proof = run(store.prove_lock())
    assert proof.holds
    assert "canary/20260101T000000Z-old.txt" in proof.stuck
    client.disable_object_legal_hold(bucket, "canary/20260101T000000Z-old.txt")
    assert run(store.prove_lock()).stuck == ""


def test_a_bucket_made_without_lock_is_told_and_works_on(ceph: S3Store) -> None:
    """No lock is claimed, what is put is there; with a lock required nothing is put, and it is said what to do."""
    bucket = ceph.bucket()
    store = ceph.objects(bucket)
    proof = run(store.prove_lock())
    assert not proof.holds
    assert "made without object lock" in proof.cause
    assert "make-bucket" in proof.cause
    kept = run(store.put_bytes(KEY, b"data", locked_until=now() + timedelta(days=30)))
    assert (kept.version, kept.locked_until) == (None, None)
    assert ceph.content(bucket) == {KEY: b"data"}

    strict = quick(ceph, bucket, lock_required=True)
    with pytest.raises(Unavailable, match=r"made without object lock.*storage\.lock is required"):
        run(strict.put_bytes(KEY + "2", b"data", locked_until=now() + timedelta(days=30)))
    assert ceph.content(bucket) == {KEY: b"data"}
    strict = quick(ceph, locking_bucket(ceph), lock_required=True)
    assert run(strict.put_bytes(KEY, b"data", locked_until=now() + timedelta(hours=1))).locked_until


def test_a_versioned_bucket_without_lock_is_no_locked_one(ceph: S3Store) -> None:
    """Versions keep what is overwritten, not what is deleted by its version."""
    proof = run(ceph.objects(ceph.bucket(versioned=True)).prove_lock())
    assert not proof.holds


def test_a_lock_that_its_owner_can_lift_is_no_lock_of_ours(ceph: S3Store) -> None:
    """A bucket whose default is governance: ours are in compliance mode all the same, and others' are not counted."""
    bucket = locking_bucket(ceph)
    ceph.client().set_object_lock_config(bucket, ObjectLockConfig(GOVERNANCE, 1, DAYS))
    store = ceph.objects(bucket)

    async def story() -> None:
        assert (await store.prove_lock()).holds
        lifted = await store.put_bytes(KEY, b"by default")
        assert lifted.locked_until is None
        kept = await store.put_bytes(KEY + "2", b"ours", locked_until=now() + timedelta(hours=1))
        assert kept.locked_until is not None

    run(story())


@pytest.fixture(scope="module")
def rclone() -> Iterator[Rclone]:
    """The light store, once for this module."""
    with any_s3() as store:
        yield store


def test_a_store_that_only_pretends_is_caught_and_what_lies_there_is_untouched(
    rclone: Rclone, tmp_path: Path
) -> None:
    """rclone answers a lock with success and writes the request's words over the object: only the canary meets with that."""
    bucket = rclone.bucket()
    store = rclone.objects(bucket)
    source = tmp_path / "clip.mp4"
    source.write_bytes(LARGE)
    until = now() + timedelta(days=30)

    async def story() -> None:
        await store.put_bytes("before.jpg", b"stored before the first trial")
        assert (await store.put(KEY, source, sha256=digest(LARGE), locked_until=until)).locked_until is None
        proof = await store.prove_lock()
        assert not proof.holds
        assert "put other bytes in its place" in proof.cause
        for key in (KEY, "before.jpg"):
            assert (await store.lock(key, until)).locked_until is None
        await store.put_bytes(KEY, LARGE, locked_until=until)

    run(story())
    assert rclone.content(bucket) == {KEY: LARGE, "before.jpg": b"stored before the first trial"}


#: rclone itself echoes what the put asked for, for as long as it runs: it says "locked" of what it deletes.
LIES = {
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
}


LEFT_OUT = {"connection", "transfer-encoding", "content-length", "date", "server"}


@contextlib.contextmanager
def lying(target: int) -> Iterator[int]:
    """A store that says of every object that it is locked, answers locking with success and does nothing, and deletes."""

    class Lying(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if "retention" in self.path.partition("?")[2]:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            far = http.client.HTTPConnection("127.0.0.1", target, timeout=20)
            far.request(self.command, self.path, body, dict(self.headers.items()))
            said = far.getresponse()
            data = said.read()
            self.send_response(said.status)
            for name, value in said.getheaders():
                if name.lower() not in LEFT_OUT | set(LIES):
                    self.send_header(name, value)
            length = said.getheader("content-length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            if self.command == "HEAD" and said.status == 200:
                for name, value in LIES.items():
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            far.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lying)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_store_that_lies_in_every_answer_is_caught_by_what_it_does(rclone: Rclone) -> None:
    """It says locked, and deletes: nothing but really trying can tell. Nothing that is stored there claims a lock."""
    bucket = rclone.bucket()
    with lying(rclone.port) as port:
        store = rclone.objects(bucket, port=port)

        async def story() -> None:
            kept = await store.put_bytes(KEY, b"data", locked_until=now() + timedelta(days=30))
            proof = await store.prove_lock()
            assert not proof.holds
            assert "deleted it when asked to" in proof.cause
            assert kept.locked_until is None
            assert (await store.kept(KEY)).locked_until is None  # type: ignore[union-attr]

        run(story())
    assert rclone.content(bucket) == {KEY: b"data"}


def test_a_store_that_is_away_is_not_called_one_without_lock(rclone: Rclone) -> None:
    """Nobody answers: Unavailable, from the trial and from the put that waits for it, and neither is a verdict."""
    store = rclone.objects("bucket-x", port=1, connect_s=0.2)
    with pytest.raises(Unavailable, match="cannot be reached"):
        run(store.prove_lock())
    with pytest.raises(Unavailable, match="cannot be reached"):
        run(store.put_bytes(KEY, b"x", locked_until=now() + timedelta(days=1)))


def test_making_the_bucket_again_says_that_it_was_there(ceph: S3Store, rclone: Rclone) -> None:
    """Made once; the second time nothing is made and nothing is lost."""
    for s3 in (ceph, rclone):
        name = f"school-{random.SystemRandom().randrange(10**9)}"
        store = s3.objects(name)
        assert run(store.make_bucket())
        run(store.put_bytes(KEY, b"data"))
        assert not run(store.make_bucket())
        assert s3.content(name) == {KEY: b"data"}


@pytest.mark.parametrize(
    ("mode", "length", "unit", "days"),
    [(GOVERNANCE, 30, DAYS, "30 d"), (COMPLIANCE, 1, DAYS, "1 d"), (COMPLIANCE, 1, YEARS, "36[56] d")],
    ids=["governance, 30 days", "compliance, a day", "compliance, a year"],
)
def test_a_bucket_that_locks_everything_by_itself_is_no_failure(
    ceph: S3Store, mode: str, length: int, unit: str, days: str
) -> None:
    """The trial object cannot be removed yet: said, with how long, and left among the canaries, which later trials remove. What
    is stored gets the lock that was asked for and not the bucket's."""
    bucket = locking_bucket(ceph)
    ceph.client().set_object_lock_config(bucket, ObjectLockConfig(mode, length, unit))
    store = ceph.objects(bucket)

    async def story() -> None:
        remark = await store.check()
        assert re.search(rf"for {days} by itself", remark), remark
        assert [one.key.startswith("canary/probe-") for one in await _versions(store)] == [True]
        proof = await store.prove_lock()
        assert (proof.holds, proof.stuck) == (True, "")
        until = now() + timedelta(hours=2)
        kept = await store.put_bytes(KEY, b"data", locked_until=until)
        assert kept.locked_until is not None
        assert until <= kept.locked_until < until + timedelta(seconds=1.1)

    run(story(), 60)
    assert run(ceph.objects(locking_bucket(ceph)).check()) == ""


def test_a_trial_that_may_not_be_removed_for_another_reason_fails(ceph: S3Store) -> None:
    """A key without the right to delete: no default retention, so it is not taken for one; the period could not be kept."""
    bucket = locking_bucket(ceph)
    deny = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": [f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
    ceph.client().set_bucket_policy(bucket, json.dumps(deny))
    with pytest.raises(Refused, match="deleting canary/probe-"):
        run(ceph.objects(bucket).check())
