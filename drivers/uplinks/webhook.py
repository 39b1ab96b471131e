"""One path to the 110 centre: a signed POST on a kept connection."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drivers.uplinks.signing import doubt, secret_bytes, signed_headers
from gateway.domain.message import Answer
from gateway.ports import Clock

if TYPE_CHECKING:
    import aiohttp

    from drivers.tls.examining import Examiner

CONNECT_S = 3.0  # API.md, "Messages"
WHOLE_ATTEMPT_S = 10.0
MOST_CONNECTIONS = 256
MOST_DETAIL = 1000  # characters kept of what is wrong with a certificate: two names and two paths
KEPT_ANSWER_BYTES = 64 * 1024
CONTENT_TYPE = "application/cloudevents+json"


class WebhookPath:
    """:class:`gateway.ports.Uplink` by HTTP. Open it in a running loop, close it when done."""

    def __init__(
        self,
        name: str,
        url: str,
        secret: str,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        drill_secret: str | None = None,
        *,
        answer_secret: str | None = None,
        believe_unsigned: bool = False,
    ) -> None:
        """``answer_secret`` is what signs the centre's answers where they say something; without one only
        ``believe_unsigned`` (on loopback) lets an answer say anything."""
        self.name = name
        self._answer_key = secret_bytes(answer_secret) if answer_secret else None
        self._believe_unsigned = believe_unsigned
        self._url = url
        self._key = secret_bytes(secret)
        self._drill_key = None if drill_secret is None else secret_bytes(drill_secret)
        self._clock = clock
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._examiner: Examiner | None = None

    async def start(self) -> None:
        """Prepare the kept connections; nothing is sent yet."""
        # Imported here and in a thread: a quarter of a second that would stand between a reboot and an armed gateway.
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        self._failures = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)
        connector = aiohttp.TCPConnector(
            limit=MOST_CONNECTIONS, keepalive_timeout=60, ssl=self._tls if self._tls is not None else True
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=WHOLE_ATTEMPT_S, sock_connect=CONNECT_S),
            headers={"Content-Type": CONTENT_TYPE, "User-Agent": "campus-gateway"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def stop(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def deliver(self, message: str, body: bytes, *, drill: bool = False) -> Answer:
        session = self._session
        if session is None:
            return Answer(status=None, detail="the uplink is closed")
        key = self._drill_key if drill else self._key
        if key is None:  # taken out of the site file since; a drill never goes out under the secret of alarms
            return Answer(
                status=None, detail="centre.webhook.drill_secret is missing: no drill can be signed"
            )
        timestamp = int(self._clock.now().timestamp())
        headers = signed_headers(key, message, timestamp, body)
        try:
            # A redirect is a failure (Standard Webhooks): a signed alarm is not sent where a stranger points.
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                body_read, lost = await _read(response, self._failures)
                words = await self._refused_over_http(body_read) if response.status == 400 else ""
                reason = (response.reason or "") + (f" (the answer's body {lost})" if lost else "")
                return Answer(
                    status=response.status,
                    # A stranger's bytes: what is no text is shown as such, or it could not be put on record.
                    detail=(words or reason)
                    .encode("utf-8", "replace")
                    .decode()[: MOST_DETAIL if words else 300],
                    body=body_read,
                    content_type=response.headers.get("Content-Type", ""),
                    retry_after_s=_seconds(response.headers.get("Retry-After")),
                    said_at=_date(response.headers.get("Date")),
                    lost=lost,
                    doubt=self._doubt(message, response, body_read) if body_read else "it has no body",
                )
        except TimeoutError:
            return Answer(status=None, detail=f"no answer within {WHOLE_ATTEMPT_S:.0f} s")
        except self._failures as exc:
            words = await self._certificates_wrong(exc) or f"{type(exc).__name__}: {exc}"[:300]
            return Answer(status=None, detail=words)

    async def _refused_over_http(self, page: bytes) -> str:
        url = urlsplit(self._url)
        if self._tls is None or url.hostname is None or b"SSL certificate" not in page:
            return ""
        examining = await asyncio.to_thread(importlib.import_module, "drivers.tls.examining")
        words: str = examining.refused_over_http(url.hostname, url.port or 443, self._tls, page)
        return words

    async def _certificates_wrong(self, exc: Exception) -> str:
        """Which certificate of which side made an attempt fail; nothing if none did."""
        url = urlsplit(self._url)
        if self._tls is None or url.scheme != "https" or url.hostname is None:
            return ""
        # Not before it is needed: it brings the certificate library.
        examining = await asyncio.to_thread(importlib.import_module, "drivers.tls.examining")
        if not examining.of_tls(exc):
            return ""
        if self._examiner is None:
            self._examiner = examining.Examiner(url.hostname, url.port or 443, self._tls, self._clock)
        return (await self._examiner.problem())[:MOST_DETAIL]

    def _doubt(self, message: str, response: aiohttp.ClientResponse, body: bytes) -> str:
        if self._answer_key is None:
            if self._believe_unsigned:
                return ""
            return "centre.webhook.answer_secret, which would have to sign it, is not in the site file"
        # A header given twice is joined, and so fits nothing: who forges must not choose which one is looked at.
        headers = {
            name: ", ".join(response.headers.getall(name, []))
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        return doubt(self._answer_key, message, headers, body, self._clock.now().timestamp())


async def _read(response: aiohttp.ClientResponse, failures: tuple[type[Exception], ...]) -> tuple[bytes, str]:
    """The first 64 KiB of an answer, and why there are none of one that was given.

    The status says whether the message was received; a body that breaks off or never ends takes nothing of that back, and is
    dropped whole: half an answer must not be understood as another.
    """
    body = b""
    try:
        while len(body) <= KEPT_ANSWER_BYTES and not response.content.at_eof():
            body += await response.content.read(KEPT_ANSWER_BYTES + 1 - len(body))
    except failures as exc:
        return b"", f"broke off: {type(exc).__name__}"
    if len(body) > KEPT_ANSWER_BYTES:
        return b"", f"is too long and was dropped; at most {KEPT_ANSWER_BYTES} bytes are read"
    return body, ""


def _date(value: str | None) -> datetime | None:
    """The answer's ``Date`` (RFC 9110, 6.6.1: an origin server with a clock sends it)."""
    try:
        at = parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
    return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None


def _seconds(value: str | None) -> float | None:
    """``Retry-After`` in seconds; its date form is not taken, since the other side's clock may lie."""
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None
