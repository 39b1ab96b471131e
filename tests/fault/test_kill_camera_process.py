"""The camera process is killed while an alarm is gathering: the alert does not notice, the evidence says what is missing."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.processes import Campus, Gateway, alive, any_broker, children, site_yaml, topic, wait_for

NORMAL_ALERT_S = 0.5  # a few milliseconds on a quiet machine; far from any retry or restart
BACK_WITHIN_S = 3.0


@pytest.fixture
def school(tmp_path: Path) -> Iterator[tuple[Gateway, Campus, SimulatedButton]]:
    """A running gateway with two cameras whose rings are full enough for an alarm."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, cameras=2) as campus,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(broker=broker, centre=campus.centre_url, points=2, cameras=campus.cameras)
        with Gateway(tmp_path, site) as gateway:
            wait_for(lambda: gateway.rings_hold(5), within_s=40, what="both rings hold 5 s")
            yield gateway, campus, button


@pytest.mark.slow
def test_killed_in_an_alarm_it_costs_neither_the_alert_nor_the_truth(
    school: tuple[Gateway, Campus, SimulatedButton],
) -> None:
    """The alert is as fast as ever, the process is back within 3 s, and the manifest claims what exists and explains the rest."""
    gateway, campus, button = school
    pressed = button.press(topic(0))
    alarm = wait_for(campus.alarms, within_s=5, what="the first alarm at the centre")[0]
    assert alarm["raised"]["taken_s"] - pressed.published_s < NORMAL_ALERT_S
    time.sleep(1.5)  # into the window: `whole` is being written, `after` is still to come
    (worker,) = _camera_processes(gateway)
    killed_s = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    second = button.press(topic(1))
    wait_for(lambda: len(campus.alarms()) == 2, within_s=5, what="the second alarm at the centre")
    taken_s = campus.alarms()[0]["raised"]["taken_s"]
    assert taken_s - second.published_s < NORMAL_ALERT_S
    wait_for(
        lambda: [p for p in _camera_processes(gateway) if p != worker],
        within_s=BACK_WITHIN_S,
        what="another camera process",
    )
    print(
        f"alert {taken_s - second.published_s:.3f} s, process back after {time.monotonic() - killed_s:.2f} s"
    )
    wait_for(
        lambda: len(gateway.healthy_cameras()) == 2,
        within_s=20,
        what="both cameras deliver again",
    )
    print(f"both cameras deliver after {time.monotonic() - killed_s:.2f} s")
    assert not alive(worker)
    wait_for(
        lambda: all(a["manifests"] for a in campus.alarms()), within_s=40, what="the manifests of both alarms"
    )
    for each in campus.alarms():
        wait_for(
            lambda i=each["id"]: all(e["fetched_s"] or e["problem"] for e in _of(campus, i)["evidence"]),
            within_s=20,
            what="what was offered is fetched",
        )
        _check_manifest(_of(campus, each["id"]))
    # Killed in the middle, the first alarm cannot be whole: an honest manifest says so somewhere.
    first = _of(campus, alarm["id"])
    assert any(item["reason"] for item in first["manifests"][-1]["data"]["items"])


def _camera_processes(gateway: Gateway) -> list[int]:
    found = []
    for pid in children(gateway.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        if b"drivers.cameras.worker" in words and alive(pid):
            found.append(pid)
    return found


def _of(campus: Campus, alarm: str) -> dict[str, Any]:
    return next(a for a in campus.alarms() if a["id"] == alarm)


def _check_manifest(alarm: dict[str, Any]) -> None:
    """Everything asked for is listed; claimed items were fetched with the digest told; missing ones have a reason."""
    items = alarm["manifests"][-1]["data"]["items"]
    offered = {e["id"]: e for e in alarm["evidence"]}
    cameras = {c["id"] for c in alarm["raised"]["data"]["cameras"]}
    asked = {(i["camera"], i["kind"], i["moment"]) for i in items}
    for kind, moment in (
        ("still", "press"),
        ("still", "before"),
        ("still", "after"),
        ("clip", "before"),
        ("clip", "whole"),
    ):
        for camera in cameras:
            assert (camera, kind, moment) in asked
    for item in items:
        if item["evidence"] is None:
            assert item["reason"], item
            continue
        kept = offered[item["evidence"]]
        assert kept["problem"] is None, kept
        content = Path(kept["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == kept["announced"]["sha256"]
        assert len(content) == kept["announced"]["bytes"]
        assert kept["decodes"] is not False, kept
