"""A panic button on MQTT, pressed by hand or by a test.

`SimulatedButton` is synchronous: paho's own thread does the network, `press` blocks until the broker has
acknowledged. From asyncio call it through `asyncio.to_thread`.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.hardware import Publication

EVENTS = ("pressed", "released", "tamper", "test", "alive")
_CONNECT_WITHIN_S = 5.0
_UNLIMITED_IN_FLIGHT = 65_535  # every packet identifier MQTT has; paho's default of 20 would pace a storm


_PLAIN_FAULTS = {"drop": "drop", "reorder": "reorder", "retained-copy": "retained_copy"}
_COUNTED_FAULTS: dict[str, tuple[str, Callable[[str], float | int]]] = {
    "delay": ("delay_s", float),
    "duplicate": ("duplicates", int),
    "bounce": ("bounces", int),
    "cut": ("cut_to_bytes", int),
}


class ButtonError(RuntimeError):
    """The broker could not be reached, refused the button, or did not acknowledge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonFault:
    """What happens to one publication on its way. All that is set happens; nothing set is good order.

    `drop`: it is lost. `delay_s`: it leaves so much later, and what follows it too. `duplicates`: so many copies right behind
    it; `bounces`: so many, 10 ms apart. `reorder`: the next publication overtakes it. `retained_copy`: the broker keeps
    one as well. `cut_to_bytes`: only its beginning arrives.
    """

    drop: bool = False
    delay_s: float = 0.0
    duplicates: int = 0
    bounces: int = 0
    reorder: bool = False
    retained_copy: bool = False
    cut_to_bytes: int | None = None

    @classmethod
    def read(cls, text: str) -> ButtonFault:
        """From the words of `str`. Raises ValueError saying what was found and what is known."""
        said: dict[str, Any] = {}
        for word in text.split(",") if text != "none" else ():
            name, _, value = word.strip().partition("=")
            if name in _PLAIN_FAULTS and not value:
                said[_PLAIN_FAULTS[name]] = True
            elif name in _COUNTED_FAULTS and value:
                field, kind = _COUNTED_FAULTS[name]
                said[field] = kind(value)
            else:
                known = [*_PLAIN_FAULTS, *(f"{each}=N" for each in _COUNTED_FAULTS)]
                raise ValueError(f"found {word!r}, expected of: {', '.join(known)}")
        if any(value < 0 for value in said.values()):
            raise ValueError(f"found {text!r}, expected no negative numbers")
        return cls(**said)

    def __str__(self) -> str:
        """As one writes it down: the words of `campus-simulators button --fault`."""
        said = ["drop"] * self.drop + ["reorder"] * self.reorder + ["retained-copy"] * self.retained_copy
        said += [f"delay={self.delay_s:g}"] * bool(self.delay_s) + [f"cut={self.cut_to_bytes}"] * (
            self.cut_to_bytes is not None
        )
        said += [f"duplicate={self.duplicates}"] * bool(self.duplicates)
        said += [f"bounce={self.bounces}"] * bool(self.bounces)
        return ",".join(said) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One publication: unix times of publishing and of the broker's PUBACK (None at QoS 0, and of one that was lost)."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    published_s: float
    acknowledged_s: float | None
    fault: str = "none"


