"""Identities that hardware uses again: copies are no second press, and what is none is heard, or shown on the point.

Each story is told to one contact; the first column says when, in seconds after the message before.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm.starts import Starts
from gateway.domain.doubt import doubts
from tests.support.builders import contact_message, point
from tests.support.clock import MORNING, run
from tests.support.door import Door, door

HOUR = 3600.0


async def presses_of(d: Door, story: list[tuple[float, object]]) -> list[bool]:
    """Which of the messages was a press; an alarm is closed at once, so that a copy would be a false one."""
    told = []
    for after_s, id_ in story:
        await d.clock.advance(after_s)
        before = len(d.offered)
        payload = id_ if isinstance(id_, dict) else {"event": "pressed", "id": id_}
        await d.send(json.dumps(payload).encode())
        told.append(len(d.offered) > before)
        for alarm in await d.alarms():
            await d.close(alarm)
    return told


def at(seconds: float) -> str:
    return (MORNING + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("story", "heard"),
    [
        # A count that began anew with a new battery: each of its numbers was used before.
        ([(0, n) for n in range(1, 6)] + [(HOUR, n) for n in range(1, 6)], [True] * 10),
        ([(0, "1"), (90, "2"), (90, "3"), (90, "1"), (90, "2")], [True] * 5),
        ([(0, "btn-7"), (90, "btn-8"), (90, "btn-7")], [True] * 3),
        # … by numbers that were not used, and then by those that were.
        ([(0, 5), (90, 9), (90, 1), (90, 5), (90, 9)], [True] * 5),
        # One that is at 1 after each push, since it has power only while it is pushed.
        ([(0, 1), (HOUR, 1), (HOUR, 1)], [True] * 3),
        # Copies: at once, within a minute, the last few sent again after connecting anew.
        ([(0, 7), (0.2, 7), (30, 7)], [True, False, False]),
        ([(0, 1), (1, 2), (1, 3), (20, 1), (0.1, 2), (0.1, 3), (5, 4)], [True, True, True, False, False, False, True]),
        # No count: an identity that was drawn is the same event however late.
        ([(0, "a"), (HOUR, "b"), (HOUR, "a")], [True, True, False]),
        ([(0, "550e8400-e29b-41d4-a716-446655440000"), (24 * HOUR, "550e8400-e29b-41d4-a716-446655440000")], [True, False]),
        # Its own time tells two events from one that is told twice.
        (
            [
                (0, {"event": "pressed", "id": "a", "at": at(0)}),
                (HOUR, {"event": "pressed", "id": "a", "at": at(0)}),
                (HOUR, {"event": "pressed", "id": "a", "at": at(0), "battery": 9}),
                (HOUR, {"event": "pressed", "id": "a", "at": at(3 * HOUR)}),
            ],
            [True, False, False, True],
        ),
        # A clock that runs two minutes ahead does not make a copy an event of its own.
        ([(0, {"event": "pressed", "id": 3, "at": at(120)}), (300, {"event": "pressed", "id": 3, "at": at(120)})], [True, False]),
    ],
)  # fmt: skip
def test_a_number_used_before_is_a_copy_or_another_press(
    tmp_path: Path, story: list[tuple[float, object]], heard: list[bool]
) -> None:
    """Hardware that counts in memory begins again; who sends again does so soon, or says the same time."""

    async def tale() -> None:
        async with door(tmp_path) as d:
            assert await presses_of(d, story) == heard

    run(tale())


def test_a_new_series_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """What was counted in it is known again."""

    async def tale() -> None:
        async with door(tmp_path) as d:
            assert await presses_of(d, [(0, 1), (90, 2), (90, 1)]) == [True, True, True]
        async with door(tmp_path, clock=d.clock) as d:
            assert await presses_of(d, [(30, 1), (90, 2), (30, 2)]) == [False, True, False]

    run(tale())


def test_a_device_that_was_heard_starting_counts_anew(tmp_path: Path) -> None:
    """Its own word that it started makes the same number another press, a minute later already."""
    wired = point()
    from dataclasses import replace

    assert wired.source is not None
    wired = replace(wired, source=replace(wired.source, liveness_topic="contacts/p-301/online"))
    starts = Starts([wired], lambda payload: payload == b"true")

    async def tale() -> None:
        async with door(tmp_path, wired, starts=starts) as d:
            assert await presses_of(d, [(0, 1), (90, 1)]) == [True, False]
            online: dict[str, Any] = {"topic": "contacts/p-301/online", "at": d.clock.now()}
            starts.hear(contact_message(b"true", retained=True, **online))
            assert await presses_of(d, [(1, 1)]) == [False]
            starts.hear(contact_message(b"true", **online | {"at": d.clock.now()}))
            assert await presses_of(d, [(1, 1)]) == [True]

    run(tale())


def test_a_press_that_was_taken_for_a_copy_is_shown(tmp_path: Path) -> None:
    """By a fault that names the number and both moments, and not for what is told twice at once."""

    async def tale() -> None:
        async with door(tmp_path) as d:
            told: dict[str, str] = {}

            async def look() -> dict[str, str]:
                memory = await d.store.inner.read(lambda tx: tx.inbox.memory("contacts/p-301"))
                return dict(doubts(point(), memory, now=d.clock.now(), alarm_open=False, stamp=at_text))

            await presses_of(d, [(0, "a"), (1, "a")])
            assert await look() == {}
            await presses_of(d, [(299, "a")])
            told = await look()
            assert list(told) == ["p-301 id"]
            assert "id a" in told["p-301 id"]
            assert "10:20:07" in told["p-301 id"]
            assert "10:15:07" in told["p-301 id"]
            await d.clock.advance(2 * HOUR)
            assert await look() == {}

    run(tale())


def at_text(moment: Any) -> str:
    return f"{moment + timedelta(hours=8):%H:%M:%S}"


def test_a_count_that_was_taken_for_a_copy_is_shown(tmp_path: Path) -> None:
    """A counter of a Shelly: the same rule, the same word on the point."""
    wired = point(format_="shelly-gen1")

    async def tale() -> None:
        async with door(tmp_path, wired) as d:
            for after_s, count in ((0, 3), (20, 2)):
                await d.clock.advance(after_s)
                await d.send({"event": "S", "event_cnt": count})
            memory = await d.store.inner.read(lambda tx: tx.inbox.memory("contacts/p-301"))
            assert memory.dropped is not None
            assert memory.dropped[0] == "2"

    run(tale())
