"""What was being written of a camera that is recorded no longer: closed, registered, and the end of its ledger."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.cameras.worker.record import mending
from drivers.cameras.worker.record.mending import Mending
from drivers.cameras.worker.record.segment_file import Facts
from gateway.domain.finding import Finding
from gateway.domain.recording import SEAM, GapCause
from gateway.fsck.ledger_audit import sums, unexplained
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from tests.support.builders import site
from tests.support.recorder import SEGMENT_S, recording, simulated, stream_of
from tests.support.signals import wait_until

LATER = timedelta(days=3)


def written(folder: Path, least_bytes: int = 20_000) -> list[Path]:
    """Files that are being written, or were, of which there is something."""
    return [path for path in folder.glob("*.part") if path.stat().st_size >= least_bytes]


@pytest.mark.parametrize("planned", ["not at all", "alarms-only"])
@pytest.mark.parametrize("before", [0, 1], ids=["in its first minute", "later"])
def test_the_last_minute_of_a_camera_that_left_the_plan_is_registered(
    tmp_path: Path, planned: str, before: int
) -> None:
    """Recorded, stopped, and started without it: the file that the stop left open is in store and ledger, the spool is empty,
    its ledger ends with that file, and nothing is found to be missing, now or days later."""
    spool = tmp_path / "recording" / "cam"

    async def story() -> None:
        async with simulated() as camera:
            segment_s = SEGMENT_S if before else 60.0
            async with recording(tmp_path, stream_of(camera), segment_s=segment_s) as school:
                await school.until(lambda segments, _: len(segments) >= before, 30, "what comes before")
                await wait_until(lambda: bool(written(spool)), 20, "a file is being written")
            (left,) = spool.glob("*.part")
            async with recording(tmp_path, stream_of(camera), away="no route", planned=planned) as school:
                await wait_until(lambda: school.stage.waiting > 0, 20, "it is closed")
                since, until = (await school.store.read(lambda tx: tx.recordings.bounds()))["cam"]
                assert until is not None
                assert until <= _start_of(left) + SEAM, "the ledger goes no further than it tells"
                school.objects.away = ""
                await school.until(lambda now, _: bool(now) and now[-1].start == _start_of(left), 30, "it")
                await wait_until(lambda: not list(spool.iterdir()), 20, "the spool forgets it")
                segments, gaps = await school.check()
                assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}
                bounds = await school.store.read(lambda tx: tx.recordings.bounds())
                assert bounds == {"cam": (since, segments[-1].end)}
                assert school.stage.causes == {}
                store, found = school.store.inner, list[Finding]()
                for check in (
                    unexplained(store, datetime.now(UTC) + LATER, 30),
                    unexplained(store, datetime.now(UTC) + LATER, 30, running=False),
                    audited(OnRecord.RECORDINGS, store, school.objects, site().id),
                    sums(store),
                ):
                    found += [finding async for finding in check]
                assert found == []

    asyncio.run(story())


def _start_of(file: Path) -> datetime:
    return datetime.fromtimestamp(int(file.stem.partition(".")[0]) / 1000, UTC)


@pytest.fixture
def torn(tmp_path: Path) -> bytes:
    """What a recorder had written when it ended."""

    async def record(folder: Path) -> None:
        async with simulated() as camera, recording(folder, stream_of(camera)):
            await wait_until(lambda: bool(written(folder / "recording" / "cam")), 20, "a file")

    for number in range(5):  # on a slow machine a file may be full, and taken, just before the end
        folder = tmp_path / f"recorded-{number}"
        asyncio.run(record(folder))
        if files := written(folder / "recording" / "cam"):
            return files[0].read_bytes()
    raise AssertionError("no file was left in five runs")


def put(recordings: Path, camera: str, stem: int, data: bytes) -> Path:
    path = recordings / camera / f"{stem}.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_only_folders_of_no_recorded_camera_are_mended_beside_the_recorders(
    tmp_path: Path, torn: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first, whatever their folder; what a recorder writes is left to it, and a disk that refuses is tried again."""
    recordings, told = tmp_path / "recording", list[tuple[str, float]]()
    monkeypatch.setattr(mending, "AFTER_TROUBLE_S", 0.05)
    work = Mending(lambda facts: told.append((facts["camera"], facts["start"])))
    mine = put(recordings, "cam-recorded", 1_772_417_700_000, torn)
    refused = put(recordings, "cam-a", 1_772_417_701_000, torn)
    put(recordings, "cam-b", 1_772_417_702_000, torn)
    put(recordings, "cam-a", 1_772_417_703_000, torn)
    (recordings / "lost+found").mkdir()
    (recordings / "a file").touch()
    in_the_way = refused.with_suffix(".json.new")
    in_the_way.mkdir()

    async def story() -> None:
        work.recorded("cam-recorded")
        work.begin(recordings)
        work.begin(recordings)
        await wait_until(lambda: len(told) == 2, 20, "what the disk takes")
        assert told == [("cam-b", 1_772_417_702.0), ("cam-a", 1_772_417_703.0)]
        in_the_way.rmdir()
        await wait_until(lambda: len(told) == 3, 20, "the other one")
        assert told[2] == ("cam-a", 1_772_417_701.0)
        assert sorted(path.suffix for path in refused.parent.iterdir()) == [".json", ".json", ".mp4", ".mp4"]
        assert mine.read_bytes() == torn
        assert [path.name for path in mine.parent.iterdir()] == [mine.name]
        assert [facts["camera"] for facts in work.mend(mine.parent)] == ["cam-recorded"]

    asyncio.run(story())


def test_a_camera_that_is_recorded_while_its_file_is_closed_waits_for_that_file_alone(
    tmp_path: Path, torn: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recorder begins after it, takes up the rest itself, and nothing of what it then writes is touched."""
    recordings, told = tmp_path / "recording", list[float]()
    one = put(recordings, "cam", 1_772_417_701_000, torn)
    put(recordings, "cam", 1_772_417_702_000, torn)
    entered, go_on, closed = threading.Event(), threading.Event(), mending._closed

    def slowly(path: Path) -> Facts | None:
        if threading.current_thread().name == "mending":
            entered.set()
            assert go_on.wait(20)
        return closed(path)

    monkeypatch.setattr(mending, "_closed", slowly)
    work = Mending(lambda facts: told.append(facts["start"]))
    work.begin(recordings)
    assert entered.wait(20)
    work.recorded("cam")
    mended = list[float]()
    recorder = threading.Thread(target=lambda: mended.extend(f["start"] for f in work.mend(one.parent)))
    recorder.start()
    recorder.join(0.3)
    assert recorder.is_alive()
    go_on.set()
    recorder.join(20)
    assert (told, mended) == ([1_772_417_701.0], [1_772_417_702.0])
