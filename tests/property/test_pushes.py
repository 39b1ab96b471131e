"""Pushes told in any number of messages, and flags told in any order: as many presses as pushes, and no contact is ever deaf."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contacts.formats.zigbee2mqtt import decode
from gateway.domain.contact import Beside, Memory, judge
from gateway.domain.flag import unheard_since
from tests.support.clock import MORNING

GESTURES = ["single", "double", "hold", "emergency", "1_single", "left-double", "shake"]
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "battery": st.integers(0, 100),
        "linkquality": st.integers(0, 255),
        "last_seen": st.text(max_size=5),
    },
)


class Heard:
    """One contact's memory, its alarm open or not."""

    def __init__(self) -> None:
        self.memory, self.at = Memory(), MORNING
        self.alarm_open = False

    def says(self, told: dict[str, object], after_s: float, *, online: bool = False) -> bool:
        self.at += timedelta(seconds=after_s)
        judged = judge(
            self.memory,
            decode(json.dumps(told).encode()),
            normally_open=True,
            retained=False,
            arrived_at=self.at,
            beside=Beside(bridge_online_at=self.at if online else None, alarm_open=lambda: self.alarm_open),
        )
        self.memory = judged.memory
        return judged.press is not None


@settings(max_examples=300, deadline=None)
@given(
    pushes=st.lists(
        st.tuples(
            st.sampled_from(GESTURES),
            st.lists(
                st.tuples(st.sampled_from(["action", "click"]), VALUES, st.floats(0, 0.3)),
                min_size=1,
                max_size=6,
            ),
            st.floats(2.5, 5000),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_push_is_one_press_in_however_many_messages(
    pushes: list[tuple[str, list[tuple[str, dict[str, object], float]], float]],
) -> None:
    """Under either key, beside any telemetry, with the empty words in between; and each push is one."""
    contact = Heard()
    for gesture, messages, after_s in pushes:
        contact.at += timedelta(seconds=after_s)
        told = []
        for key, values, gap_s in messages:
            told.append(contact.says({key: gesture, **values}, gap_s))
            told.append(contact.says({key: "", **values}, 0))
        assert told == [True] + [False] * (len(told) - 1)


@settings(max_examples=500, deadline=None)
@given(
    story=st.lists(
        st.tuples(st.sampled_from([True, False, None]), VALUES, st.floats(0, 5000), st.booleans()),
        max_size=12,
    ),
    later=VALUES,
)
def test_no_past_makes_a_flag_deaf_without_a_word(
    story: list[tuple[bool | None, dict[str, object], float, bool]], later: dict[str, object]
) -> None:
    """After any story a push counts once the flag was released; and where it may not count before, that is a doubt on record."""
    contact = Heard()
    for flag, values, after_s, online in story:
        told = dict(values) if flag is None else {"sos": flag, **values}
        contact.says(told or {"battery": 50}, after_s, online=online)
    doubt = unheard_since(contact.memory.flags, None)
    unreleased = Heard()
    unreleased.memory, unreleased.at, unreleased.alarm_open = contact.memory, contact.at, True
    assert unreleased.says({"sos": True, **later}, 3600) or doubt is not None
    contact.says({"sos": False, **later}, 3600)
    assert contact.says({"sos": True, **later}, 3600)
