"""``campus-gateway fsck`` repairs what is safe, where no gateway runs, and nothing else: the second run then finds nothing."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.loading import load_site
from config.settings import resolve
from drivers.cameras.parent.recorded import SpooledRecordings
from gateway.app.commands.fsck import run as run_fsck
from gateway.box.claim import GATEWAY, REPAIR, REPAIR_MOST_S, Claim, claim, claim_for_gateway, is_claimed
from gateway.box.clock import SystemClock
from gateway.domain.errors import Refused
from gateway.domain.recording import ClosedFile, Segment
from storage.objects.local import LocalObjects
from tests.integration.test_fsck import CAMERA, altered, fsck, kept, on_the_database
from tests.support.clock import ManualClock, run
from tests.support.footage import segment
from tests.support.processes import SECRETS
from tests.support.stores import opened

__all__ = ["kept"]  # the fixture

Deed = Callable[[Path, Segment], object]


def leftover(folder: Path, one: Segment) -> None:
    (folder / "data" / "objects" / one.key).with_name(".part-00ff").write_bytes(b"half")


REPAIRED: dict[str, tuple[Deed, str, str]] = {
    # what is done: how, check, what is found
    "a wrong sum": (
        on_the_database(
            "update coverage set bytes = bytes + 1 where hour = (select max(hour) from coverage)"
        ),
        "sums",
        "an hour's sum is wrong",
    ),
    "a sum that is gone": (
        on_the_database("delete from coverage where hour = (select max(hour) from coverage)"),
        "sums",
        "an hour's sum is wrong",
    ),
    "a sum of nothing": (
        on_the_database(
            "insert into coverage values ('cam-a', 1600000000000000 / 3600000000 * 3600000000, 1, 1, 1)"
        ),
        "sums",
        "an hour's sum is wrong",
    ),
    "a rest of a put": (leftover, "leftovers", "a rest of a put that died"),
}


@pytest.mark.parametrize("deed", REPAIRED)
def test_what_is_safe_is_repaired_and_then_nothing_is_found(
    kept: tuple[Path, list[Segment]], deed: str
) -> None:
    """Told only with ``--read-only``; then repaired with exit 1; then exit 0. Objects, rows and register stay as they were."""
    folder, segments = kept
    do, check, what = REPAIRED[deed]
    before = _kept_of(folder)
    do(folder, segments[4])
    for words, grade in ((["--read-only"], "suspicious"), ([], "repaired")):
        code, found, told = fsck(folder, *words)
        assert code == 1, (found, told)
        assert {(each["check"], each["what"], each["grade"]) for each in found} == {(check, what, grade)}
    code, found, told = fsck(folder, "--hashes")
    assert (code, found) == (0, []), told
    assert _kept_of(folder) == before


@pytest.mark.parametrize("deed", REPAIRED)
def test_beside_a_running_gateway_nothing_is_repaired(kept: tuple[Path, list[Segment]], deed: str) -> None:
    """Who holds the data folder is asked of the kernel; what a running gateway is just putting is not even told."""
    folder, segments = kept
    do, check, _ = REPAIRED[deed]
    do(folder, segments[4])
    before = contents(folder / "data" / "objects"), _rows(folder, "coverage")
    mine = claim(folder / "data", GATEWAY)
    assert mine is not None
    try:
        code, found, _ = fsck(folder)
    finally:
        mine.release()
    if check == "leftovers":
        assert (code, found) == (0, [])
    else:
        assert (code, {each["grade"] for each in found}) == (1, {"suspicious"})
        assert all("a gateway runs here" in each["detail"] for each in found)
    assert (contents(folder / "data" / "objects"), _rows(folder, "coverage")) == before


@pytest.mark.parametrize("began", ["before the gateway", "beside it"])
def test_what_a_gateway_puts_while_fsck_runs_is_no_finding(
    kept: tuple[Path, list[Segment]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    began: str,
) -> None:
    """Hours after fsck began, and whether the gateway was there then: an object whose row is not committed yet, the rest of a
    put that is none, and a wrong sum, which is told and left. What was put earlier and has no row is still told."""
    folder, segments = kept
    data = folder / "data"
    on_the_database("update coverage set bytes = bytes + 1 where hour = (select max(hour) from coverage)")(
        folder, segments[0]
    )
    claims = [claim(data, GATEWAY)] if began == "beside it" else []

    class HoursAgo(SystemClock):
        ago = timedelta(hours=3)

        def now(self) -> datetime:
            return super().now() - self.ago

    class Spool(SpooledRecordings):
        async def closed(self) -> list[ClosedFile]:
            """The last that is looked at before all the checks: from here on it is now, and a gateway runs."""
            found = await super().closed()
            HoursAgo.ago = timedelta()
            if not claims:
                claims.append(claim(data, GATEWAY))
            leftover(folder, segments[4])
            for name, age_s in (("235958Z.mp4", 1), ("235959Z.mp4", 600)):
                put = (data / "objects" / segments[4].key).with_name(name)
                put.write_bytes(b"x")
                os.utime(put, times=(time.time() - age_s,) * 2)
            return found

    monkeypatch.setattr("gateway.app.commands.fsck.SystemClock", HoursAgo)
    monkeypatch.setattr("gateway.app.commands.fsck.SpooledRecordings", Spool)
    settings = resolve(load_site(folder / "site.yaml", SECRETS), data)
    asked = argparse.Namespace(read_only=False, hashes=False, locks=False, json=True)
    code = run_fsck(settings, asked)
    (mine,) = claims
    assert mine is not None
    mine.release()
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert [(each["what"], each["grade"]) for each in found] == [
        ("an object that is in no ledger", "suspicious"),
        ("an hour's sum is wrong", "suspicious"),
    ]
    assert found[0]["about"].endswith("235959Z.mp4")
    assert "a gateway runs here" in found[1]["detail"]
    assert code == 1


NEVER: dict[str, Deed] = {
    "an altered object": lambda folder, one: altered(folder / "data" / "objects" / one.key),
    "a missing object": lambda folder, one: (folder / "data" / "objects" / one.key).unlink(),
    "an object nobody knows of": lambda folder, one: (
        (folder / "data" / "objects" / one.key).with_name("235959Z.mp4").write_bytes(b"x")
    ),
    "another digest on record": on_the_database("update segment set sha256 = 'ff' where id = ?", Segment),
    "a line of the register": on_the_database("delete from register where n = 2"),
}


@pytest.mark.parametrize("deed", NEVER)
def test_what_is_lost_altered_or_unknown_is_never_touched(
    kept: tuple[Path, list[Segment]], deed: str
) -> None:
    """Said as often as it is looked at, and left as it was found."""
    folder, segments = kept
    NEVER[deed](folder, segments[4])
    before = contents(folder / "data" / "objects"), _rows(folder, "segment"), _rows(folder, "register")
    first = fsck(folder, "--hashes")[:2]
    assert first[0] in (1, 2)
    assert fsck(folder, "--hashes")[:2] == first
    after = contents(folder / "data" / "objects"), _rows(folder, "segment"), _rows(folder, "register")
    assert after == before


def test_what_waits_in_the_spool_is_no_finding(kept: tuple[Path, list[Segment]]) -> None:
    """Killed before a minute was registered, with and without its object: its facts explain it, and are left to the gateway."""
    folder, segments = kept
    facts = folder / "data" / "recording" / CAMERA
    facts.mkdir(parents=True)

    async def more() -> None:
        async with opened(folder / "data") as store:
            objects = LocalObjects(folder / "data" / "objects")
            for n in (1, 2, 3):  # registered and not forgotten yet, waiting, and waiting with its object put
                one, data = segment(CAMERA, segments[0].start - timedelta(minutes=n))
                if n != 2:
                    await objects.put_bytes(one.key, data)
                if n == 1:
                    await store.write(lambda tx, one=one: tx.recordings.add(one))  # type: ignore[misc]
                said = {
                    "camera": CAMERA,
                    "start": one.start.timestamp(),
                    "end": one.end.timestamp(),
                    "frames": 1,
                    "bytes": len(data),
                    "pauses": [],
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
                (facts / f"{n}.json").write_text(json.dumps(said), "utf-8")

    run(more())
    (facts / "4.json").write_text("{torn", "utf-8")
    with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
        raw.execute("update recorded set since = since - 180000000")
        raw.commit()
    before = contents(folder / "data" / "recording")
    code, found, told = fsck(folder)
    assert (code, found) == (0, []), told
    assert "3 finished recording(s) wait in the spool" in told
    assert contents(folder / "data" / "recording") == before
    (facts / "2.json").unlink()
    code, found, _ = fsck(folder)
    assert (code, [each["what"] for each in found]) == (2, ["neither recorded nor explained"])


def test_a_clean_stop_long_ago_is_no_loss(kept: tuple[Path, list[Segment]]) -> None:
    """What comes after all that is known is noted at the next start; while a gateway runs it should have been, and is a loss."""
    folder, _ = kept
    with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
        raw.execute("delete from segment where start > (select max(start) from segment) - 300000000")
        raw.execute("delete from coverage")
        raw.commit()
    for path in sorted((folder / "data" / "objects").rglob("*.mp4"))[-5:]:
        path.unlink()
    assert fsck(folder)[0] == 1  # the sums
    assert fsck(folder)[:2] == (0, [])
    mine = claim(folder / "data", GATEWAY)
    assert mine is not None
    code, found, _ = fsck(folder)
    mine.release()
    assert (code, [each["what"] for each in found]) == (2, ["neither recorded nor explained"])


def test_a_database_of_another_version_is_not_brought_up_to_date(kept: tuple[Path, list[Segment]]) -> None:
    """It may be a running gateway's: said, with exit 3, and left."""
    folder, _ = kept
    with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
        raw.execute("update alembic_version set version_num = '0001'")
        raw.commit()
    with pytest.raises(AssertionError, match="has schema 0001"):  # no line of JSON, and the reason
        fsck(folder)
    assert _rows(folder, "alembic_version") == [("0001",)]


