"""Addresses as a site file writes them: URLs, `host:port`, and which of them never leave the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import parse_qsl, urlsplit

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253  # RFC 1035, 2.3.4, less the root
_LONGEST_URL = 2048
_PORTS = {
    "http": 80,
    "https": 443,
    "rtsp": 554,
    "rtsps": 322,
    "mqtt": 1883,
    "mqtts": 8883,
    "postgresql": 5432,
}


class BadAddress(ValueError):
    """The text is not the kind of address asked for; the message says what is wrong and shows no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A URL taken apart. `port` is the scheme's own where none is written."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name: 127.0.0.0/8, ::1 or localhost. Nothing is resolved."""
    if host.lower() == "localhost":
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def check_host(host: str) -> str:
    """Return a host name or IP address as it is; raise BadAddress for anything else."""
    named = len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in host.split("."))
    if _ip(host) is None and (not named or host.replace(".", "").isdigit()):
        raise BadAddress("not a host name or IP address")
    return host


def parse_url(text: str, *schemes: str) -> Url:
    """Take a URL apart; raise BadAddress unless it has one of `schemes`, a host, and nothing secret in it."""
    if len(text) > _LONGEST_URL:
        raise BadAddress(f"longer than {_LONGEST_URL} characters")
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise BadAddress("an address has only ASCII characters and no spaces")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise BadAddress("host or port cannot be read") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes or not text.lower().startswith(f"{scheme}://"):
        raise BadAddress(f"does not begin with {' or '.join(f'{known}://' for known in schemes)}")
    if "@" in parts.netloc:
        raise BadAddress("user name or password inside the address")
    if not host:
        raise BadAddress("no host")
    check_host(host)
    if port == 0:
        raise BadAddress("port 0")
    if parts.fragment or text.endswith("#"):
        raise BadAddress("a fragment (#…) has no meaning here")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if any(word in name.lower() for word in ("passw", "pwd", "secret")):
            raise BadAddress("a password inside the address")
    return Url(
        scheme=scheme,
        host=host,
        port=port if port is not None else _PORTS[scheme.rpartition("+")[2]],
        path=parts.path,
        query=parts.query,
    )


def parse_listen(text: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080`, `localhost:0` → host, port. Port 0 takes any free one."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port_text) or int(port_text) > 65535:
        raise BadAddress("not HOST:PORT with a port of 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_ip(host), IPv6Address):
            raise BadAddress("no IPv6 address between the brackets")
    elif ":" in host:
        raise BadAddress("an IPv6 address stands in brackets: [::1]:8080")
    return check_host(host), int(port_text)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
