"""What a legal object key is, and how evidence is named (DESIGN.md)."""

from __future__ import annotations

import re

from gateway.domain.errors import Malformed

MAX_KEY_BYTES = 900  # S3 allows 1,024; what a file name needs for a temporary one is left
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def checked(key: str) -> str:
    """The key, if every part of it is a plain name; :class:`Malformed` for anything that could leave the store."""
    if not all(_PART.fullmatch(part) for part in key.split("/")) or len(key) > MAX_KEY_BYTES:
        raise Malformed(
            f"{key!r:.200} is not an object key: parts of [A-Za-z0-9._-] joined by single slashes"
        )
    return key
