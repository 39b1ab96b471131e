"""The head of a fragmented MP4 is told from its fragments, whatever is cut off or nonsense."""

from __future__ import annotations

import pytest

from gateway.domain.fragmented import head_bytes


def box(kind: bytes, size: int) -> bytes:
    return size.to_bytes(4, "big") + kind + bytes(max(0, size - 8))


HEAD = box(b"ftyp", 24) + box(b"moov", 700)


@pytest.mark.parametrize("rest", [box(b"moof", 60) + box(b"mdat", 900), box(b"moof", 60)[:8]])
def test_the_head_ends_where_the_first_fragment_begins(rest: bytes) -> None:
    """Also where only the beginning of the fragment is there."""
    assert head_bytes(HEAD + rest) == len(HEAD)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD + b"\0\0\0\x3cmoo",
        HEAD[:300],
        b"\0\0\0\0ftyp" + bytes(100),
        b"\0\0\0\x01ftyp" + bytes(100),
        b"not a film at all, but long enough to be taken for boxes",
    ],
    ids=["nothing", "no fragment", "cut", "cut head", "open end", "64 bit", "nonsense"],
)
def test_without_a_fragment_there_is_no_head(data: bytes) -> None:
    """It is said, not guessed."""
    assert head_bytes(data) is None
