"""What the site file says of presses: their topics, the words that are some, what a flag is."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.presses import KNOWN
from drivers.contacts.formats import CODECS, tasmota, zigbee2mqtt
from gateway.app.siteplan import compile_plan
from gateway.domain.flag import FlagIs
from tests.support.site_text import changed, check_refused, load

TOPIC = "topic: campus/gate"


@pytest.mark.parametrize(
    "topic",
    [
        *("$SYS/broker/uptime", "$SYS", "$queue/gate", "$delayed/5/gate", "$exclusive/gate", "$share/g/gate", "$aws/things"),
        *("campus/+", "+/gate", "+", "#", "campus/#", "campus/g#te", "campus/g+te", "campus/gate\\n", "campus/\\tgate", "\\x7f"),
    ],
)  # fmt: skip
def test_a_topic_on_which_no_contact_publishes_is_refused(tmp_path: Path, topic: str) -> None:
    """The broker's own, shared subscriptions, wildcards, control characters: the whole kind."""
    check_refused(tmp_path, TOPIC, f'topic: "{topic}" # HERE', "points[1].mqtt.topic", "topic")


@pytest.mark.parametrize("topic", ["/campus/gate", "campus/$gate", "school 3/门", "a"])
def test_an_odd_topic_that_a_contact_may_have_is_taken(tmp_path: Path, topic: str) -> None:
    """Only a $ at the beginning is the broker's."""
    load(tmp_path, changed((TOPIC, f'topic: "{topic}"')))


@pytest.mark.parametrize(
    ("topic", "attribute", "warned"),
    [
        ("zigbee2mqtt/gate", None, False),
        ("zigbee2mqtt/gate/action", "action", False),
        ("zigbee2mqtt/gate/sos", "sos", False),
        ("zigbee2mqtt/gate/emergency", "emergency", False),
        ("zigbee2mqtt/floor 1/gate/panic", "panic", False),
        ("zigbee2mqtt/gate/contact", "contact", False),
        ("school/zigbee2mqtt/gate/click", "click", False),
        ("zigbee2mqtt/contact", None, False),
        ("zigbee2mqtt/battery", None, False),
        ("zigbee2mqtt/floor 1/gate", None, False),
        ("zigbee2mqtt/gate/battery", None, True),
        ("zigbee2mqtt/gate/availability", None, True),
        ("zigbee2mqtt/gate/occupancy", None, True),
        ("zigbee2mqtt/gate/linkquality", None, True),
        ("zigbee2mqtt/gate/tamper", None, True),
        ("zigbee2mqtt/gate/set", None, True),
        ("z2m/gate/action_code", None, True),
    ],
)
def test_the_end_of_a_zigbee2mqtt_topic_is_read_or_warned_of(
    tmp_path: Path, topic: str, attribute: str | None, warned: bool
) -> None:
    """A value by which a press is told may come bare; of any other the check says that it tells of none."""
    loaded = load(tmp_path, changed((TOPIC, f'topic: "{topic}"\n      format: zigbee2mqtt')))
    told = [w for w in loaded.warnings if w.key == "points[1].mqtt.topic"]
    assert bool(told) is warned
    assert all("by which no press is told" in w.advice for w in told)
    point = list(compile_plan(loaded.site, CODECS).points.values())[1]
    assert point.source is not None
    assert point.source.attribute == attribute


def test_words_and_flags_come_into_the_plan(tmp_path: Path) -> None:
    """As they stand; absent they decide nothing."""
    more = (
        "topic: zigbee2mqtt/gate\n      format: zigbee2mqtt\n      press: [emergency, sos]\n      flag: state"
    )
    first, second = compile_plan(load(tmp_path, changed((TOPIC, more))).site, CODECS).points.values()
    assert first.source is not None
    assert second.source is not None
    assert (first.source.presses, first.source.flag) == ((), None)
    assert (second.source.presses, second.source.flag) == (("emergency", "sos"), FlagIs.STATE)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("flag: button # HERE", "points[1].mqtt.flag"),
        ('press: [""] # HERE', "points[1].mqtt.press[0]"),
        ("press: [7] # HERE", "points[1].mqtt.press[0]"),
    ],
)
def test_words_and_flags_that_are_none_are_refused(tmp_path: Path, line: str, key: str) -> None:
    """With their line."""
    check_refused(
        tmp_path, TOPIC, f"topic: zigbee2mqtt/gate\n      format: zigbee2mqtt\n      {line}", key, ""
    )


