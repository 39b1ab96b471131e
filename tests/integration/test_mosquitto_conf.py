"""The broker's configuration we ship, followed to its end, on a real mosquitto that is killed and attacked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.contacts.address import BrokerAddress
from drivers.contacts.mqtt import MqttFeed
from gateway.box.clock import SystemClock
from gateway.ports.contacts import ContactMessage
from tests.support.clock import run
from tests.support.mosquitto import mosquitto_binary
from tests.support.signals import wait_until
from tests.support.tree import ROOT

SHIPPED = ROOT / "drivers/contacts/mosquitto.conf"
_WITHIN_S = 30.0
#: mosquitto's own limit for what waits in a session is 1000 messages.
_MORE_THAN_ITS_LIMIT = 1050


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for `holds`; fail with `what` when the deadline passes."""
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {_WITHIN_S} s: {what}"
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _password(user: str) -> str:
    return f"password of {user}"


class Broker:
    """mosquitto with the shipped files, moved to free ports and a folder of the test's, and with the passwords they ask for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mosquitto"
        self._folder.mkdir()
        self.port, self.programs, self.tls = _free_port(), _free_port(), _free_port()
        self._binary = mosquitto_binary()
        self._log = self._folder / "mosquitto.log"
        self.saved = self._folder / "mosquitto.db"
        text = SHIPPED.read_text("utf-8")
        for found, put in (
            (r"^listener 1883 127", f"listener {self.port} 127"),
            (r"^listener 1884 127", f"listener {self.programs} 127"),
            (r"^persistence_location .*", f"persistence_location {self._folder}/"),
        ):
            text, times = re.subn(found, put, text, flags=re.MULTILINE)
            assert times == 1, found
        # The third listener as a technician opens it: the # away, and only its certificates left out.
        text = re.sub(r"^#(?=listener 8883)", "", text, flags=re.MULTILINE).replace(
            "listener 8883", f"listener {self.tls} 127.0.0.1"
        )
        head, _, tail = text.partition(f"listener {self.tls} 127.0.0.1")
        tail = re.sub(r"^#(?=allow|use|password|acl)", "", tail, flags=re.MULTILINE)
        text = f"{head}listener {self.tls} 127.0.0.1{tail}".replace("/etc/mosquitto/", f"{self._folder}/")
        if os.geteuid() == 0:
            text += "user root\n"  # it would become its own user, who may not write here
        self._config = self._folder / "mosquitto.conf"
        self._config.write_text(text, "utf-8")
        self.acl = self._folder / "acl"
        self.acl.write_text(SHIPPED.with_suffix(".acl").read_text("utf-8"), "utf-8")
        self._passwords("gateway.passwords", "campus-gateway")
        self._passwords("passwords", "zigbee2mqtt", "sos-301", "sos-gate")
        self._process: subprocess.Popen[bytes] | None = None

    def _passwords(self, file: str, *users: str) -> None:
        path = self._folder / file
        path.write_text("".join(f"{user}:{_password(user)}\n" for user in users), "utf-8")
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True, timeout=10)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-c", str(self._config)], stdout=log, stderr=log)
        until(self._answers, f"mosquitto answers; it says: {self._log.read_text('utf-8', 'replace')}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text("utf-8", "replace")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def reload(self) -> None:
        """As `systemctl reload mosquitto`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker, ended by its own process id."""
    running = Broker(tmp_path)
    running.start()
    yield running
    running.kill()


@contextlib.contextmanager
def connected(
    broker: Broker,
    user: str | None,
    received: list[bytes] | None = None,
    *,
    client_id: str = "",
    port: int = 0,
    topic: str = "campus/contacts/#",
) -> Iterator[paho.Client]:
    """A client on a session that the broker keeps; with `received`, subscribed, and what comes is put there."""
    own = {"campus-gateway": broker.port, "zigbee2mqtt": broker.programs}
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id or f"id of {user}",
        clean_session=False,
        protocol=paho.MQTTv311,
    )
    if user is not None:
        client.username_pw_set(user, _password(user))
    ready: list[object] = []
    if received is None:
        client.on_connect = lambda *_: ready.append(True)
    else:
        client.on_message = lambda _client, _data, message: received.append(bytes(message.payload))
        client.on_connect = lambda of, *_: of.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", port or own.get(user or "", broker.tls))
    client.loop_start()
    try:
        until(lambda: bool(ready), f"{user} is connected")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def press(broker: Broker, payload: bytes, qos: int) -> None:
    """Publish once as a contact does and return when the broker has acknowledged it (QoS 1) or it is sent (QoS 0)."""
    with connected(broker, "sos-gate") as client:
        client.publish("campus/contacts/gate", payload, qos=qos).wait_for_publish(_WITHIN_S)


def test_what_the_broker_took_for_an_absent_gateway_survives_its_own_death(broker: Broker) -> None:
    """Pressed while the gateway is away, at QoS 1 and 0; the broker is killed; the gateway comes and gets both."""
    with connected(broker, "campus-gateway", []):
        pass
    press(broker, b"at qos 1", 1)
    press(broker, b"at qos 0", 0)
    until(lambda: b"at qos 0" in broker.saved.read_bytes(), "the broker has saved what it took")
    broker.kill()
    broker.start()
    press(broker, b"after the restart", 1)
    received: list[bytes] = []
    with connected(broker, "campus-gateway", received):
        until(lambda: len(received) >= 3, f"three presses; came: {received}")
    assert sorted(received) == [b"after the restart", b"at qos 0", b"at qos 1"]


def test_the_broker_drops_nothing_because_much_is_waiting(broker: Broker) -> None:
    """More presses than mosquitto keeps by itself wait for an absent gateway, and all of them come."""
    with connected(broker, "campus-gateway", []):
        pass
    with connected(broker, "sos-gate") as client:
        sent = [
            client.publish("campus/contacts/gate", b"press %d" % number, qos=1)
            for number in range(_MORE_THAN_ITS_LIMIT)
        ]
        until(lambda: all(each.is_published() for each in sent), "the broker has acknowledged every press")
    received: list[bytes] = []
    with connected(broker, "campus-gateway", received):
        until(lambda: len(received) >= _MORE_THAN_ITS_LIMIT, "every press has come")
    assert len(set(received)) == _MORE_THAN_ITS_LIMIT


def test_nobody_is_anonymous() -> None:
    """Each listener asks for a password, is bound to loopback or speaks TLS, and limits are per listener."""
    lines = [line for line in SHIPPED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert "per_listener_settings true" in lines
    listeners = [line for line in lines if line.startswith("listener ")]
    assert listeners == ["listener 1883 127.0.0.1", "listener 1884 127.0.0.1"]
    assert lines.count("allow_anonymous false") == len(listeners)
    assert not [line for line in lines if line.startswith("persistent_client_expiration")]


def refused(broker: Broker, port: int, client_id: str, user: str | None) -> bool:
    """Whether the broker turns such a client away."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
    if user is not None:
        client.username_pw_set(user, _password(user))
    answers: list[bool] = []
    client.on_connect = lambda _c, _d, _f, reason, _p: answers.append(reason.is_failure)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        until(lambda: bool(answers), "an answer")
        return answers[0]
    finally:
        client.disconnect()
        client.loop_stop()


