"""Where the broker is, and a client that speaks to it as the gateway does."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

LOOK_S = 3.0  # at the broker's port, to learn why it cannot be reached


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

    def client(self, client_id: str, *, clean: bool = False, reconnecting: bool = False) -> paho.Client:
        """A client for this broker, not connected, that acknowledges by hand; ``clean`` asks for a session that ends with it."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=paho.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=reconnecting,
        )
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        if self.tls is not None:
            client.tls_set_context(self.tls)
        client.suppress_exceptions = False
        return client

    def unreachable(self) -> str:
        """Why there is no TCP connection; empty if there can be one. Blocks for at most 3 s an address."""
        try:
            socket.create_connection((self.host, self.port), LOOK_S).close()
        except OSError as exc:
            return str(exc.strerror or exc)
        return ""
