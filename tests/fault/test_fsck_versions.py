"""``campus-gateway fsck`` on a real Ceph: versions, marks of deletion and locks held against the record, each fault by name."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.box.claim import GATEWAY, claim
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.recording import Segment
from storage.objects.s3 import S3Objects
from tests.journey.test_s3 import _environ, _site
from tests.support.clock import run
from tests.support.footage import SITE, segment
from tests.support.processes import run_gateway
from tests.support.s3_stores import S3Store
from tests.support.stores import opened

CAMERA = "cam-a"
LOCKED = timedelta(hours=2)
MINUTES = 6
UNLOCKED = 5  # the minute that is stored without a lock, so that its bytes can be tampered with
DAYS = 30


@dataclass(slots=True)
class School:
    """A school's data: six minutes and a still in a bucket that locks, each in one version that is on record."""

    folder: Path
    s3: S3Store
    bucket: str
    objects: S3Objects
    segments: list[Segment]
    still: Evidence

    def fsck(self, *words: str) -> tuple[int, list[tuple[str, str, str]], str]:
        """The command as a user types it: exit code, and what was found (grade, what, which key)."""
        done = run_gateway(
            *("fsck", "--config", str(self.folder / "site.yaml"), "--data-dir", str(self.folder / "data")),
            *("--json", *words),
            environ=_environ(self.s3),
        )
        lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        return (
            done.returncode,
            [(one["grade"], one["what"], one["about"]) for one in lines[:-1]],
            done.stdout + done.stderr,
        )

    def on_record(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.folder / "data" / "gateway.db")) as raw:
            assert raw.execute(statement, values).rowcount == 1
            raw.commit()

    def put_over(self, key: str, data: bytes) -> None:
        self.s3.client()._put_object(self.bucket, key, data, {})

    async def read(self, one: Segment) -> bytes:
        async with self.objects.read(one.key, version=one.version) as piece:
            return await piece(1 << 20)


