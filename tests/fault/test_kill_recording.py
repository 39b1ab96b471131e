"""The process that brings recordings home is killed at every step of a file's way: nothing is lost but what was being written."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.finding import Finding
from gateway.domain.recording import GapCause
from gateway.fsck.ledger_audit import sums, unexplained
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from gateway.recording.taking import CRASH_POINTS
from storage.objects import local
from tests.support.builders import site
from tests.support.processes import ROOT
from tests.support.recorder import recording, simulated, stream_of

LOST_MOST_S = 2.0
STARTS_WITHIN_S = 12.0  # of two processes, a session and a key frame, on a busy machine


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", [*CRASH_POINTS, *local.CRASH_POINTS])
def test_a_kill_at_any_point_of_a_files_way_loses_nothing_of_it(tmp_path: Path, point: str, nth: int) -> None:
    """Closed, under a temporary name in the store, whole there, stored, registered: the next process goes on from there. Each
    file is there once, what was being written is there but for 2 s at the most, the time between is a gap, and all checks are
    content."""

    async def story() -> None:
        async with simulated() as camera:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.recorder", str(tmp_path)),
                *(camera.rtsp_url, camera.username, camera.password, point, str(nth)),
                cwd=ROOT,
            )
            assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
            killed_at = datetime.now(UTC)
            files = {path.stem for path in (tmp_path / "recording" / "cam").glob("*.json")}
            assert files, "the facts of the file it died with are there"
            async with recording(tmp_path, stream_of(camera)) as school:
                await school.until(lambda segments, _: len(segments) >= nth + 3, 40, "further segments")
                segments, gaps = await school.check()
                stems = [str(round(one.start.timestamp() * 1000)) for one in segments]
                assert files <= set(stems)
                assert len(stems) == len(set(stems))
                assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}
                before = [one for one in segments if one.start < killed_at]
                lost_s = (killed_at - before[-1].end).total_seconds()
                print(f"lost of what was being written: {lost_s:.2f} s")
                assert lost_s < LOST_MOST_S
                store, objects = school.store.inner, school.objects
                found: list[Finding] = []
                for check in (
                    unexplained(store, segments[-1].end, 30),
                    audited(
                        OnRecord.RECORDINGS, store, objects, site().id, running_at=lambda: datetime.now(UTC)
                    ),
                    sums(store),
                ):
                    found += [finding async for finding in check]
                assert found == []

    asyncio.run(story())
