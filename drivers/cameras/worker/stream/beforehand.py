"""What a camera's RTSP server says before anybody logs in: asked on a short connection of our own, ahead of each session.

The media library follows a redirect to any host and logs in there with the camera's password, answers whatever log-in it believes
to have understood, and cuts credentials at 127 bytes. So what it would meet is looked at first: where the stream really is, and
whether the log-in that is asked for is one that it can give. A camera that answers nothing here is left to the library.

Sources: RFC 2326 (DESCRIBE, 3xx), FFmpeg 8's behaviour as tried (tests/integration/test_cameras_strange_rtsp.py has the table).
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from drivers.cameras.http.challenges import Challenge, challenges
from drivers.cameras.http.door import PORTS, STREAMS, bracketed, shown, stream_at
from drivers.cameras.http.exchange import LARGEST_HEAD, camera_tls, head_of
from gateway.domain.errors import Unavailable

WITHIN_S = 3.0
"""For all of it; what is left of the time for opening is the library's."""

MOST_REDIRECTS = 2

MOST_CREDENTIALS = 127
"""Bytes of user name, colon and password, encoded for an address, that the media library takes; the rest it cuts off."""

_ALGORITHMS = ("", "MD5", "MD5-sess")
"""Of digest, as the media library knows them, to the letter."""


@dataclass(frozen=True, slots=True)
class Beforehand:
    """``url`` is where the stream is, after redirects within the camera. ``asked`` are its challenges, in the order of their
    header lines; empty if it asks for no log-in, ``None`` if that could not be found out."""

    url: str
    asked: list[list[Challenge]] | None = field(default=None)

    @property
    def asks_for(self) -> str:
        """All that is asked for, in words; empty if nothing is."""
        each = [str(challenge)[:60] for line in self.asked or [] for challenge in line]
        return ", ".join(dict.fromkeys(each[:8]))

    @property
    def answerable(self) -> bool:
        """Whether the media library can log in: it takes the last line that begins with Digest, else one that begins with
        Basic, and knows MD5 alone."""
        if self.asked is None:
            return True
        digests = self._first("digest")
        if digests:
            return digests[-1].parameters.get("algorithm", "") in _ALGORITHMS
        return bool(self._first("basic"))

    @property
    def only_basic(self) -> bool:
        """Whether the media library would send the password as it is."""
        return bool(self._first("basic")) and not self._first("digest")

    def _first(self, scheme: str) -> list[Challenge]:
        return [line[0] for line in self.asked or [] if line and line[0].scheme.lower() == scheme]


def asked_beforehand(url: str) -> Beforehand:
    """Ask for the stream's description without a log-in. Waits, at most for :data:`WITHIN_S`.

    Raises ``Unavailable`` in words where the camera sends us somewhere else.
    """
    until_s = time.monotonic() + WITHIN_S
    for _ in range(MOST_REDIRECTS + 1):
        answer = _described(url, until_s)
        if answer is None:
            return Beforehand(url)
        status, head = answer
        if not 300 <= status < 400:
            lines = [challenges([each]) for each in head.get("www-authenticate", [])]
            known = status in (200, 401)
            return Beforehand(url, (lines if status == 401 else []) if known else None)
        url = _led_on(url, head.get("location", [""])[0])
    raise Unavailable(
        "the camera redirects its stream again and again: name the address it ends at in the site file"
    )


def _led_on(url: str, location: str) -> str:
    host = urlsplit(url).hostname or ""
    named = None
    with contextlib.suppress(ValueError):
        parts = urlsplit(location)
        named = parts.hostname if parts.scheme.lower() in STREAMS else None
    if named is None or named != host.lower():
        raise Unavailable(
            f"the camera redirects its stream to {shown(location) or 'nowhere'}, another place than the site file names: not "
            "followed, since the password would go there"
        )
    if url.startswith("rtsps:") and not location.lower().startswith("rtsps:"):
        raise Unavailable(f"the camera redirects its stream from rtsps to {shown(location)}: not followed")
    return stream_at(location, host)


def _described(url: str, until_s: float) -> tuple[int, dict[str, list[str]]] | None:
    """Status and head of the answer; ``None`` if there is none that can be read."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    request = (
        f"DESCRIBE {parts._replace(netloc=f'{bracketed(host)}:{port}').geturl()} RTSP/1.0\r\n"
        "CSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: campus-gateway\r\n\r\n"
    ).encode()
    held = bytearray()
    try:
        with contextlib.ExitStack() as stack:
            line = stack.enter_context(socket.create_connection((host, port), timeout=_left(until_s)))
            if parts.scheme == "rtsps":
                line = stack.enter_context(camera_tls().wrap_socket(line))
            line.sendall(request)
            while (found := head_of(held)) is None:
                line.settimeout(_left(until_s))
                piece = line.recv(4096)
                if not piece or len(held) > LARGEST_HEAD:
                    return None
                held += piece
    except (OSError, ValueError):
        return None
    return found


def _left(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
