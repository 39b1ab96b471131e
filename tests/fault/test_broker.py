"""The broker repeats itself, goes away and comes back: no press is lost, and none is made up."""

from __future__ import annotations

from pathlib import Path

from simulators.button import SimulatedButton, gateway_payload
from tests.support.processes import FAULT_GONE_S, Broker, Campus, Gateway, site_yaml, topic, wait_for


def test_what_the_broker_keeps_and_repeats_raises_nothing(tmp_path: Path) -> None:
    """Retained presses, a broker that restarts and subscriptions made anew raise no alarm; the next press does."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        with SimulatedButton(broker.url) as button:
            button.press(topic(0), gateway_payload(press_id="kept-before"), retain=True)
        site = site_yaml(broker=broker.url, centre=campus.centre_url, points=2)
        gateway = Gateway(tmp_path, site)
        with gateway:
            for told in (False, True):
                broker.kill()
                wait_for(lambda: not gateway.ready(), within_s=10, what="the gateway misses its broker")
                if told:
                    wait_for(
                        lambda: ("broker", "mqtt") in gateway.faults(), within_s=10, what="a fault says so"
                    )
                broker.start()
                wait_for(gateway.ready, within_s=20, what="the gateway is armed again")
            gateway.stop()
            gateway.start()
            with SimulatedButton(broker.url) as button:
                button.press(topic(1))
            wait_for(campus.alarms, within_s=5, what="the real press")
            assert [a["point"]["id"] for a in gateway.alarms()] == ["p-1"]
            assert [a["raised"]["data"]["point"]["id"] for a in campus.alarms()] == ["p-1"]
            wait_for(
                lambda: not [f for f in gateway.faults() if f[0] == "broker"],
                within_s=FAULT_GONE_S,
                what="fault cleared",
            )
        assert "broker" in {fault["kind"] for fault in campus.faults()}


def test_a_press_survives_the_kill_of_broker_and_gateway(tmp_path: Path) -> None:
    """Accepted by the broker while no gateway ran, and the broker then killed: after both are back it is one alarm."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, site_yaml(broker=broker.url, centre=campus.centre_url, points=3))
        gateway.start()
        gateway.kill()
        with SimulatedButton(broker.url) as button:
            for number in range(3):
                button.press(topic(number), gateway_payload(press_id=f"press-{number}"))
        # It acknowledges first and saves a millisecond or two later, as its configuration says.
        wait_for(
            lambda: all(broker.keeps(f"press-{number}".encode()) for number in range(3)),
            within_s=5,
            what="the broker has saved the presses",
        )
        broker.kill()
        broker.start()
        with gateway:
            wait_for(lambda: len(campus.alarms()) == 3, within_s=20, what="three alarms at the centre")
            assert sorted(a["point"]["id"] for a in gateway.alarms()) == ["p-0", "p-1", "p-2"]
            assert {a["presses"] for a in campus.alarms()} == {1}
