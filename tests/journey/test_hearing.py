"""Contacts that nobody hears or understands: said of the point, by readiness, by the probe and to the centre."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.button import SimulatedButton, gateway_payload
from tests.journey.test_probe import lines_of
from tests.support.processes import (
    TECHNICIAN_TOKEN,
    Campus,
    Gateway,
    any_broker,
    get_json,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)

WITHIN_S = 60.0


def states(gateway: Gateway) -> list[str]:
    """What each point's topic brought."""
    return [point["health"]["state"] for point in gateway.get("/api/v1/points")["points"]]


@pytest.mark.slow
def test_a_point_that_nobody_hears_or_understands_is_not_healthy(tmp_path: Path) -> None:
    """One is heard, one publishes what cannot be understood, one never publishes."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, site_yaml(broker=broker, centre=campus.centre_url, points=3))
        with gateway, SimulatedButton(broker) as button:
            assert states(gateway) == ["unheard"] * 3
            # At once, before it is a fault: a start does not say that all is well.
            assert "contact:unheard" in get_json(f"{gateway.http}/readyz", TECHNICIAN_TOKEN)["degraded"]
            button.press(topic(0), gateway_payload(event="alive"))
            button.press(topic(1), b"ON")
            wait_for(
                lambda: states(gateway) == ["heard", "unreadable", "unheard"], within_s=10, what="states"
            )
            points = gateway.get("/api/v1/points")["points"]
            assert [p["health"]["healthy"] for p in points] == [True, False, False]
            assert points[1]["health"]["unreadable"]["reason"]
            wanted = {("contact", "p-1 unreadable"), ("contact", "unheard")}
            wait_for(lambda: wanted <= set(gateway.faults()), within_s=WITHIN_S, what="faults")
            assert "p-2" in gateway.faults()["contact", "unheard"]
            named = get_json(f"{gateway.http}/readyz", TECHNICIAN_TOKEN)["degraded"]
            assert {"contact:p-1 unreadable", "contact:unheard"} <= set(named)
            wait_for(
                lambda: {s for _, s in wanted} <= {f["subject"] for f in campus.faults()},
                within_s=10,
                what="the centre is told",
            )
            beat = wait_for(
                lambda: (
                    (campus.state()["heartbeat"] or {}).get("data", {}).get("unreadable")
                    and campus.state()["heartbeat"]["data"]
                ),
                within_s=WITHIN_S,
                what="a heartbeat",
            )
            assert (beat["unheard"], beat["unreadable"]) == (["p-2"], ["p-1"])
            done = run_gateway(*gateway.command("check", "--probe")[4:])
            table = lines_of(done.stdout)
            assert done.returncode == 1, done.stdout
            assert table["hearing 触点 p-1"][0] == "FAIL"
            result, detail = table["hearing 触点"]
            assert (result, "never heard: p-2:" in detail, "press each contact" in detail) == (
                "WARN",
                True,
                True,
            )
            button.press(topic(1), gateway_payload(event="alive"))
            button.press(topic(2))
            wait_for(lambda: states(gateway) == ["heard"] * 3, within_s=WITHIN_S, what="all are heard")
            wait_for(
                lambda: not [f for f in gateway.faults() if f[0] == "contact"],
                within_s=WITHIN_S,
                what="the faults are cleared",
            )
            done = run_gateway(*gateway.command("check", "--probe")[4:])
            assert not [name for name in lines_of(done.stdout) if name.startswith("hearing")], done.stdout
