"""The campus command as a child process: one line, a clean end, no orphan."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import av
import pytest

from simulators.centre.signatures import new_secret

_READY_WITHIN_S = 30.0


@contextlib.contextmanager
def campus(
    *words: str, env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Start the command on free ports and read its line; kills it at the end if it is still there."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CENTRE_", "CAM_"))
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-m", "simulators", "campus", "--with-parent"),
            *("--port", "0", "--page-port", "0", "--onvif-port", "0", "--rtsp-port", "0"),
            *words,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment | (env or {}),
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def ended_within(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[int, float, bytes]:
    started_s = time.monotonic()
    status = process.wait(timeout_s)
    assert process.stderr is not None
    return status, time.monotonic() - started_s, process.stderr.read()


def test_starts_answers_and_ends_on_sigterm_while_a_camera_is_watched() -> None:
    """Cameras play and the centre answers at the printed addresses; SIGTERM ends all of it with 0 within 2 s."""
    secrets = {
        "CENTRE_SECRET": new_secret(),
        "CENTRE_DRILL_SECRET": new_secret(),
        "CENTRE_TOKEN": "token",
        "CENTRE_MEDIA_TOKEN": "media-token",
        "CAM_PASSWORD": "secret-of-cameras",
    }
    with campus("--cameras", "2", "--quiet", env=secrets) as (process, line):
        assert [camera["id"] for camera in line["cameras"]] == ["cam-1", "cam-2"]
        assert len({camera["onvif_port"] for camera in line["cameras"]}) == 2
        assert line["centre"]["made_for_this_run"] == {}
        assert line["centre"]["url"].endswith("/campus")
        with urllib.request.urlopen(line["centre"]["page"], timeout=5) as page:
            assert "110 指挥中心" in page.read().decode()
        camera = line["cameras"][0]
        assert camera["password"] == secrets["CAM_PASSWORD"]
        url = camera["rtsp_url"].replace("rtsp://", f"rtsp://{camera['username']}:{camera['password']}@")
        with av.open(url, options={"rtsp_transport": "tcp"}, timeout=10) as stream:
            assert next(stream.decode(video=0)).width > 0
            process.send_signal(signal.SIGTERM)
            status, took_s, error = ended_within(process, 10)
        assert (status, error) == (0, b"")
        assert took_s < 2.0


def test_sigterm_right_after_the_line() -> None:
    """A parent that ends it the moment it has read the line gets 0 as well."""
    with campus("--cameras", "0", "--quiet") as (process, line):
        process.send_signal(signal.SIGTERM)
        assert ended_within(process, 10)[0] == 0
        assert set(line["centre"]["made_for_this_run"]) == {
            "CENTRE_SECRET",
            "CENTRE_DRILL_SECRET",
            "CENTRE_TOKEN",
            "CENTRE_MEDIA_TOKEN",
        }


def test_ends_with_its_parent() -> None:
    """When standard input is closed, as the kernel does for a parent that was killed, it ends within 2 s."""
    with campus("--cameras", "1", "--quiet") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        status, took_s, _ = ended_within(process, 10)
        assert status == 0
        assert took_s < 2.0


def test_busy_ports_move_on() -> None:
    """Preferred ports that are taken are replaced by free ones, and the line says which."""
    with contextlib.ExitStack() as stack:
        taken = []
        for _ in range(4):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            taken.append(str(listener.getsockname()[1]))
        words = [
            "--port",
            taken[0],
            "--page-port",
            taken[1],
            "--onvif-port",
            taken[2],
            "--rtsp-port",
            taken[3],
        ]
        with campus("--cameras", "1", "--quiet", *words) as (_, line):
            printed = json.dumps(line)
            assert not any(f":{port}/" in printed or f": {port}," in printed for port in taken)


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["--auto", "accepted@noon"], {}, "accepted@noon"),
        ([], {"CENTRE_SECRET": "whsec_not base64"}, "webhook secret"),
        ([], {"CENTRE_SECRET": "whsec_QUFB", "CENTRE_DRILL_SECRET": "whsec_QUFB"}, "equal"),
    ],
)
def test_wrong_arguments(words: list[str], env: dict[str, str], said: str) -> None:
    """A script or secret that cannot be used ends it with 2 and says which."""
    done = subprocess.run(
        [sys.executable, "-m", "simulators", "campus", "--cameras", "0", *words],
        capture_output=True,
        timeout=_READY_WITHIN_S,
        env=os.environ | env,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert done.stdout == b""


@pytest.mark.parametrize("command", ["camera", "button", "centre", "campus", "faults"])
def test_help(command: str) -> None:
    """Every command explains itself, with examples."""
    done = subprocess.run(
        [sys.executable, "-m", "simulators", command, "--help"],
        capture_output=True,
        timeout=_READY_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0
    assert f"campus-simulators {command}" in done.stdout.decode()
    assert "examples" in done.stdout.decode()
