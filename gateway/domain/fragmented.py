"""Fragmented MP4, as far as its head and its fragments have to be told apart (ISO/IEC 14496-12, §4.2 and §8.8)."""

from __future__ import annotations


def head_bytes(data: bytes) -> int | None:
    """How long the head (all boxes before the first fragment) of a file that begins with ``data`` is; ``None`` if no fragment
    begins in it."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"moof":
            return at
        if size < 8:  # 64-bit and open-ended boxes are none of a head's
            return None
        at += size
    return None
