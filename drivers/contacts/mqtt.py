"""Contacts over MQTT: QoS 1, a session that outlives us, acknowledged by hand after the commit.

paho-mqtt runs its own thread; what arrives is handed to the event loop. MQTT 3.1.1 with ``clean_session=False``
is enough and is what every broker speaks, the embedded one included. A payload far beyond what a contact
sends is received and judged like any other (MQTT 5's packet limit would have the broker drop it unseen).

That a subscription was granted proves nothing: :mod:`drivers.contacts.proof` shows what is really delivered.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from drivers.contacts import words
from drivers.contacts.proof import Proof, is_proof
from gateway.domain.errors import Unavailable
from gateway.ports import Clock, ContactMessage

log = structlog.get_logger(__name__)

KEEPALIVE_S = 15  # a dead broker is noticed within 1.5 times this
RECONNECT_S = (1, 10)
PUBLISH_S = 5.0
LOOK_S = 3.0  # at the broker's port, to learn why it cannot be reached
#: A connection lost so often within so many seconds is somebody else's doing: a broker that restarts loses it once or twice.
LOSSES = ((3, 60.0), (5, 900.0))
CONTESTED_S = 600.0  # so long without a loss, and it is over


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and how to speak to it. ``tls`` is ``None`` for plain TCP (legal on loopback only)."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


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
        # Subscriptions on their way: number to topics. Changed on paho's thread only.
        self._asked: dict[int, list[str]] = {}
        self.refused: frozenset[str] = frozenset()
        self._refused_presses: frozenset[str] = frozenset()
        self._at_qos_0: frozenset[str] = frozenset()
        self._proof = Proof(self._topics, clock, self._publish_proof)
        self._answer: bool | None = (
            None  # the broker's answer to this connection: taken in, refused, none yet
        )
        self._losses: deque[float] = deque(maxlen=max(count for count, _ in LOSSES))
        self._contested = ""
        self._clock = clock
        self._client: paho.Client | None = None
        self._publishing: dict[int, asyncio.Future[None]] = {}
        self._cause = "not connected yet"
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

    @property
    def undelivered(self) -> frozenset[str]:
        """Topics on which no press would come, as far as that is known."""
        return self._proof.undelivered | self._refused_presses

    def found(self) -> Iterator[tuple[str, str]]:
        """What is wrong besides :attr:`cause`, as (subject, cause)."""
        if self._refused_presses:
            yield "subscriptions", words.subscription_refused(self._refused_presses)
        if self._at_qos_0:
            yield "qos", words.low_qos(self._at_qos_0)
        if undelivered := self._proof.undelivered - self._refused_presses:
            yield "delivery", words.undelivered(undelivered, len(self._topics))
        if self._contested and self._clock.monotonic() - self._losses[-1] >= CONTESTED_S:
            self._contested = ""
        if self._contested:
            yield "client-id", self._contested

    async def wait_armed(self) -> None:
        """Return once the broker has answered every subscription and granted one."""
        await self._armed.wait()

    async def run(self, receive: Callable[[ContactMessage], None]) -> None:
        self._loop = asyncio.get_running_loop()
        client = self._client = self._made(receive)
        address = self._address
        client.connect_async(address.host, address.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        try:
            async with asyncio.TaskGroup() as beside:
                beside.create_task(self._explain(), name="explain")
                beside.create_task(self._proof.run(self._stands), name="proof")
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
            self._on_loop(self._arrived, receive, self._contact_message(client, message))

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

    def _stands(self) -> int | None:
        return self._connection if self._armed.is_set() else None

    def _publish_proof(self, topic: str) -> bool:
        client = self._client
        return client is not None and client.publish(topic, b"", 0).rc is MQTTErrorCode.MQTT_ERR_SUCCESS

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
        self._answer = not reason.is_failure
        if reason.is_failure:
            self._on_loop(self._lost, words.refused(self._address.where, reason))
            return
        self._connected_at = self._clock.now()
        self._asked.clear()
        self.refused = self._refused_presses = self._at_qos_0 = frozenset()
        if not self._topics:
            self._on_loop(self._ready)
        for topics in (self._topics, self._beside):
            for start in range(0, len(topics), 100):
                names = topics[start : start + 100]
                code, mid = client.subscribe([(topic, 1) for topic in names])
                if code is MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                    self._asked[mid] = names

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        granted = dict(zip(self._asked.pop(mid, []), reasons, strict=False))
        failed = {topic for topic, reason in granted.items() if reason.is_failure}
        presses = granted.keys() & set(self._topics)
        self.refused |= failed - presses
        self._refused_presses |= failed & presses
        self._at_qos_0 |= {topic for topic in presses - failed if granted[topic].value == 0}
        if not presses or any(set(names) & set(self._topics) for names in self._asked.values()):
            return
        if len(self._refused_presses) == len(self._topics):
            self._on_loop(self._lost, words.subscription_refused(self._refused_presses))
        else:
            self._on_loop(self._ready)

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, _reason: ReasonCode, _properties: Any
    ) -> None:
        self._on_loop(self._published, mid)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._on_loop(self._unreached)

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._connection += 1
        answer, self._answer = self._answer, None
        self._on_loop(self._dropped, answer, str(reason))

    # On the loop.

    def _arrived(self, receive: Callable[[ContactMessage], None], message: ContactMessage) -> None:
        self._proof.came(message.topic)
        if message.topic in self._topics and is_proof(message):
            message.acknowledge()
            return
        receive(message)

    def _published(self, mid: int) -> None:
        done = self._publishing.get(mid)
        if done is not None and not done.done():
            done.set_result(None)

    def _ready(self) -> None:
        self._cause = ""
        self._unexplained.clear()
        self._armed.set()
        log.info("mqtt.armed", topics=len(self._topics))

    def _unreached(self) -> None:
        """There is no connection; why, paho does not say, and :meth:`_explain` finds out."""
        told = self._cause.startswith(words.unreachable(self._address.where, "").partition("(")[0])
        self._lost(self._cause if told else words.unreachable(self._address.where, "no connection"))

    def _dropped(self, answer: bool | None, reason: str) -> None:
        """A connection is over. One that the broker refused keeps the refusal as its cause: its end says less."""
        where = self._address.where
        if answer is None:
            self._lost(words.no_answer(where))
        elif answer and not (self._topics and len(self._refused_presses) == len(self._topics)):
            self._lost(words.ended(where, reason))
            self._count_loss()
        self._armed.clear()

    def _count_loss(self) -> None:
        now_s = self._clock.monotonic()
        self._losses.append(now_s)
        for count, within_s in LOSSES:
            if len(self._losses) >= count and now_s - self._losses[-count] <= within_s:
                self._contested = words.contested(self._address.where, count, within_s)
                return

    def _lost(self, cause: str) -> None:
        # A cause by certificates stands until another look says otherwise: paho only says that it failed.
        if cause != self._cause and not self._cause.startswith("TLS: "):
            log.warning("mqtt.lost", cause=cause)
            self._cause = cause
        self._armed.clear()
        self._unexplained.set()

    async def _explain(self) -> None:
        """Find out what keeps us from the broker, whenever there is none to talk to; for ever."""
        address, examiner = self._address, None
        while True:
            await self._unexplained.wait()
            self._unexplained.clear()
            if self._cause == words.unreachable(address.where, "no connection") and (
                error := await asyncio.to_thread(_unreachable, address.host, address.port)
            ):
                self._explained(words.unreachable(address.where, error))
            if address.tls is None:
                continue
            if examiner is None:
                examining = await asyncio.to_thread(importlib.import_module, "drivers.tls.examining")
                examiner = examining.Examiner(address.host, address.port, address.tls, self._clock)
            if problem := await examiner.problem():
                self._explained(problem)
            elif self._cause.startswith("TLS: "):
                self._explained("the broker's certificates are well again; connecting")

    def _explained(self, cause: str) -> None:
        if not self._armed.is_set() and cause != self._cause:
            self._cause = cause
            log.warning("mqtt.lost", cause=cause)


def _unreachable(host: str, port: int) -> str:
    """Why there is no TCP connection; empty if there is one now. Blocks for at most 3 s an address."""
    try:
        socket.create_connection((host, port), LOOK_S).close()
    except OSError as exc:
        return str(exc.strerror or exc)
    return ""
