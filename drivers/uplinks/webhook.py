"""One path to the 110 centre: a signed POST on a kept connection."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drivers.uplinks.agreed_time import AgreedTime
from drivers.uplinks.fields import date, seconds
from drivers.uplinks.replies import Reply
from drivers.uplinks.signing import doubt, secret_bytes, signed_headers
from drivers.uplinks.wire import NoReply, Wire
from gateway.domain.clocks import Apart
from gateway.domain.message import Answer
from gateway.ports.clock import Clock

if TYPE_CHECKING:
    from drivers.tls.examining import Examiner

WHOLE_ATTEMPT_S = 10.0  # API.md, "Messages"
MOST_CONNECTIONS = 256
MOST_DETAIL = 1000  # characters kept of what is wrong with a certificate: two names and two paths
KEPT_ANSWER_BYTES = 64 * 1024
CONTENT_TYPE = "application/cloudevents+json"


class WebhookPath:
    """:class:`gateway.ports.centre.Uplink` by HTTP. Open it in a running loop, close it when done."""

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
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._wire: Wire | None = None
        self._time = AgreedTime(clock)
        self._examiner: Examiner | None = None

    async def start(self) -> None:
        """Prepare the kept connections; nothing is sent yet."""
        self._wire = Wire(self._url, self._tls, most=MOST_CONNECTIONS)

    async def stop(self) -> None:
        """Close the connections."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def deliver(
        self,
        message: str,
        body: bytes,
        *,
        drill: bool = False,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Answer:
        """See :meth:`gateway.ports.centre.Uplink.deliver`."""
        wire = self._wire
        if wire is None:
            return Answer(status=None, detail="the uplink is closed")
        key = self._drill_key if drill else self._key
        if key is None:  # taken out of the site file since; a drill never goes out under the secret of alarms
            return Answer(
                status=None, detail="centre.webhook.drill_secret is missing: no drill can be signed"
            )
        stamp = self._time.stamp()
        fields = {"Content-Type": CONTENT_TYPE, **signed_headers(key, message, stamp.at_s, body)}
        try:
            # A redirect is a failure (Standard Webhooks): a signed alarm is not sent where a stranger points.
            reply = await wire.ask(
                "POST",
                self._target,
                fields,
                body,
                whole_s=WHOLE_ATTEMPT_S,
                most=KEPT_ANSWER_BYTES,
                answering=answering,
            )
        except NoReply as exc:
            words = await self._certificates_wrong(exc) or str(exc)[:300]
            return Answer(status=None, detail=words, sent=exc.sent)
        said_at = date(reply.first("date"))
        self._time.answered(stamp, reply.status, said_at)
        words = await self._refused_over_http(reply.body) if reply.status == 400 else ""
        reason = reply.reason + (f" (the answer's body {reply.lost})" if reply.lost else "")
        return Answer(
            status=reply.status,
            detail=words[:MOST_DETAIL] if words else reason[:300],
            body=reply.body,
            content_type=reply.first("content-type"),
            retry_after_s=seconds(reply.first("retry-after")),
            said_at=said_at,
            lost=reply.lost,
            doubt=self._doubt(message, reply) if reply.body else "it has no body",
            sent=True,
        )

    @property
    def clocks_apart(self) -> Apart | None:
        """This box's clock and the centre's, if they differ and the centre's is known."""
        return self._time.apart()

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

    def _doubt(self, message: str, reply: Reply) -> str:
        if self._answer_key is None:
            if self._believe_unsigned:
                return ""
            return "centre.webhook.answer_secret, which would have to sign it, is not in the site file"
        # A header given twice is joined, and so fits nothing: who forges must not choose which one is looked at.
        headers = {
            name: ", ".join(reply.all(name))
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        said = doubt(self._answer_key, message, headers, reply.body, self._clock.now().timestamp())
        apart = self._time.apart()
        if (
            said and apart is not None
        ):  # by the centre's clock it may be fresh; the answered message's id binds it anyway
            said = doubt(self._answer_key, message, headers, reply.body, apart.theirs.timestamp())
        return said
