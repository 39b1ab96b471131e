"""The broker as the gateway would meet it, with another client id and a session that leaves nothing behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from config.liveness import liveness_topics
from config.settings import Settings
from drivers.contacts.formats import CODECS
from drivers.tls.examining import examine
from gateway.clock import SystemClock
from gateway.connecting import broker_address
from gateway.probing.presence import presence
from gateway.probing.service import service
from gateway.probing.table import Line, Result, Tell

CONNECT_S = 5.0
ANSWER_S = 8.0
LISTEN_S = 3.0  # after the last grant: what is retained comes right behind it, what is published now as well


async def probe_broker(settings: Settings, tell: Tell) -> None:
    what = "broker 消息代理"
    site = settings.site
    if site.mqtt.embedded:
        detail = "embedded: lives and dies with the gateway and keeps nothing; install mosquitto before it is relied on"
        tell(Line(what, Result.WARN, detail))
        return
    points: dict[str, list[str]] = {}
    for point in site.points:
        if point.mqtt is not None:
            points.setdefault(point.mqtt.topic, []).append(point.id)
    beside = {
        topic
        for point in site.points
        if point.mqtt is not None
        for topic in liveness_topics(point.mqtt.format, point.mqtt.topic, point.mqtt.liveness).all
    }
    seen = _Subscriber(settings, [*points, *sorted(beside - set(points))])
    problem = await asyncio.to_thread(seen.look)
    if problem:
        tell(Line(what, Result.FAIL, problem, True))
        return
    detail = (
        f"{site.mqtt.url} takes us in; whether it keeps what it accepted over its own restart (persistence) cannot be "
        "seen from outside: compare its configuration with the mosquitto.conf shipped"
    )
    tell(Line(what, Result.OK, detail, True))
    for topic, ids in points.items():
        tell(_topic(seen, topic, ", ".join(ids)))
    for point in site.points:
        for line in (service(point, seen.qos), presence(point, seen.granted, seen.kept)):
            if line is not None:
                tell(line)
    for point in site.points:
        if point.mqtt is None or point.mqtt.format not in CODECS:
            wired = "an ONVIF input" if point.mqtt is None else f"format {point.mqtt.format}"
            detail = f"{wired} is not read by this version: none of its presses is heard"
            tell(Line(f"point 触点 {point.id}", Result.FAIL, detail, True))


def _topic(seen: _Subscriber, topic: str, points: str) -> Line:
    what = f"point 触点 {points}"
    granted = seen.granted.get(topic)
    if granted is None:
        return Line(what, Result.FAIL, f"{topic}: subscription refused; check the broker's access list", True)
    if granted < 1:
        detail = f"{topic}: the broker grants QoS {granted} only, a press may be lost; allow QoS 1"
        return Line(what, Result.FAIL, detail, True)
    kept = seen.kept.get(topic)
    if kept is not None:
        detail = (
            f"{topic}: QoS {granted}; a retained message of {len(kept)} bytes lies there (never an alarm): "
            "switch 'retain' off at the contact"
        )
        return Line(what, Result.WARN, detail, True)
    return Line(what, Result.OK, f"{topic}: QoS {granted}, nothing retained", True)


class _Subscriber:
    """Looks at a broker once, from a thread: another client id and a clean session, so the gateway's is not disturbed."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._address = broker_address(settings)
        self._topics = topics
        self._asked: dict[int, list[str]] = {}
        self._refused = ""
        self.granted: dict[str, int | None] = {}
        self.kept: dict[str, bytes] = {}
        self.qos: dict[str, int] = {}  # the lowest heard on a topic

    def look(self) -> str:
        """Connect, subscribe, listen for a moment; returns what is wrong with the broker, or nothing."""
        clock, address = SystemClock(), self._address
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"campus-probe-{secrets.token_hex(6)}",
            clean_session=True,
            protocol=paho.MQTTv311,
        )
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if address.tls is not None:
            client.tls_set_context(address.tls)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        client.connect_timeout = CONNECT_S
        where = f"{address.host}:{address.port}"
        try:
            client.connect(address.host, address.port, keepalive=30)
        except OSError as exc:
            return (
                self._certificates_wrong()
                or f"{where} cannot be reached ({exc.strerror or exc}); is the broker running, is the port right?"
            )
        until = clock.monotonic() + ANSWER_S
        quiet_at: float | None = None
        while not self._refused and clock.monotonic() < until:
            if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                break
            if len(self.granted) == len(self._topics):
                quiet_at = quiet_at or clock.monotonic() + LISTEN_S
                if clock.monotonic() > quiet_at:
                    client.disconnect()
                    return ""
        client.disconnect()
        if self._refused:
            return f"{where} refuses: {self._refused}; check mqtt.username and mqtt.password"
        return (
            self._certificates_wrong()
            or f"{where} takes the connection, but does not answer as an MQTT broker does"
        )

    def _certificates_wrong(self) -> str:
        address = self._address
        if address.tls is None:
            return ""
        try:
            return examine(address.host, address.port, address.tls, SystemClock().now()).problem
        except OSError:
            return ""

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        for start in range(0, len(self._topics), 100):
            part = list(self._topics[start : start + 100])
            _, number = client.subscribe([(topic, 1) for topic in part])
            if number is not None:
                self._asked[number] = part

    def _subscribed(
        self, _client: paho.Client, _data: Any, number: int, reasons: list[Any], _properties: Any
    ) -> None:
        for topic, reason in zip(self._asked.get(number, []), reasons, strict=False):
            self.granted[topic] = None if reason.is_failure else int(reason.value)

    def _message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self.qos[message.topic] = min(message.qos, self.qos.get(message.topic, 1))
        if message.retain:
            self.kept[message.topic] = bytes(message.payload)
