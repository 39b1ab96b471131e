"""Near misses through a real broker to a real gateway that is killed among them: no alarm, and the queue goes on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from simulators.button import SimulatedButton
from tests.support.near_misses import MAKES, baselines, near_misses, raw
from tests.support.processes import Broker, Campus, Gateway, site_yaml, wait_for

SEED = 20260303
COUNT = 1_200
ENORMOUS = b'{"event": "pressed", "pad": "' + b"x" * 100_000_000 + b'"}'


def site_of_makes(broker: str, centre: str) -> str:
    """A point for each make and wiring there is."""
    lines = ["points:"]
    for make in MAKES:
        source = {
            "topic": make.topic,
            "format": make.format,
            "input": make.input,
            "contact": "normally-open" if make.normally_open else "normally-closed",
        }
        lines.append(
            f"  - {{id: {make.name}, name: {make.name}, zone: b1-301, cameras: [], mqtt: {json.dumps(source)}}}"
        )
    return site_yaml(broker=broker, centre=centre, points=0).replace("points:", "\n".join(lines))


def outcomes(gateway: Gateway) -> Counter[str]:
    """What it says became of the contacts' messages so far."""
    lines = [
        line for line in gateway.log.read_text("utf-8", "replace").splitlines() if "contact.message" in line
    ]
    return Counter(json.loads(line[line.index("{") :])["outcome"] for line in lines)


def test_near_misses_through_a_real_broker_raise_nothing_and_then_every_press_does(tmp_path: Path) -> None:
    """Every kind and one of 100 MB, at both qualities of service, over presses the broker keeps and sends at each connection,
    with a kill -9 among them: no alarm; then one press of each contact is one alarm each."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus, SimulatedButton(broker.url) as button:
        for make in MAKES:
            # A count that is kept is a baseline, so it must be the one that is repeated later.
            kept = make.rest(0) if make.rest and make.format == "shelly-gen1" else make.presses[0]
            button.press(make.topic, raw(kept), retain=True)
        with Gateway(tmp_path, site_of_makes(broker.url, campus.centre_url)) as gateway:
            for topic, payload in baselines():
                button.press(topic, payload)
            # What is kept was kept before: a subscriber that is there would get it as new, and rightly take it for a press.
            misses = [miss for miss in near_misses(SEED, COUNT) if not miss.retained]
            for n, miss in enumerate(misses):
                if n == len(misses) // 2:
                    button.press(MAKES[0].topic, ENORMOUS, timeout_s=60)
                    gateway.kill()
                    gateway.start()
                button.publish(miss.topic, miss.payload, qos=n % 2)
            button.press(MAKES[0].topic, b'{"event": "alive"}')
            wait_for(
                lambda: sum(outcomes(gateway).values()) >= len(misses),
                within_s=60,
                what=f"seed {SEED}: the queue goes on",
            )
            told = outcomes(gateway)
            assert told["press"] + told["bounce"] == 0, f"seed {SEED}: {told}"
            assert told["quarantined"] > 100
            assert gateway.alarms() == []

            for make in MAKES:
                button.press(make.topic, raw(make.presses[0]))
            wait_for(lambda: len(campus.alarms()) == len(MAKES), within_s=20, what="an alarm of each contact")
            assert sorted(a["point"]["id"] for a in gateway.alarms()) == sorted(make.name for make in MAKES)
            assert {a["presses"] for a in campus.alarms()} == {1}