def gateway_payload(
    event: str = "pressed",
    *,
    press_id: str | None = None,
    at: datetime | None = None,
    battery: int | None = None,
) -> bytes:
    """The gateway's own format. Without `press_id` the receiver has to tell bounce from presses by time."""
    if at is not None and at.tzinfo is None:
        raise ValueError(f"at: {at} has no time zone")
    fields = {
        "event": event,
        "id": press_id,
        "at": at.isoformat(timespec="milliseconds") if at else None,
        "battery": battery,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def zigbee2mqtt_payload(
    event: str = "pressed", *, action: str = "emergency", contact: bool | None = None, battery: int = 100
) -> bytes:
    """What Zigbee2MQTT publishes for an SOS button (`action`) or, with `contact`, for a door contact.

    `contact` is the device's own word: False is an open contact. Keys as in the Zigbee2MQTT converters for
    TS0215A_sos and for contact sensors. Raises ValueError for an event this kind of device cannot send.
    """
    telemetry: dict[str, Any] = {"battery": battery, "voltage": 3000, "linkquality": 120}
    if contact is not None:
        if event not in ("pressed", "released", "alive"):
            raise ValueError(f"a zigbee2mqtt contact sensor has no {event!r}; publish it with --raw")
        return json.dumps({"contact": contact, **telemetry}).encode()
    match event:
        case "pressed":
            return json.dumps({"action": action, **telemetry}).encode()
        case "tamper":
            return json.dumps({"tamper": True, **telemetry}).encode()
        case "alive":
            return json.dumps(telemetry).encode()
    raise ValueError(f"a zigbee2mqtt button has no {event!r}; use --contact, or publish it with --raw")


class Pending:
    """A publication on its way; `wait` gives the finished `Press`."""

    def __init__(self, topic: str, payload: bytes, qos: int, retain: bool, fault: str = "none") -> None:
        self._topic, self._payload, self._qos, self._retain = topic, payload, qos, retain
        self._fault = fault
        self._published_s = time.time()
        self._acknowledged_s: float | None = None
        self._done = threading.Event()
        self.before_wait: Callable[[], None] = lambda: None

    def finished(self, at_s: float | None) -> None:
        """The broker has acknowledged (at QoS 0: the packet has left); None for one that a fault took."""
        self._acknowledged_s = at_s
        self._done.set()

    def wait(self, timeout_s: float = 10.0) -> Press:
        """Raises ButtonError if there is no acknowledgement within `timeout_s`."""
        self.before_wait()
        if not self._done.wait(timeout_s):
            raise ButtonError(
                f"{self._topic}: the broker did not acknowledge within {timeout_s} s; "
                "is it still running, and may this user publish there?"
            )
        return Press(
            topic=self._topic,
            payload=self._payload,
            qos=self._qos,
            retain=self._retain,
            published_s=self._published_s,
            acknowledged_s=self._acknowledged_s if self._qos else None,
            fault=self._fault,
        )


class SimulatedButton:
    """A connection to a broker by which any number of buttons can be pressed. Use `with`; not for asyncio.

    `broker` is `mqtt://host:port`. Entering raises ButtonError if the broker cannot be reached or refuses.
    `faults`: one for each publication in its turn, good order when they are used up; from a seed or written down.
    `will`: topic and payload that the broker publishes, kept, when the button is gone without a word.
    """

    def __init__(
        self,
        broker: str,
        *,
        username: str | None = None,
        password: str | None = None,
        faults: Iterable[ButtonFault] = (),
        will: tuple[str, bytes] | None = None,
    ) -> None:
        parts = urlsplit(broker)
        if parts.scheme != "mqtt" or not parts.hostname:
            raise ValueError(f"broker: found {broker!r}, expected mqtt://host:port")
        self._broker = (parts.hostname, parts.port or 1883)
        self._connected = threading.Event()
        self._refusal: str | None = None
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._overtaking: dict[int, float] = {}
        self._faults: Iterator[ButtonFault] = iter(faults)
        self._held_back: list[Callable[[], None]] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"simulated-button-{uuid.uuid4().hex[:12]}"
        )
        self._client.max_inflight_messages_set(_UNLIMITED_IN_FLIGHT)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        if username is not None:
            self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)

    def __enter__(self) -> SimulatedButton:
        host, port = self._broker
        try:
            self._client.connect(host, port, keepalive=30)
        except OSError as error:
            raise ButtonError(f"broker {host}:{port} cannot be reached: {error}") from error
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_WITHIN_S) or self._refusal is not None:
            self._close()
            why = self._refusal or f"no answer within {_CONNECT_WITHIN_S} s"
            raise ButtonError(f"broker {host}:{port} does not let the button in: {why}")
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Pending:
        """Send without waiting, for storms; call `wait` on what is returned.

        While the broker is away a press at QoS 1 or 2 is kept and sent at the reconnection, as hardware does;
        at QoS 0 it raises ButtonError.
        """
        fault = next(self._faults, None)
        if fault is None:
            pending = Pending(topic, payload, qos, retain)
            self._send(pending, topic, payload, qos, retain)
            self._send_held_back()
            return pending
        if fault.delay_s:
            time.sleep(fault.delay_s)
        payload = payload if fault.cut_to_bytes is None else payload[: fault.cut_to_bytes]
        pending = Pending(topic, payload, qos, retain, str(fault))
        if fault.drop:
            pending.finished(None)
            return pending
        if fault.reorder:
            self._held_back.append(lambda: self._send(pending, topic, payload, qos, retain, fault))
            pending.before_wait = self._send_held_back  # nothing came to overtake it
            return pending
        self._send(pending, topic, payload, qos, retain, fault)
        self._send_held_back()
        return pending

    def play(self, publications: Iterable[Publication]) -> list[Pending]:
        """Send what a device publishes, each at its time after the one before."""
        said = []
        for publication in publications:
            if publication.after_s:
                time.sleep(publication.after_s)
            said.append(
                self.publish(
                    publication.topic, publication.payload, qos=publication.qos, retain=publication.retain
                )
            )
        return said

    def press(
        self,
        topic: str,
        payload: bytes | None = None,
        *,
        qos: int = 1,
        retain: bool = False,
        timeout_s: float = 10.0,
    ) -> Press:
        """Publish one press (by default in the gateway's format with a fresh id) and wait for the PUBACK."""
        payload = gateway_payload(press_id=str(uuid.uuid4())) if payload is None else payload
        return self.publish(topic, payload, qos=qos, retain=retain).wait(timeout_s)

    def drop_dead(self) -> None:
        """Lose the connection without a word, as at a power cut: the broker publishes the will. For good."""
        self._client.loop_stop()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _send(
        self,
        pending: Pending,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        fault: ButtonFault | None = None,
    ) -> None:
        if fault is not None and fault.retained_copy:
            self._client.publish(topic, payload, qos=qos, retain=True)
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        waits = info.rc == mqtt.MQTT_ERR_NO_CONN and qos > 0  # paho keeps it and sends it once it is back
        if info.rc != mqtt.MQTT_ERR_SUCCESS and not waits:
            raise ButtonError(f"{topic}: not published: {mqtt.error_string(info.rc)}")
        # Not held around the line that publishes: paho calls on_publish under a lock of its own, which publish
        # takes as well. So an acknowledgement may overtake the entry it belongs to, and waits for it.
        with self._lock:
            overtaken_s = self._overtaking.pop(info.mid, None)
            if overtaken_s is None:
                self._pending[info.mid] = pending
        if overtaken_s is not None:
            pending.finished(overtaken_s)
        for n in range(fault.duplicates + fault.bounces if fault is not None else 0):
            if fault is not None and n >= fault.duplicates:
                time.sleep(0.01)
            self._client.publish(topic, payload, qos=qos, retain=retain)

    def _send_held_back(self) -> None:
        waiting, self._held_back = self._held_back, []
        for send in waiting:
            send()

    def _close(self) -> None:
        self._send_held_back()
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            self._client.disconnect()  # paho would go on trying, and a broker may lock the account
        self._connected.set()

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, _reason: Any, _properties: Any) -> None:
        at_s = time.time()
        with self._lock:
            pending = self._pending.pop(mid, None)
            if pending is None:
                self._overtaking[mid] = at_s
        if pending is not None:
            pending.finished(at_s)
