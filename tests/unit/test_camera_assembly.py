"""One picture a sample: pieces of RTP packets come together by the rules of the codec, whatever stands around the slices."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from drivers.cameras.codec.slices import order_of
from drivers.cameras.worker.bounds import LARGEST_UNIT, MOST_PIECES
from drivers.cameras.worker.frames.timing import Arrival
from drivers.cameras.worker.stream.assembly import Assembly
from gateway.domain.errors import Malformed
from tests.support import odd_streams
from tests.support.odd_streams import ALL, DELIMITER, FILLER, Pictures, message

STEP = 7_500
START = b"\0\0\0\1"


def pieces_of(picture: list[bytes], chance: random.Random) -> list[bytes]:
    """What RTP packets carry of a picture: units alone, several small ones together, large ones in parts."""
    made: list[bytes] = []
    together = b""
    for unit in picture:
        if len(unit) < 200 and chance.random() < 0.5:
            together += START + unit
            continue
        if together:
            made.append(together)
            together = b""
        room = chance.choice((70, 700, 1400))
        whole = START + unit
        made += [whole[at : at + room] for at in range(0, len(whole), room)]
    return [*made, together] if together else made


def assembled(
    codec: str, sent: list[tuple[int, list[bytes]]], *, parameters: bytes = b"", seed: int = 50
) -> list[tuple[int, list[bytes], bool, float]]:
    """Time, units, key and arrival of each picture; a picture more is sent, which tells that the last one is whole."""
    chance, assembly = random.Random(seed), Assembly(order_of(codec, parameters))
    found = []
    at_s = 0.0
    for pts, picture in sent:
        for piece in pieces_of(picture, chance):
            for packet, time, came in assembly.take(piece, pts, Arrival(at_s, prompt=True)):
                found.append((time, odd_streams.units(bytes(packet)), packet.is_keyframe, came.at_s))
            at_s += 1
    assert assembly.dropped == 0
    return found


def timed(pictures: Pictures, step: int = STEP) -> list[tuple[int, list[bytes]]]:
    """The pictures with their times."""
    return [(n * step, picture) for n, picture in enumerate(pictures)]


@pytest.mark.parametrize(("codec", "name"), ALL)
def test_each_picture_is_one_sample_of_what_was_sent_under_its_time(codec: str, name: str) -> None:
    """With its own time, key pictures marked, and byte for byte: what stands behind the slices stays behind them."""
    sent = timed(odd_streams.odd(codec)[name])
    found = assembled(codec, sent)
    assert [(time, picture) for time, picture, _, _ in found] == sent[:-1]
    gop = 1 if name.startswith("every picture") else odd_streams.GOP
    assert [key for _, _, key, _ in found] == [n % gop == 0 for n in range(len(found))]


@pytest.mark.parametrize(("codec", "name"), ALL)
def test_pictures_under_one_time_are_told_apart_all_the_same(codec: str, name: str) -> None:
    """A camera that counts no time sends every picture under the same: no unit is lost, and each sample has one picture."""
    pictures = odd_streams.odd(codec)[name]
    found = assembled(codec, timed(pictures, step=0))
    sent_units = [unit for picture in pictures for unit in picture]
    found_units = [unit for _, picture, _, _ in found for unit in picture]
    assert found_units == sent_units[: len(found_units)]
    sliced = odd_streams.is_slice if codec == "h264" else odd_streams.is_slice_265
    assert [[u for u in picture if sliced(u)] for _, picture, _, _ in found] == [
        [u for u in picture if sliced(u)] for picture in pictures[:-1]
    ]


def test_each_field_may_have_its_own_time() -> None:
    """Both are one sample, with the time of the first; a message behind the second stays behind it."""
    sent: list[tuple[int, list[bytes]]] = []
    expected = []
    for n, picture in enumerate(odd_streams.odd("h264")["fields"]):
        head, first, second = picture[:-2], picture[-2], [picture[-1], message(b"behind")]
        sent += [(n * STEP, [*head, first]), (n * STEP + STEP // 2, second)]
        expected.append((n * STEP, [*head, first, *second]))
    assert [found[:2] for found in assembled("h264", sent)] == expected[:-1]


def test_what_stands_between_goes_where_its_time_puts_it() -> None:
    """A message under the time before stays with the picture before, what has a time of its own goes with the one to come."""
    first, second, third = odd_streams.odd("h264")["as x264 makes it"][:3]
    sent = [
        (0, first),
        (0, [message(b"late")]),
        (40, [message(b"early"), FILLER]),
        (STEP, [DELIMITER, *second]),
        (2 * STEP, third),
    ]
    found = assembled("h264", sent)
    assert [found[0][:2], found[1][:2]] == [
        (0, [*first, message(b"late")]),
        (STEP, [message(b"early"), FILLER, DELIMITER, *second]),
    ]


def test_a_picture_came_when_its_own_first_byte_did() -> None:
    """Not when its slice did, which may wait behind a delimiter, nor when the message behind the picture before did."""
    pictures = odd_streams.odd("h264")["messages before and behind every picture"]
    assembly, found = Assembly(order_of("h264")), []
    for n, picture in enumerate(pictures):
        for k, unit in enumerate(picture):
            came = Arrival(n + k / 100, prompt=True)
            found += [each[2].at_s for each in assembly.take(START + unit, n * STEP, came)]
    assert found == [float(n) for n in range(len(found))]


def test_slices_without_their_sets_are_joined_by_their_time() -> None:
    """Where no parameter set came the slices cannot be read: then equal times are one picture, and others are not."""
    pictures = [
        [unit for unit in picture if odd_streams.is_slice(unit)]
        for picture in odd_streams.odd("h264")["four slices"]
    ]
    assert [found[1] for found in assembled("h264", timed(pictures))] == pictures[:-1]


def test_sets_of_the_session_description_are_enough() -> None:
    """As many cameras have it: then pictures of one time are told apart by their slices."""
    whole = odd_streams.odd("h264")["four slices"]
    sets = b"".join(START + unit for unit in whole[0] if unit[0] & 31 in (7, 8))
    pictures = [[unit for unit in picture if odd_streams.is_slice(unit)] for picture in whole]
    assert [found[1] for found in assembled("h264", timed(pictures, 0), parameters=sets)] == pictures[:-1]


def test_a_part_whose_beginning_never_came_is_dropped() -> None:
    """And costs nothing else: the picture before it is as it was."""
    pictures = odd_streams.odd("h264")["as x264 makes it"]
    assembly = Assembly(order_of("h264"))
    found = []
    for n, picture in enumerate(pictures[:3]):
        for unit in picture:
            found += assembly.take(START + unit, n * STEP, Arrival(float(n), prompt=True))
        found += assembly.take(b"the rest of a lost slice", n * STEP + 40, Arrival(float(n), prompt=True))
    assert [odd_streams.units(bytes(packet)) for packet, _, _ in found] == pictures[:2]
    assert assembly.dropped == 3


@pytest.mark.parametrize(
    ("head", "rest", "most"),
    [
        (START + b"\x65\x88\x84" + b"\x55" * 60_000, b"", LARGEST_UNIT // 60_000),
        (START + b"\x06" + b"\x55" * 60_000, b"", LARGEST_UNIT // 60_000),
        (START + b"\x06\x55", b"", MOST_PIECES),
        (START + b"\x65\x88\x84", b"\x55" * 1400, LARGEST_UNIT // 1400),
        (START + b"\x65\x88\x84", b"\x55", LARGEST_UNIT // 64),
    ],
    ids=["slices", "messages", "small messages", "one slice", "one slice byte by byte"],
)
def test_a_picture_without_end_is_refused(head: bytes, rest: bytes, most: int) -> None:
    """Memory is bounded, whatever comes: slices, messages or parts, small ones too, each of which costs more than its bytes."""
    assembly = Assembly(order_of("h264"))

    def send() -> None:
        assert assembly.take(head, 0, Arrival(0.0, prompt=True)) == []
        for _ in range(most + 1):
            assert assembly.take(rest or head, 0, Arrival(0.0, prompt=True)) == []

    with pytest.raises(Malformed, match="a picture of more than"):
        send()


def test_any_bytes_are_taken() -> None:
    """Whatever comes is put somewhere or refused, and what is given out are the bytes that came in, in their order."""
    chance = random.Random(50)
    for codec in ("h264", "hevc"):
        for _ in range(60):
            assembly, sent, found = Assembly(order_of(codec)), b"", b""
            for n in range(60):
                piece = START + chance.randbytes(chance.randrange(1, 60))
                sent += piece
                for packet, _, _ in assembly.take(piece, n // 4, Arrival(float(n), prompt=True)):
                    found += bytes(packet)
            assert sent.replace(b"\0", b"").startswith(found.replace(b"\0", b""))


def test_times_rise_with_the_pictures() -> None:
    """Of pictures that are shown in the order they are sent."""
    found = assembled("h264", timed(odd_streams.odd("h264")["four slices, a message behind each"]))
    assert all(later[0] - earlier[0] == STEP for earlier, later in pairwise(found))