def test_a_gateway_that_starts_waits_for_a_repair_and_for_no_other_gateway(tmp_path: Path) -> None:
    """For as long as a repair may take; another gateway is told at once. A claim dies with its process, and leaves no trace."""
    clock = ManualClock(datetime.now(UTC))
    assert not is_claimed(tmp_path)
    assert list(tmp_path.iterdir()) == []

    async def story() -> None:
        other = claim(tmp_path, GATEWAY)
        assert other is not None
        assert is_claimed(tmp_path)
        assert claim(tmp_path, REPAIR) is None
        waiting = asyncio.create_task(claim_for_gateway(tmp_path, clock))
        await clock.advance(0.5)
        with pytest.raises(Refused, match="another gateway runs"):
            await waiting
        other.release()

        for most_s in (REPAIR_MOST_S - 1, REPAIR_MOST_S + 1):
            repair = claim(tmp_path, REPAIR)
            assert repair is not None
            waiting = asyncio.create_task(claim_for_gateway(tmp_path, clock))
            await clock.advance(most_s)
            repair.release()
            await clock.advance(0.1)
            if most_s < REPAIR_MOST_S:
                mine: Claim = await waiting
                mine.release()
            else:
                with pytest.raises(Refused):
                    await waiting
        assert not is_claimed(tmp_path)

    run(story())


def _kept_of(folder: Path) -> object:
    data = folder / "data"
    return contents(data / "objects"), *(_rows(folder, name) for name in ("segment", "register", "coverage"))


def contents(below: Path) -> dict[str, bytes]:
    """Every file there and its bytes."""
    return {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}


def _rows(folder: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
        return sorted(raw.execute(f"select * from {table}").fetchall(), key=repr)
