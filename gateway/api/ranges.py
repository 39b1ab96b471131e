"""HTTP byte ranges: what part of an item is asked for, and which parts of it have been taken so far."""

from __future__ import annotations

import re
from collections import OrderedDict

_BYTES = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


class NoSuchBytes(Exception):
    """The range begins beyond the end."""


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes asked for as ``(start, end)``, end exclusive, or ``None`` for the whole.

    One range is understood. Several at once, another unit or nonsense are answered with the whole, as RFC 9110 §14.2
    allows. Raises :class:`NoSuchBytes`.
    """
    match = _BYTES.fullmatch((header or "").strip().lower())
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise NoSuchBytes
        return max(0, size - int(last)), size
    start, end = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < int(first):
        return None
    if start >= size:
        raise NoSuchBytes
    return start, end


class Coverage:
    """Remembers which bytes of the latest few hundred items were sent, because a browser's player takes a clip in pieces.

    Forgetting one (by age or by a restart) only means that it does not count as taken until it is fetched again.
    """

    def __init__(self, most: int = 256) -> None:
        self._spans: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()
        self._most = most

    def add(self, item: str, start: int, end: int, size: int) -> bool:
        """Note that ``start`` to ``end`` of ``item`` were sent; whether all of its ``size`` bytes have been by now."""
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self._spans.pop(item, []), (start, end)]):
            if merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        if merged == [(0, size)]:
            return True
        self._spans[item] = merged[:64]
        if len(self._spans) > self._most:
            self._spans.popitem(last=False)
        return False
