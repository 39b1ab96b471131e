"""The tree of RFC 6962, against its known vectors and against every tree that is not its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
)
from tests.support.merkle_proofs import is_consistent, is_included

#: The eight leaves and the roots of their prefixes that the Certificate Transparency projects test with.
LEAVES = [
    leaf_hash(bytes.fromhex(text))
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MANY = [leaf_hash(str(n).encode()) for n in range(70)]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_the_published_ones(size: int) -> None:
    """For each prefix of the eight published leaves."""
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]


def test_a_frontier_grows_as_the_definition_says() -> None:
    """At every size its root is that of the recursive definition."""

    def defined(leaves: list[bytes]) -> bytes:
        if len(leaves) < 2:
            return leaves[0] if leaves else EMPTY_ROOT
        k = 1
        while k * 2 < len(leaves):
            k *= 2
        return node_hash(defined(leaves[:k]), defined(leaves[k:]))

    frontier = Frontier()
    for size, leaf in enumerate(MANY):
        assert frontier.root == defined(MANY[:size])
        frontier = frontier.append(leaf)


@given(st.integers(1, 70), st.data())
def test_what_is_in_the_log_is_proved_and_nothing_else(size: int, data: st.DataObject) -> None:
    """The proof of a leaf holds for that leaf, place, size and root, and for no other."""
    index = data.draw(st.integers(0, size - 1))
    root, proof = root_of(MANY[:size]), inclusion_proof(MANY[:size], index)
    assert is_included(MANY[index], index, size, proof, root)
    assert not is_included(leaf_hash(b"forged"), index, size, proof, root)
    assert not is_included(
        MANY[index], index, size, proof, root_of(MANY[: size - 1]) if size > 1 else b"x" * 32
    )
    for other in range(size):
        if other != index:
            assert not is_included(MANY[index], other, size, proof, root)
    assert not is_included(MANY[index], index, size, [*proof, b"x" * 32], root)
    assert not is_included(MANY[index], size, size, proof, root)


@given(st.integers(1, 70), st.integers(1, 70))
def test_a_log_that_only_grew_is_proved_and_a_rewritten_one_is_not(first: int, second: int) -> None:
    """Between any two sizes; a line altered, removed or added before the first size breaks the proof."""
    first, second = min(first, second), max(first, second)
    old, new = root_of(MANY[:first]), root_of(MANY[:second])
    proof = consistency_proof(MANY[:second], first)
    assert is_consistent(first, second, old, new, proof)
    for forged in ([leaf_hash(b"x"), *MANY[1:second]], [*MANY[1:second], leaf_hash(b"x")]):
        told = consistency_proof(forged, first)
        assert not is_consistent(first, second, old, root_of(forged), told)
    if first != second:
        assert not is_consistent(first, second, new, old, proof)
        assert not is_consistent(first, second, old, new, proof[:-1])
