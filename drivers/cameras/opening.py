"""Opening a camera's stream: its address, and what a refusal means, in words a technician can act on."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import av

from drivers.cameras.mp4 import CODECS
from drivers.cameras.sps import LARGEST_PICTURE

OPEN_TIMEOUT_S = 8.0
SILENCE_S = 5.0
"""Without a frame for this long, the session is taken for dead and opened again."""

WRONG_STREAM_BACK_OFF_S = 30.0
REFUSED_BACK_OFF_S = 600.0
"""After a 401: cameras lock an account after a few wrong passwords, commonly for 30 minutes."""

OPTIONS = {
    "rtsp_transport": "tcp",
    "analyzeduration": "100000",  # µs; with probesize (bytes) this opens in 0.26 s instead of 1.0 to 1.7 s
    "probesize": "50000",
    "timeout": str(int(SILENCE_S * 1e6)),  # µs, of each wait on the socket
    "max_pixels": str(
        LARGEST_PICTURE
    ),  # of the decoder that the library itself looks at the first packets with
}

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
        user, password = quote(self.username, safe=""), quote(self.password, safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def opened(address: Address, *, audio: bool) -> Any:
    """The container of the stream, its first packets looked at. Raises :class:`Fallen`."""
    options = OPTIONS | {"allowed_media_types": "video+audio" if audio else "video"}
    try:
        return av.open(address.with_credentials(), options=options, timeout=(OPEN_TIMEOUT_S, SILENCE_S))
    except av.FFmpegError as exc:
        raise _fallen(exc, address) from None  # the original names the URL with its password


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
    if isinstance(exc, av.error.HTTPUnauthorizedError):
        return Fallen(
            "the camera refuses user name or password (401): correct them in the site file; "
            f"not tried again for {REFUSED_BACK_OFF_S / 60:.0f} min, so that it does not lock the account",
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
    return Fallen(
        f"{where} cannot be opened: {scrub(exc.strerror or type(exc).__name__)}", reached=not unreached
    )


def scrub(text: str) -> str:
    """Text without the credentials of any URL in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)
