"""Byte ranges of media: what is asked for, and when all of an item has been taken."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.api.ranges import Coverage, NoSuchBytes, wanted


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=99-99", (99, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-1000", (10, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        (" Bytes=5-9 ", (5, 10)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0-" + "9" * 19, (0, 100)),
        ("bytes=0-" + "9" * 30, None),
    ],
)
def test_what_a_header_asks_for(header: str | None, span: tuple[int, int] | None) -> None:
    """One well-formed range is understood; anything else is answered with the whole."""
    assert wanted(header, 100) == span


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_beyond_the_end_is_told(header: str, size: int) -> None:
    """A range that begins where there is nothing cannot be satisfied."""
    with pytest.raises(NoSuchBytes):
        wanted(header, size)


def test_pieces_in_any_order_cover_the_whole_exactly_once() -> None:
    """An item counts as covered with the piece that closes its last gap, and not one piece earlier."""
    for seed in range(50):
        chance = random.Random(seed)
        cuts = sorted({0, 1000, *chance.sample(range(1, 1000), 8)})
        pieces = list(pairwise(cuts))
        chance.shuffle(pieces)
        coverage = Coverage()
        told = [coverage.add("evd", *piece, 1000) for piece in pieces]
        assert told == [False] * (len(pieces) - 1) + [True], f"seed {seed}"


def test_items_do_not_cover_each_other_and_the_oldest_is_forgotten() -> None:
    """Pieces of one item say nothing of another, and memory stays bounded."""
    coverage = Coverage(most=2)
    assert not coverage.add("a", 0, 50, 100)
    assert not coverage.add("b", 50, 100, 100)
    assert not coverage.add("c", 0, 50, 100)
    assert not coverage.add("a", 50, 100, 100), "a was the oldest and is forgotten"
    assert coverage.add("c", 50, 100, 100)
