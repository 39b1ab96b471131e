"""Signed, expiring links to media and live pictures.

A link's signature covers its path, its expiry and the alarm it was made for, under a key that never leaves the
box. Anything altered is a wrong signature; rightly signed but too late is told apart, so that a reader knows to ask for a
fresh one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from urllib.parse import quote, urlencode


class LinkVerdict(Enum):
    """What a presented link is worth."""

    GOOD = "good"
    EXPIRED = "expired"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """Makes and checks links below ``public_url`` (no trailing slash). ``key`` is at least 32 random bytes."""

    key: bytes
    public_url: str

    def url(self, path: str, *, expires_at: datetime, alarm: str = "") -> str:
        """An absolute link to ``path`` (which starts with ``/``), good until ``expires_at``."""
        return f"{self.public_url}{quote(path)}?{self.query(path, expires_at=expires_at, alarm=alarm)}"

    def query(self, path: str, *, expires_at: datetime, alarm: str = "") -> str:
        """The query string that makes ``path`` a signed link."""
        expires = str(int(expires_at.timestamp()))
        return urlencode({"expires": expires, "alarm": alarm, "signature": self._sign(path, expires, alarm)})

    def judge(self, path: str, query: Mapping[str, str], now: datetime) -> LinkVerdict:
        """Check a presented link; ``query`` are its parameters as received (each at most once)."""
        expires, alarm = query.get("expires", ""), query.get("alarm", "")
        wanted = self._sign(path, expires, alarm)
        if not hmac.compare_digest(wanted.encode(), query.get("signature", "").encode()):
            return LinkVerdict.ALTERED
        too_late = now >= datetime.fromtimestamp(int(expires), UTC)
        return LinkVerdict.EXPIRED if too_late else LinkVerdict.GOOD

    def _sign(self, path: str, expires: str, alarm: str) -> str:
        signed = "\n".join(("v1", path, expires, alarm)).encode()
        digest = hmac.new(self.key, signed, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def media_path(key: str) -> str:
    """Where the object of that key is served."""
    return f"/media/{key}"


def live_path(camera: str, part: str = "") -> str:
    """Where a camera's live page, or with ``part`` one of its HLS files, is served."""
    return f"/live/{camera}/{part}" if part else f"/live/{camera}"
