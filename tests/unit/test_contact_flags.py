"""A flag that says true again: a state, or a push. Each row is one device's story; times are seconds after the message before."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from drivers.contacts.formats.zigbee2mqtt import decode
from gateway.domain.contact import Beside, Memory, judge
from gateway.domain.doubt import doubts
from gateway.domain.flag import FlagIs
from storage.sql.remembered import from_text, to_text
from tests.support.builders import point
from tests.support.clock import MORNING


class Device:
    """A device of Zigbee2MQTT as one point hears it, its memory taken through the database's text after each message."""

    def __init__(self, flag: FlagIs | None = None) -> None:
        self.memory = Memory()
        self.flag = flag
        self.at: datetime = MORNING
        self.online_at: datetime | None = None
        self.alarm_open = False

    def online(self, after_s: float = 0.0) -> None:
        self.at += timedelta(seconds=after_s)
        self.online_at = self.at

    def says(self, after_s: float = 0.0, *, retained: bool = False, **told: object) -> bool:
        self.at += timedelta(seconds=after_s)
        judged = judge(
            self.memory,
            decode(json.dumps(told).encode()),
            normally_open=True,
            retained=retained,
            arrived_at=self.at,
            beside=Beside(
                bridge_online_at=self.online_at, flag=self.flag, alarm_open=lambda: self.alarm_open
            ),
        )
        more = from_text(to_text(judged.memory))
        self.memory = Memory(closed=judged.memory.closed, down=judged.memory.down, **more)
        assert self.memory.flags == judged.memory.flags
        return judged.press is not None

    def faults(self) -> dict[str, str]:
        told = doubts(point(), self.memory, now=self.at, alarm_open=self.alarm_open, stamp=str)
        return dict(told)


FLAGS = pytest.mark.parametrize("flag", ["sos", "emergency", "panic"])


@FLAGS
def test_a_flag_that_was_ever_false_is_a_state(flag: str) -> None:
    """TS0601: false, true, true with another time, false, true: two pushes."""
    device = Device()
    story = [(False, 0), (True, 60), (True, 30), (True, 3600), (False, 5), (True, 5)]
    told = [
        device.says(after_s, battery=80, last_seen=str(n), linkquality=25 + n, **{flag: state})
        for n, (state, after_s) in enumerate(story)
    ]
    assert told == [False, True, False, False, False, True]


@FLAGS
def test_while_a_state_stands_with_no_alarm_open_a_fault_says_so(flag: str) -> None:
    """Nothing that may be lost is silent; while the alarm is open the centre is there already."""
    device = Device()
    device.says(battery=80, **{flag: False})
    assert device.faults() == {}
    device.says(60, battery=80, **{flag: True})
    device.alarm_open = True
    assert device.faults() == {}
    device.alarm_open = False
    (cause,) = device.faults().values()
    assert f"its {flag} still says true" in cause
    assert "released" in cause
    device.says(60, battery=80, **{flag: False})
    assert device.faults() == {}


@FLAGS
def test_the_first_sight_counts_unless_the_broker_kept_it(flag: str) -> None:
    """Also within a minute of its bridge's start: nothing is remembered that it could equal."""
    assert Device().says(**{flag: True})
    assert not Device().says(retained=True, **{flag: True})
    device = Device()
    device.online()
    assert device.says(5, **{flag: True})


def test_a_kept_true_is_no_reason_to_lose_the_next_one() -> None:
    """The broker's copy of a push is not that push told again."""
    device = Device()
    device.says(retained=True, sos=True, battery=100)
    assert device.says(5, sos=True, battery=100)


@pytest.mark.parametrize("flag", ["sos", "emergency", "panic"])
def test_a_report_of_what_the_broker_kept_is_no_push(flag: str) -> None:
    """Another value has changed since the kept copy: it is told with the state, and not because of it."""
    device = Device()
    device.says(retained=True, battery=100, **{flag: True})
    assert not device.says(60, battery=99, **{flag: True})


