"""The broker as the gateway would meet it, with another client id and a session that leaves nothing behind.

Where the broker binds the client id to the user, another client id is none: the session that answers is the running gateway's. So
none is asked to be deleted before it is known to be new.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho

from config.liveness import liveness_topics
from config.settings import Settings
from drivers.contacts import words
from drivers.contacts.formats import CODECS
from drivers.tls.examining import examine
from gateway.app.commands.probe.hearing import hearing
from gateway.app.commands.probe.presence import presence
from gateway.app.commands.probe.service import service
from gateway.app.commands.probe.table import Line, Result, Tell
from gateway.app.neighbours import broker_address
from gateway.app.siteplan import compile_plan
from gateway.box.clock import SystemClock
from gateway.domain.liveness import Hearing
from storage.sql.contacts import seen_of_file

CONNECT_S = 5.0
ANSWER_S = 8.0
LISTEN_S = 3.0  # after the last grant: what is retained comes right behind it, what is published now as well
ONE_BY_ONE_S, SINGLE_S, MOST_ENDED = 10.0, 1.0, 3
DELIVER_S = (
    5.0  # within so long after the last grant what was published on the topics of presses has to be back
)


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
    seen = _Subscriber(settings, list(points), sorted(beside - set(points)))
    problem = await asyncio.to_thread(seen.look)
    if problem:
        tell(Line(what, Result.FAIL, problem, True))
        return
    detail = (
        f"{site.mqtt.url} takes us in and delivers to us on {len(seen.delivered & seen.presses)} of {len(points)} topics of "
        "presses; what each contact may publish only its press shows: press each contact; whether the broker keeps what it "
        "accepted over its own restart (persistence) cannot be seen from outside: compare its configuration with the "
        "mosquitto.conf shipped"
    )
    tell(Line(what, Result.OK, detail, True))
    for topic, ids in points.items():
        tell(_topic(seen, topic, ", ".join(ids)))
    for point in site.points:
        for line in (service(point, seen.qos), presence(point, seen.granted, seen.kept)):
            if line is not None:
                tell(line)
    remembered = await asyncio.to_thread(_remembered, settings)
    for line in hearing(site.points, seen.payloads, remembered):
        tell(line)
    for point in site.points:
        if point.mqtt is None or point.mqtt.format not in CODECS:
            wired = "an ONVIF input" if point.mqtt is None else f"format {point.mqtt.format}"
            detail = f"{wired} is not read by this version: none of its presses is heard"
            tell(Line(f"point 触点 {point.id}", Result.FAIL, detail, True))


def _remembered(settings: Settings) -> dict[str, Hearing]:
    """What the gateway on this data knows of its contacts; nothing where there is none yet."""
    if settings.database_file is None or not settings.database_file.exists():
        return {}
    points, now = compile_plan(settings.site, CODECS).points, SystemClock().now()
    return {
        id_: told.of(source, told.heard_s).hearing(now)
        for id_, told in seen_of_file(settings.database_file).items()
        if id_ in points and (source := points[id_].source) is not None
    }


def _topic(seen: _Subscriber, topic: str, points: str) -> Line:
    what = f"point 触点 {points}"
    granted = seen.granted.get(topic)
    if granted is None:
        return Line(what, Result.FAIL, words.subscription_refused([topic]), True)
    if granted < 1:
        return Line(what, Result.FAIL, words.low_qos([topic]), True)
    if topic not in seen.delivered:
        return Line(what, Result.FAIL, words.undelivered([topic], len(seen.presses)), True)
    kept = seen.kept.get(topic)
    if kept is not None:
        detail = (
            f"{topic}: QoS {granted}; a retained message of {len(kept)} bytes lies there (never an alarm): "
            "switch 'retain' off at the contact"
        )
        return Line(what, Result.WARN, detail, True)
    return Line(what, Result.OK, f"{topic}: QoS {granted}, nothing retained", True)


class _Subscriber:
    """Looks at a broker once, from a thread: another client id and a session of its own, so the gateway's is not disturbed."""

    def __init__(self, settings: Settings, presses: Sequence[str], beside: Sequence[str]) -> None:
        self._address = broker_address(settings)
        self._client_id = f"campus-probe-{secrets.token_hex(6)}"
        self._topics = [*presses, *beside]
        self._asked: dict[int, list[str]] = {}
        self._wrong = ""
        self.presses = frozenset(presses)
        self.granted: dict[str, int | None] = {}
        self.delivered: set[str] = set()
        self.kept: dict[str, bytes] = {}
        self.payloads: dict[str, bytes] = {}  # the last on each topic
        self.qos: dict[str, int] = {}  # the lowest heard on a topic

    def look(self) -> str:
        """Connect, subscribe, publish to ourselves, listen for a moment; returns what is wrong with the broker, or nothing."""
        clock, where = SystemClock(), self._address.where
        client = self._client(clean=False)
        try:
            client.connect(self._address.host, self._address.port, keepalive=30)
        except OSError as exc:
            return self._certificates_wrong() or words.unreachable(where, exc.strerror or exc)
        until = clock.monotonic() + ANSWER_S
        granted_at: float | None = None
        while not self._wrong and clock.monotonic() < until:
            if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                if len(self.granted) < len(self._topics):
                    break
                # It ends the connection of who publishes where he must not; which topics those are shows one at a time.
                self._one_by_one(client)
                self._forget_session()
                return ""
            if len(self.granted) == len(self._topics):
                granted_at = granted_at or clock.monotonic()
                until = max(until, granted_at + DELIVER_S)
                listened_s = clock.monotonic() - granted_at
                if listened_s > (DELIVER_S if self._missing() else LISTEN_S):
                    client.disconnect()
                    self._forget_session()
                    return ""
        client.disconnect()
        return self._wrong or self._certificates_wrong() or words.no_answer(where)

    def _missing(self) -> list[str]:
        """Topics that may be read, as the broker says, and of which nothing came."""
        return sorted(t for t in self.presses - self.delivered if self.granted[t] is not None)

    def _one_by_one(self, client: paho.Client) -> None:
        clock, ended = SystemClock(), 0
        until = clock.monotonic() + ONE_BY_ONE_S
        for topic in self._missing():
            if ended == MOST_ENDED or clock.monotonic() > until:
                return
            with suppress(OSError):
                if not client.is_connected():
                    client.reconnect()
                published = False
                single_until = clock.monotonic() + SINGLE_S
                while topic not in self.delivered and clock.monotonic() < single_until:
                    if client.loop(0.05) != paho.MQTT_ERR_SUCCESS:
                        ended += 1
                        break
                    if client.is_connected() and not published:
                        published = True
                        client.publish(topic, b"", 0)
        client.disconnect()

    def _client(self, *, clean: bool) -> paho.Client:
        client = self._address.client(self._client_id, clean=clean)
        client.connect_timeout = CONNECT_S
        if not clean:
            client.on_connect = self._connected
            client.on_subscribe = self._subscribed
            client.on_message = self._message
        return client

    def _forget_session(self) -> None:
        """The session was ours alone; asked for anew as a clean one, the broker deletes it."""
        client, clock = self._client(clean=True), SystemClock()
        with suppress(OSError):
            client.connect(self._address.host, self._address.port, keepalive=30)
            until = clock.monotonic() + ANSWER_S
            while not client.is_connected() and clock.monotonic() < until:
                if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                    break
            client.disconnect()

    def _certificates_wrong(self) -> str:
        address = self._address
        if address.tls is None:
            return ""
        try:
            return examine(address.host, address.port, address.tls, SystemClock().now()).problem
        except OSError:
            return ""

    def _connected(self, client: paho.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._wrong = words.refused(self._address.where, reason)
            return
        if self._asked:
            return  # once more, one by one: its session is our own
        if flags.session_present:
            # The client id is new, so the session is that of the user: the gateway's, with what waits in it.
            self._wrong = words.bound(self._address.where)
            return
        for start in range(0, len(self._topics), 100):
            part = list(self._topics[start : start + 100])
            _, number = client.subscribe([(topic, 1) for topic in part])
            if number is not None:
                self._asked[number] = part

    def _subscribed(
        self, client: paho.Client, _data: Any, number: int, reasons: list[Any], _properties: Any
    ) -> None:
        for topic, reason in zip(self._asked.get(number, []), reasons, strict=False):
            self.granted[topic] = None if reason.is_failure else int(reason.value)
            if topic in self.presses and not reason.is_failure:
                client.publish(topic, b"", 0)  # as drivers.contacts.proof does, and read by nobody

    def _message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self.delivered.add(message.topic)
        if message.topic in self.presses and not message.payload:
            return
        self.payloads[message.topic] = bytes(message.payload)
        self.qos[message.topic] = min(message.qos, self.qos.get(message.topic, 1))
        if message.retain:
            self.kept[message.topic] = bytes(message.payload)
