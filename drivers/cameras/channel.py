"""What the gateway and its camera process say to each other: framed messages over a socket pair.

A message is a head (4 bytes: length of the JSON, 4 bytes: length of the tail, big-endian), a JSON object and a binary tail.
Both lengths are bounded, so that a broken peer costs a connection and not the memory. Credentials travel here and
never in arguments or the environment, where any user of the machine could read them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from gateway.domain.errors import Malformed

HEAD = struct.Struct(">II")
LARGEST_JSON = 1 << 20
LARGEST_TAIL = 48 << 20
"""A live segment of one group of pictures at 16 Mbit/s over 20 s; stills and snapshots are far below."""

Message = dict[str, Any]


def encode(message: Message, tail: bytes = b"") -> bytes:
    """One message as bytes. Raises ``Malformed`` if it exceeds the bounds: the receiver would hang up on it."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    check(len(body), len(tail))
    return b"".join((HEAD.pack(len(body), len(tail)), body, tail))


def check(json_bytes: int, tail_bytes: int) -> None:
    """Raise ``Malformed`` unless both lengths are within bounds."""
    if json_bytes > LARGEST_JSON or tail_bytes > LARGEST_TAIL:
        raise Malformed(
            f"a message of {json_bytes} + {tail_bytes} bytes on the camera channel; "
            f"at most {LARGEST_JSON} + {LARGEST_TAIL} are taken"
        )


def decode(body: bytes) -> Message:
    """The JSON part. Raises ``Malformed`` unless it is an object."""
    try:
        message = json.loads(body)
    except ValueError as exc:
        raise Malformed(f"{len(body)} bytes on the camera channel are not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise Malformed(f"a {type(message).__name__} on the camera channel; an object was expected")
    return message


def read_blocking(read_exactly: Callable[[int], bytes]) -> tuple[Message, bytes]:
    """Read one message; ``read_exactly`` raises ``EOFError`` when the other side has closed."""
    json_bytes, tail_bytes = HEAD.unpack(read_exactly(HEAD.size))
    check(json_bytes, tail_bytes)
    return decode(read_exactly(json_bytes)), read_exactly(tail_bytes) if tail_bytes else b""
