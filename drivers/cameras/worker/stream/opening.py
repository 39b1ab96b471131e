"""Opening a camera's stream: its address, and what a refusal means, in words a technician can act on."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av

from drivers.cameras.codec.sps import LARGEST_PICTURE
from drivers.cameras.http.door import STREAMS
from drivers.cameras.spec import REFUSED_BACK_OFF_S, REFUSED_HINT
from drivers.cameras.unforeseen import UNFORESEEN
from drivers.cameras.worker.bounds import MOST_ALLOCATED, allocate_at_most
from drivers.cameras.worker.frames.mp4 import CODECS
from drivers.cameras.worker.stream.beforehand import MOST_CREDENTIALS, Beforehand, asked_beforehand
from gateway.domain.errors import Unavailable

OPEN_TIMEOUT_S = 8.0
SILENCE_S = 5.0
"""Without a frame for this long, the session is taken for dead and opened again."""

WRONG_STREAM_BACK_OFF_S = 30.0

OPTIONS = {
    "rtsp_transport": "tcp",
    # What the library would find out of the first packets is read from the parameter sets here: it need not look at more of them
    # than it insists on (µs, bytes).
    "analyzeduration": "100000",
    "probesize": "32",
    # Each RTP packet as it comes, under its own time: the library's parser lays pieces of two pictures together and gives the
    # whole the time of the first.
    "fflags": "nofillin+noparse",
    "timeout": str(int(SILENCE_S * 1e6)),  # µs, of each wait on the socket
    "max_pixels": str(
        LARGEST_PICTURE
    ),  # of the decoder that the library itself looks at the first packets with
}

PARSED = OPTIONS | {"fflags": "nofillin", "probesize": "50000"}
"""For a stream without parameter sets in its description that is joined in the middle of a picture: there the library insists on
its parser. What it hands out are whole pictures, taken apart like single packets; only the time of a picture behind a trailing
message is that message's."""

LIBRARY_IS_BOUNDED = allocate_at_most(MOST_ALLOCATED)
"""Whether the media library was told, and a fault otherwise: what it would allocate is named by a stranger (a length of 2 GB, in
a line of text)."""

_digest_agreed: set[tuple[str, str]] = set()
"""Places and user names where Digest was asked for since this process began."""

_not_again: dict[Address, Address] = {}
"""What was found beforehand and could then not be opened: the next opening goes without asking, for there are cameras that serve
one connection, and need a moment between two."""

UNREACHED = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


class Fallen(Exception):
    """The session cannot go on; ``pause_s`` is how long to leave the camera alone, ``None`` for the usual back-off. ``reached``
    is false where nothing of the camera answered at all."""

    def __init__(self, cause: str, *, pause_s: float | None = None, reached: bool = True) -> None:
        super().__init__(cause)
        self.reached = reached
        self.cause = cause
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the stream is, its credentials apart."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)

    def with_credentials(self) -> str:
        """The URL as the media library wants it; never to be logged or shown."""
        if not self.username:
            return self.url
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{self._credentials}@{host}"))

    @property
    def _credentials(self) -> str:
        # Only what an address needs encoded: the media library has room for 127 bytes of them.
        return f"{_encoded(self.username)}:{_encoded(self.password)}"

    @property
    def too_long(self) -> int:
        """By how many bytes the credentials are longer than the media library takes; 0 if they are not."""
        return max(0, len(self._credentials.encode()) - MOST_CREDENTIALS) if self.username else 0


def opened(address: Address, *, audio: bool, connecting: Callable[[str], None] = lambda _url: None) -> Any:
    """The container of the stream, its first packets looked at. ``connecting`` is told where the library connects to, each time
    just before. Raises :class:`Fallen`."""
    began_s, asked_for = time.monotonic(), address
    known = _not_again.pop(address, None)
    address, before = (known, None) if known is not None else _looked_at(address)
    kinds = {"allowed_media_types": "video+audio" if audio else "video"}
    try:
        try:
            connecting(address.url)
            return _open(address, OPTIONS | kinds, began_s)
        except av.error.InvalidDataError:
            connecting(address.url)
            return _open(address, PARSED | kinds, began_s)
    except av.FFmpegError as exc:
        refused = isinstance(exc, av.error.HTTPUnauthorizedError)
        if before is not None and before.asked is not None and not refused:
            _not_again[asked_for] = address
        raise _fallen(exc, address) from None  # the original names the URL with its password


