"""The minute ledger's rows on a real database: written once, summed by the hour, taken out with a record; and when it may go.

One file, though long: the ledger is one, and so are the rows its tests write.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.alarm import Drill
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.hold import Hold
from gateway.domain.recording import Deletion, Gap, GapCause, Segment, segment_key
from gateway.domain.register import GATEWAY, Act, RegisterLine
from gateway.domain.trust import TrustedTime
from storage.sql.transaction import SqlTransaction
from tests.support.builders import alarm
from tests.support.clock import run
from tests.support.stores import opened

TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)
ALWAYS = (TEN - timedelta(days=1), TEN + timedelta(days=1))

HOLD = Hold(
    id="hld_1",
    reason="案件 2026-17",
    placed_by="李老师",
    placed_unit="第三中学",
    placed_at=TEN,
    review_at=TEN + timedelta(days=90),
    alarm="alm_1",
)


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
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a")) == two.end
            assert await store.read(lambda tx: tx.recordings.at_key(one.key)) == one
            await store.write(lambda tx: tx.recordings.forget("cam-a", [one]))
            (sums,) = await store.read(lambda tx: tx.recordings.coverage(*ALWAYS))
            assert (sums.covered_ms, sums.first_hour) == (60_000, TEN + timedelta(hours=1))
            assert await store.read(lambda tx: tx.recordings.segments("cam-a", *ALWAYS)) == [two]
            assert await store.read(lambda tx: tx.recordings.first("cam-a")) == two.start
            await store.write(lambda tx: tx.recordings.forget("cam-a", [two]))
            assert await store.read(lambda tx: tx.recordings.coverage(*ALWAYS)) == []

    run(story())


def test_a_deletion_is_pending_until_it_is_done_or_given_up(tmp_path: Path) -> None:
    """What is done is what was really gone, with its line; what was given up leaves nothing."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            intended, other = record(segment(0), segment(1)), replace(record(segment(2)), id="del_2")

            def intend(tx: SqlTransaction) -> None:
                for each in (intended, other):
                    tx.deletions.intend(replace(each, register_line=None))

            await store.write(intend)
            pending = await store.read(lambda tx: tx.deletions.pending())
            assert [(each.id, each.register_line) for each in pending] == [("del_1", None), ("del_2", None)]
            assert await store.read(lambda tx: tx.deletions.listed(*ALWAYS)) == []
            await store.write(lambda tx: tx.deletions.done(record(segment(0))))
            await store.write(lambda tx: tx.deletions.give_up("del_2"))
            await store.write(lambda tx: tx.deletions.give_up("del_1"))
            assert await store.read(lambda tx: tx.deletions.pending()) == []
            assert await store.read(lambda tx: tx.deletions.listed(*ALWAYS, "cam-a")) == [record(segment(0))]
            assert await store.read(lambda tx: tx.deletions.listed(*ALWAYS, "cam-b")) == []
            ((_, kept, sha256),) = await store.read(lambda tx: tx.deletions.after(0, 10))
            assert hashlib.sha256(kept.lines).hexdigest() == sha256

    run(story())


def test_what_is_due_ended_before_by_the_clock_and_as_reckoned(tmp_path: Path) -> None:
    """By start, a page at a time; what is locked, ended later, or was really made later than its date says is not."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            every = [segment(n) for n in range(5)]
            every[1] = replace(every[1], locked_until=TEN + timedelta(days=40))
            every[2] = replace(every[2], reckoned_end=TEN + timedelta(days=40))
            await store.write(lambda tx: [tx.recordings.add(one) for one in [*every, segment(0, "cam-b")]])
            before, now = TEN + timedelta(minutes=5), TEN + timedelta(days=31)

            async def ids(after: datetime | None, limit: int, at: datetime) -> list[str]:
                found = await store.read(lambda tx: tx.recordings.due("cam-a", before, after, at, limit))
                return [one.id for one in found]

            assert await ids(None, 10, now) == ["seg_cam-a_0", "seg_cam-a_3"]
            assert await ids(None, 1, now) == ["seg_cam-a_0"]
            assert await ids(every[0].start, 1, now) == ["seg_cam-a_3"]
            later = TEN + timedelta(days=41)
            assert await ids(None, 10, later) == ["seg_cam-a_0", "seg_cam-a_1", "seg_cam-a_3"]

    run(story())


def test_bytes_by_the_hour_and_gaps_by_their_cause_are_summed(tmp_path: Path) -> None:
    """Of all cameras together; a gap counts for what of it lies in the span, and one that lasts to the span's end."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            every = [segment(59), segment(60), segment(61, "cam-b")]
            gaps = [
                Gap(
                    id="gap_1", camera="cam-a", start=TEN - timedelta(hours=1), end=TEN, cause=GapCause.CAMERA
                ),
                Gap(
                    id="gap_2",
                    camera="cam-a",
                    start=TEN + timedelta(minutes=50),
                    end=None,
                    cause=GapCause.NETWORK,
                ),
            ]

            def fill(tx: SqlTransaction) -> None:
                for one in every:
                    tx.recordings.add(one)
                for each in gaps:
                    tx.recordings.open_gap(each)

            await store.write(fill)
            assert await store.read(lambda tx: tx.recordings.hourly_bytes(*ALWAYS)) == {
                TEN: 30_000_000,
                TEN + timedelta(hours=1): 60_000_000,
            }
            span = TEN - timedelta(minutes=30), TEN + timedelta(hours=1)
            assert await store.read(lambda tx: tx.recordings.gap_seconds(*span)) == {
                "cam-a": {"camera": 1800.0, "network": 600.0}
            }
            assert await store.read(lambda tx: tx.recordings.cameras()) == ["cam-a", "cam-b"]

    run(story())


