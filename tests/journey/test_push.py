"""A school that nobody can reach: everything it has to show is PUT at the centre, in order, whole, and told truthfully."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.browser import chromium, opened_page
from tests.support.processes import (
    Broker,
    Campus,
    Gateway,
    any_broker,
    cameras,
    pushing,
    site_yaml,
    topic,
    wait_for,
)

SIZE = ["--width", "320", "--height", "180"]
CAMERAS = 2
ITEMS = CAMERAS * 5  # three stills and two clips each
PLAYING = """() => {
    const video = document.querySelector(".pushed video");
    return video && video.videoWidth > 0 && video.currentTime > 0;
}"""
LATER_THAN = "at => document.querySelector('.pushed video').currentTime > at"


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Campus, Gateway, SimulatedButton]]:
    """Two cameras, a centre that fetches nothing, and a gateway that pushes."""
    folder = tmp_path_factory.mktemp("push")
    with (
        any_broker(folder) as broker,
        Campus(folder, "--no-fetch", "--media-dir", str(folder / "media")) as campus,
        cameras(folder, "live", CAMERAS, *SIZE) as live,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(broker=broker, centre=campus.centre_url, cameras=live, points=4)
        with Gateway(folder, pushing(site, campus.media_url)) as gateway:
            wait_for(lambda: gateway.rings_hold(7), within_s=60, what="every ring is full enough")
            yield campus, gateway, button


def _of_point(campus: Campus, point: int) -> dict[str, Any] | None:
    for alarm in campus.alarms():
        if alarm["raised"] and alarm["raised"]["data"]["point"]["id"] == f"p-{point}":
            return alarm
    return None


@pytest.mark.slow
def test_everything_is_put_told_after_it_and_accounted_for(
    school: tuple[Campus, Gateway, SimulatedButton],
) -> None:
    """Stills within two seconds, each item whole and right before it is told, and a manifest whose every claim is true."""
    campus, gateway, button = school
    button.press(topic(0))
    alarm = wait_for(
        lambda: (found := _of_point(campus, 0)) and found["manifests"] and found,
        within_s=40,
        what="a manifest",
    )
    wait_for(
        lambda: all(e["fetched_s"] for e in _of_point(campus, 0)["evidence"]), within_s=10, what="all judged"
    )
    alarm = _of_point(campus, 0)
    print([(e["announced"]["moment"], e["pushed_s"], e["arrived_s"], e["problem"]) for e in alarm["evidence"]])
    print(alarm["pushed_live"], alarm["live"])
    print(alarm["manifests"][0]["data"])
    print(campus.state()["problems"], gateway.faults())
    detail = gateway.get(f"/api/v1/alarms/{alarm['id']}")
    print(detail["evidence"][0])
    assert False