def test_nobody_takes_the_gateways_place(broker: Broker) -> None:
    """Anybody, with a contact's password or without, on any listener, under any id that can be guessed: every press arrives."""
    received: list[bytes] = []
    guesses = ("campus-gateway", "campus-gateway-jms-no3-middle", "id of campus-gateway", "gateway")
    with connected(broker, "campus-gateway", received, client_id="campus-gateway-jms-no3-middle-0123456789"):
        for number, guess in enumerate(guesses):
            assert refused(broker, broker.port, guess, None)
            assert refused(broker, broker.port, guess, "sos-301")
            for port in (broker.programs, broker.tls):
                assert refused(broker, port, guess, None)
                assert not refused(broker, port, guess, "sos-301")
                assert not refused(broker, port, "campus-gateway-jms-no3-middle-0123456789", "sos-301")
            press(broker, b"press %d" % number, 1)
        until(lambda: len(received) == len(guesses), "every press")
    press(broker, b"away", 1)
    with connected(broker, "campus-gateway", received, client_id="campus-gateway-jms-no3-middle-0123456789"):
        until(lambda: received[-1] == b"away", "and what was pressed while it was away")


def test_the_shipped_rights_are_enough_and_not_too_many(broker: Broker) -> None:
    """The gateway reads and proves every topic of the example; no contact presses in another's name, or listens."""

    async def story() -> None:
        address = BrokerAddress(
            host="127.0.0.1",
            port=broker.port,
            client_id="the gateway's",
            username="campus-gateway",
            password=_password("campus-gateway"),
        )
        heard: list[ContactMessage] = []
        topics = ["campus/contacts/301", "campus/contacts/gate", "zigbee2mqtt/sos-301"]
        feed = MqttFeed(address, topics, SystemClock(), beside=["zigbee2mqtt/bridge/state"])
        task = asyncio.create_task(feed.run(heard.append))
        try:
            await wait_until(lambda: feed.armed, _WITHIN_S, "armed")
            await asyncio.to_thread(
                publish_as, broker, "sos-301", "campus/contacts/gate", b"in another's name"
            )
            await asyncio.to_thread(publish_as, broker, "sos-301", "campus/contacts/301", b"its own")
            await asyncio.to_thread(publish_as, broker, "zigbee2mqtt", "zigbee2mqtt/sos-301", b"a bridge's")
            await asyncio.to_thread(publish_as, broker, "zigbee2mqtt", "zigbee2mqtt/bridge/state", b"online")
            await wait_until(lambda: len(heard) == 3, _WITHIN_S, "what is allowed")
            assert [m.payload for m in heard] == [b"its own", b"a bridge's", b"online"]
            await wait_until(lambda: not feed._proof._expected, _WITHIN_S, "the round is over")
            assert not dict(feed.found())
            # The gateway's lines taken away: the subscriptions stay granted, and it is told.
            broker.acl.write_text("user sos-301\ntopic write campus/contacts/301\n", "utf-8")
            broker.reload()
            await wait_until(lambda: "delivery" in dict(feed.found()), 60.0, "told within a minute")
            assert feed.undelivered == set(topics)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    run(story(), 150.0)
    listened: list[bytes] = []
    with connected(broker, "sos-301", listened, topic="#"):
        press(broker, b"another's", 1)
        publish_as(broker, "sos-301", "campus/contacts/301", b"own")
    assert listened == []


def publish_as(broker: Broker, user: str, topic: str, payload: bytes) -> None:
    """One publish, acknowledged whether the list allows it or not."""
    with connected(broker, user) as client:
        client.publish(topic, payload, qos=1).wait_for_publish(_WITHIN_S)