def test_every_alarm_without_a_hold_is_found_and_no_drill(tmp_path: Path) -> None:
    """Its evidence is due only once all its holds were released; a drill's always is."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            real, drill = alarm("alm_1", at=TEN), alarm("drl_1", at=TEN, drill=Drill.DRILL)
            items = [
                Evidence(
                    id=f"evd_{each.id}",
                    alarm=each.id,
                    camera="cam-a",
                    kind=Kind.STILL,
                    moment=Moment.PRESS,
                    start=TEN,
                    end=TEN,
                    state=EvidenceState.STORED,
                    key=f"school/{each.id}.jpg",
                )
                for each in (real, drill)
            ]

            def fill(tx: SqlTransaction) -> None:
                tx.alarms.add(real)
                tx.alarms.add(drill)
                tx.evidence.add(items)

            async def due() -> list[str]:
                found = await store.read(lambda tx: tx.evidence.due(TEN + timedelta(days=31), 0, 10))
                return [item.alarm for _, item in found]

            await store.write(fill)
            assert await store.read(lambda tx: tx.holds.unwritten(10)) == [("alm_1", TEN)]
            assert await due() == ["drl_1"]
            await store.write(lambda tx: tx.holds.place(replace(HOLD, alarm="alm_1")))
            assert await store.read(lambda tx: tx.holds.unwritten(10)) == []
            assert await due() == ["drl_1"]
            await store.write(lambda tx: tx.holds.release("hld_1", TEN, "甲", "第三中学", "结案"))
            assert await due() == ["alm_1", "drl_1"]

    run(story())


def test_the_trusted_time_is_kept(tmp_path: Path) -> None:
    """One row, replaced."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert await store.read(lambda tx: tx.trusted.get()) is None
            for at in (TEN, TEN + timedelta(minutes=1)):
                trusted = TrustedTime(at=at, reckoned=at, granted=timedelta(seconds=3), confirmed_by="110")
                await store.write(lambda tx, trusted=trusted: tx.trusted.keep(trusted))  # type: ignore[misc]
                assert await store.read(lambda tx: tx.trusted.get()) == trusted

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


def test_a_hold_is_released_once_and_never_removed(tmp_path: Path) -> None:
    """By whom and why is kept with it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda tx: tx.holds.place(HOLD))
            span = replace(HOLD, id="hld_2", alarm=None, camera="cam-a", start=TEN, end=ALWAYS[1])
            await store.write(lambda tx: tx.holds.place(span))
            assert await store.read(lambda tx: tx.holds.standing()) == [HOLD, span]
            assert await store.read(lambda tx: tx.holds.of_spans()) == [span]
            assert await store.read(lambda tx: tx.holds.late(HOLD.review_at)) == [HOLD, span]
            assert await store.read(lambda tx: tx.holds.late(TEN)) == []
            await store.write(lambda tx: tx.holds.release("hld_2", TEN, "甲", "第三中学", "结案"))
            assert await store.read(lambda tx: tx.holds.of_spans()) == []
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
    """Since when and until when; begun again, it keeps its beginning, and its end is never earlier than was said."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            later = TEN + timedelta(days=1)

            def work(tx: SqlTransaction) -> None:
                tx.recordings.begin("cam-a", TEN)
                tx.recordings.begin("cam-b", TEN)
                for end in (TEN, later, TEN + timedelta(hours=1)):
                    tx.recordings.cease("cam-b", end)
                tx.recordings.begin("cam-a", later)

            await store.write(work)
            assert await store.read(lambda tx: tx.recordings.bounds()) == {
                "cam-a": (TEN, None),
                "cam-b": (TEN, later),
            }
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as raw:
            assert raw.execute("select count(*) from recorded").fetchone() == (2,)

    run(story())


