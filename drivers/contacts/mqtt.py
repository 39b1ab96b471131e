"""Contacts over MQTT: QoS 1, a session that outlives us, acknowledged by hand after the commit.

paho-mqtt runs its own thread; what arrives is handed to the event loop. MQTT 3.1.1 with ``clean_session=False``
is enough and is what every broker speaks, the embedded one included. A payload far beyond what a contact
sends is received and judged like any other (MQTT 5's packet limit would have the broker drop it unseen).

That a subscription was granted proves nothing: :mod:`drivers.contacts.proof` shows what is really delivered.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from drivers.contacts import words
from drivers.contacts.address import BrokerAddress
from drivers.contacts.former import FormerSession
from drivers.contacts.losses import Losses
from drivers.contacts.proof import Proof, is_proof
from gateway.domain.errors import Unavailable
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage

log = structlog.get_logger(__name__)

KEEPALIVE_S = 15  # a dead broker is noticed within 1.5 times this
RECONNECT_S = (1, 10)
PUBLISH_S = 5.0


class SessionMemory(Protocol):
    """What is remembered of the session over restarts (:class:`gateway.app.broker_session.BrokerSession`)."""

    @property
    def former(self) -> tuple[str, ...]:
        """Client ids under which something may still wait."""

    def connected(self, present: bool) -> None:
        """The broker took the connection, and says whether it had the session."""

    def confirmed(self) -> None:
        """The session exists now."""

    def taken(self, client_id: str) -> None:
        """Nothing waits under a former client id any more."""

    def forgotten_at(self) -> datetime | None:
        """When the broker was last seen to have forgotten the session, while that is a fault."""


class MqttFeed:
    """:class:`gateway.ports.contacts.ContactFeed` and :class:`gateway.ports.contacts.Publisher` on one broker."""

    def __init__(
        self,
        address: BrokerAddress,
        topics: Sequence[str],
        clock: Clock,
        beside: Iterable[str] = (),
        memory: SessionMemory | None = None,
    ) -> None:
        """``beside`` are topics that are heard if the broker allows: what it refuses of them is in :attr:`refused`, and presses
        are taken all the same. ``memory`` is ``None`` at a broker that keeps no sessions."""
        self._address = address
        self._memory = memory
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
        self._losses = Losses(address.where, clock)
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
        self._address, self._losses = address, Losses(address.where, self._clock)

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
        if self._losses.cause:
            yield "client-id", self._losses.cause
        if self._memory is not None and (at := self._memory.forgotten_at()) is not None:
            yield "session", words.forgotten(self._address.where, f"{at:%Y-%m-%d %H:%M:%S} UTC")

    async def wait_armed(self) -> None:
        """Return once the broker has answered every subscription and granted one."""
        await self._armed.wait()

    async def run(self, receive: Callable[[ContactMessage], None]) -> None:
        self._loop = asyncio.get_running_loop()
        address = self._address
        ids = self._memory.former if self._memory is not None else ()
        former = [FormerSession(id_, address, self._clock) for id_ in ids]
        for session in former:
            await session.take(partial(self._hand_on, receive), self._contact_message)
        client = self._client = self._made(receive)
        client.connect_async(address.host, address.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        try:
            async with asyncio.TaskGroup() as beside:
                beside.create_task(self._explain(), name="explain")
                beside.create_task(self._proof.run(self._stands), name="proof")
                beside.create_task(self._retire(former), name="former sessions")
        finally:
            for session in former:
                await session.stop()
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

    async def _retire(self, former: Sequence[FormerSession]) -> None:
        for session in former:
            await self._armed.wait()
            if await session.retire() and self._memory is not None:
                self._memory.taken(session.client_id)

    def _made(self, receive: Callable[[ContactMessage], None]) -> paho.Client:
        client = self._address.client(self._address.client_id, reconnecting=True)
        client.reconnect_delay_set(*RECONNECT_S)
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
        self, client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._answer = not reason.is_failure
        if reason.is_failure:
            self._on_loop(self._lost, words.refused(self._address.where, reason))
            return
        self._connected_at = self._clock.now()
        if self._memory is not None:
            self._on_loop(self._memory.connected, bool(flags.session_present))
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
        self._hand_on(receive, message)

    def _hand_on(self, receive: Callable[[ContactMessage], None], message: ContactMessage) -> None:
        """But for the gateway's own, which waits in a former session as well where both deliver."""
        if message.topic in self._topics and is_proof(message):
            message.acknowledge()
        else:
            receive(message)

    def _published(self, mid: int) -> None:
        done = self._publishing.get(mid)
        if done is not None and not done.done():
            done.set_result(None)

    def _ready(self) -> None:
        self._cause = ""
        self._unexplained.clear()
        self._armed.set()
        if self._memory is not None:
            self._memory.confirmed()
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
            if not self._proof.own_doing:
                self._losses.count()
        self._armed.clear()

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
                error := await asyncio.to_thread(address.unreachable)
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