def test_our_own_format_has_one_word(tmp_path: Path) -> None:
    """Leaving it out would leave the point deaf."""
    check_refused(
        tmp_path, TOPIC, f"{TOPIC}\n      press: [sos]", "points[1].mqtt", "pressed is its only word"
    )


@pytest.mark.parametrize(
    ("words", "warned", "near"),
    [
        ("panick", ["panick"], "panic"),
        ("emergancy, sos", ["emergancy"], "emergency"),
        ("hodl", ["hodl"], "hold"),
        ("singel, double", ["singel"], "single"),
        ("xyzzy", ["xyzzy"], ""),
        ("xyzzy, plugh", ["xyzzy", "plugh"], ""),
        ("xyzzy, hold", [], ""),  # a word of its own beside a known one
        ("panic", [], ""),
        ("Single, 1_hold, left_double, button-2-single, SOS", [], ""),
        ("contact", [], ""),
        ("single_push, long_push, S, L", [], ""),
    ],
)
def test_a_list_of_presses_in_words_that_nobody_says_is_warned_of(
    tmp_path: Path, words: str, warned: list[str], near: str
) -> None:
    """It would leave the point deaf; a known word beside one of the device's own is no slip."""
    more = f"topic: zigbee2mqtt/gate\n      format: zigbee2mqtt\n      press: [{words}]"
    told = [w for w in load(tmp_path, changed((TOPIC, more))).warnings if ".press[" in w.key]
    assert [w.found for w in told] == [f'"{word}"' for word in warned]
    assert all(near in w.expected for w in told)


def test_every_gesture_of_the_makes_is_a_known_word() -> None:
    """So that no list of words the gateway itself reads is warned of."""
    assert KNOWN | {w for w in zigbee2mqtt._WORDS if {*w.split("_")} & KNOWN} >= zigbee2mqtt._WORDS
    assert tasmota._BARE <= KNOWN


@pytest.mark.parametrize(
    ("end", "meant"),
    [
        ("actoin", "action"),
        ("acton", "action"),
        ("Action", "action"),
        ("emergancy", "emergency"),
        ("panick", "panic"),
        ("contct", "contact"),
        ("clik", "click"),
        ("sos1", None),  # a device's name in a folder
        ("panic-2", None),
        ("gate", None),
        ("门", None),
    ],
)
def test_a_mistyped_value_at_the_end_of_a_zigbee2mqtt_topic_is_warned_of(
    tmp_path: Path, end: str, meant: str | None
) -> None:
    """Taken for a part of the device's name it would be silent for ever."""
    text = changed((TOPIC, f"topic: zigbee2mqtt/hall/{end}\n      format: zigbee2mqtt"))
    told = [w for w in load(tmp_path, text).warnings if w.key == "points[1].mqtt.topic"]
    assert [f"slip for {meant};" in w.advice for w in told] == [True] * (meant is not None)


@pytest.mark.parametrize(
    ("topic", "warned"),
    [
        ("campus/gate ", True),
        (" campus/gate", True),
        ("campus /gate", True),
        ("campus/ gate", True),
        ("campus/gate\u3000", True),
        ("campus/gate\u00a0", True),
        ("campus/gate\u200b", True),
        ("\ufeffcampus/gate", True),
        ("campus/gate/", True),
        ("campus//gate", True),
        ("/campus/gate", False),
        ("campus/main gate", False),
    ],
)
def test_a_topic_with_a_blank_that_nobody_sees_is_warned_of(tmp_path: Path, topic: str, warned: bool) -> None:
    """To the broker it is another topic."""
    for key, text in (("topic", f'topic: "{topic}"'), ("liveness", f'{TOPIC}\n      liveness: "{topic}"')):
        told = [
            w for w in load(tmp_path, changed((TOPIC, text))).warnings if w.key == f"points[1].mqtt.{key}"
        ]
        assert [w.expected for w in told if "blanks" in w.expected] == [
            "a topic without blanks at the ends of its parts, and without empty parts"
        ] * warned