@pytest.fixture
def school(ceph: S3Store, tmp_path: Path) -> School:
    bucket = f"school-{random.SystemRandom().randrange(10**9)}"
    config = _site(ceph, bucket, broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1", site=SITE)
    (tmp_path / "site.yaml").write_text(config, encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    objects = ceph.objects(bucket, prefix=f"{SITE}/")
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(minutes=MINUTES)

    async def fill() -> School:
        assert await objects.make_bucket()
        async with opened(data) as store:
            segments = []
            for n in range(MINUTES):
                one, content = segment(CAMERA, begin + timedelta(minutes=n))
                until = None if n == UNLOCKED else now + LOCKED
                kept = await objects.put_bytes(one.key, content, locked_until=until)
                segments.append(replace(one, version=kept.version, locked_until=kept.locked_until))
            jpeg, key = b"a still", f"{SITE}/alarms/2026/03/02/alm_1/{CAMERA}/evd_1.jpg"
            kept = await objects.put_bytes(key, jpeg, locked_until=now + LOCKED)
            still = Evidence(
                id="evd_1",
                alarm="alm_1",
                camera=CAMERA,
                kind=Kind.STILL,
                moment=Moment.PRESS,
                start=begin,
                end=begin,
                state=EvidenceState.STORED,
                stored_at=begin,
                key=key,
                sha256=hashlib.sha256(jpeg).hexdigest(),
                bytes=len(jpeg),
                version=kept.version,
                locked_until=kept.locked_until,
            )

            def rows(tx: Any) -> None:
                tx.recordings.begin(CAMERA, begin)
                for one in segments:
                    tx.recordings.add(one)
                tx.evidence.add([still])

            await store.write(rows)
        return School(tmp_path, ceph, bucket, objects, segments, still)

    made = run(fill())
    # Without a lock on record for the whole of its period it would be a finding of its own.
    made.on_record("update segment set stored_at = ? where key = ?", _us(now), made.segments[UNLOCKED].key)
    return made


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def test_a_sound_bucket_is_said_to_be(school: School) -> None:
    """Exit 0 and no finding, whatever is asked for."""
    for words in ((), ("--locks", "--hashes"), ("--read-only",)):
        code, found, told = school.fsck(*words)
        assert (code, found) == (0, []), told


def version_behind_our_back(school: School, one: Segment) -> None:
    school.put_over(one.key, b"something else of another size")


def version_of_the_same_bytes(school: School, one: Segment) -> None:
    school.put_over(one.key, run(school.read(one)))


def version_replaced(school: School, one: Segment) -> None:
    """What was stored is gone, and the same bytes are there as another version: not what the record vouches for."""
    data = run(school.read(one))
    run(school.objects.delete(one.key))
    school.put_over(one.key, data)


def byte_flipped(school: School, one: Segment) -> None:
    """By whoever has the keys to the store and to the database: only the digest tells."""
    data = bytearray(run(school.read(one)))
    data[3] ^= 1
    run(school.objects.delete(one.key))
    school.put_over(one.key, bytes(data))
    kept = run(school.objects.kept(one.key))
    assert kept is not None
    school.on_record("update segment set version = ? where key = ?", kept.version, one.key)


def row_dropped(school: School, one: Segment) -> None:
    school.on_record("delete from segment where key = ?", one.key)


def deleted_for_good(school: School, one: Segment) -> None:
    run(school.objects.delete(one.key))


DEEDS: dict[str, tuple[Callable[[School, Segment], None], int, int, str, str, tuple[str, ...]]] = {
    # what is done: how, to which minute, exit code, grade and name of what is found, what has to be asked for
    "another version over it": (
        version_behind_our_back,
        2,
        1,
        "suspicious",
        "a version that is not on record",
        (),
    ),
    "the same bytes over it": (
        version_of_the_same_bytes,
        2,
        1,
        "suspicious",
        "a version that is not on record",
        (),
    ),
    "the version replaced": (version_replaced, UNLOCKED, 2, "lost", "the version on record is missing", ()),
    "the object gone": (deleted_for_good, UNLOCKED, 2, "lost", "the object is missing", ()),
    "a byte": (byte_flipped, UNLOCKED, 2, "lost", "the object is altered", ("--hashes",)),
    "a row": (row_dropped, 2, 2, "suspicious", "an object that is in no ledger", ()),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_done_in_the_bucket_is_found_and_never_touched(school: School, deed: str) -> None:
    """Named by its key and of the right grade; a second run finds the same, for nothing of it may be repaired."""
    do, nth, expected, grade, what, words = DEEDS[deed]
    one = school.segments[nth]
    do(school, one)
    before = _listed(school)
    for _ in range(2):
        code, found, told = school.fsck(*words)
        assert (code, (grade, what, one.key) in found) == (expected, True), told
        assert {key for _, _, key in found if "/" in key} == {one.key}, told
    assert _listed(school) == before


def test_what_lies_over_a_minute_does_not_alter_what_is_on_record(school: School) -> None:
    """Other bytes over a locked minute: with every byte read it is suspicious and not lost, for the minute itself is there."""
    version_behind_our_back(school, school.segments[2])
    code, found, told = school.fsck("--hashes", "--locks")
    assert (code, [what for _, what, _ in found]) == (1, ["a version that is not on record"]), told


@pytest.mark.parametrize("marks", [1, 3])
def test_a_mark_of_deletion_is_removed_where_no_gateway_runs(school: School, marks: int) -> None:
    """Over a minute and over a still: told beside a gateway and when nothing may be repaired; else the bytes are seen again, and
    the second run finds nothing."""
    keys = [school.segments[1].key, school.still.key or ""]
    for key in keys * marks:
        school.s3.client().remove_object(school.bucket, key)
    what = "a mark of deletion over what is kept"
    mine = claim(school.folder / "data", GATEWAY)
    assert mine is not None
    beside = school.fsck()
    mine.release()
    assert beside[:2] == (1, [("suspicious", what, key) for key in keys]), beside[2]
    assert school.fsck("--no-repair")[:2] == (1, [("suspicious", what, key) for key in keys])
    assert run(school.objects.size(keys[0])) is None
    code, found, told = school.fsck()
    assert (code, found) == (1, [("repaired", what, key) for key in keys]), told
    assert school.fsck("--locks", "--hashes")[:2] == (0, [])
    assert run(school.objects.size(keys[0])) == school.segments[1].bytes


def test_a_mark_of_deletion_over_nothing_of_ours_is_left(school: School) -> None:
    """Of a key that no row has: suspicious, and whose it is nobody knows."""
    school.s3.client().remove_object(school.bucket, f"{SITE}/recordings/cam-x/2026/01/01/000000Z.mp4")
    for _ in range(2):
        code, found, told = school.fsck()
        what = "a mark of deletion over nothing that is kept"
        assert (code, found) == (
            1,
            [("suspicious", what, f"{SITE}/recordings/cam-x/2026/01/01/000000Z.mp4")],
        ), told


def test_a_lock_shorter_than_on_record_or_missing_is_found_and_made_longer(school: School) -> None:
    """Asked for object by object: told when nothing may be repaired; else locked as long as the record says, by Ceph's own word,
    and the second run finds nothing."""
    short, none = school.segments[0], school.segments[UNLOCKED]
    longer = datetime.now(UTC).replace(microsecond=0) + 2 * LOCKED
    for one in (short, none):
        school.on_record("update segment set locked_until = ? where key = ?", _us(longer), one.key)
    assert school.fsck()[:2] == (0, []), "no list tells of locks"
    what = "the lock is missing or too short"
    both = sorted([short.key, none.key])
    code, found, told = school.fsck("--locks", "--read-only")
    assert (code, found) == (1, [("suspicious", what, key) for key in both]), told
    assert school.fsck("--locks")[:2] == (1, [("repaired", what, key) for key in both])
    assert school.fsck("--locks")[:2] == (0, [])
    for one in (short, none):
        said = run(school.objects.said(one.key, one.version))
        assert said is not None
        assert said.locked_until is not None
        assert said.locked_until >= longer


def test_a_minute_that_was_never_locked_is_locked_for_a_day(school: School) -> None:
    """The store has shown that it locks, and one row has no lock: no request is needed to see it. For a day and no longer, since
    a lock can never be taken back and nobody has confirmed this box's clock."""
    one = school.segments[UNLOCKED]
    school.on_record("update segment set stored_at = stored_at - 3600000000 where key = ?", one.key)
    assert school.fsck("--read-only")[:2] == (
        1,
        [("suspicious", "the lock is missing or too short", one.key)],
    )
    assert school.fsck()[:2] == (1, [("repaired", "the lock is missing or too short", one.key)])
    assert school.fsck("--locks")[:2] == (0, [])
    said = run(school.objects.said(one.key, one.version))
    assert said is not None
    assert said.locked_until is not None
    assert timedelta(hours=23) < said.locked_until - datetime.now(UTC) < timedelta(hours=25)

    async def row() -> Segment | None:
        async with opened(school.folder / "data") as store:
            return await store.read(lambda tx: tx.recordings.at_key(one.key))

    assert run(row()) == replace(one, locked_until=said.locked_until, stored_at=(run(row()) or one).stored_at)


@pytest.mark.parametrize("over", [True, False], ids=["something lies over it", "it is alone"])
def test_a_minute_without_a_version_on_record_is_locked_only_where_one_alone_is_there(
    school: School, over: bool
) -> None:
    """It was put while the bucket kept no versions: what lies over it by now may be anybody's, and is not locked as ours."""
    one = school.segments[UNLOCKED]
    school.on_record(
        "update segment set stored_at = stored_at - 3600000000, version = null where key = ?", one.key
    )
    if over:
        school.put_over(one.key, bytes(one.bytes))
    code, found, told = school.fsck()
    what = "the lock is missing or too short"
    assert (("suspicious" if over else "repaired"), what, one.key) in found, told
    assert code == 1
    assert ("which of 2 there it is cannot be told" in told) is over

    async def row() -> Segment | None:
        async with opened(school.folder / "data") as store:
            return await store.read(lambda tx: tx.recordings.at_key(one.key))

    kept = run(row())
    assert kept is not None
    assert (kept.version, kept.locked_until is None) == ((None, True) if over else (one.version, False))
    for _, version, _ in (each for each in _listed(school) if each[0] == one.key):
        said = run(school.objects.said(one.key, version))
        assert said is not None
        assert (said.locked_until is None) is over


def _listed(school: School) -> list[tuple[str, str | None, bool]]:
    async def look() -> list[tuple[str, str | None, bool]]:
        return [
            (v.key, v.version, v.hides)
            async for page in school.objects.versions(f"{SITE}/")
            for v in page
            if "/canary/" not in v.key
        ]

    return run(look())