def test_a_kept_false_is_the_release_that_was_missed() -> None:
    """It is a state from then on, and free to be pushed."""
    device = Device()
    device.says(sos=True)
    assert not device.says(60, retained=True, sos=False)
    assert device.says(60, sos=True)
    assert not device.says(60, sos=True)


def test_one_that_was_never_false_counts_each_time_without_an_alarm() -> None:
    """HS1EB: nothing tells a push from a report but what else has changed. A lost push is worse than a false one."""
    device = Device()
    assert device.says(sos=True, battery=100, linkquality=60)
    assert device.says(3600, sos=True, battery=100, linkquality=63)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"battery": 100}, {"battery": 99}),
        ({"voltage": 3000}, {"voltage": 2900}),
        ({"tamper": False}, {"tamper": True}),
        ({"temperature": 21.5}, {"temperature": 21.6}),
        ({"battery_low": False}, {"battery_low": True}),
        ({"device_temperature": 20, "battery": 100}, {"device_temperature": 21, "battery": 100}),
        ({"update_available": False}, {"update_available": True}),
    ],
)
def test_a_report_of_one_that_was_never_false_raises_no_alarm(
    before: dict[str, object], after: dict[str, object]
) -> None:
    """Another value than the radio's has changed: it is a report. While its alarm is open it is a harmless repetition."""
    device = Device()
    assert device.says(sos=True, **before)
    assert not device.says(90, sos=True, **after)
    device.alarm_open = True
    assert device.says(90, sos=True, **before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"linkquality": 60}, {"linkquality": 63}),
        ({"last_seen": "10:00"}, {"last_seen": "10:01"}),
        ({"battery": None}, {"battery": 100}),
        ({}, {"battery": 100}),
        ({"battery": 100}, {}),
        ({"update": {"state": "idle"}}, {"update": {"state": "available"}}),
        ({"elapsed": 1}, {"elapsed": 90_000}),
    ],
)
def test_what_changes_with_a_push_too_makes_no_report_of_it(
    before: dict[str, object], after: dict[str, object]
) -> None:
    """The radio's values, one that was not known before, one that is left out."""
    device = Device()
    assert device.says(sos=True, **before)
    assert device.says(90, sos=True, **after)


def test_what_a_bridge_kept_is_no_press_after_its_start() -> None:
    """The first message that equals the remembered one in all values, and what it is told in besides; a push differs."""
    device = Device()
    device.says(sos=True, battery=99, linkquality=63)
    device.online(600)
    assert not device.says(2, sos=True, battery=99, linkquality=63)
    assert not device.says(1, sos=True, battery=99, linkquality=63)
    assert device.says(10, sos=True, battery=99, linkquality=63)


@pytest.mark.parametrize(
    ("after_s", "told"),
    [(61, {"linkquality": 63}), (2, {"linkquality": 64}), (2, {"linkquality": 63, "last_seen": "now"})],
)
def test_what_is_not_what_the_bridge_kept_counts(after_s: float, told: dict[str, object]) -> None:
    """Later than a minute, or other in any value, the radio's included."""
    device = Device()
    device.says(sos=True, battery=99, linkquality=63)
    device.online(600)
    assert device.says(after_s, sos=True, battery=99, **told)


@pytest.mark.parametrize("other", [(True, False), (False, True)], ids=["lowered", "raised"])
def test_what_a_bridge_tells_with_another_flag_changed_is_not_what_it_kept(other: tuple[bool, bool]) -> None:
    """All the rest is as remembered: something happened at the device, which may be a push of this one."""
    device = Device()
    device.says(sos=True, emergency=other[0], battery=99)
    device.online(600)
    assert device.says(2, sos=True, emergency=other[1], battery=99)


def test_a_push_between_a_release_and_the_bridges_start_counts() -> None:
    """What was remembered is false: true is an edge, whenever it comes."""
    device = Device()
    device.says(sos=False, battery=99)
    device.online(600)
    assert device.says(2, sos=True, battery=99)


