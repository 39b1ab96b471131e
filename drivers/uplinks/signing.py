"""Standard Webhooks signatures, as pure functions (standardwebhooks.com, specification 1.0.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_S = (
    300  # Standard Webhooks, as in its reference libraries: how far a timestamp may lie from our clock
)
SECRET_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """The key in a ``whsec_…`` secret; ``ValueError`` if it is not base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as exc:
        raise ValueError("a webhook secret is whsec_ and base64") from exc
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret holds 24 to 64 bytes, not {len(key)}")
    return key


def signed_headers(key: bytes, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt: the id stays, the timestamp (unix seconds) is the attempt's."""
    content = f"{message}.{timestamp}.".encode() + body
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def doubt(key: bytes, message: str, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """Why an answer is not provably the centre's answer to ``message``; empty if it is.

    ``headers`` is looked up with lower-case names; ``now_s`` is unix time. The id has to be the answered message's, so that a
    true answer to one message says nothing in answer to another.
    """
    given = {name: headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")}
    absent = [f"webhook-{name}" for name, value in given.items() if not value]
    if absent:
        return f"it is not signed ({', '.join(absent)} missing)"
    if given["id"] != message:
        return "its webhook-id is not that of the message it answers"
    timestamp = given["timestamp"]
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return "its webhook-timestamp is no unix time"
    off_s = now_s - int(timestamp)
    if abs(off_s) > TOLERANCE_S:
        side = "old" if off_s > 0 else "ahead of this clock"
        return f"its webhook-timestamp is {abs(off_s):.0f} s {side}, at most {TOLERANCE_S} s are allowed"
    expected = signed_headers(key, message, int(timestamp), body)["webhook-signature"].encode()
    signatures = [s.encode("utf-8", "surrogateescape") for s in given["signature"].split(" ")]
    if not any(hmac.compare_digest(expected, signature) for signature in signatures):
        return "its webhook-signature does not match answer_secret (altered on the way, or another secret)"
    return ""
