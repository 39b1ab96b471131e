"""After a kill -9, a restart and a clean stop ``campus-gateway fsck`` finds nothing, on files and on a store that locks."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.journey.test_s3 import _environ, _site
from tests.support.clock import run
from tests.support.processes import (
    Campus,
    Gateway,
    any_broker,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)
from tests.support.s3_stores import S3Store

RECORDED_S = 6  # in the file that the kill tears, at least


def fsck(gateway: Gateway, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """The command beside or after a gateway: exit code, findings, and what it said besides."""
    done: subprocess.CompletedProcess[str] = run_gateway(
        *("fsck", "--config", str(gateway.config), "--data-dir", str(gateway.data), "--json", *words),
        environ=gateway.environ,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done.returncode, lines[:-1], done.stderr


def recorded(site: str) -> str:
    """The site with its camera recorded round the clock."""
    assert site.count(", stream: {") == 1
    return site.replace(", stream: {", ", record: continuous, stream: {")


@contextmanager
def on_files(folder: Path, campus: Campus, broker: str) -> Iterator[Gateway]:
    site = site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
    with Gateway(folder, recorded(site)) as gateway:
        yield gateway


@contextmanager
def in_a_bucket(folder: Path, campus: Campus, broker: str, s3: S3Store) -> Iterator[Gateway]:
    bucket = f"school-{random.SystemRandom().randrange(10**9)}"
    assert run(s3.objects(bucket).make_bucket())
    site = _site(s3, bucket, broker=broker, centre=campus.centre_url, cameras=campus.cameras)
    with Gateway(folder, recorded(site), environ=_environ(s3)) as gateway:
        yield gateway


@pytest.mark.slow
@pytest.mark.parametrize("kept_in", ["files", "a bucket that locks"])
def test_a_kill_a_restart_and_a_clean_stop_leave_nothing_to_find(
    request: pytest.FixtureRequest, tmp_path: Path, kept_in: str
) -> None:
    """Killed while it records and while the first stills of an alarm come in; looked at beside the gateway, which it only reads,
    and after the stop with every lock asked for and every byte read."""
    with any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        at_work = (
            on_files(tmp_path, campus, broker)
            if kept_in == "files"
            else in_a_bucket(tmp_path, campus, broker, request.getfixturevalue("ceph"))
        )
        with at_work as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(RECORDED_S), within_s=60, what="the ring holds some seconds")
            button.press(topic(0))
            wait_for(campus.alarms, within_s=10, what="the alert")
            gateway.kill()
            gateway.start()
            wait_for(lambda: _recorded_s(gateway) >= RECORDED_S - 2, within_s=60, what="the torn file's row")
            wait_for(lambda: campus.alarms()[0]["manifests"], within_s=60, what="the manifest")
            beside = fsck(gateway, "--locks")
            assert beside[:2] == (0, []), beside[2]
            assert "beside a running gateway" in beside[2]
            assert gateway.stop()[0] == 0
            for words in ((), ("--locks", "--hashes"), ("--read-only",)):
                code, found, told = fsck(gateway, *words)
                assert (code, found) == (0, []), told
            assert "no gateway runs here" in told


def _recorded_s(gateway: Gateway) -> float:
    """How much of the camera is registered."""
    now = datetime.now(UTC)
    (camera,) = gateway.get("/api/v1/cameras")["cameras"]
    span = f"from={(now - timedelta(hours=1)):%Y-%m-%dT%H:%M:%SZ}&to={now:%Y-%m-%dT%H:%M:%SZ}"
    minutes = gateway.get(f"/api/v1/cameras/{camera['id']}/recordings?{span}")["minutes"]
    return sum(float(minute["covered_ms"]) for minute in minutes) / 1000
