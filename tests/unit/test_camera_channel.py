"""The framing between gateway and camera process."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cameras.channel import HEAD, LARGEST_JSON, LARGEST_TAIL, encode, read_blocking
from gateway.domain.errors import Malformed


def reading(data: bytes) -> tuple[dict[str, object], bytes]:
    """Read one message out of bytes, as from a socket that closes after them."""
    source = io.BytesIO(data)

    def exactly(count: int) -> bytes:
        piece = source.read(count)
        if len(piece) < count:
            raise EOFError
        return piece

    return read_blocking(exactly)


@given(message=st.dictionaries(st.text(), st.integers() | st.text() | st.none()), tail=st.binary())
def test_what_is_sent_is_read(message: dict[str, object], tail: bytes) -> None:
    """Any object and any tail come out as they went in."""
    assert reading(encode(message, tail)) == (message, tail)


def test_every_cut_is_the_end() -> None:
    """A peer that dies in the middle of a message is an end and not a message."""
    whole = encode({"op": "ping"}, b"tail")
    for cut in range(len(whole)):
        with pytest.raises(EOFError):
            reading(whole[:cut])


@pytest.mark.parametrize("head", [(LARGEST_JSON + 1, 0), (0, LARGEST_TAIL + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_lengths_beyond_the_bounds_are_refused_before_reading(head: tuple[int, int]) -> None:
    """A broken peer cannot make us reserve memory."""
    with pytest.raises(Malformed, match="at most"):
        reading(HEAD.pack(*head))


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"\xff"])
def test_what_is_no_object_is_malformed(body: bytes) -> None:
    """Only JSON objects are messages."""
    with pytest.raises(Malformed, match="camera channel"):
        reading(HEAD.pack(len(body), 0) + body)
