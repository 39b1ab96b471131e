"""A thread of the camera process that dies or stands still: noticed within seconds, begun again, and the cameras go on."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.fault import FaultKind
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started
from tests.support.signals import wait_until

NOTICED_WITHIN_S = 10.0
BUSY_S = 4.0

ILL = """
import threading, os, time
_wait = threading.Condition.wait

def _ill(self, timeout=None):
    flag = {flag!r} + threading.current_thread().name
    try:
        with open(flag) as said:
            what = said.read()
        os.unlink(flag)
    except OSError:
        return _wait(self, timeout)
    if what == "hang":
        time.sleep(1e6)
    error, _, text = what.partition(":")
    raise {{"ValueError": ValueError, "OSError": OSError, "MemoryError": MemoryError}}[error](text)

threading.Condition.wait = _ill
"""


class IllThreads:
    """Of processes started after this a thread can be made ill as it waits next."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._flag = str(folder / "ill-")
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(ILL.format(flag=self._flag))
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    def make(self, thread: str, what: str) -> None:
        """``what`` is ``hang``, or an error's name, a colon, and its text."""
        fresh = Path(self._flag + "fresh")
        fresh.write_text(what)
        fresh.rename(self._flag + thread)


NEGATIVE = "ValueError:sleep length must be non-negative"


@pytest.mark.parametrize(
    ("thread", "what"),
    [
        ("recording", NEGATIVE),
        ("recording-sync", NEGATIVE),
        ("recording-sync", "OSError:[Errno 22] Invalid argument"),
        ("health", NEGATIVE),
        ("still-deadlines", "MemoryError:"),
        ("still-0", NEGATIVE),
        ("clip-deadlines", NEGATIVE),
        ("clip-1", "OSError:[Errno 22] Invalid argument"),
        ("meter", NEGATIVE),
    ],
)
def test_a_thread_that_dies_is_told_and_begun_again(
    thread: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sleep refused after a step of the clock, or memory that ran out: all goes on in the same process."""
    ill = IllThreads(tmp_path, monkeypatch)
    camera = SimulatedCamera(name="cam", width=320, height=180, fps=10)

    async def story() -> None:
        async with (
            started(camera),
            banked(
                [by_stream(camera, record=True)], tmp_path / "spool", recordings=tmp_path / "r", segment_s=3
            ) as bank,
        ):
            await healthy(bank)
            process = bank.process_id
            subject = (FaultKind.CAMERA, f"thread {thread}")
            ill.make(thread, what)
            began_s = time.monotonic()
            while subject not in bank.causes:
                assert time.monotonic() - began_s < NOTICED_WITHIN_S + BUSY_S, bank.causes
                await bank.take_still("cam", datetime.now(UTC))  # threads that wait for work get some
                clip = tmp_path / "spool" / "clip.mp4"
                await bank.cut_clip(
                    "cam", datetime.fromtimestamp(time.time() - 1, UTC), datetime.now(UTC), clip
                )
            assert "ended by an error" in bank.causes[subject]  # which one is the log's matter
            assert "was begun again" in bank.causes[subject]
            files = len(list((tmp_path / "r" / "cam").glob("*.json")))
            await wait_until(
                lambda: len(list((tmp_path / "r" / "cam").glob("*.json"))) > files + 1, 20, "it is recorded"
            )
            await bank.take_still("cam", datetime.now(UTC))
            assert (bank.process_id, bank.restarts) == (process, 0)

    asyncio.run(story())


def test_a_process_that_tells_nothing_of_its_cameras_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, but the thread that tells how the cameras are stands still: what was told last must not stay for good."""
    ill = IllThreads(tmp_path, monkeypatch)
    camera = SimulatedCamera(name="cam", width=320, height=180, fps=10)

    async def story() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path / "spool") as bank:
            await healthy(bank)
            process = bank.process_id
            ill.make("health", "hang")
            await wait_until(lambda: bank.process_id not in (process, None), 20, "another process")
            await healthy(bank)

    asyncio.run(story())


def test_a_recorder_that_stands_still_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that records waits for a lock nobody gives back, as on a disk that hangs."""
    ill = IllThreads(tmp_path, monkeypatch)
    camera = SimulatedCamera(name="cam", width=320, height=180, fps=10)

    async def story() -> None:
        async with (
            started(camera),
            banked([by_stream(camera, record=True)], tmp_path / "spool", recordings=tmp_path / "r") as bank,
        ):
            await healthy(bank)
            await wait_until(lambda: bank.health()["cam"].recorded_until is not None, 20, "it is recorded")
            ill.make("recording", "hang")
            await wait_until(
                lambda: "had no turn" in (bank.health()["cam"].recording or ""), 20, "it is told"
            )
            assert "had no turn" in bank.causes[FaultKind.DISK, "recordings hang"]

    asyncio.run(story())
