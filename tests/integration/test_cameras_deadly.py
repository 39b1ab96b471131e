"""A camera the camera process dies of, whatever it sends: it is named and left out, and the cameras beside it go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.cameras.parent import suspects
from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.domain.fault import FaultKind
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started
from tests.support.signals import wait_until

DEADLY = """
import os, signal
try:
    import av
except ImportError:
    av = None
if av is not None:
    _open = av.open

    def _deadly(file, *args, **kwargs):
        try:
            with open({flag!r}) as said:
                port, number = said.read().split()
            if f":{{port}}/" in str(file):
                os.kill(os.getpid(), int(number))
        except (OSError, ValueError):
            pass
        return _open(file, *args, **kwargs)

    av.open = _deadly
"""


@pytest.mark.parametrize(
    ("number", "how", "away"), [(9, "signal 9", False), (11, "signal 11", False), (9, "signal 9", True)]
)
def test_the_camera_the_process_dies_of_is_named_and_left_out(
    number: int, how: str, away: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened with the others it kills the process each time, as the kernel does where memory runs out: it alone is
    left out, the others are recorded and give their stills, and both the camera and the process are faults until it is well. Also
    beside one that is ``away``: it takes connections, says nothing, and is being opened nearly always."""
    flag = tmp_path / "deadly"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(DEADLY.format(flag=str(flag)))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(suspects, "FIRST_PAUSE_S", 8.0)
    monkeypatch.setattr(suspects, "WELL_S", 3.0)
    cameras = [SimulatedCamera(name=name, width=320, height=180, fps=10) for name in ("gate", "bad", "yard")]

    async def story() -> None:
        with contextlib.ExitStack() as stack:
            await told(stack)

    async def told(stack: contextlib.ExitStack) -> None:
        async with started(*cameras):
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/s"
            absent = [CameraSpec(id="away", stream=StreamAddress(url=url), record=True)] if away else []
            flag.write_text(f"{cameras[1].rtsp_port} {number}")
            async with banked(
                [*absent, *(by_stream(camera, record=True) for camera in cameras)],
                tmp_path / "spool",
                recordings=tmp_path / "recording",
            ) as bank:
                await wait_until(
                    lambda: (
                        f"opening the stream of this camera (the camera process ended ({how}"
                        in bank.health()["bad"].cause
                    ),
                    60,
                    f"it is named: {bank.health()}",
                )
                await healthy(bank, "gate", "yard", timeout_s=20)
                for name in ("gate", "yard"):
                    still = await bank.take_still(name, datetime.now(UTC))
                    assert abs(still.offset_ms) < 1000
                    known = bank.health()[name].recorded_until
                    await wait_until(
                        lambda name=name, known=known: bank.health()[name].recorded_until != known,
                        15,
                        "recorded",
                    )
                assert not bank.health()["bad"].healthy
                if bank.restarts >= suspects.OFTEN:
                    assert "of bad" in bank.causes[FaultKind.CAMERA, "camera process"]
                restarts = bank.restarts
                assert restarts <= (6 if away else 5)
                flag.unlink()
                since = bank.health()["bad"].since
                await wait_until(
                    lambda: "tried again now" in bank.health()["bad"].cause, 60, "it is tried again"
                )
                assert bank.health()["bad"].since == since
                await wait_until(lambda: bank.health()["bad"].healthy, 40, "it is well")

    asyncio.run(story())
