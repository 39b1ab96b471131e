"""A seeded plan of faults on a button, a camera and the centre, with a gateway among them that has to live with all of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from simulators.faults import read_plan
from tests.support.processes import Broker, Campus, Gateway, site_yaml, topic, wait_for

SEED = 7  # the centre trickles its answers, resets and refuses connections; the button plays nearly every fault it has
MINUTES = 0.8
POINTS = 40
LOST = {"drop", "cut"}  # what no receiver can take for a press


@pytest.mark.slow
def test_every_press_of_a_plan_of_faults_is_one_alarm_at_the_centre(tmp_path: Path) -> None:
    """Delayed, doubled, bounced, overtaken, kept or with a wrong clock, each press that arrived is received once."""
    with (
        Broker(tmp_path) as broker,
        Campus(tmp_path, cameras=1) as campus,
        Gateway(
            tmp_path,
            site_yaml(broker=broker.url, centre=campus.centre_url, points=POINTS, cameras=campus.cameras),
        ) as gateway,
    ):
        wait_for(lambda: gateway.rings_hold(5), within_s=40, what="the ring holds 5 s")
        wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="the plan of the site is out")
        words = ["--seed", str(SEED), "--minutes", str(MINUTES), "--simulators", "button,camera-1,centre"]
        words += ["--camera", f"http://127.0.0.1:{campus.cameras[0]['onvif_port']}"]
        words += ["--centre", campus.page, "--broker", broker.url]
        words += [word for n in range(POINTS) for word in ("--topic", topic(n))]
        played = subprocess.run(
            [sys.executable, "-m", "simulators", "faults", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert played.returncode == 0, played.stderr
        print(played.stdout, played.stderr, sep="\n")
        presses = [line.fault for line in read_plan(played.stdout) if line.simulator == "button"]
        assert len(presses) <= POINTS
        assert {"duplicate", "bounce", "reorder", "retained", "delay", "skew", "cut"} <= set(presses)
        arrived = {f"p-{n}" for n, fault in enumerate(presses) if fault not in LOST}
        wait_for(
            lambda: (
                {a["raised"]["data"]["point"]["id"] for a in campus.alarms() if a["manifests"]} == arrived
            ),
            within_s=40,
            what="the manifest of every alarm",
        )
        wait_for(lambda: gateway.healthy_cameras() == ["cam-1"], within_s=30, what="the camera is well again")
        wait_for(lambda: gateway.undelivered() == 0, within_s=40, what="nothing undelivered")
        alarms = campus.alarms()
        assert Counter(alarm["raised"]["data"]["point"]["id"] for alarm in alarms) == Counter(arrived)
        assert {alarm["presses"] for alarm in alarms} == {1}
        assert len(gateway.alarms()) == len(arrived)
        assert campus.state()["problems"] == []