def test_the_ledger_reaches_as_far_as_whatever_ends_last(tmp_path: Path) -> None:
    """Not as far as what began last; and of what begins before an instant, that alone."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            long, crumb = (
                segment(0),
                replace(segment(0), id="seg_x", key="x", start=TEN + timedelta(seconds=2)),
            )
            crumb = replace(crumb, end=crumb.start + timedelta(seconds=1))
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a")) is None
            await store.write(
                lambda tx: [tx.recordings.add(one) for one in (long, crumb, segment(9, "cam-b"))]
            )
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a")) == long.end
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a", long.start)) is None
            await store.write(lambda tx: tx.recordings.add(segment(5)))
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a", segment(5).start)) == long.end
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a")) == segment(5).end

    run(story())


def test_what_is_asked_for_at_every_turn_costs_no_more_after_years(tmp_path: Path) -> None:
    """The newest gaps of a camera that fails each minute, what went of a span, the last line of an act: by the database's own
    count of steps, with a hundred rows and with ten thousand."""

    def steps(tx: SqlTransaction, ask: Callable[[SqlTransaction], object]) -> int:
        driver = tx.recordings._c.connection.driver_connection
        counted = [0]
        driver.set_progress_handler(lambda: counted.__setitem__(0, counted[0] + 1), 10)
        ask(tx)
        driver.set_progress_handler(None, 0)
        return counted[0]

    def fill(tx: SqlTransaction, begin: int, end: int) -> None:
        for n in range(begin, end):
            at = TEN + timedelta(minutes=n)
            cause, over = GapCause.CAMERA, at + timedelta(seconds=2)
            tx.recordings.open_gap(Gap(id=f"gap_{n}", camera="cam-a", start=at, end=over, cause=cause))
            tx.deletions.intend(replace(record(segment(n)), id=f"del_{n}"))
            line = RegisterLine(at=at, act=Act.DELETED if n else Act.CONFIGURED, who=GATEWAY, content="c")
            tx.register.append(line)

    async def story() -> None:
        async with opened(tmp_path) as store:
            found = []
            for begin, end in ((0, 100), (100, 10_000)):
                await store.write(lambda tx, begin=begin, end=end: fill(tx, begin, end))  # type: ignore[misc]
                newest = TEN + timedelta(minutes=end - 2)
                asked: tuple[Callable[[SqlTransaction], object], ...] = (
                    lambda tx, at=newest: tx.recordings.gaps("cam-a", at, at + timedelta(minutes=9)),  # type: ignore[misc]
                    lambda tx, at=newest: tx.deletions.listed(at, at + timedelta(minutes=9)),  # type: ignore[misc]
                    lambda tx: tx.register.last(Act.CONFIGURED),
                )
                found.append(
                    [await store.read(lambda tx, ask=ask: steps(tx, ask)) for ask in asked]  # type: ignore[misc]
                )
            few, many = found
            assert all(after <= 3 * before + 20 for before, after in zip(few, many, strict=True)), found

    run(story())


def test_days_are_coverage_and_gaps_between_edges(tmp_path: Path) -> None:
    """Each sum is that of its own span, a gap over an edge is shared out, one that lasts goes up to the last edge; where nothing
    is known there is no row."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            edges = [TEN - timedelta(hours=10), TEN, TEN + timedelta(hours=1), TEN + timedelta(hours=2)]
            over = Gap(
                id="gap_1",
                camera="cam-a",
                start=TEN + timedelta(minutes=58),
                end=TEN + timedelta(minutes=63),
                cause=GapCause.CAMERA,
            )
            lasting = replace(over, id="gap_2", start=TEN + timedelta(minutes=90), end=None)
            before = replace(over, id="gap_3", start=TEN - timedelta(days=2), end=TEN - timedelta(hours=10))

            def fill(tx: SqlTransaction) -> None:
                for one in (segment(0), segment(1), segment(64), segment(5, "cam-b")):
                    tx.recordings.add(one)
                for gap in (over, lasting, before):
                    tx.recordings.open_gap(gap)

            await store.write(fill)
            found = {
                (day.camera, day.start): (day.covered_ms, day.bytes, day.gaps)
                for day in await store.read(lambda tx: tx.recordings.days(edges))
            }
            assert found == {
                ("cam-a", TEN): (120_000, 60_000_000, {"camera": 120.0}),
                ("cam-a", TEN + timedelta(hours=1)): (60_000, 30_000_000, {"camera": 180.0 + 1800.0}),
                ("cam-b", TEN): (60_000, 30_000_000, {}),
            }

    run(story())
