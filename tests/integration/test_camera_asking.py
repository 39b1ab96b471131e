"""Who is asked by ONVIF when: nobody waits for another one, and a pause is for the credentials that were refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.secret import SecretSources, resolve
from drivers.cameras.parent import addresses
from drivers.cameras.parent.addresses import Addresses, Found
from drivers.cameras.spec import REFUSED_BACK_OFF_S, CameraSpec, OnvifAddress
from gateway.box.clock import SystemClock
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, healthy, started
from tests.support.raw_http import raw_http
from tests.support.signals import wait_until

RESOLVED = {"stream_url": "rtsp://h/s", "snapshot_url": None, "clock_offset_s": None, "profile": "H264 1x1"}
ASKED = Callable[[Mapping[str, OnvifAddress]], AsyncIterator[dict[str, Any]]]


@asynccontextmanager
async def asking(
    monkeypatch: pytest.MonkeyPatch, answers: ASKED, *cameras: str, clock: SystemClock | None = None
) -> AsyncIterator[tuple[Addresses, dict[str, Found], dict[str, str]]]:
    """A running :class:`Addresses` whose process of asking is ``answers``; what was found, and the last causes."""
    found: dict[str, Found] = {}
    causes: dict[str, str] = {}

    def changed(camera: str, what: Found | None, cause: str) -> None:
        if what is not None:
            found[camera] = what
        causes[camera] = cause

    monkeypatch.setattr(addresses, "_answers", answers)
    async with raw_http(lambda _: b"") as server:
        here = OnvifAddress(host="127.0.0.1", port=server.port, username="admin", password="wrong")
        asked = Addresses(dict.fromkeys(cameras, here), clock or SystemClock(), changed)
        running = asyncio.create_task(asked.run())
        try:
            yield asked, found, causes
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def test_one_that_hangs_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the second question to the other, while the first process is still busy with it."""
    asked: list[list[str]] = []

    async def answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
        asked.append(list(cameras))
        first = sum("good" in each for each in asked) == 1
        if "good" in cameras:
            yield (
                {"id": "good", "error": "busy", "refused": False}
                if first
                else {"id": "good", "resolved": RESOLVED}
            )
        if "bad" in cameras:
            await asyncio.Event().wait()

    async def run() -> None:
        async with asking(monkeypatch, answers, "bad", "good") as (_, found, _causes):
            began = time.monotonic()
            await wait_until(lambda: "good" in found, 10)
            assert time.monotonic() - began < addresses.ALL_S / 2
            assert asked == [["bad", "good"], ["good"]]

    asyncio.run(run())


