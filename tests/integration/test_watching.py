"""Watching on the real database, with supervising beside it: what nobody would hear becomes a fault, and outlives a restart.

One file, though long: every story is told on the same school.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from drivers.contacts.formats import CODECS, liveness
from gateway.domain.contact import Signal
from gateway.domain.errors import Malformed
from gateway.domain.fault import FaultKind
from gateway.domain.liveness import SETTLED_S, Hearing, Seen
from gateway.domain.plan import Point
from gateway.domain.uplink import PathHealth
from gateway.watch.contacts import UNTOLD_S, Watching
from gateway.watch.supervising import Standing, Supervising
from tests.support.builders import Acknowledgements, contact_message, envelopes, point
from tests.support.cameras import ScriptedCameras
from tests.support.clock import ManualClock, run
from tests.support.stores import WatchedStore, opened

AVAILABILITY = "zigbee2mqtt/sos/availability"
BRIDGE = "zigbee2mqtt/bridge/state"
PRESS = "zigbee2mqtt/sos"
UNHEARD = "contact:unheard"
UNTOLD = "contact:untold"


class Feed:
    """A broker's connection that stands or not."""

    def __init__(self, armed: bool) -> None:
        self.armed = armed
        self.cause = ""

    async def run(self, receive: object) -> None:
        raise NotImplementedError


def watched(id_: str = "p-301", **source: Any) -> Point:
    made = point(id_, topic=PRESS, format_="zigbee2mqtt")
    assert made.source is not None
    return replace(
        made, source=replace(made.source, liveness_topic=AVAILABILITY, bridge_topic=BRIDGE, **source)
    )


