"""One contact that says a thousand things a second: counted together, a fault of its own, and no loss for anybody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from gateway.alarm.flood import HELD_S, MOST_IN_A_SECOND
from gateway.domain.message import MessageType
from tests.support.builders import point
from tests.support.clock import run
from tests.support.door import Door, door

LOUD, OTHER = point("p-loud"), point("p-other")


async def send(d: Door, id_: str, payload: object, times: int = 1) -> None:
    for _ in range(times):
        await d.send(json.dumps(payload).encode(), topic=f"contacts/{id_}")


def faults(d: Door) -> list[str]:
    return [subject for (_, subject), _ in d.intake.found()]


def test_a_flood_is_counted_together_and_the_next_contact_is_heard_at_once(tmp_path: Path) -> None:
    """A thousand pushes are one alarm with all of them counted, told in few messages; another's press does not wait."""

    async def tale() -> None:
        async with door(tmp_path, LOUD, OTHER) as d:
            before = d.store.commits
            for n in range(1000):
                await send(d, "p-loud", {"event": "pressed", "id": f"n{n}"})
            assert len(d.acknowledged.mids) >= 999  # all but the newest, which stands for them
            said = len(d.offered)
            assert said <= MOST_IN_A_SECOND
            await send(d, "p-other", {"event": "pressed"})
            assert [m.type for m in d.offered].count(MessageType.ALARM_RAISED) == 2
            await d.clock.advance(1)
            assert {a.point: a.presses for a in await d.alarms()} == {"p-loud": 1000, "p-other": 1}
            assert sorted(d.acknowledged.mids) == list(range(1, 1002))
            assert len(d.offered) <= said + 2
            assert d.store.commits - before <= MOST_IN_A_SECOND + 10

    run(tale())


def test_a_flood_is_a_fault_of_its_contact_until_it_is_over(tmp_path: Path) -> None:
    """It names the topic and what to do."""

    async def tale() -> None:
        async with door(tmp_path, LOUD, OTHER) as d:
            await send(d, "p-loud", {"event": "alive"}, MOST_IN_A_SECOND)
            assert faults(d) == []
            await send(d, "p-loud", {"event": "alive"}, 10)
            assert faults(d) == ["p-loud flood"]
            ((_, cause),) = d.intake.found()
            assert "contacts/p-loud" in cause
            await d.clock.advance(HELD_S + 1)
            assert faults(d) == []

    run(tale())


def test_a_press_in_a_flood_of_other_words_is_never_lost(tmp_path: Path) -> None:
    """Telemetry, junk and states a hundred times each around one press: it is raised, a moment later."""

    async def tale() -> None:
        async with door(tmp_path, LOUD) as d:
            for payload in ({"event": "alive"}, "junk", {"event": "tamper"}):
                await send(d, "p-loud", payload, 80)
            await send(d, "p-loud", {"event": "pressed"})
            for payload in ({"event": "alive"}, "junk", {"event": "tamper"}):
                await send(d, "p-loud", payload, 80)
            await d.clock.advance(0.3)
            assert await d.presses() == [1]
            await d.clock.advance(2)
            await send(d, "p-loud", {"event": "pressed", "id": "later"})
            assert await d.presses() == [2]

    run(tale())


def test_a_switch_that_rattles_ends_in_the_state_it_was_last_in(tmp_path: Path) -> None:
    """However its edges are gathered, its next closing after the flood is an edge."""
    switch = point("p-loud", format_="zigbee2mqtt")

    async def tale() -> None:
        for last in (False, True):
            async with door(tmp_path / str(last), switch) as d:
                await send(d, "p-loud", {"contact": False})
                for n in range(300):
                    await send(d, "p-loud", {"contact": n % 2 == 0, "linkquality": n})
                await send(d, "p-loud", {"contact": last, "linkquality": 999})
                await d.clock.advance(2)
                memory = await d.store.inner.read(lambda tx: tx.inbox.memory("contacts/p-loud"))
                assert memory.closed is last
                (before,) = await d.presses()
                await send(d, "p-loud", {"contact": False})
                await d.clock.advance(2)
                await send(d, "p-loud", {"contact": True})
                assert await d.presses() == [before + 1]

    run(tale())


def test_the_word_of_alarm_in_a_flood_of_a_keypads_others_is_never_lost(tmp_path: Path) -> None:
    """The site file says which of its words are presses: a later word of no alarm does not stand for it."""
    keypad = point("p-loud", format_="zigbee2mqtt")
    assert keypad.source is not None
    keypad = replace(keypad, source=replace(keypad.source, presses=("emergency",)))

    async def tale() -> None:
        async with door(tmp_path, keypad) as d:
            await send(d, "p-loud", {"action": "single"}, MOST_IN_A_SECOND + 5)
            await send(d, "p-loud", {"action": "emergency"})
            await send(d, "p-loud", {"action": "single"}, 5)
            await d.clock.advance(1)
            assert await d.presses() == [1]

    run(tale())


def test_what_a_stranger_invents_in_a_flood_is_bounded(tmp_path: Path) -> None:
    """A thousand words nobody knows, of a thousand buttons: all but a few are acknowledged at once."""
    button = point("p-loud", format_="zigbee2mqtt")

    async def tale() -> None:
        async with door(tmp_path, button) as d:
            for n in range(1000):
                await send(d, "p-loud", {"action": f"{n}_single"})
            assert len(d.acknowledged.mids) >= 980
            await d.clock.advance(2)
            assert sorted(d.acknowledged.mids) == list(range(1, 1001))

    run(tale())
