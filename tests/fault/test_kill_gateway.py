"""The gateway is killed at any moment: every press is delivered, and each is one alarm."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simulators.button import SimulatedButton, gateway_payload
from tests.support.processes import Broker, Campus, Gateway, site_yaml, topic, wait_for

KILLS = 50
TOGETHER = 4  # buttons pressed at once before each kill, so that some are always between two steps
SCHOOLS = 2  # side by side, one for each core
LATEST_KILL_S = 0.060
SEED = 20260302


@pytest.mark.slow
def test_fifty_kills_right_after_a_press_lose_and_double_nothing(tmp_path: Path) -> None:
    """Killed 0 to 60 ms after each of 50 publications, it delivers every press after its restart, as one alarm each."""
    chance = random.Random(SEED)
    # Squared: a press is through in a few milliseconds, so there the kills are closest together.
    moments_s = [LATEST_KILL_S * chance.random() ** 2 for _ in range(KILLS)]
    print(f"seed {SEED}, kills after " + ", ".join(f"{m * 1e3:.1f}" for m in moments_s) + " ms")
    schools = [f"school-{n}" for n in range(SCHOOLS)]
    each = KILLS // SCHOOLS
    presses = each * TOGETHER
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        gateways = []
        for school in schools:
            folder = tmp_path / school
            folder.mkdir()
            site = site_yaml(broker=broker.url, centre=campus.centre_url, points=presses, site=school)
            gateways.append(Gateway(folder, site))
        with ThreadPoolExecutor(SCHOOLS) as threads:
            killing = [
                threads.submit(_press_and_kill, gateway, broker.url, school, moments_s[n * each :][:each])
                for n, (gateway, school) in enumerate(zip(gateways, schools, strict=True))
            ]
            starts_s = sorted(s for done in killing for s in done.result())
        print(f"starts: median {starts_s[len(starts_s) // 2]:.2f} s, longest {starts_s[-1]:.2f} s")
        with gateways[0], gateways[1]:
            wait_for(
                lambda: campus.state()["alarms_total"] >= SCHOOLS * presses,
                within_s=30,
                what=f"{SCHOOLS * presses} alarms at the centre",
            )
            for gateway in gateways:
                wait_for(lambda g=gateway: g.undelivered() == 0, within_s=20, what="nothing undelivered")
                at_gateway = Counter(alarm["point"]["id"] for alarm in gateway.alarms())
                assert at_gateway == {f"p-{n}": 1 for n in range(presses)}
            state = campus.state()
            at_centre = Counter(alarm["raised"]["data"]["point"]["id"] for alarm in state["alarms"])
            assert at_centre == {f"p-{n}": SCHOOLS for n in range(presses)}
            assert {alarm["presses"] for alarm in state["alarms"]} == {1}
            assert state["problems"] == []


def _press_and_kill(gateway: Gateway, broker: str, school: str, moments_s: list[float]) -> list[float]:
    starts_s = []
    with SimulatedButton(broker) as button:
        for number, moment_s in enumerate(moments_s):
            starts_s.append(gateway.start(armed_by_log=True))
            published_s = time.monotonic()
            # Every other press has no identity of its own: then only the rule of redelivery can tell it apart.
            pending = [
                button.publish(
                    topic(point, school), gateway_payload(press_id=f"press-{point}" if point % 2 else None)
                )
                for point in range(number * TOGETHER, (number + 1) * TOGETHER)
            ]
            time.sleep(max(0.0, published_s + moment_s - time.monotonic()))
            gateway.kill()
            for each in pending:
                each.wait()
    return starts_s
