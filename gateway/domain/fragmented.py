"""Fragmented MP4, as far as its head and its fragments have to be told apart (ISO/IEC 14496-12, §4.2 and §8.8)."""

from __future__ import annotations

from gateway.domain.boxes import boxes


def head_bytes(data: bytes) -> int | None:
    """How long the head (all boxes before the first fragment) of a file that begins with ``data`` is; ``None`` if no fragment
    begins in it."""
    return next((box.begin for box in boxes(data, partial=True) if box.kind == b"moof"), None)
