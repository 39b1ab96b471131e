"""The one door for every address that a camera names: which of them are used, and at which host.

A camera's word decides the path and the port. The host is always the one of the site file, whatever the camera names: behind
NAT it names an inner one, and a camera that was tampered with would send us, with its password, somewhere else. Nothing but
the schemes that are expected gets through.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from gateway.domain.errors import Unavailable

STREAMS = ("rtsp", "rtsps")
WEB = ("http", "https")
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}

LONGEST = 2048
"""Characters of the longest address taken; the longest seen of a camera has some 200."""

_KEPT = "%/:=&?~#+!$,;'@()*[]|{}\"<>^`\\"
"""What stays as the camera wrote it in a path or query; all else (blanks, line ends, other alphabets) is percent-encoded."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an HTTP request goes: ``target`` is path and query as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As the ``Host`` header has it."""
        shown = bracketed(self.host)
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def bracketed(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def stream_at(url: str, host: str) -> str:
    """The stream's address with our host for the camera's own, without credentials. Its RTSP port is kept: the configured port is
    that of ONVIF, and nothing else tells the outer one. Where RTSP is forwarded from another port, the site file names the
    ``stream`` itself.

    Raises ``Unavailable`` in words where it is no RTSP address.
    """
    parts, port = _split(url, "stream", STREAMS, "rtsp://")
    return urlunsplit(parts._replace(netloc=bracketed(host) + (f":{port}" if port else ""), fragment=""))


def web_places(url: str, host: str, port: int, what: str) -> list[Place]:
    """Where an HTTP address named by a camera may be, the best first: at our host with the scheme and port that it names,
    then at the port of the site file (behind NAT the named one leads nowhere).

    Raises ``Unavailable`` in words where it is no HTTP address.
    """
    parts, named = _split(url, what, WEB, "http://")
    target = target_of(parts)
    first = Place(parts.scheme, host, named or PORTS[parts.scheme], target)
    second = Place("http", host, port, target)
    return [first] if first == second else [first, second]


def redirected(place: Place, location: str) -> Place:
    """Where a redirect leads. Raises ``Unavailable`` in words unless that is the same host, and no less private."""
    try:
        parts = urlsplit(location.strip()[:LONGEST])
        port = parts.port
    except ValueError:
        raise Unavailable(f"it redirects to what is no address ({shown(location)})") from None
    scheme = parts.scheme.lower() or place.scheme
    if scheme not in WEB or (parts.hostname or place.host.lower()) != place.host.lower():
        raise Unavailable(
            f"it redirects to {shown(location)}, another place than the site file names: not followed"
        )
    if scheme == "http" and place.scheme == "https":
        raise Unavailable(f"it redirects from https to {shown(location)}: not followed")
    if parts.hostname is None:
        port = place.port
    elif port is None:
        port = PORTS[scheme]
    if not parts.path.startswith("/") and parts.hostname is None:
        parts = parts._replace(path=place.target.partition("?")[0].rpartition("/")[0] + "/" + parts.path)
    return Place(scheme, place.host, port, target_of(parts))


def target_of(parts: SplitResult) -> str:
    """Path and query as they can be sent in a request line."""
    return quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe=_KEPT)


def _split(url: str, what: str, schemes: tuple[str, ...], wanted: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise Unavailable(
            f"the camera names {shown(url)} as the address of its {what}: that cannot be read"
        ) from None
    if len(url) > LONGEST:
        raise Unavailable(
            f"the camera names an address of {len(url)} characters for its {what}: that is not used"
        )
    if parts.scheme.lower() not in schemes or not parts.hostname:
        raise Unavailable(
            f"the camera names {shown(url)} as the address of its {what}, where {wanted}… was expected: that is not opened"
        )
    return parts._replace(scheme=parts.scheme.lower()), port or None


def shown(url: str) -> str:
    """An address to be told: short, on one line, without credentials or query."""
    bare = url.strip().partition("?")[0]
    before, at, behind = bare.partition("//")
    rest = behind.rpartition("@")[2] if at else bare
    shown = "".join(c if c.isprintable() else "?" for c in (before + at + rest if at else rest))
    return shown if len(shown) <= 100 else shown[:97] + "…"
