"""The spool takes no recordings, for whatever cause: a fault in words within ten seconds, a gap in the ledger, and recording goes
on by itself when the spool is well."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.domain.fault import FaultKind
from tests.support.processes import missing, tool
from tests.support.recorder import School, recording, simulated, stream_of
from tests.support.signals import wait_until

TOLD_WITHIN_S = 10.0
BUSY_S = 4.0
"""What a busy machine is given beyond a promise."""

Undo = Callable[[], None]


def a_file_in_its_place(spool: Path) -> Undo:
    aside = spool.with_name("aside")
    spool.rename(aside)
    spool.write_text("no folder")

    def undo() -> None:
        spool.unlink()
        aside.rename(spool)

    return undo


def the_cameras_own_folder_a_file(spool: Path) -> Undo:
    return a_file_in_its_place(spool / "cam")


def a_link_to_nowhere(spool: Path) -> Undo:
    aside = spool.with_name("aside")
    spool.rename(aside)
    spool.symlink_to(spool.with_name("not there"))

    def undo() -> None:
        spool.unlink()
        aside.rename(spool)

    return undo


def a_link_to_itself(spool: Path) -> Undo:
    aside = spool.with_name("aside")
    spool.rename(aside)
    spool.symlink_to(spool)

    def undo() -> None:
        spool.unlink()
        aside.rename(spool)

    return undo


def not_to_be_written(spool: Path) -> Undo:
    if os.geteuid() == 0:
        missing("root may write everywhere")
    shutil.rmtree(spool / "cam")
    spool.chmod(0o555)
    return lambda: spool.chmod(0o755)


def mounted(spool: Path, options: str) -> Undo:
    """Another disk over it."""
    if os.geteuid() != 0:
        missing("mounting a disk needs root")
    mount = tool("mount", "mount")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(spool)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        missing(f"no disk can be mounted ({done.stderr.strip()})")

    def undo() -> None:
        subprocess.run([tool("umount", "mount"), "-l", str(spool)], check=True, timeout=20)

    return undo


REFUSED: dict[str, Callable[[Path], Undo]] = {
    "a file in its place": a_file_in_its_place,
    "the camera's own folder is a file": the_cameras_own_folder_a_file,
    "a link to nowhere": a_link_to_nowhere,
    "a link to itself": a_link_to_itself,
    "not to be written": not_to_be_written,
    "a disk that is read only over it": lambda spool: mounted(spool, "ro"),
    "a disk without a free file": lambda spool: mounted(spool, "nr_inodes=1"),
    "a disk without room": lambda spool: mounted(spool, "size=4k"),
}


@contextmanager
def refused(kind: str, spool: Path) -> Iterator[None]:
    """While this lasts nothing can be recorded."""
    undo = REFUSED[kind](spool)
    try:
        yield
    finally:
        undo()


def told(school: School) -> str:
    """The fault of the camera's recording, empty where there is none."""
    return school.stage.causes.get((FaultKind.CAMERA, "cam recording"), "")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.needs_root) if "disk" in kind else kind for kind in REFUSED],
)
def test_a_spool_that_takes_nothing_is_a_fault_and_heals_by_itself(kind: str, tmp_path: Path) -> None:
    """It names the camera, where, and what the system said; afterwards every moment is in a segment or in the gap."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
            await school.until(lambda segments, _: len(segments) >= 1, 20, "a segment")
            spool = tmp_path / "recording"
            began_s = time.monotonic()
            with refused(kind, spool):
                await wait_until(lambda: told(school) != "", 30, f"a fault: {school.bank.health()['cam']}")
                took_s = time.monotonic() - began_s
                await wait_until(
                    lambda: "recording" in told(school) and "cannot be" in told(school), 10, told(school)
                )
                assert "南门枪机 (cam" in told(school)
                assert str(spool) in told(school)
            count = len((await school.ledger())[0])
            await school.until(
                lambda segments, gaps: len(segments) > count + 1 and all(g.end for g in gaps),
                40,
                "it goes on",
            )
            await wait_until(lambda: told(school) == "", 10, "the fault is gone")
            _, gaps = await school.ledger()
            assert any((gap.end or gap.start) - gap.start for gap in gaps)
            assert took_s < TOLD_WITHIN_S + BUSY_S

    asyncio.run(story())


@pytest.mark.parametrize("what", ["all of it", "the camera's folder", "the file being written"])
def test_what_is_removed_while_it_is_written_is_noticed(what: str, tmp_path: Path) -> None:
    """Bytes written into a file that was removed are nowhere: that is noticed within seconds, and another file begun."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera), segment_s=60.0):
            spool = tmp_path / "recording"
            await wait_until(lambda: bool(list((spool / "cam").glob("*.part"))), 20, "a file has begun")
            first = {path.name for path in (spool / "cam").glob("*.part")}
            if what == "all of it":
                shutil.rmtree(spool)
            elif what == "the camera's folder":
                shutil.rmtree(spool / "cam")
            else:
                next((spool / "cam").glob("*.part")).unlink()
            removed_s = time.monotonic()
            await wait_until(
                lambda: any(path.name not in first for path in (spool / "cam").glob("*.part")),
                30,
                "another file has begun",
            )
            assert time.monotonic() - removed_s < TOLD_WITHIN_S + BUSY_S

    asyncio.run(story())


def test_a_disk_whose_room_cannot_be_measured_stops_no_watch(tmp_path: Path) -> None:
    """Asked for its room it does not answer, while nothing is recorded: both are told."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
            await school.until(lambda segments, _: len(segments) >= 1, 20, "a segment")
            hangs = True

            def measured() -> int:
                while hangs:
                    time.sleep(0.05)
                return 10**12

            school.stage.gap_watch._spool._free_bytes = measured
            with refused("a file in its place", tmp_path / "recording"):
                await wait_until(lambda: told(school) != "", 20, "a fault")
                assert "does not answer" in school.stage.causes[FaultKind.DISK, "recordings unmeasured"]
            hangs = False
            await wait_until(lambda: school.stage.causes == {}, 30, "all is well")

    asyncio.run(story())
