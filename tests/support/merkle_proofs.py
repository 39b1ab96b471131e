"""Whether proofs of a log hold, as RFC 9162 has its readers find out: what the gateway gives out is held against this."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.merkle import node_hash


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that ``leaf`` is number ``index`` (from 0) of the ``size`` leaves under ``root``
    (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if position % 2 or position == last:
            found = node_hash(other, found)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            found = node_hash(found, other)
        position, last = position // 2, last // 2
    return last == 0 and found == root


def is_consistent(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the proof shows that the log of ``second`` entries begins with that of ``first`` (RFC 9162, 2.1.4.2)."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return False
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    position, last = first - 1, second - 1
    while position % 2:
        position, last = position // 2, last // 2
    old = new = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if position % 2 or position == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            new = node_hash(new, other)
        position, last = position // 2, last // 2
    return last == 0 and old == first_root and new == second_root