def _open(address: Address, options: dict[str, str], began_s: float) -> Any:
    left_s = max(SILENCE_S, OPEN_TIMEOUT_S - (time.monotonic() - began_s))
    return av.open(address.with_credentials(), options=options, timeout=(left_s, SILENCE_S))


def _looked_at(address: Address) -> tuple[Address, Beforehand]:
    """Where the stream really is, and what log-in is asked for there. Raises :class:`Fallen` where no password is to be tried."""
    if urlsplit(address.url).scheme not in STREAMS:
        raise Fallen(
            f"{scrub(address.url)[:100]} is no rtsp:// address: it is not opened",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    if address.too_long:
        raise Fallen(
            f"user name and password together are {address.too_long} bytes longer than can be sent to a stream "
            f"({MOST_CREDENTIALS} with the colon, / ? # @ : % and blanks count three): give the camera a shorter password",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    try:
        before = asked_beforehand(address.url)
    except Unavailable as exc:
        raise Fallen(exc.reason, pause_s=WRONG_STREAM_BACK_OFF_S) from None
    if before.asked:
        if not address.username:
            raise Fallen(
                "the camera asks for a user name and password (401): the site file gives none for it",
                pause_s=WRONG_STREAM_BACK_OFF_S,
            )
        if not before.answerable:
            raise Fallen(
                f"the camera asks for {before.asks_for} for its stream, which cannot be answered: set its RTSP log-in to Digest "
                "(MD5); no password was tried",
                pause_s=WRONG_STREAM_BACK_OFF_S,
            )
        account = (urlsplit(before.url).netloc, address.username)
        if before.only_basic and account in _digest_agreed:
            raise Fallen(
                "the camera asked for Digest before and asks for Basic alone now, which sends the password readable: not done; "
                "set its RTSP log-in back to Digest, or restart the gateway if the change is meant",
                pause_s=WRONG_STREAM_BACK_OFF_S,
            )
        if not before.only_basic:
            _digest_agreed.add(account)
    return replace(address, url=before.url), before


def chosen(container: Any) -> Any:
    """Its video stream. Raises :class:`Fallen` where there is none that can be recorded."""
    videos = list(container.streams.video)
    if not videos:
        found = ", ".join(f"{s.type} {s.name or 'unknown'}" for s in container.streams) or "nothing"
        raise Fallen(
            f"the address serves no video (found: {found}); H.264 or H.265 was expected: check the stream path",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    codec = videos[0].codec_context.name if videos[0].codec_context else "an unknown codec"
    if codec not in CODECS:
        raise Fallen(
            f"the camera sends {codec.upper()} where H.264 or H.265 was expected: choose another of its streams, or set it "
            "to H.264",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    return videos[0]


def _fallen(exc: av.FFmpegError, address: Address) -> Fallen:
    """What an error on opening means, in words a technician can act on."""
    where = urlsplit(address.url).netloc.rpartition("@")[2]
    if isinstance(exc, av.error.HTTPUnauthorizedError) and not address.username:
        return Fallen(
            "the camera asks for a user name and password (401): the site file gives none for it",
            pause_s=WRONG_STREAM_BACK_OFF_S,
        )
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return Fallen(
            f"the camera refuses user name or password (401): correct them in the site file{REFUSED_HINT}",
            pause_s=REFUSED_BACK_OFF_S,
        )
    if isinstance(exc, av.error.HTTPForbiddenError):
        return Fallen(
            "the camera forbids this stream (403): too many sessions, or the account lacks the right"
        )
    if isinstance(exc, av.error.HTTPNotFoundError):
        return Fallen(f"the camera has no stream at {scrub(address.url)} (404): check the path")
    if isinstance(exc, av.error.ConnectionRefusedError):
        return Fallen(f"nothing listens at {where}: is the camera on, and is the port right?", reached=False)
    if isinstance(exc, (av.error.ExitError, av.error.TimeoutError)):
        # Whether the connection was taken is not told: a host that is gone looks the same.
        return Fallen(f"{where} sends nothing within {OPEN_TIMEOUT_S:.0f} s: is it there?", reached=False)
    unreached = isinstance(exc, OSError) and exc.errno in UNREACHED
    return Fallen(f"{where} cannot be opened: {scrub(exc.strerror or UNFORESEEN)}", reached=not unreached)


def _encoded(text: str) -> str:
    return re.sub(r"[/?#@:%\x00-\x20\x7f]", lambda found: f"%{ord(found[0]):02X}", text)


def scrub(text: str) -> str:
    """Text without the credentials of any URL in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)
