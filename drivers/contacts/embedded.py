"""The embedded broker (amqtt), for demo and bench only: it keeps nothing over a restart.

It first serves nobody but the gateway, on a port of its own; the public listener opens after the gateway has
subscribed, so that no press can come before there is somebody to take it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial

from amqtt.broker import Broker

_LISTENER = "default"


class EmbeddedBroker:
    """One amqtt broker in this event loop."""

    def __init__(self) -> None:
        self._broker: Broker | None = None
        self._public: asyncio.Server | None = None
        self.private_port = 0
        self.public_address: tuple[str, int] | None = None

    async def start(self) -> None:
        """Start the broker on a private loopback port (:attr:`private_port`)."""
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self.private_port = _free_port()
        self._broker = Broker(
            {
                "listeners": {_LISTENER: {"type": "tcp", "bind": f"127.0.0.1:{self.private_port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Let the contacts in. A busy port moves on to a free one; returns the address taken."""
        assert self._broker is not None
        serve = partial(self._broker.stream_connected, listener_name=_LISTENER)
        try:
            self._public = await asyncio.start_server(serve, host, port)
        except OSError:
            self._public = await asyncio.start_server(serve, host, 0)
        taken = self._public.sockets[0].getsockname()
        self.public_address = (taken[0], taken[1])
        return self.public_address

    async def stop(self) -> None:
        """Close both listeners and the broker; harmless when it never started."""
        public, self._public = self._public, None
        if public is not None:
            public.close()
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
