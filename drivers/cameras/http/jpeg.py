"""How large a picture a JPEG says it is, by its frame header (ITU-T T.81 §B.2.2): who decodes it allocates that much. Pure."""

from __future__ import annotations

FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15; between them are DHT, JPG and DAC."""

ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RSTm, SOI."""


def size_of(data: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of the largest frame it announces; ``None`` where it announces none."""
    sizes: list[tuple[int, int]] = []
    at = 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None if not sizes else max(sizes, key=_samples)
        kind = data[at + 1]
        if kind == 0xFF:  # a fill byte
            at += 1
            continue
        if kind in ALONE:
            at += 2
            continue
        if kind in (0xDA, 0xD9):  # the picture itself, or its end
            break
        if kind in FRAMES and at + 9 <= len(data):
            sizes.append(
                (int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
            )
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return max(sizes, key=_samples, default=None)


def _samples(size: tuple[int, int]) -> int:
    return size[0] * size[1]
