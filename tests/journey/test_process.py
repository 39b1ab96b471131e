"""The gateway as a process: how it ends, what it leaves behind, and with which site file it runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from simulators.button import SimulatedButton
from tests.support.processes import (
    FAULT_GONE_S,
    Campus,
    Gateway,
    alive,
    any_broker,
    children,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)

ENDS_WITHIN_S = 5.0


@pytest.mark.slow
def test_sigterm_ends_everything_also_in_an_alarm(tmp_path: Path) -> None:
    """At rest and with clips under way it ends within 5 s with exit 0 and leaves no process; then it goes on."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, cameras=2) as campus,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        gateway = Gateway(tmp_path, site)
        gateway.start()
        wait_for(lambda: len(gateway.healthy_cameras()) == 2, within_s=30, what="both cameras deliver")
        before = children(gateway.pid)
        assert before, "there is a camera process"
        code, took_s = gateway.stop()
        print(f"at rest: exit {code} after {took_s:.2f} s")
        assert code == 0
        assert took_s < ENDS_WITHIN_S
        assert not [pid for pid in before if alive(pid)]

        gateway.start()
        wait_for(lambda: gateway.rings_hold(3), within_s=30, what="both rings hold 3 s")
        button.press(topic(0))
        wait_for(campus.alarms, within_s=5, what="the alarm at the centre")
        spool = gateway.data / "spool"
        wait_for(lambda: list(spool.glob("*.mp4")), within_s=5, what="a clip under way")
        before = children(gateway.pid)
        code, took_s = gateway.stop()
        print(f"in an alarm: exit {code} after {took_s:.2f} s")
        assert code == 0
        assert took_s < ENDS_WITHIN_S
        assert not [pid for pid in before if alive(pid)]

        with gateway:
            alarm = wait_for(
                lambda: next((a for a in campus.alarms() if a["manifests"]), None),
                within_s=40,
                what="the manifest after the restart",
            )
            for item in alarm["manifests"][-1]["data"]["items"]:
                assert item["evidence"] or item["reason"], item
            assert len(campus.alarms()) == 1


@pytest.mark.slow
def test_a_killed_gateway_leaves_no_camera_process(tmp_path: Path) -> None:
    """kill -9 of the gateway ends its camera process within seconds, so a restart finds the cameras free."""
    with any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        site = site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        gateway = Gateway(tmp_path, site)
        gateway.start()
        wait_for(gateway.healthy_cameras, within_s=30, what="the camera delivers")
        workers = children(gateway.pid)
        assert workers
        gateway.kill()
        killed_s = time.monotonic()
        wait_for(lambda: not [p for p in workers if alive(p)], within_s=5, what="no process is left")
        print(f"no process left {time.monotonic() - killed_s:.2f} s after kill -9")
        wait_for(lambda: campus.camera_status(0)["playing"] == 0, within_s=5, what="the camera is free")


def test_ctrl_c_is_an_ordinary_end(tmp_path: Path) -> None:
    """SIGINT, as a technician at a terminal sends it, ends with exit 0 as well."""
    with Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, site_yaml(broker="embedded", centre=campus.centre_url))
        gateway.start()
        os.kill(gateway.pid, signal.SIGINT)
        assert gateway.child is not None
        assert gateway.child.process.wait(ENDS_WITHIN_S) == 0
        gateway.child.kill()


def test_a_refused_site_file_does_not_disarm_the_school(tmp_path: Path) -> None:
    """A new file that is refused: it runs on the last accepted copy, with a fault that names the key, and takes presses."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus, SimulatedButton(broker) as button:
        good = site_yaml(broker=broker, centre=campus.centre_url)
        gateway = Gateway(tmp_path, good)
        gateway.start()
        assert gateway.stop()[0] == 0
        gateway.config.write_text(good.replace("zone: b1-301", "zone: gone"))
        with gateway:
            faults = wait_for(
                lambda: {k: v for k, v in gateway.faults().items() if k[0] == "site"},
                within_s=10,
                what="a fault",
            )
            (cause,) = faults.values()
            assert "points[0].zone" in cause
            button.press(topic(0))
            wait_for(campus.alarms, within_s=5, what="the press")
            assert [f["kind"] for f in campus.faults()] == ["site"]
        gateway.config.write_text(good)
        with gateway:
            wait_for(
                lambda: not gateway.faults(),
                within_s=FAULT_GONE_S,
                what="the fault is gone with the right file",
            )


def test_without_an_accepted_copy_a_refused_file_ends_it(tmp_path: Path) -> None:
    """Refused, and nothing accepted before: exit 2, with the reason."""
    site = tmp_path / "site.yaml"
    site.write_text("site: {id: UPPER}\n")
    done = run_gateway("run", "--config", str(site))
    assert done.returncode == 2
    assert f"{site}:1: site.id" in done.stderr


def test_a_second_gateway_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """It says so and ends with 2; the first goes on."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus:
        site = site_yaml(broker=broker, centre=campus.centre_url)
        with Gateway(tmp_path, site) as gateway, SimulatedButton(broker) as button:
            done = run_gateway(*gateway.command("run")[4:])
            assert done.returncode == 2, done.stderr
            assert "another gateway runs on" in done.stderr
            button.press(topic(0))
            wait_for(campus.alarms, within_s=5, what="the press")
