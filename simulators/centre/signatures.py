"""Standard Webhooks 1.0.0 signatures, symmetric `v1` form, written from the specification.

Nothing here is taken from the gateway or from a published library, so that agreement between this module, the
gateway and the reference library is evidence and not an echo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping

TOLERANCE_S = 300
"""How far `webhook-timestamp` may lie from the receiver's clock: 5 min, as in the reference libraries."""

_PREFIX = "whsec_"


class SignatureRefused(ValueError):
    """A message that is not provably from the school. The text says which header was wrong and how."""


def new_secret() -> str:
    """Make a secret of 32 random bytes (the specification asks for 24 to 64), with its `whsec_` prefix."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def key_of(secret: str) -> bytes:
    """Decode a secret, with or without `whsec_`. Raises ValueError if it is not base64 or is empty."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            "webhook secret: expected whsec_ followed by base64, found something else"
        ) from error
    if not key:
        raise ValueError("webhook secret: expected 24 to 64 bytes in base64, found none")
    return key


def sign(key: bytes, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return one `v1,…` signature over `id.timestamp.body`."""
    signed = f"{message_id}.{timestamp_s}.".encode("utf-8", "surrogateescape") + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")


def verify(
    keys: Mapping[str, bytes],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Return the name of the key that signed this message.

    `headers` is looked up with lower-case names. During a rotation the header carries several signatures,
    separated by spaces; one that matches is enough, and versions other than `v1` are passed over.
    Raises SignatureRefused otherwise.
    """
    message_id = headers.get("webhook-id")
    timestamp = headers.get("webhook-timestamp")
    signatures = headers.get("webhook-signature")
    if not message_id or not timestamp or not signatures:
        missing = [
            name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not headers.get(name)
        ]
        raise SignatureRefused(f"header missing: {', '.join(missing)}")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureRefused(f"webhook-timestamp: expected unix seconds, found {timestamp!r}")
    age_s = now_s - int(timestamp)
    if abs(age_s) > tolerance_s:
        side = "old" if age_s > 0 else "in the future"
        raise SignatureRefused(
            f"webhook-timestamp: {abs(age_s):.0f} s {side}, at most {tolerance_s:.0f} s allowed"
        )
    given = [
        item.encode("utf-8", "surrogateescape") for item in signatures.split(" ") if item.startswith("v1,")
    ]
    if not given:
        raise SignatureRefused("webhook-signature: no v1 signature in it")
    for name, key in keys.items():
        expected = sign(key, message_id=message_id, timestamp_s=int(timestamp), body=body).encode()
        if any(hmac.compare_digest(expected, item) for item in given):
            return name
    raise SignatureRefused(
        "webhook-signature: matches none of the known secrets (body altered or wrong secret)"
    )
