"""What the service manager is told, by a real socket of its kind."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.box.clock import SystemClock
from gateway.box.systemd import Systemd


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens as systemd's, and the address it is known by."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        name = str(Path(folder) / "notify")
        address = name if request.param == "file" else f"@campus-test-{os.getpid()}"
        listening.bind(name if request.param == "file" else "\0" + address[1:])
        listening.settimeout(5)
        yield listening, address


def test_it_is_told_that_all_is_ready_and_that_it_ends(manager: tuple[socket.socket, str]) -> None:
    """And no child finds the address."""
    listening, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "PATH": "/bin"}
    systemd = Systemd(environ)
    assert environ == {"PATH": "/bin"}
    assert systemd.watchdog_s == 60
    systemd.ready()
    assert listening.recv(100) == b"READY=1"
    systemd.ending()
    assert listening.recv(100) == b"STOPPING=1"


def test_the_watchdog_is_told_only_while_a_press_would_be_committed(
    manager: tuple[socket.socket, str],
) -> None:
    """It is silent as long as no commit comes through, and goes on with the next."""
    listening, address = manager
    commits = True

    async def inside() -> None:
        nonlocal commits
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[bytes]()
        listening.setblocking(False)
        loop.add_reader(listening.fileno(), lambda: heard.put_nowait(listening.recv(100)))
        systemd = Systemd({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"})
        watching = asyncio.create_task(systemd.watch(SystemClock(), lambda: commits))
        try:
            for _ in range(3):
                assert await asyncio.wait_for(heard.get(), 5) == b"WATCHDOG=1"
            commits = False
            await asyncio.sleep(0.1)
            while not heard.empty():
                heard.get_nowait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heard.get(), 0.5)
            commits = True
            assert await asyncio.wait_for(heard.get(), 5) == b"WATCHDOG=1"
        finally:
            watching.cancel()
            loop.remove_reader(listening.fileno())

    asyncio.run(inside())


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere/notify"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    """None there, one that is gone, a watchdog of another process: no error, and nothing waits."""
    systemd = Systemd(dict(environ))
    systemd.ready()
    systemd.ending()
    assert systemd.watchdog_s == 0 or "NOTIFY_SOCKET" not in environ
    asyncio.run(asyncio.wait_for(systemd.watch(SystemClock(), lambda: True), 5))
