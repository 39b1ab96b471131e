"""A session of an earlier client id: what waits in it is taken before the new one, and the broker is told to forget it.

Otherwise every press that was made while the gateway was away for its upgrade would wait there for ever. Order: connect under the
former id and take what waits; then the new session is made; only then is the former one deleted. In between both deliver, and
the second copy of a press is a bounce of the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
import structlog

from drivers.contacts.address import BrokerAddress
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage

log = structlog.get_logger(__name__)

CONNECT_S = 5.0
KEEPALIVE_S = 15
QUIET_S = 1.0  # what waits comes right behind the CONNACK, without a pause
DRAIN_S = 10.0  # the new session is not kept waiting longer; the former one goes on beside it
POLL_S = 0.05

#: Makes a message for the loop of one that paho brought.
Wrapper = Callable[[paho.Client, paho.MQTTMessage], ContactMessage]


class FormerSession:
    """One former client id. ``take`` first, ``retire`` once the new session is confirmed."""

    def __init__(self, client_id: str, address: BrokerAddress, clock: Clock) -> None:
        self.client_id = client_id
        self._address = address
        self._clock = clock
        self._client: paho.Client | None = None
        self._present: bool | None = None
        self._cut = False
        self._waiting = 0  # messages handed on and not acknowledged
        self._last_s = 0.0

    async def take(self, receive: Callable[[ContactMessage], None], wrap: Wrapper) -> None:
        """Hand what waits to ``receive``; returns when nothing more comes, at the latest after 10 s."""
        loop = asyncio.get_running_loop()
        client = self._client = self._address.client(self.client_id)

        def connected(_client: paho.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
            self._present = None if reason.is_failure else bool(flags.session_present)
            self._cut = bool(reason.is_failure)

        def disconnected(*_: object) -> None:
            self._cut = True

        def came(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
            told = self._counted(wrap(client, message))
            loop.call_soon_threadsafe(self._hand_on, receive, told)

        client.on_connect, client.on_disconnect, client.on_message = connected, disconnected, came
        try:
            await asyncio.to_thread(client.connect, self._address.host, self._address.port, KEEPALIVE_S)
        except OSError:
            self._cut = True
            return
        client.loop_start()
        until_s = self._clock.monotonic() + CONNECT_S
        while self._present is None and not self._cut and self._clock.monotonic() < until_s:
            await self._clock.sleep(POLL_S)
        log.info("mqtt.former_session", present=bool(self._present))
        self._last_s = self._clock.monotonic()
        until_s = self._last_s + DRAIN_S
        while self._present and not self._cut and not self._quiet and self._clock.monotonic() < until_s:
            await self._clock.sleep(POLL_S)

    async def retire(self) -> bool:
        """Delete the session at the broker; whether nothing of it is left to take. Call once the new session is confirmed."""
        client = self._client
        if client is None or self._present is None:
            return False
        while self._present and not self._cut and not self._quiet:
            await self._clock.sleep(POLL_S)
        if self._cut:
            # Taken by the new connection: the broker binds client ids to users, so both are one session, which has to stay.
            await self.stop()
            return True
        await self.stop()
        clean = self._client = self._address.client(self.client_id, clean=True)
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()

        def connected(*_: object) -> None:
            loop.call_soon_threadsafe(gone.set)

        clean.on_connect = connected
        try:
            await asyncio.to_thread(clean.connect, self._address.host, self._address.port, KEEPALIVE_S)
            clean.loop_start()
            async with asyncio.timeout(CONNECT_S):
                await gone.wait()
        except (OSError, TimeoutError):
            return False
        finally:
            await self.stop()
        log.info("mqtt.former_session_deleted")
        return True

    async def stop(self) -> None:
        """Disconnect; what was not acknowledged stays at the broker."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    @property
    def _quiet(self) -> bool:
        return self._waiting == 0 and self._clock.monotonic() - self._last_s >= QUIET_S

    def _counted(self, message: ContactMessage) -> ContactMessage:
        acknowledge = message.acknowledge
        done = False

        def once() -> None:
            nonlocal done
            acknowledge()
            if not done:
                done = True
                self._waiting -= 1

        return replace(message, acknowledge=once)

    def _hand_on(self, receive: Callable[[ContactMessage], None], message: ContactMessage) -> None:
        self._waiting += 1
        self._last_s = self._clock.monotonic()
        receive(message)
