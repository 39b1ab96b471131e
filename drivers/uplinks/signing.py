"""Standard Webhooks signatures, as pure functions (standardwebhooks.com, specification 1.0.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac

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