@FLAGS
def test_one_that_was_never_false_and_comes_again_raises_a_fault_that_names_the_cure(flag: str) -> None:
    """From the second time on; the site file settles it."""
    device = Device()
    device.says(**{flag: True}, battery=100)
    assert device.faults() == {}
    device.says(90, **{flag: True}, battery=99)
    ((subject, cause),) = device.faults().items()
    assert subject == "p-301 reports"
    assert f"filtered_cache: [{flag}]" in cause
    assert "mqtt.flag" in cause


def test_a_flag_that_reports_leave_out_comes_with_a_push_only() -> None:
    """The cure: whatever else has changed since, each true is a push, and the fault is gone."""
    device = Device()
    device.says(sos=True, battery=100)
    device.says(90, sos=True, battery=99)
    assert device.faults() != {}
    assert not device.says(90, battery=98, linkquality=1)
    assert device.faults() == {}
    assert device.says(90, sos=True, battery=97)
    assert not device.says(90, battery=96)
    assert device.says(90, sos=True, battery=96)


@pytest.mark.parametrize("released", [True, False])
def test_a_flag_once_left_out_that_comes_with_reports_again_is_told_in_them(released: bool) -> None:
    """Zigbee2MQTT that keeps no state over its restart: only the first report leaves the flag out."""
    device = Device()
    if released:
        device.says(sos=False, battery=100)
    assert device.says(60, sos=True, battery=100)
    device.online(600)
    assert not device.says(60, battery=99)
    assert device.says(600, sos=True, battery=99)
    assert not any(device.says(3600, sos=True, battery=n) for n in (98, 97, 97 if released else 96, 95))
    assert device.faults() != {}


@pytest.mark.parametrize(
    "key", ["trigger_count", "click_counter", "count", "sequence", "action_transaction", "time"]
)
def test_a_count_of_pushes_makes_no_report_of_one(key: str) -> None:
    """Nor does the time of the message: each push has another."""
    device = Device()
    assert device.says(sos=True, battery=100, **{key: 7})
    assert device.says(90, sos=True, battery=100, **{key: 8})


def test_the_site_file_decides_by_hand() -> None:
    """``state``: only the edge, and a fault while it stands. ``push``: each time, whatever else changed."""
    state, push = Device(FlagIs.STATE), Device(FlagIs.PUSH)
    for device in (state, push):
        assert device.says(sos=True, battery=100)
    assert not state.says(90, sos=True, battery=100)
    assert "still says true" in next(iter(doubts_of(state).values()))
    push.says(60, sos=False, battery=100)
    assert [push.says(90, sos=True, battery=n) for n in (100, 99, 99)] == [True, True, True]
    assert doubts_of(push) == {}


def doubts_of(device: Device) -> dict[str, str]:
    wired = point()
    assert wired.source is not None
    from dataclasses import replace

    wired = replace(wired, source=replace(wired.source, flag=device.flag))
    return dict(doubts(wired, device.memory, now=device.at, alarm_open=False, stamp=str))


def test_after_closing_a_latched_device_raises_no_false_alarm() -> None:
    """A day of reports each hour with a changing battery, its alarm long closed; the release and the next push are heard."""
    device = Device()
    device.says(sos=False, battery=100)
    assert device.says(5, sos=True, battery=100)
    assert not any(device.says(3600, sos=True, battery=100 - n // 2, linkquality=n) for n in range(24))
    device.says(60, sos=False, battery=88)
    assert device.says(60, sos=True, battery=88)


def test_two_flags_of_one_device_are_remembered_each() -> None:
    """A state beside one that was never false."""
    device = Device()
    device.says(sos=False, emergency=True)
    assert device.says(60, sos=True, emergency=True)
    assert device.says(60, sos=True, emergency=True)
    assert set(device.faults()) == {"p-301 flag", "p-301 reports"}