def test_one_over_which_the_process_dies_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on each is asked by a process of its own."""
    asked: list[list[str]] = []

    async def answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
        asked.append(list(cameras))
        if "bad" not in cameras:
            for camera in cameras:
                yield {"id": camera, "resolved": RESOLVED}

    async def run() -> None:
        async with asking(monkeypatch, answers, "bad", "good", "better") as (_, found, causes):
            await wait_until(lambda: {"good", "better"} <= set(found), 15)
            assert asked[0] == ["bad", "good", "better"]
            assert all(len(each) == 1 for each in asked[1:])
            assert "did not come to an end" in causes["bad"]

    asyncio.run(run())


class Ahead(SystemClock):
    """A clock that can be set ahead: who waits on it for a moment to come finds that it came."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def test_a_pause_is_for_the_credentials_that_were_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not tried again while others are asked twice; new ones are tried at once, and the old ones after ten minutes."""
    tried: list[str] = []
    others: list[str] = []

    async def answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
        for camera, address in cameras.items():
            (tried if camera == "cam" else others).append(address.password)
            if address.password == "right":
                yield {"id": camera, "resolved": RESOLVED}
            else:
                yield {"id": camera, "error": "no", "refused": camera == "cam"}

    async def run() -> None:
        clock = Ahead()
        async with asking(monkeypatch, answers, "cam", "busy", clock=clock) as (asked, found, causes):
            await wait_until(lambda: "not tried again for 10 min" in causes.get("cam", ""), 10)
            for n in (2, 3):
                await wait_until(lambda n=n: len(others) >= n - 1, 10)  # type: ignore[misc]
                clock.ahead_s += addresses.LONGEST_BACK_OFF_S + 1
                await wait_until(lambda n=n: len(others) >= n, 10)  # type: ignore[misc]
            assert tried == ["wrong"]
            clock.ahead_s += REFUSED_BACK_OFF_S
            await wait_until(lambda: len(tried) == 2, 10)
            here = asked._cameras["cam"]
            await wait_until(lambda: not asked._states["cam"].busy, 10)
            asked.correct("cam", replace(here, password="right"))
            await wait_until(lambda: "cam" in found, 10)
            assert tried == ["wrong", "wrong", "right"]

    asyncio.run(run())


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("resolved", [True, False])
def test_an_answer_to_credentials_that_were_corrected_meanwhile_is_none(
    resolved: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old ones pause nothing and find nothing: the new ones are asked with at once."""
    tried: list[str] = []
    corrected = asyncio.Event()

    async def answers(cameras: Mapping[str, OnvifAddress]) -> AsyncIterator[dict[str, Any]]:
        for camera, address in cameras.items():
            tried.append(address.password)
            if address.password == "right":
                yield {"id": camera, "resolved": {**RESOLVED, "profile": "of the right one"}}
            elif resolved:
                await corrected.wait()
                yield {"id": camera, "resolved": RESOLVED}
            else:
                await corrected.wait()
                yield {"id": camera, "error": "no", "refused": refused}

    async def run() -> None:
        async with asking(monkeypatch, answers, "cam") as (asked, found, causes):
            await wait_until(lambda: tried == ["wrong"], 10)
            asked.correct("cam", replace(asked._cameras["cam"], password="right"))
            corrected.set()
            await wait_until(lambda: "cam" in found, 10)
            assert tried == ["wrong", "right"]
            assert found["cam"].profile == "of the right one"
            assert causes == {"cam": ""}

    asyncio.run(run())


def test_a_password_corrected_in_its_file_is_tried_at_once(tmp_path: Path) -> None:
    """By ONVIF, by the stream and for snapshots, with no restart."""
    camera, file = SimulatedCamera(name="cam"), tmp_path / "password"
    file.write_text("wrong\n", "utf-8")
    secret = resolve({"file": "password"}, SecretSources(environ={}, base_dir=tmp_path))

    async def run() -> None:
        async with started(camera):
            spec = CameraSpec(
                id="cam",
                onvif=OnvifAddress(
                    host="127.0.0.1",
                    port=camera.onvif_port,
                    username=camera.username,
                    password=secret.reveal(),
                ),
                reread_password=lambda: secret.again().reveal(),
            )
            async with banked([spec], tmp_path) as bank:
                await wait_until(lambda: "refuses user name or password" in bank.health()["cam"].cause, 20)
                file.write_text(f"{camera.password}\n", "utf-8")
                await healthy(bank, timeout_s=40)
                assert (await bank.fetch_snapshot("cam")).source == "onvif"

    asyncio.run(run())


def test_what_hostile_cameras_cost_the_process_that_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """Eight at once, each with another evil: the good one is answered all the same, and the memory is that of a small process."""
    envelope = b"<e:Envelope xmlns:e='x'><e:Body>"
    ok = b"HTTP/1.1 200 OK\r\n"
    bomb = gzip.compress(envelope + b"<a/>" * (64 << 20), 9)
    evils: list[Sequence[bytes]] = [
        [ok + b"Content-Encoding: gzip\r\n\r\n" + bomb],
        [ok + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(bytes(256 << 20), 9)],
        [ok + b"\r\n" + envelope + b"<a/>" * 250_000],
        [ok + b"\r\n" + envelope + b"<a>" * 300_000],
        [ok + b"\r\n" + envelope] + [b"<a b='c'/>" * 8192] * 1000,
        [ok + b"Transfer-Encoding: chunked\r\n\r\n"] + [b"1\r\n<\r\n" * 4096] * 1000,
        [b"HTTP/1.1 200 OK\r\nX: "] + [b"y" * 65536] * 1000,
        [ok + b"\r\n" + envelope + b"<" + b"n" * 900_000 + b"/>"],
    ]

    async def run() -> None:
        async with AsyncExitStack() as stack:
            camera = await stack.enter_async_context(SimulatedCamera(name="good"))
            servers = [await stack.enter_async_context(raw_http(lambda _, evil=evil: evil)) for evil in evils]
            login = {"username": camera.username, "password": camera.password}
            cameras = [
                {"id": f"bad-{n}", "host": "127.0.0.1", "port": s.port, **login}
                for n, s in enumerate(servers)
            ]
            cameras.append({"id": "good", "host": "127.0.0.1", "port": camera.onvif_port, **login})
            began = time.monotonic()
            answers, peak = await asyncio.to_thread(_asked_in_a_process, json.dumps(cameras), began)
        good_s, good = answers["good"]
        with capsys.disabled():
            print(
                f"\nthe good camera after {good_s:.1f} s beside {len(evils)} evil ones; {peak >> 20} MiB at most"
            )
        assert "resolved" in good, good
        assert len(answers) == len(cameras)
        assert all("error" in answer for id_, (_, answer) in answers.items() if id_ != "good")
        assert good_s < 8
        assert 0 < peak < 200 << 20

    asyncio.run(run())


def _asked_in_a_process(question: str, began: float) -> tuple[dict[str, tuple[float, dict[str, Any]]], int]:
    """When each answer came, and what it was; and the most memory that the process ever had, in bytes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(addresses.__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "drivers.cameras.onvif.resolve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # harmless where it has ended
        process.stdin.write(question.encode() + b"\n")
        process.stdin.flush()
        answers, peak = {}, 0
        for line in process.stdout:
            answer = json.loads(line)
            answers[str(answer["id"])] = (time.monotonic() - began, answer)
            with contextlib.suppress(OSError, IndexError):  # it may be gone by now
                status = Path(f"/proc/{process.pid}/status").read_text("ascii")
                peak = max(peak, int(status.split("VmHWM:")[1].split()[0]) * 1024)
        assert process.wait(10) == 0
    return answers, peak
