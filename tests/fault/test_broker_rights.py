"""A broker that says yes and gives nothing: the running gateway and the probe say so, here and at the centre."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from simulators.button import SimulatedButton
from tests.support.mosquitto import GuardedBroker
from tests.support.processes import TECHNICIAN_TOKEN, Campus, Gateway, run_gateway, site_yaml, topic, wait_for

WITHIN_S = 60.0
PASSWORDS = {"gateway": "the gateway's", "contacts": "theirs"}
DEVICES = "user contacts\ntopic write campus/journey/#\n"
ALL = "user gateway\ntopic readwrite campus/journey/#\n\n" + DEVICES
SECRETS = {"BROKER_PASSWORD": PASSWORDS["gateway"]}


def site(broker: GuardedBroker, campus: Campus) -> str:
    """Two points, behind a broker with passwords."""
    text = site_yaml(broker=broker.url, centre=campus.centre_url, points=2)
    plain = f'mqtt: {{url: "{broker.url}"}}'
    assert plain in text
    return text.replace(
        plain,
        f'mqtt: {{url: "{broker.url}", username: gateway, password: {{env: BROKER_PASSWORD}}, client_id: school}}',
    )


def degraded(gateway: Gateway) -> tuple[int, list[str]]:
    """Status of `/readyz`, and what it names to somebody who may see it."""
    asked = urllib.request.Request(f"{gateway.http}/readyz")
    asked.add_header("Authorization", f"Bearer {TECHNICIAN_TOKEN}")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.load(answer)["degraded"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["degraded"]


def probed(gateway: Gateway) -> str:
    """What `check --probe` prints; it finds something that an alarm needs not to work."""
    done = run_gateway(*gateway.command("check", "--probe")[4:], environ=gateway.environ)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("head", ["", "per_listener_settings true\n"], ids=["", "ends connections"])
def test_rights_lost_while_it_runs_are_a_fault_everywhere(tmp_path: Path, head: str) -> None:
    """First everything is well and a press arrives; then the list, then the password is changed, and each is told within 60 s."""
    with GuardedBroker(tmp_path, PASSWORDS, ALL, head=head) as broker, Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, site(broker, campus), environ=SECRETS)
        with gateway:
            with SimulatedButton(broker.url, username="contacts", password="theirs") as button:
                button.press(topic(0))
                wait_for(campus.alarms, within_s=10, what="the press arrives")
                assert not [key for key in gateway.faults() if key[0] == "broker"]
                broker.reload(acl=DEVICES)
                cause = wait_for(
                    lambda: gateway.faults().get(("broker", "delivery")), within_s=WITHIN_S, what="a fault"
                )
                assert "a press there is lost without a word" in cause
                status, names = degraded(gateway)
                assert (status, "broker:delivery" in names) == (200, True)
                wait_for(
                    lambda: [f for f in campus.faults() if f["subject"] == "delivery"],
                    within_s=10,
                    what="the centre is told",
                )
                printed = probed(gateway)
                assert all(f"point 触点 p-{n}" in printed for n in range(2))
                assert printed.count("a press there is lost without a word") == 2
                broker.reload(acl=ALL)
                if not head:
                    wait_for(
                        lambda: ("broker", "delivery") not in gateway.faults(),
                        within_s=WITHIN_S,
                        what="cleared",
                    )  # else in five minutes, or by a message of each contact
                button.press(topic(1))
                wait_for(lambda: len(campus.alarms()) == 2, within_s=10, what="the next press arrives")
            broker.reload(passwords={**PASSWORDS, "gateway": "another"})
            wait_for(
                lambda: "Not authorized" in gateway.faults().get(("broker", "mqtt"), ""),
                within_s=WITHIN_S,
                what="the refusal is told",
            )
            running = gateway.faults()["broker", "mqtt"]
            assert running in probed(gateway), "the fault says what the probe says"
            assert degraded(gateway)[0] == 503
            wait_for(
                lambda: running in [f["cause"] for f in campus.faults()],
                within_s=10,
                what="the centre is told",
            )


@pytest.mark.slow
def test_two_gateways_under_one_client_id(tmp_path: Path) -> None:
    """Both say that another client may be using the id, here and at the centre."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with GuardedBroker(tmp_path, PASSWORDS, ALL) as broker, Campus(tmp_path) as campus:
        text = site(broker, campus)
        gateways = [Gateway(tmp_path / name, text, environ=SECRETS) for name in ("one", "other")]
        with gateways[0], gateways[1]:
            for gateway in gateways:
                cause = wait_for(
                    lambda gateway=gateway: gateway.faults().get(("broker", "client-id")),
                    within_s=WITHIN_S,
                    what="a fault",
                )
                assert "another client may be using the gateway's client id" in cause
            wait_for(
                lambda: [f for f in campus.faults() if f["subject"] == "client-id"],
                within_s=10,
                what="the centre is told",
            )


@pytest.mark.slow
def test_a_broker_that_forgets_its_sessions(tmp_path: Path) -> None:
    """Restarted without persistence: a fault here and at the centre, which a restart of the gateway does not clear."""
    with (
        GuardedBroker(tmp_path, PASSWORDS, ALL, "persistence false\n") as broker,
        Campus(tmp_path) as campus,
    ):
        gateway = Gateway(tmp_path, site(broker, campus), environ=SECRETS)
        with gateway:
            assert ("broker", "session") not in gateway.faults()
            broker.stop()
            wait_for(lambda: not gateway.ready(), within_s=WITHIN_S, what="the loss is seen")
            broker.start()
            cause = wait_for(
                lambda: gateway.faults().get(("broker", "session")), within_s=WITHIN_S, what="a fault"
            )
            assert "may be lost" in cause
            assert "broker:session" in degraded(gateway)[1]
            wait_for(
                lambda: [f for f in campus.faults() if f["subject"] == "session"],
                within_s=10,
                what="the centre is told",
            )
            gateway.stop()
            gateway.start()
            assert ("broker", "session") in gateway.faults()


@pytest.mark.slow
def test_a_probe_never_takes_the_session_for_good(tmp_path: Path) -> None:
    """Where the broker makes the user its client id, the probe says why it cannot look, and the session and its presses stay."""
    with (
        GuardedBroker(tmp_path, PASSWORDS, ALL, "use_username_as_clientid true\n") as broker,
        Campus(tmp_path) as campus,
    ):
        gateway = Gateway(tmp_path, site(broker, campus), environ=SECRETS)
        with gateway, SimulatedButton(broker.url, username="contacts", password="theirs") as button:
            assert "use_username_as_clientid" in probed(gateway)
            button.press(topic(0))
            wait_for(campus.alarms, within_s=20, what="the press beside the probe")
            gateway.stop()
            button.press(topic(1))
            gateway.start()
            wait_for(lambda: len(campus.alarms()) == 2, within_s=20, what="the press that waited")
            assert ("broker", "session") not in gateway.faults()
