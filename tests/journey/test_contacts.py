"""Contacts that are watched and people who are told, through the running gateway: liveness, confirmation, duress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from simulators.button import SimulatedButton
from tests.support.processes import (
    FAULT_GONE_S,
    Broker,
    Campus,
    Gateway,
    run_gateway,
    site_yaml,
    wait_for,
)

LAMP = "cmnd/lamp-0/POWER"
SOS, SILENT, OWN = "zigbee2mqtt/sos-0", "zigbee2mqtt/sos-1", "campus/contacts/2"
POINTS = f"""\
  - {{id: p-0, name: 讲台, zone: b1-301, mqtt: {{topic: {SOS}, format: zigbee2mqtt}},
     confirm: {{topic: {LAMP}, received: "ON", accepted: BLINK, closed: "OFF"}}}}
  - {{id: p-1, name: 门边, zone: b1-301, mqtt: {{topic: {SILENT}, format: zigbee2mqtt}}, severity: duress}}
  - {{id: p-2, name: 门卫, zone: b1-301, mqtt: {{topic: {OWN}, liveness: {OWN}/online, silent_after_s: 600}},
     confirm: {{topic: lamp-2}}}}
"""
NEAR_MISSES = [b'{"action":"single"}', b'{"event":"pressed","id":"x"}', b'{"sos":true}', b"pressed", b"\xff"]


def school(broker: str, centre: str) -> str:
    """A school with a watched button, a duress button and a programmed contact."""
    plain = site_yaml(broker=broker, centre=centre)
    head, _, rest = plain.partition("points:\n")
    return f"{head}points:\n{POINTS}{rest[rest.index('centre:') :]}"


@contextmanager
def listening(url: str) -> Iterator[list[tuple[str, bytes]]]:
    """Everything anybody publishes at the broker while the block runs."""
    heard: list[tuple[str, bytes]] = []
    granted: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener")
    client.on_connect = lambda *_: client.subscribe("#", 1)
    client.on_subscribe = lambda *_: granted.append(1)
    client.on_message = lambda _c, _d, message: heard.append((message.topic, bytes(message.payload)))
    where = urlsplit(url)
    client.connect(where.hostname or "", where.port or 0)
    client.loop_start()
    try:
        wait_for(lambda: granted, within_s=10, what="the listener is subscribed")
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def at(heard: list[tuple[str, bytes]], topic: str) -> list[bytes]:
    return [payload for where, payload in heard if where == topic]


def of_contacts(gateway: Gateway) -> dict[str, str]:
    """Open faults of contacts: subject → cause."""
    return {subject: cause for (kind, subject), cause in gateway.faults().items() if kind == "contact"}


def points(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {p["id"]: p for p in gateway.get("/api/v1/points")["points"]}


def tells_and_confirms(gateway: Gateway, campus: Campus, broker: str) -> None:
    """Liveness raises and clears faults and no alarm; a press is confirmed as it goes; duress is not, in any way."""
    with SimulatedButton(broker) as button, listening(broker) as heard:
        button.press(f"{SOS}/availability", b'{"state":"offline"}', retain=True)
        button.press(f"{OWN}/online", b"false", retain=True)
        wait_for(lambda: set(of_contacts(gateway)) == {"p-0", "p-2"}, within_s=15, what="both are faults")
        health = points(gateway)["p-0"]["health"]
        assert (health["healthy"], health["online"]) == (False, False)
        told = {f["subject"] for f in campus.faults() if f["kind"] == "contact"}
        assert told <= {"p-0", "p-2"}
        for payload in NEAR_MISSES:
            for topic in (f"{SOS}/availability", "zigbee2mqtt/bridge/state", f"{OWN}/online"):
                button.press(topic, payload, retain=len(payload) % 2 == 0)
        button.press(f"{SOS}/availability", b'{"state":"online"}', retain=True)
        button.press(f"{OWN}/online", b"true", retain=True)
        wait_for(lambda: not of_contacts(gateway), within_s=FAULT_GONE_S, what="both are back")
        assert gateway.alarms() == []

        button.press(SOS, b'{"action":"emergency","battery":88}')
        wait_for(lambda: at(heard, LAMP) == [b"ON"], within_s=10, what="the lamp is lit")
        (alarm,) = campus.alarms()
        campus.reply(alarm["id"], "accepted")
        wait_for(lambda: at(heard, LAMP) == [b"ON", b"BLINK"], within_s=10, what="the lamp flashes")

        button.press(SILENT, b'{"action":"emergency"}')
        duress = wait_for(
            lambda: next((a for a in campus.alarms() if a["id"] != alarm["id"]), None),
            within_s=10,
            what="the duress alarm at the centre",
        )
        campus.reply(duress["id"], "accepted")
        campus.reply(duress["id"], "closed")
        button.press(OWN, b'{"event":"pressed"}')
        wait_for(lambda: at(heard, "lamp-2"), within_s=10, what="the third is confirmed in our own words")
        campus.reply(alarm["id"], "closed")
        wait_for(lambda: at(heard, LAMP) == [b"ON", b"BLINK", b"OFF"], within_s=10, what="the lamp is out")
        (ours,) = [json.loads(payload) for payload in at(heard, "lamp-2")]
        assert (ours["confirm"], ours["point"]) == ("received", "p-2")
        known = {
            LAMP,
            "lamp-2",
            SOS,
            SILENT,
            OWN,
            f"{SOS}/availability",
            f"{OWN}/online",
            "zigbee2mqtt/bridge/state",
        }
        assert {topic for topic, _ in heard} <= known, "nothing was published of the duress alarm"
        timeline = gateway.get(f"/api/v1/alarms/{duress['id']}")["timeline"]
        assert not [step for step in timeline if step["what"] == "confirmed"]
        timeline = gateway.get(f"/api/v1/alarms/{alarm['id']}")["timeline"]
        assert [s["detail"]["step"] for s in timeline if s["what"] == "confirmed"] == [
            "received",
            "accepted",
            "closed",
        ]


@pytest.mark.slow
def test_contacts_are_watched_and_presses_confirmed(tmp_path: Path) -> None:
    """With mosquitto as shipped; and over a restart an offline contact is a fault again by the broker's kept word."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, school(broker.url, campus.centre_url))
        with gateway:
            tells_and_confirms(gateway, campus, broker.url)
            assert points(gateway)["p-0"]["last_seen"]["battery"] == 88
            with SimulatedButton(broker.url) as button:
                button.press(f"{SOS}/availability", b"offline", retain=True)
            wait_for(lambda: "p-0" in of_contacts(gateway), within_s=15, what="it is a fault")
            (before,) = [f for f in gateway.get("/api/v1/faults")["faults"] if f["kind"] == "contact"]
        with gateway:
            wait_for(
                lambda: points(gateway)["p-0"]["health"]["online"] is False, within_s=10, what="heard anew"
            )
            (after,) = [f for f in gateway.get("/api/v1/faults")["faults"] if f["kind"] == "contact"]
            assert after["id"] == before["id"]
            assert points(gateway)["p-0"]["last_seen"]["battery"] == 88
            assert len(gateway.alarms()) == 3


