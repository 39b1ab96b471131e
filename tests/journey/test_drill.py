"""A drill as a technician makes one: by command on the box, and by pressing an armed contact."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from simulators.button import SimulatedButton
from tests.support.processes import (
    ROOT,
    SECRETS,
    Campus,
    Gateway,
    any_broker,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)


def drills(campus: Campus) -> list[dict[str, Any]]:
    """The drills the centre knows."""
    return [alarm for alarm in campus.alarms() if alarm["drill"]]


def test_a_drill_goes_the_whole_way_and_stays_on_its_plane(tmp_path: Path) -> None:
    """By command: received, answered by the centre on its own path, pictures and manifest, exit 0; no alarm anywhere."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, "--auto", "accepted+0.2,closed@manifest+0.2", cameras=1) as campus,
        Gateway(
            tmp_path, site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        ) as gateway,
    ):
        wait_for(lambda: gateway.rings_hold(5), within_s=40, what="the ring holds 5 s")
        words = gateway.command("drill", "--point", "p-0")[4:]
        done = run_gateway(*words)
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        assert "received by the centre after" in done.stdout
        (drill,) = wait_for(
            lambda: [d for d in gateway.get("/api/v1/drills")["drills"] if d["state"] == "closed"],
            within_s=40,
            what="the centre has closed the drill",
        )
        assert drill["drill"] == "drill"
        assert gateway.alarms() == []
        found = gateway.get(f"/api/v1/drills/{drill['id']}")
        types = {delivery["type"] for delivery in found["deliveries"]}
        assert types == {"drill.raised", "drill.evidence", "drill.manifest"}
        (known,) = drills(campus)
        assert known["id"] == drill["id"]
        assert [a for a in campus.alarms() if not a["drill"]] == []
        unknown = run_gateway(*gateway.command("drill", "--point", "p-9")[4:])
        assert (unknown.returncode, "no point 'p-9'" in unknown.stderr) == (2, True)
    gone = run_gateway(*words)
    assert (gone.returncode, "no gateway runs on" in gone.stderr) == (2, True)


def test_only_the_next_press_of_an_armed_point_is_a_drill(tmp_path: Path) -> None:
    """The command says when to press; that press is a drill, the next one and another point's are alarms."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path) as campus,
        SimulatedButton(broker) as button,
        Gateway(tmp_path, site_yaml(broker=broker, centre=campus.centre_url, points=2)) as gateway,
    ):
        with subprocess.Popen(
            [*gateway.command("drill", "--point", "p-0", "--arm", "60")],
            stdout=subprocess.PIPE,
            text=True,
            env={**SECRETS, "PYTHONPATH": str(ROOT)},
        ) as arming:
            assert arming.stdout is not None
            for line in arming.stdout:
                if "press now" in line:
                    break
            button.press(topic(1))
            wait_for(
                lambda: len(gateway.alarms()) == 1, within_s=10, what="the other point's press is an alarm"
            )
            button.press(topic(0))
            rest = arming.stdout.read()
            assert arming.wait(20) == 0
            assert "pressed: drl_" in rest
        button.press(topic(0))
        alarms = wait_for(
            lambda: found if len(found := gateway.alarms()) == 2 else None,
            within_s=10,
            what="the press after the drill is an alarm",
        )
        assert {a["point"]["id"] for a in alarms} == {"p-0", "p-1"}
        assert len(drills(campus)) == 1
