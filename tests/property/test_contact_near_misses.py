"""Near misses: whatever a payload looks like, a codec answers or says Malformed, and the broker's memory never presses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contacts.formats import CODECS
from gateway.domain.alarm import plausible
from gateway.domain.contact import Memory, Signal, SignalKind, heard_by, judge
from gateway.domain.errors import Malformed
from tests.support.clock import MORNING

KEYS = [
    "event",
    "id",
    "at",
    "battery",
    "action",
    "contact",
    "sos",
    "emergency",
    "panic",
    "tamper",
    "linkquality",
]
WORDS = [
    "pressed",
    "single",
    "press",
    "release",
    "hold",
    "1_single",
    "emergency",
    "off",
    "",
    "\ud800",
    "\x00",
    "点",
]
TIMES = ["2026-03-02T10:15:07Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "24:00"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS + TIMES)
    | st.text(st.characters(), max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=8)
TRUE_PRESSES = [b'{"event":"pressed","id":"1"}', b'{"action":"single"}', b'{"contact":true}', b'{"sos":true}']


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A document near to a true one, whole or cut or with bytes changed."""
    raw = draw(st.sampled_from(TRUE_PRESSES)) if draw(st.booleans()) else json.dumps(draw(DOCUMENTS)).encode()
    match draw(st.integers(0, 3)):
        case 0:
            return raw[: draw(st.integers(0, len(raw)))]
        case 1:
            at = draw(st.integers(0, len(raw) - 1))
            return raw[:at] + draw(st.binary(max_size=3)) + raw[at + 1 :]
    return raw


def _decoded(decode: Callable[[bytes], list[Signal]], payload: bytes) -> list[Signal]:
    try:
        return decode(payload)
    except Malformed:
        return []


@pytest.mark.parametrize("format_", sorted(CODECS))
@settings(max_examples=1500, deadline=None)
@given(payload=payloads() | st.binary(max_size=60))
def test_a_codec_answers_or_says_malformed_and_nothing_else(format_: str, payload: bytes) -> None:
    """And what it answers can be kept: texts encode, times compare."""
    for signal in _decoded(CODECS[format_], payload):
        for text in (signal.word, signal.event_id or "", signal.input or ""):
            text.encode()
        assert plausible(signal.at, MORNING) <= MORNING
        assert heard_by(["left", None, "1"], signal)


@pytest.mark.parametrize("format_", sorted(CODECS))
@settings(max_examples=800, deadline=None)
@given(
    told=st.lists(st.tuples(payloads(), st.floats(0, 100)), max_size=6),
    closed=st.sampled_from([None, True, False]),
    normally_open=st.booleans(),
)
def test_retained_copies_never_press(
    format_: str, told: list[tuple[bytes, float]], closed: bool | None, normally_open: bool
) -> None:
    """Any sequence of retained messages, from any memory: no press, and no known state is overwritten."""
    memory, at = Memory(closed=closed), MORNING
    for payload, after_s in told:
        at += timedelta(seconds=after_s)
        signals = _decoded(CODECS[format_], payload)
        judged = judge(memory, signals, normally_open=normally_open, retained=True, arrived_at=at)
        assert judged.press is None
        assert closed is None or (judged.memory.closed, judged.memory.push) == (closed, None)
        memory = judged.memory


@settings(max_examples=500, deadline=None)
@given(
    states=st.lists(st.tuples(st.booleans(), st.floats(-5000, 5000)), min_size=1, max_size=20),
    normally_open=st.booleans(),
)
def test_a_switch_presses_exactly_at_its_edges(states: list[tuple[bool, float]], normally_open: bool) -> None:
    """Whatever the clock does meanwhile: one press for each change to the pressed state, none for a repetition."""
    memory, at, presses = Memory(), MORNING, 0
    for closed, after_s in states:
        at += timedelta(seconds=after_s)
        signal = Signal(kind=SignalKind.CLOSED if closed else SignalKind.OPENED)
        judged = judge(memory, [signal], normally_open=normally_open, retained=False, arrived_at=at)
        presses, memory = presses + (judged.press is not None), judged.memory
    told = [closed for closed, _ in states]
    edges = sum(1 for a, b in pairwise(told) if a is not b and b is normally_open)
    assert presses == edges


@settings(max_examples=500, deadline=None)
@given(
    story=st.lists(
        st.tuples(
            st.sampled_from([SignalKind.UP, SignalKind.GESTURE]), st.booleans(), st.floats(-5000, 5000)
        ),
        max_size=12,
    )
)
def test_a_button_that_goes_down_is_always_heard(story: list[tuple[SignalKind, bool, float]]) -> None:
    """After any past, a going down is a press; and no past makes a button deaf to a gesture an hour later."""
    memory, at = Memory(), MORNING
    for kind, held, after_s in story:
        at += timedelta(seconds=after_s)
        signal = Signal(kind=kind, held=held)
        memory = judge(memory, [signal], normally_open=True, retained=False, arrived_at=at).memory
    later = at + timedelta(hours=1)
    for kind in (SignalKind.DOWN, SignalKind.GESTURE, SignalKind.PRESSED):
        judged = judge(memory, [Signal(kind=kind)], normally_open=True, retained=False, arrived_at=later)
        assert judged.press is not None
