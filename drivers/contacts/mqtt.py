"""Contacts over MQTT: QoS 1, a session that outlives us, acknowledged by hand after the commit.

paho-mqtt runs its own thread; what arrives is handed to the event loop. MQTT 3.1.1 with ``clean_session=False``
is enough and is what every broker speaks, the embedded one included. A payload far beyond what a contact
sends is received and judged like any other (MQTT 5's packet limit would have the broker drop it unseen).
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from gateway.domain.errors import Unavailable
from gateway.ports import Clock, ContactMessage

log = structlog.get_logger(__name__)

KEEPALIVE_S = 15  # a dead broker is noticed within 1.5 times this
RECONNECT_S = (1, 10)
PUBLISH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and how to speak to it. ``tls`` is ``None`` for plain TCP (legal on loopback only)."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class MqttFeed:
    """:class:`gateway.ports.ContactFeed` and :class:`gateway.ports.Publisher` on one broker."""

    def __init__(
        self, address: BrokerAddress, topics: Sequence[str], clock: Clock, beside: Iterable[str] = ()
    ) -> None:
        """``beside`` are topics that are heard if the broker allows: what it refuses of them is in :attr:`refused`, and presses
        are taken all the same."""
        self._address = address
        self._topics = sorted(set(topics))
        self._beside = sorted(set(beside) - set(topics))
        self._asked: dict[int, list[str]] = {}
        self.refused: frozenset[str] = frozenset()
        self._clock = clock
        self._client: paho.Client | None = None
        self._publishing: dict[int, asyncio.Future[None]] = {}
        self._cause = "not connected yet"
        self._subscribed: set[int] = set()
        self._armed = asyncio.Event()
        self._connection = (
            0  # counted on at every loss, so that a message knows whether its connection still stands
        )
        self._connected_at: datetime | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unexplained = asyncio.Event()

    @property
    def armed(self) -> bool:
        return self._armed.is_set()

    @property
    def cause(self) -> str:
        return self._cause

    def move_to(self, address: BrokerAddress) -> None:
        """Use another address; before :meth:`run` only."""
        self._address = address

    async def wait_armed(self) -> None:
        """Return once the broker has confirmed every subscription."""
        await self._armed.wait()

    async def run(self, receive: Callable[[ContactMessage], None]) -> None:
        self._loop = asyncio.get_running_loop()
        client = self._client = self._made(receive)
        address = self._address
        client.connect_async(address.host, address.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        try:
            await self._explain()
        finally:
            # The session stays at the broker: what is pressed while we are away waits there.
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        client = self._client
        if client is None or not self._armed.is_set():
            # Handed to paho now, it would go out whenever the broker is back, however long that takes.
            raise Unavailable(self._cause or "the broker is not connected yet")
        told = client.publish(topic, payload, qos, retain)
        if told.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Unavailable(f"the broker cannot be told: {paho.error_string(told.rc)}")
        # paho's thread can only have handed its word to this loop, which is here now: nothing is missed.
        done = self._publishing[told.mid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PUBLISH_S):
                await done
        except TimeoutError as exc:
            raise Unavailable(f"the broker has not confirmed a publish within {PUBLISH_S:.0f} s") from exc
        finally:
            self._publishing.pop(told.mid, None)

    def _made(self, receive: Callable[[ContactMessage], None]) -> paho.Client:
        address = self._address
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id,
            clean_session=False,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if address.tls is not None:
            client.tls_set_context(address.tls)
        client.reconnect_delay_set(*RECONNECT_S)
        client.suppress_exceptions = False
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish

        def on_message(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
            # On paho's thread: as little as possible, then over to the loop.
            self._on_loop(receive, self._contact_message(client, message))

        client.on_message = on_message
        return client

    def _contact_message(self, client: paho.Client, message: paho.MQTTMessage) -> ContactMessage:
        mid, qos, arrived_at, connection = message.mid, message.qos, self._clock.now(), self._connection

        def acknowledge() -> None:
            if client.ack(mid, qos) not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                log.warning("mqtt.ack_failed", mid=mid)

        return ContactMessage(
            topic=message.topic,
            payload=bytes(message.payload),
            retained=bool(message.retain),
            redelivered=bool(message.dup),
            mid=mid,
            arrived_at=arrived_at,
            acknowledge=acknowledge,
            connected=lambda: self._connection == connection,
            qos=qos,
            connected_at=self._connected_at,
        )

    # paho's callbacks, on its thread.

    def _on_loop(self, call: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            return  # the loop has ended; the broker keeps what was not acknowledged

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._on_loop(self._lost, f"the broker refuses: {reason}")
            return
        self._connected_at = self._clock.now()
        self._asked.clear()
        if not self._topics:
            self._on_loop(self._ready)
        self._subscribed.clear()
        for start in range(0, len(self._topics), 100):
            part = [(topic, 1) for topic in self._topics[start : start + 100]]
            code, mid = client.subscribe(part)
            if code is MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                self._subscribed.add(mid)
        self.refused = frozenset()
        for start in range(0, len(self._beside), 100):
            names = self._beside[start : start + 100]
            code, mid = client.subscribe([(topic, 1) for topic in names])
            if code is MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                self._asked[mid] = names

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if mid in self._asked:
            names = self._asked.pop(mid)
            failed = {t for t, reason in zip(names, reasons, strict=False) if reason.is_failure}
            self.refused |= failed
            return
        refused = [str(r) for r in reasons if r.is_failure]
        if refused:
            self._on_loop(
                self._lost, f"the broker refuses a subscription: {refused[0]}; check its access list"
            )
            return
        self._subscribed.discard(mid)
        if not self._subscribed:
            self._on_loop(self._ready)

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, _reason: ReasonCode, _properties: Any
    ) -> None:
        self._on_loop(self._published, mid)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        address = self._address
        self._on_loop(self._lost, f"cannot connect to {address.host}:{address.port}; is the broker running?")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._connection += 1
        self._on_loop(self._lost, f"the connection to the broker ended: {reason}")

    # On the loop.

    def _published(self, mid: int) -> None:
        done = self._publishing.get(mid)
        if done is not None and not done.done():
            done.set_result(None)

    def _ready(self) -> None:
        self._cause = ""
        self._unexplained.clear()
        self._armed.set()
        log.info("mqtt.armed", topics=len(self._topics))

    def _lost(self, cause: str) -> None:
        # A cause by certificates stands until another look says otherwise: paho only says that it failed.
        if cause != self._cause and not self._cause.startswith("TLS: "):
            log.warning("mqtt.lost", cause=cause)
            self._cause = cause
        self._armed.clear()
        self._unexplained.set()

    async def _explain(self) -> None:
        """Find out which certificate keeps us from the broker, whenever there is none to talk to; for ever."""
        address = self._address
        if address.tls is None:
            await asyncio.Event().wait()
            return
        await self._unexplained.wait()
        examining = await asyncio.to_thread(importlib.import_module, "drivers.tls.examining")
        examiner = examining.Examiner(address.host, address.port, address.tls, self._clock)
        while True:
            await self._unexplained.wait()
            self._unexplained.clear()
            problem = await examiner.problem()
            if self._armed.is_set() or problem == self._cause:
                continue
            if problem:
                self._cause = problem
                log.warning("mqtt.lost", cause=problem)
            elif self._cause.startswith("TLS: "):
                self._cause = "the broker's certificates are well again; connecting"