@pytest.mark.slow
def test_contacts_are_watched_and_presses_confirmed_with_the_embedded_broker(tmp_path: Path) -> None:
    """The same with the broker of the demo."""
    with Campus(tmp_path) as campus, Gateway(tmp_path, school("embedded", campus.centre_url)) as gateway:
        tells_and_confirms(gateway, campus, gateway.broker)


@pytest.mark.slow
def test_the_probe_names_contacts_that_publish_at_qos_0_or_are_not_there(tmp_path: Path) -> None:
    """What the broker kept at QoS 0, what a make does unless set otherwise, and what it keeps of liveness: warnings, exit 0."""
    with Broker(tmp_path) as broker, Campus(tmp_path) as campus:
        with SimulatedButton(broker.url) as button:
            button.press(SILENT, b'{"battery":90}', retain=True, qos=1)
            button.press(f"{SOS}/availability", b"offline", retain=True)
            button.press("zigbee2mqtt/bridge/state", b'{"state":"online"}', retain=True)
            button.press(f"{OWN}/online", b"true", retain=True)
            button.press(OWN, b'{"event":"alive"}', retain=True, qos=0)
            wait_for(lambda: broker.keeps(b'{"event":"alive"}'), within_s=10, what="the broker has both")
        gateway = Gateway(tmp_path, school(broker.url, campus.centre_url))
        done = run_gateway(*gateway.command("check", "--probe")[4:])
        assert done.returncode == 0, done.stdout + done.stderr
        rows = {line.split("  ")[0]: line for line in done.stdout.splitlines() if line.startswith("QoS")}
        assert set(rows) == {"QoS 触点 p-0", "QoS 触点 p-2"}, "p-1 was heard at QoS 1"
        assert "not heard now" in rows["QoS 触点 p-0"]
        assert "device_options" in rows["QoS 触点 p-0"]
        assert "publishes at QoS 0" in rows["QoS 触点 p-2"]
        assert all("WARN" in row and "nobody sends it again" in row for row in rows.values())
        rows = {line.split("  ")[0]: line for line in done.stdout.splitlines() if line.startswith("liveness")}
        assert "WARN" in rows["liveness 触点 p-0"]
        assert f"{SOS}/availability: offline" in rows["liveness 触点 p-0"]
        assert f"{SILENT}/availability: nothing is kept" in rows["liveness 触点 p-1"]
        assert "bridge" in rows["liveness 触点 p-1"]
        assert "  OK " in rows["liveness 触点 p-2"]
