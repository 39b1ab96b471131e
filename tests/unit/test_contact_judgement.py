"""One press, one alarm: what counts as a press, from what is remembered and what a message says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from drivers.contacts.formats.ours import decode as own
from drivers.contacts.formats.zigbee2mqtt import decode as z2m
from gateway.domain.contact import Memory, Signal, SignalKind, heard_by, judge
from tests.support.clock import MORNING


class Contact:
    """A contact telling its story; counts the presses that are heard."""

    def __init__(self, *, normally_open: bool = True) -> None:
        self.memory = Memory()
        self.normally_open = normally_open
        self.at: datetime = MORNING

    def says(self, signals: Sequence[Signal], *, after_s: float = 0.0, retained: bool = False) -> bool:
        self.at += timedelta(seconds=after_s)
        judged = judge(
            self.memory, signals, normally_open=self.normally_open, retained=retained, arrived_at=self.at
        )
        self.memory = judged.memory
        return judged.press is not None

    def acts(self, action: str, *, after_s: float = 0.0) -> bool:
        return self.says(z2m(f'{{"action":"{action}"}}'.encode()), after_s=after_s)

    def presses(self, *steps: tuple[str, float]) -> list[bool]:
        return [self.acts(action, after_s=after_s) for action, after_s in steps]


@pytest.mark.parametrize(
    "word", ["single", "double", "triple", "long", "hold", "panic", "sos", "emergency", "on", "shake"]
)
def test_any_push_of_a_momentary_button_is_a_press(word: str) -> None:
    """Whatever a button makes of a push, it is a press."""
    assert Contact().acts(word)


def test_what_one_push_publishes_is_one_press() -> None:
    """Down, up and single are one press, and the next down is another one."""
    assert Contact().presses(("press", 0), ("release", 0.2), ("single", 0.4), ("press", 5)) == [
        True,
        False,
        False,
        True,
    ]


def test_a_long_hold_is_one_press() -> None:
    """Down, hold and the release after however long are one press."""
    assert Contact().presses(("press", 0), ("hold", 1), ("hold", 1), ("hold_release", 300)) == [
        True,
        False,
        False,
        False,
    ]


def test_a_hold_without_a_down_ends_with_its_release() -> None:
    """A button that publishes hold and release only (WXKG01LM) has been pushed once."""
    assert Contact().presses(("hold", 0), ("release", 45)) == [True, False]


def test_a_zone_button_that_is_free_again_has_not_been_pressed_again() -> None:
    """HS1EB publishes off when the zone status returns to 0: the tail of its single."""
    assert Contact().presses(("single", 0), ("off", 3)) == [True, False]


def test_an_off_that_follows_nothing_is_a_push_of_the_off_button() -> None:
    """On a remote with on and off, off alone is a push, long after on as well."""
    contact = Contact()
    assert contact.presses(("off", 0), ("on", 60), ("off", 3600)) == [True, True, True]


def test_an_up_whose_down_was_lost_counts() -> None:
    """If the up is all that is heard of a push, it is the press; its gesture is not another."""
    assert Contact().presses(("release", 0), ("single", 0.5)) == [True, False]


def test_a_release_lost_on_the_air_does_not_make_a_button_deaf() -> None:
    """After a down whose release never came, the next gesture is a press of its own."""
    assert Contact().presses(("press", 0), ("single", 3600)) == [True, True]


def test_gestures_one_after_the_other_are_presses_each() -> None:
    """Another gesture is another push at once; the same one may be the same push told again until two seconds are over."""
    assert Contact().presses(("single", 0), ("double", 0.2), ("single", 2.5)) == [True, True, True]
    assert Contact().presses(("single", 0), ("single", 1.5), ("single", 0.6)) == [True, False, True]


def test_a_clock_set_back_swallows_no_press() -> None:
    """What was remembered before the clock went back an hour does not make the tail an hour long."""
    contact = Contact()
    contact.presses(("press", 0), ("release", 0.2))
    assert contact.acts("single", after_s=-3600)


def test_the_first_sight_of_a_state_is_a_baseline() -> None:
    """A contact found closed at first sight is not a press, nor is its repetition by telemetry."""
    contact = Contact()
    closed = z2m(b'{"contact":true}')
    assert [contact.says(closed), contact.says(closed, after_s=60)] == [False, False]


@pytest.mark.parametrize("normally_open", [True, False])
def test_the_edge_of_the_site_files_polarity_is_the_press(normally_open: bool) -> None:
    """A contact input is pressed when it closes, or when it opens if it is normally closed; repetitions are nothing."""
    contact = Contact(normally_open=normally_open)
    rest, pressed = (b'{"contact":false}', b'{"contact":true}')[:: 1 if normally_open else -1]
    story = [contact.says(z2m(p), after_s=30) for p in (rest, rest, pressed, pressed, rest, pressed)]
    assert story == [False, False, True, False, False, True]


def test_an_edge_during_our_absence_counts() -> None:
    """What is remembered survives: the first report after the absence tells of the edge."""
    contact = Contact()
    contact.says(z2m(b'{"contact":false}'))
    returned = Contact()
    returned.memory = contact.memory
    assert returned.says(z2m(b'{"contact":true}'), after_s=86400)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"action":"single"}',
        b'{"action":"press"}',
        b'{"action":"release"}',
        b'{"contact":true}',
    ],
)
def test_a_retained_copy_is_never_a_press(payload: bytes) -> None:
    """The broker's memory is not the contact's word, not even of an edge."""
    contact = Contact()
    contact.memory = Memory(closed=False)
    assert not contact.says(z2m(payload), retained=True)
    assert contact.memory == Memory(closed=False)


def test_a_retained_state_is_the_first_sight() -> None:
    """Where nothing is remembered, the retained state is the baseline, so that the first real edge counts."""
    contact = Contact()
    contact.says(z2m(b'{"contact":false}'), retained=True)
    assert contact.says(z2m(b'{"contact":true}'), after_s=1)


@pytest.mark.parametrize("flag", ["sos", "emergency", "panic"])
def test_an_active_flag_that_is_not_retained_always_counts(flag: str) -> None:
    """Even at first sight, even repeated, and even beside an action nobody can read."""
    contact = Contact()
    payload = f'{{"{flag}":true}}'.encode()
    assert [contact.says(z2m(payload)), contact.says(z2m(payload), after_s=5)] == [True, True]
    assert contact.says(z2m(f'{{"action":7,"{flag}":true}}'.encode()), after_s=5)


def test_a_message_is_at_most_one_press() -> None:
    """An action, a flag and a closing contact in one message are one press."""
    contact = Contact()
    contact.memory = Memory(closed=False)
    signals = z2m(b'{"action":"emergency","sos":true,"contact":true}')
    judged = judge(contact.memory, signals, normally_open=True, retained=False, arrived_at=MORNING)
    assert judged.press is signals[0]
    assert judged.memory.closed is True


@pytest.mark.parametrize("event", ["released", "tamper", "test", "alive"])
def test_the_other_events_of_our_own_format_are_no_press(event: str) -> None:
    """Only pressed is a press; a test stays local."""
    assert not Contact().says(own(f'{{"event":"{event}"}}'.encode()))


@pytest.mark.parametrize(
    ("wanted", "actions"),
    [
        ("left", ["left_single", "single_left", "left_double", "hold_left", "left_double_click"]),
        ("1", ["1_single", "button_1_hold", "button_1_press", "button_1_press_release", "1_initial_press"]),
        ("button_1", ["1_single", "button_1_single", "recall_1"]),
        ("arrow_left", ["arrow_left_click", "arrow_left_hold", "arrow_left_release"]),
        ("on", ["on", "on_press", "on_hold", "on_press_release", "on_hold_release"]),
        ("recall_1", ["recall_1"]),
        ("Left", ["left_single"]),
    ],
)
def test_an_input_is_named_as_the_device_names_it(wanted: str, actions: list[str]) -> None:
    """The site file's input matches wherever the converter puts the button's name."""
    for action in actions:
        (signal,) = z2m(f'{{"action":"{action}"}}'.encode())
        assert heard_by(["other", wanted], signal) == [1], action


@pytest.mark.parametrize(
    ("action", "points"),
    [
        ("fire", [1]),
        ("fire_release", [1]),
        ("fire_cancel", [1]),
        ("emergency", [0]),
        ("emergency_press", [0]),
        ("emergency_off", [0]),
        ("panic", [0]),  # nobody's: not lost
    ],
)
def test_a_key_may_be_named_by_its_word_of_alarm(action: str, points: list[int]) -> None:
    """What is told of it besides belongs to the same key."""
    (signal,) = z2m(f'{{"action":"{action}"}}'.encode())
    assert heard_by(["emergency", "fire"], signal) == points


@pytest.mark.parametrize("action", ["right_single", "2_single", "single_right", "11_single"])
def test_a_button_that_is_nobodys_point_is_heard_by_nobody(action: str) -> None:
    """Another button of the same device does not press this point."""
    (signal,) = z2m(f'{{"action":"{action}"}}'.encode())
    assert heard_by(["left", "1"], signal) == []


def test_both_buttons_at_once_press_both_points() -> None:
    """Two buttons pushed together are two points."""
    (signal,) = z2m(b'{"action":"both_single"}')
    assert heard_by(["left", "right"], signal) == [0, 1]


def test_a_device_that_names_no_input_is_heard_once() -> None:
    """A flag of the whole device is never lost and never two alarms."""
    (signal,) = z2m(b'{"sos":true}')
    assert heard_by(["left", "right"], signal) == [0]
    assert heard_by(["left", None], signal) == [1]
    assert heard_by([None], signal) == [0]


@pytest.mark.parametrize(
    ("action", "kind", "input_"),
    [
        ("left_single", SignalKind.GESTURE, "left"),
        ("single_left", SignalKind.GESTURE, "left"),
        ("button_1_hold", SignalKind.GESTURE, "1"),
        ("1_single", SignalKind.GESTURE, "1"),
        ("arrow_left_click", SignalKind.GESTURE, "arrow_left"),
        ("hold_release", SignalKind.UP, None),
        ("recall_1", SignalKind.GESTURE, "1"),
        ("button_2_press", SignalKind.DOWN, "2"),
        ("on_hold_release", SignalKind.UP, "on"),
        ("up_press", SignalKind.DOWN, "up"),
        ("dial_rotate_left_step", SignalKind.GESTURE, None),
    ],
)
def test_an_action_is_a_button_and_a_gesture(action: str, kind: SignalKind, input_: str | None) -> None:
    """The words of the converters are told apart wherever they stand."""
    (signal,) = z2m(f'{{"action":"{action}"}}'.encode())
    assert (signal.kind, signal.input) == (kind, input_)
