"""The broker's configuration we ship, on a real mosquitto that is killed."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.mosquitto import mosquitto_binary
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


class Broker:
    """mosquitto with the shipped file, moved to a free port and a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._binary = mosquitto_binary()
        self._log = folder / "mosquitto.log"
        self.saved = folder / "mosquitto.db"
        text = SHIPPED.read_text("utf-8")
        text, moved = re.subn(r"^listener 1883 127", f"listener {self.port} 127", text, flags=re.MULTILINE)
        text, placed = re.subn(
            r"^persistence_location .*", f"persistence_location {folder}/", text, flags=re.MULTILINE
        )
        assert (moved, placed) == (1, 1)
        if os.geteuid() == 0:
            text += "user root\n"  # it would become its own user, who may not write here
        self._config = folder / "mosquitto.conf"
        self._config.write_text(text, "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

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
def connected(broker: Broker, client_id: str, received: list[bytes] | None = None) -> Iterator[paho.Client]:
    """A client on a session that the broker keeps; with `received`, subscribed, and what comes is put there."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, protocol=paho.MQTTv311
    )
    ready: list[object] = []
    if received is None:
        client.on_connect = lambda *_: ready.append(True)
    else:
        client.on_message = lambda _client, _data, message: received.append(bytes(message.payload))
        client.on_connect = lambda of, *_: of.subscribe("campus/contacts/#", qos=1)
        client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        until(lambda: bool(ready), f"{client_id} is connected")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def press(broker: Broker, payload: bytes, qos: int) -> None:
    """Publish once and return when the broker has acknowledged it (QoS 1) or it is sent (QoS 0)."""
    with connected(broker, "a-contact") as client:
        client.publish("campus/contacts/gate", payload, qos=qos).wait_for_publish(_WITHIN_S)


def test_what_the_broker_took_for_an_absent_gateway_survives_its_own_death(broker: Broker) -> None:
    """Pressed while the gateway is away, at QoS 1 and 0; the broker is killed; the gateway comes and gets both."""
    with connected(broker, "gateway", []):
        pass
    press(broker, b"at qos 1", 1)
    press(broker, b"at qos 0", 0)
    until(lambda: b"at qos 0" in broker.saved.read_bytes(), "the broker has saved what it took")
    broker.kill()
    broker.start()
    press(broker, b"after the restart", 1)
    received: list[bytes] = []
    with connected(broker, "gateway", received):
        until(lambda: len(received) >= 3, f"three presses; came: {received}")
    assert sorted(received) == [b"after the restart", b"at qos 0", b"at qos 1"]


def test_the_broker_drops_nothing_because_much_is_waiting(broker: Broker) -> None:
    """More presses than mosquitto keeps by itself wait for an absent gateway, and all of them come."""
    with connected(broker, "gateway", []):
        pass
    with connected(broker, "a-contact") as client:
        sent = [
            client.publish("campus/contacts/gate", b"press %d" % number, qos=1)
            for number in range(_MORE_THAN_ITS_LIMIT)
        ]
        until(lambda: all(each.is_published() for each in sent), "the broker has acknowledged every press")
    received: list[bytes] = []
    with connected(broker, "gateway", received):
        until(lambda: len(received) >= _MORE_THAN_ITS_LIMIT, "every press has come")
    assert len(set(received)) == _MORE_THAN_ITS_LIMIT


def test_nobody_is_anonymous_off_loopback() -> None:
    """Each listener that lets in without a password is bound to loopback, and limits are per listener."""
    lines = [line for line in SHIPPED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert "per_listener_settings true" in lines
    listeners = [line for line in lines if line.startswith("listener ")]
    assert listeners == ["listener 1883 127.0.0.1"]
    assert not [line for line in lines if line.startswith("persistent_client_expiration")]
