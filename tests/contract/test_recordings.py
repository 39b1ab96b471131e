"""The minute ledger's rows on a real database: written once, summed by the hour, taken out with a record."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.holding import Hold
from gateway.domain.recording import Gap, GapCause, Segment, segment_key
from gateway.ports import Deletion
from storage.sql.store import SqlTransaction
from tests.support.clock import run
from tests.support.stores import opened

TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)
ALWAYS = (TEN - timedelta(days=1), TEN + timedelta(days=1))


def segment(minute: int, camera: str = "cam-a") -> Segment:
    start = TEN + timedelta(minutes=minute)
    return Segment(
        id=f"seg_{camera}_{minute}",
        camera=camera,
        start=start,
        end=start + timedelta(minutes=1),
        frames=1500,
        bytes=30_000_000,
        key=segment_key("school", camera, start),
        sha256="ab" * 32,
        stored_at=start + timedelta(seconds=61),
    )


def record(*gone: Segment) -> Deletion:
    return Deletion(
        id="del_1",
        at=TEN + timedelta(days=31),
        camera=gone[0].camera,
        start=gone[0].start,
        end=gone[-1].end,
        size_bytes=sum(each.bytes for each in gone),
        items=tuple({"key": each.key, "sha256": each.sha256} for each in gone),
        register_line=7,
    )


def test_a_segment_is_counted_once_into_its_hours_and_out_of_them(tmp_path: Path) -> None:
    """The same key again changes nothing; a deletion takes out what was added, and says what it took."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            one, two = segment(59), segment(60)

            def fill(tx: SqlTransaction) -> list[bool]:
                return [tx.recordings.add(each) for each in (one, one, replace(one, id="seg_x"), two)]

            assert await store.write(fill) == [True, False, False, True]
            (sums,) = await store.read(lambda tx: tx.recordings.coverage(*ALWAYS))
            assert (sums.covered_ms, sums.frames, sums.bytes) == (120_000, 3000, 60_000_000)
            assert sums.first_hour == TEN
            assert await store.read(lambda tx: tx.recordings.last("cam-a")) == two
            assert await store.read(lambda tx: tx.recordings.at_key(one.key)) == one
            await store.write(lambda tx: tx.recordings.delete([one], record(one)))
            (sums,) = await store.read(lambda tx: tx.recordings.coverage(*ALWAYS))
            assert (sums.covered_ms, sums.first_hour) == (60_000, TEN + timedelta(hours=1))
            assert await store.read(lambda tx: tx.recordings.segments("cam-a", *ALWAYS)) == [two]
            (kept,) = await store.read(lambda tx: tx.recordings.deletions(*ALWAYS, "cam-a"))
            assert kept == record(one)

    run(story())


def test_one_gap_of_a_camera_lasts_at_a_time(tmp_path: Path) -> None:
    """A second open one is refused until the first is closed; a span that is over is kept beside it."""
    lasting = Gap(id="gap_1", camera="cam-a", start=TEN, end=None, cause=GapCause.CAMERA)
    over = Gap(
        id="gap_2",
        camera="cam-a",
        start=TEN - timedelta(hours=1),
        end=TEN - timedelta(minutes=50),
        cause=GapCause.GATEWAY,
    )

    async def story() -> None:
        async with opened(tmp_path) as store:

            def fill(tx: SqlTransaction) -> list[bool]:
                again = replace(lasting, id="gap_3", start=TEN + timedelta(seconds=5))
                return [tx.recordings.open_gap(each) for each in (lasting, again, over)]

            assert await store.write(fill) == [True, False, True]
            end = TEN + timedelta(seconds=30)
            await store.write(lambda tx: tx.recordings.close_gap("cam-a", end))
            found = await store.read(lambda tx: tx.recordings.gaps("cam-a", *ALWAYS))
            assert [(gap.id, gap.end) for gap in found] == [("gap_2", over.end), ("gap_1", end)]

    run(story())


def test_pages_of_what_is_due_leave_nothing_out(tmp_path: Path) -> None:
    """By number, whatever is deleted meanwhile, and nothing that ended later."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            every = [segment(n, camera) for n in range(5) for camera in ("cam-a", "cam-b")]
            await store.write(lambda tx: [tx.recordings.add(each) for each in every])
            before, after, seen = TEN + timedelta(minutes=4), 0, []
            while page := await store.read(
                lambda tx, after=after: tx.recordings.ended_before(before, after, 2)  # type: ignore[misc]
            ):
                after = page[-1][0]
                seen += [one for _, one in page]
                gone = [page[0][1]]
                await store.write(
                    lambda tx, gone=gone: tx.recordings.delete(  # type: ignore[misc]
                        gone, replace(record(*gone), id=f"del_{gone[0].id}")
                    )
                )
            assert {one.id for one in seen} == {one.id for one in every if one.end < before}

    run(story())


def test_a_hold_is_released_once_and_never_removed(tmp_path: Path) -> None:
    """By whom and why is kept with it."""
    hold = Hold(
        id="hld_1",
        reason="案件 2026-17",
        placed_by="李老师",
        placed_unit="第三中学",
        placed_at=TEN,
        review_at=TEN + timedelta(days=90),
        alarm="alm_1",
    )

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda tx: tx.holds.place(hold))
            assert await store.read(lambda tx: tx.holds.standing()) == [hold]
            await store.write(lambda tx: tx.holds.review("hld_1", TEN + timedelta(days=180)))

            def release(tx: SqlTransaction) -> list[bool]:
                return [tx.holds.release("hld_1", TEN, name, "第三中学", "结案") for name in ("甲", "乙")]

            assert await store.write(release) == [True, False]
            assert await store.read(lambda tx: tx.holds.standing()) == []
            (kept,) = await store.read(lambda tx: tx.holds.of_alarm("alm_1"))
            assert (kept.released_by, kept.released_reason) == ("甲", "结案")
            assert kept.review_at == TEN + timedelta(days=180)

    run(story())


def test_a_camera_that_was_recorded_stays_known(tmp_path: Path) -> None:
    """Since when and until when; begun again, it keeps its beginning."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            later = TEN + timedelta(days=1)

            def work(tx: SqlTransaction) -> None:
                tx.recordings.begin("cam-a", TEN)
                tx.recordings.begin("cam-b", TEN)
                tx.recordings.cease("cam-b", later)
                tx.recordings.cease("cam-b", later + timedelta(days=1))
                tx.recordings.begin("cam-a", later)

            await store.write(work)
            assert await store.read(lambda tx: tx.recordings.bounds()) == {
                "cam-a": (TEN, None),
                "cam-b": (TEN, later),
            }
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as raw:
            assert raw.execute("select count(*) from recorded").fetchone() == (2,)

    run(story())