@dataclass(slots=True)
class Post:
    """Watching and supervising at work."""

    store: WatchedStore
    clock: ManualClock
    watching: Watching
    points: list[Point]
    feed: Feed
    refused: set[str]
    acknowledged: Acknowledgements = field(default_factory=Acknowledgements)

    async def tell(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        message = contact_message(payload, topic=topic, at=self.clock.now(), mid=7, retained=retained)
        self.watching.receive(replace(message, acknowledge=self.acknowledged.for_(7)))
        await self.clock.settle()

    async def hear(
        self, payload: bytes, *, retained: bool = False, qos: int = 1, elsewhere: bool = False
    ) -> None:
        """A message of the contact, as intake passes it on."""
        signals: list[Signal] = []
        unreadable = None
        try:
            signals = CODECS["zigbee2mqtt"](payload) if payload else []
        except Malformed as exc:
            unreadable = str(exc)
        message = contact_message(payload, topic=PRESS, at=self.clock.now(), retained=retained)
        self.watching.saw(self.points, signals, replace(message, qos=qos), unreadable, elsewhere)
        await self.clock.settle()

    async def faults(self) -> dict[str, str]:
        """Open faults of contacts and the broker: subject → id. That a contact was never heard, or that nobody tells whether it
        is there, is left out here: most of these tests press and tell nothing, and both have tests of their own below."""
        return {key: id_ for key, id_ in (await self.every_fault()).items() if key not in (UNHEARD, UNTOLD)}

    async def every_fault(self) -> dict[str, str]:
        """With that one."""
        await self.clock.settle()
        found = await self.store.read(lambda tx: tx.faults.open())
        return {f"{f.kind.value}:{f.subject}": f.id for f in found}


@asynccontextmanager
async def post(
    folder: Path, *points: Point, clock: ManualClock | None = None, armed: bool = True
) -> AsyncIterator[Post]:
    """Both stages on the database in ``folder``; opening it again is a restart."""
    clock, feed, refused = clock or ManualClock(), Feed(armed), set[str]()
    wired = list(points) or [watched()]
    async with opened(folder) as store:
        clock.busy = store.busy
        watching = Watching(
            store=store,
            clock=clock,
            points=wired,
            decode=liveness.decode,
            armed=lambda: feed.armed,
            refused=lambda: refused,
        )
        supervising = Supervising(
            store=store,
            clock=clock,
            envelopes=envelopes(),
            cameras=ScriptedCameras(clock),
            feed=feed,
            paths=[PathHealth("first")],
            gone={},
            store_cause=lambda: "",
            wake_delivering=lambda: None,
            data_dir=folder,
            reserve_bytes=1,
            database_full=lambda: False,
            standing=Standing(),
            found_elsewhere=lambda _now: watching.found(),
        )
        tasks = [asyncio.create_task(watching.run()), asyncio.create_task(supervising.run())]
        try:
            await clock.settle()
            yield Post(store, clock, watching, wired, feed, refused)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled() and (error := task.exception()):
                    raise error


def test_a_contact_that_goes_offline_is_one_fault_until_it_is_back(tmp_path: Path) -> None:
    """Its own word and its bridge's, kept or said now; a restart of the device within the grace is nothing."""

    async def story() -> None:
        async with post(tmp_path) as p:
            await p.tell(AVAILABILITY, b"online", retained=True)
            await p.tell(AVAILABILITY, b"offline")
            await p.clock.advance(4)
            await p.tell(AVAILABILITY, b"online")
            await p.clock.advance(10)
            assert await p.faults() == {}
            await p.tell(AVAILABILITY, b'{"state":"offline"}')
            await p.clock.advance(4)
            assert await p.faults() == {}
            await p.clock.advance(3)
            assert list(await p.faults()) == ["contact:p-301"]
            await p.tell(AVAILABILITY, b'{"state":"online"}')
            await p.clock.advance(20)
            assert await p.faults() == {}
            await p.tell(BRIDGE, b'{"state":"offline"}', retained=True)
            await p.clock.advance(7)
            assert list(await p.faults()) == ["contact:p-301"]
            health = p.watching.health()["p-301"]
            assert "bridge is offline" in str(health["causes"])
            assert health["online"] is True
            assert p.acknowledged.mids == [7] * 6, "nothing is owed to the broker"

    run(story())


def test_an_unreadable_word_changes_nothing_and_is_acknowledged(tmp_path: Path) -> None:
    """It neither raises the fault nor hides it."""

    async def story() -> None:
        async with post(tmp_path) as p:
            await p.tell(AVAILABILITY, b"offline", retained=True)
            await p.tell(AVAILABILITY, b'{"event":"pressed"}')
            await p.clock.advance(7)
            assert list(await p.faults()) == ["contact:p-301"]
            assert len(p.acknowledged.mids) == 2
            await p.tell(AVAILABILITY, b"", retained=True)
            await p.clock.advance(20)
            assert await p.faults() == {}, "a word that was taken back is told no more"

    run(story())


def test_an_offline_contact_keeps_its_fault_over_a_restart_beside_a_dead_broker(tmp_path: Path) -> None:
    """The second run knows nothing until the broker is back, and clears nothing meanwhile; then it goes by what it hears."""

    async def story() -> None:
        async with post(tmp_path) as p:
            await p.tell(AVAILABILITY, b"offline")
            await p.clock.advance(7)
            before = await p.faults()
            assert list(before) == ["contact:p-301"]
        async with post(tmp_path, armed=False) as p:
            await p.clock.advance(120)
            assert await p.faults() == before
            p.feed.armed = True
            await p.tell(AVAILABILITY, b"offline", retained=True)
            await p.clock.advance(SETTLED_S + 60)
            assert await p.faults() == before
        async with post(tmp_path) as p:
            await p.tell(AVAILABILITY, b"online", retained=True)
            await p.clock.advance(SETTLED_S + 5)
            assert await p.faults() == {}

    run(story())


def test_silence_is_counted_over_restarts_and_never_while_nobody_listens(tmp_path: Path) -> None:
    """600 s are heard in two runs; a day between them and a quarter of an hour without a broker count nothing."""
    silent = watched(silent_after_s=600)

    async def story() -> None:
        clock = ManualClock()
        async with post(tmp_path, silent, clock=clock) as p:
            await p.hear(b'{"battery":80}')
            await p.clock.advance(400)
            assert await p.faults() == {}
        clock.step_wall(24 * 3600)
        async with post(tmp_path, silent, clock=clock, armed=False) as p:
            await p.clock.advance(900)
            assert await p.faults() == {}
            p.feed.armed = True
            await p.clock.advance(SETTLED_S + 5)
            assert await p.faults() == {}, "no false fault right after a start"
            await p.hear(b'{"battery":80}', retained=True)
            await p.clock.advance(300)
            assert list(await p.faults()) == ["contact:p-301"], "the broker's kept copy is no sign of life"
            await p.hear(b'{"battery":80}')
            await p.clock.advance(2)
            assert await p.faults() == {}

    run(story())


def test_a_contact_that_was_never_heard_is_silent_too(tmp_path: Path) -> None:
    """From the day it is in the plan: the one whose topic was misspelt is found out. Its own live word is a sign of life."""
    silent = watched(silent_after_s=600)

    async def story() -> None:
        async with post(tmp_path, silent) as p:
            await p.clock.advance(500)
            await p.tell(AVAILABILITY, b"online")
            await p.tell(BRIDGE, b"online")
            await p.clock.advance(590)
            assert await p.faults() == {}
            await p.clock.advance(20)
            assert list(await p.faults()) == ["contact:p-301"]
            await p.tell(BRIDGE, b"online")
            await p.tell(AVAILABILITY, b"online", retained=True)
            await p.clock.advance(5)
            assert list(await p.faults()) == ["contact:p-301"], (
                "neither the bridge nor a kept copy speaks for it"
            )

    run(story())


def test_what_a_contact_told_of_itself_is_known_after_a_restart(tmp_path: Path) -> None:
    """Battery, housing, test and QoS, with their faults under the same ids."""

    async def story() -> None:
        async with post(tmp_path) as p:
            await p.hear(b'{"battery":9,"tamper":true}', qos=0)
            await p.clock.advance(3)
            before = await p.faults()
            assert sorted(before) == ["contact:p-301 battery", "contact:p-301 tamper"]
            told = p.watching.last_seen()["p-301"]
            assert (told["battery"], told["tamper"], told["test"]) == (9, True, None)
        async with post(tmp_path) as p:
            await p.clock.advance(60)
            assert await p.faults() == before
            assert p.watching.last_seen()["p-301"] == told
            assert p.watching.health()["p-301"]["qos"] == 0
            await p.hear(b'{"battery":100,"tamper":false}')
            await p.clock.advance(2)
            assert list(await p.faults()) == ["contact:p-301 tamper"]
            await p.clock.advance(600)
            assert await p.faults() == {}
            assert p.watching.health()["p-301"]["qos"] == 1
            await p.hear(b'{"battery":99}')
        async with post(tmp_path) as p:
            assert p.watching.last_seen()["p-301"]["battery"] == 99, "also what was told just before the end"

    run(story())


def test_a_kept_copy_tells_the_qos_and_nothing_else(tmp_path: Path) -> None:
    """Until the contact itself has been heard."""

    async def story() -> None:
        async with post(tmp_path) as p:
            await p.hear(b'{"battery":3}', retained=True, qos=0)
            await p.clock.advance(5)
            assert p.watching.health()["p-301"]["qos"] == 0
            assert p.watching.last_seen()["p-301"]["at"] is None
            assert await p.faults() == {}
            await p.hear(b'{"battery":80}')
            await p.hear(b'{"battery":80}', retained=True, qos=0)
            assert p.watching.health()["p-301"]["qos"] == 1

    run(story())


def test_where_a_topic_is_both_the_press_wins() -> None:
    """What is wired as a point's press topic is never taken for liveness."""
    pressed = replace(watched("p-1"), source=replace(watched().source, topic=AVAILABILITY, input="x"))  # type: ignore[type-var,arg-type]
    watching = Watching(
        store=None,  # type: ignore[arg-type]
        clock=ManualClock(),
        points=[watched(), pressed],
        decode=liveness.decode,
        armed=lambda: True,
        refused=tuple,
    )
    assert watching.topics == {BRIDGE}


def test_refused_liveness_topics_are_a_fault_of_the_broker(tmp_path: Path) -> None:
    """An access list that hides them is told, since silence would look like health."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.refused.add(AVAILABILITY)
            await p.clock.advance(2)
            assert list(await p.faults()) == ["broker:liveness"]

    run(story())


def state(p: Post) -> object:
    """What the API says of the one point."""
    health = p.watching.health()["p-301"]
    assert bool(health["causes"]) is (health["state"] != "heard"), "healthy only when it was heard"
    return health["state"]


def test_a_contact_that_was_never_heard_says_so_until_it_is(tmp_path: Path) -> None:
    """Neither its liveness topic, nor an empty message, nor a copy the broker kept is a word on its own topic."""

    async def story() -> None:
        async with post(tmp_path) as p:
            assert state(p) == "unheard"
            await p.clock.advance(SETTLED_S - 3)
            assert await p.every_fault() == {}, "what waited at the broker may still come"
            await p.clock.advance(5)
            assert set(await p.every_fault()) == {UNHEARD}
            await p.tell(AVAILABILITY, b"online")
            await p.hear(b"")
            await p.hear(b'{"battery":97}', retained=True)
            await p.clock.advance(3)
            assert (state(p), set(await p.every_fault())) == ("unheard", {UNHEARD})
            assert p.watching.hearing() == {
                Hearing.HEARD: [],
                Hearing.UNHEARD: ["p-301"],
                Hearing.UNREADABLE: [],
            }
        clock = ManualClock(p.clock.now())
        async with post(tmp_path, clock=clock) as p:
            await p.clock.advance(SETTLED_S + 5)
            assert set(await p.every_fault()) == {UNHEARD}, "a restart changes nothing"
            await p.hear(b'{"battery":97}')
            await p.clock.advance(3)
            assert (state(p), await p.every_fault()) == ("heard", {})
        async with post(tmp_path, clock=ManualClock(p.clock.now())) as p:
            await p.clock.advance(SETTLED_S + 5)
            assert (state(p), await p.every_fault()) == ("heard", {}), "and is remembered"

    run(story())


#: What comes on a contact's topic, in order (`~` in front: a copy the broker kept), and what the point is then.
STORIES: dict[str, tuple[list[bytes], str]] = {
    "only what cannot be understood": ([b"ON"], "unreadable"),
    "bytes that are no text": ([b"\xff\xfe"], "unreadable"),
    "a kept copy that cannot be understood": ([b"~ON"], "unreadable"),
    "understood, then not": ([b'{"battery":97}', b"[1,2"], "unreadable"),
    "not, then understood, and time has passed": ([b"ON", b'{"battery":97}'], "heard"),
    "understood, then such a kept copy": ([b'{"battery":97}', b"~ON"], "heard"),
    "not, then nothing at all": ([b"ON", b""], "unreadable"),
    "a press": ([b'{"action":"emergency"}'], "heard"),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_cannot_be_understood_is_a_fault_until_something_can(tmp_path: Path, name: str) -> None:
    """Told on the point with its reason and its time, within a minute, and over a restart."""
    messages, expected = STORIES[name]

    async def story() -> None:
        async with post(tmp_path) as p:
            for payload in messages:
                await p.hear(payload.removeprefix(b"~"), retained=payload.startswith(b"~"))
                at = p.clock.now()
                await p.clock.advance(1)
            await p.clock.advance(SETTLED_S)
            wrong = {"contact:p-301 unreadable"} if expected == "unreadable" else set()
            assert (state(p), set(await p.faults())) == (expected, wrong)
            if wrong:
                told = p.watching.health()["p-301"]["unreadable"]
                assert isinstance(told, dict)
                assert told["reason"]
                assert told["at"] <= at
                assert p.watching.hearing()[Hearing.UNREADABLE] == ["p-301"]
        async with post(tmp_path, clock=ManualClock(p.clock.now())) as p:
            await p.clock.advance(SETTLED_S + 5)
            assert (state(p), set(await p.faults())) == (expected, wrong)
            await p.hear(b'{"battery":97}')
            await p.clock.advance(12)
            assert (state(p), await p.every_fault()) == ("heard", {})

    run(story())


def test_a_contact_understood_only_now_and_then_is_one_fault(tmp_path: Path) -> None:
    """In turn, a second apart: the fault stands, and is not raised anew each time."""

    async def story() -> None:
        async with post(tmp_path) as p:
            seen = set()
            for _ in range(20):
                await p.hear(b"ON")
                await p.clock.advance(1)
                await p.hear(b'{"battery":97}')
                await p.clock.advance(1)
                seen.add((await p.faults()).get("contact:p-301 unreadable"))
            assert len(seen - {None}) == 1
            await p.clock.advance(12)
            assert await p.every_fault() == {}

    run(story())


def former(**source: Any) -> Point:
    """The point as it was in the site file before the change."""
    made = watched()
    assert made.source is not None
    return replace(made, source=replace(made.source, **source))


@pytest.mark.parametrize(
    ("before", "stays", "battery"),
    [
        (former(), Hearing.HEARD, 50),
        (former(normally_open=False), Hearing.HEARD, 50),
        (former(presses=("single",)), Hearing.HEARD, 50),
        (former(liveness_topic=None), Hearing.HEARD, 50),
        (former(topic="zigbee2mqtt/sso"), Hearing.UNHEARD, None),
        (former(topic=PRESS + "/action", attribute="action"), Hearing.UNHEARD, None),
        (former(format="tasmota"), Hearing.UNHEARD, 50),
        (former(input="left"), Hearing.UNHEARD, 50),
        (former(format="tasmota", input="Button1", topic="stat/sos/RESULT"), Hearing.UNHEARD, None),
    ],
)
def test_what_was_heard_before_the_site_file_was_changed_proves_nothing_of_the_new_source(
    tmp_path: Path, before: Point, stays: Hearing, battery: int | None
) -> None:
    """A mistyped topic, format or input looks like a contact that nobody heard, not like the one heard last year."""

    async def story() -> None:
        async with post(tmp_path, before) as p:
            await p.clock.advance(SETTLED_S + 2)
            await p.hear(b'{"action":"single","battery":50}')
            assert p.watching.hearing()[Hearing.HEARD] == ["p-301"]
        async with post(tmp_path, clock=ManualClock(p.clock.now())) as p:
            await p.clock.advance(SETTLED_S + 2)
            assert p.watching.hearing()[stays] == ["p-301"]
            assert p.watching.health()["p-301"]["state"] == stays.value
            assert p.watching.last_seen()["p-301"]["battery"] == battery
            assert (UNHEARD in await p.every_fault()) is (stays is Hearing.UNHEARD)
        async with post(tmp_path, clock=ManualClock(p.clock.now())) as p:  # not only until the next restart
            await p.clock.advance(SETTLED_S + 2)
            assert p.watching.hearing()[stays] == ["p-301"]
            await p.hear(b'{"action":"single"}')
            assert p.watching.hearing()[Hearing.HEARD] == ["p-301"]

    run(story())


def test_what_cannot_be_understood_on_a_former_topic_is_no_fault_of_the_new_one(tmp_path: Path) -> None:
    """And a topic mistyped and corrected is unheard once more: its messages of before are another source's by then."""

    async def story() -> None:
        async with post(tmp_path, former(topic="zigbee2mqtt/sso")) as p:
            await p.hear(b"nonsense")
            assert p.watching.hearing()[Hearing.UNREADABLE] == ["p-301"]
        async with post(tmp_path, clock=ManualClock(p.clock.now())) as p:
            await p.clock.advance(SETTLED_S + 2)
            assert p.watching.hearing()[Hearing.UNHEARD] == ["p-301"]

    run(story())


def test_a_contact_noted_without_its_source_stays_heard(tmp_path: Path) -> None:
    """An upgrade does not make every contact of a school unheard; the source is kept from then on."""

    async def story() -> None:
        clock = ManualClock()
        async with opened(tmp_path) as store:
            old = Seen(at=clock.now(), heard_at=clock.now(), qos=1)
            await store.write(lambda tx: tx.contacts.keep({"p-301": old}, 0.0))
        clock = ManualClock(clock.now())
        async with post(tmp_path, clock=clock) as p:
            await p.clock.advance(2)
            assert p.watching.hearing()[Hearing.HEARD] == ["p-301"]
        async with post(tmp_path, former(topic="zigbee2mqtt/sso"), clock=ManualClock(clock.now())) as p:
            await p.clock.advance(2)
            assert p.watching.hearing()[Hearing.UNHEARD] == ["p-301"]

    run(story())


def test_a_message_of_other_inputs_of_its_device_shows_nothing_of_a_contact(tmp_path: Path) -> None:
    """Its input may be mistyped; the battery that the message told is its device's all the same."""

    async def story() -> None:
        async with post(tmp_path, former(input="lfet")) as p:
            await p.clock.advance(SETTLED_S + 2)
            await p.hear(b'{"action":"left_single","battery":50}', elsewhere=True)
            assert p.watching.hearing()[Hearing.UNHEARD] == ["p-301"]
            assert p.watching.last_seen()["p-301"]["battery"] == 50

    run(story())


@pytest.mark.parametrize(
    ("told", "unknown"),
    [
        ([], True),
        ([(AVAILABILITY, b"")], True),
        ([(AVAILABILITY, b"online")], False),
        ([(AVAILABILITY, b"offline")], False),
        ([(AVAILABILITY, b"nonsense")], False),  # it can be read, and the log says what it is
        ([(BRIDGE, b'{"state":"online"}')], False),
    ],
)
def test_liveness_of_which_nothing_comes_is_told_with_both_causes(
    tmp_path: Path, told: list[tuple[str, bytes]], unknown: bool
) -> None:
    """A broker whose list forbids reading grants the subscription all the same and delivers nothing."""

    async def story() -> None:
        async with post(tmp_path) as p:
            for topic, payload in told:
                await p.tell(topic, payload, retained=True)
            await p.hear(b'{"action":"single"}')
            await p.clock.advance(UNTOLD_S - 5)
            assert UNTOLD not in await p.every_fault(), "a bridge may still be starting"
            await p.clock.advance(10)
            causes = [
                c for c in cast("list[str]", p.watching.health()["p-301"]["causes"]) if "not known" in c
            ]
            assert (UNTOLD in await p.every_fault(), len(causes)) == (unknown, int(unknown))
            assert all(AVAILABILITY in c and "kept there" in c and "topic read" in c for c in causes)
            await p.tell(BRIDGE, b"online")
            await p.clock.advance(2)
            assert UNTOLD not in await p.every_fault()

    run(story())


def test_liveness_that_is_hidden_after_the_broker_was_away_is_told(tmp_path: Path) -> None:
    """What was told on the connection of before is no proof of this one; no topics, no such fault."""

    async def story() -> None:
        async with post(tmp_path, watched(), without_liveness()) as p:
            await p.tell(AVAILABILITY, b"online", retained=True)
            await p.clock.advance(UNTOLD_S + 60)
            assert UNTOLD not in await p.every_fault()
            p.feed.armed = False
            await p.clock.advance(60)
            assert UNTOLD not in await p.every_fault(), "nobody can tell anything now"
            p.feed.armed = True
            await p.clock.advance(UNTOLD_S + 5)
            assert UNTOLD in await p.every_fault()
            found = dict(p.watching.found())
            assert "1 of 2 contacts (p-301)" in found[FaultKind.CONTACT, "untold"]

    run(story())


def without_liveness() -> Point:
    """A point beside it of which nobody tells."""
    return point("p-302")
