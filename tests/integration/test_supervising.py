"""Supervising on the real database: what is not as it should be is a fault, raised once and cleared under its id.

One file, though long, as that stage is: its tests share one watch.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.alarm import State
from gateway.domain.answer import AnsweredItem, ItemKind
from gateway.domain.camera import CameraHealth
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import FaultKind
from gateway.domain.message import Answer, Attempt, Message, MessageType, Outcome
from gateway.domain.uplink import PathHealth
from gateway.watch import supervising
from gateway.watch.supervising import Heartbeat, Standing, Supervising
from tests.support.builders import alarm, envelopes
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run
from tests.support.hearing import ear, message, reply_item, saying, still_item
from tests.support.paths import ScriptedPath
from tests.support.stores import WatchedStore, opened


class Feed:
    """A contact feed of which only its word is asked."""

    armed = True
    cause = ""

    async def run(self, receive: object) -> None:
        raise NotImplementedError


class WatchedCameras(ScriptedCameras):
    """Cameras that are ill since an instant."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.ill: dict[str, tuple[str, Any]] = {}

    def health(self) -> dict[str, CameraHealth]:
        return {
            c: CameraHealth(camera=c, healthy=c not in self.ill, cause=cause, since=since)
            for c in ("cam-a", "cam-b")
            for cause, since in [self.ill.get(c, ("", MORNING))]
        }


@dataclass(slots=True)
class Watch:
    """Supervising at work."""

    store: WatchedStore
    clock: ManualClock
    cameras: WatchedCameras
    feed: Feed
    path: PathHealth
    supervising: Supervising
    standing: Standing
    gone: dict[str, str] = field(default_factory=dict)
    store_cause: list[str] = field(default_factory=lambda: [""])
    media_causes: dict[tuple[FaultKind, str], str] = field(default_factory=dict)

    async def told(self) -> list[tuple[str, str, str]]:
        """(type, kind:subject, id) of every fault message, in order."""
        rows = await self.store.read(lambda tx: tx.messages.pending(0, 1000))
        documents = [json.loads(m.body) for _, m in rows if m.type.value.startswith("fault.")]
        return [
            (
                d["type"],
                f"{d['data']['fault']['kind']}:{d['data']['fault']['subject']}",
                d["data"]["fault"]["id"],
            )
            for d in documents
        ]


@asynccontextmanager
async def watch(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[Watch]:
    """Supervising on the database in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    cameras, feed, path, standing = WatchedCameras(clock), Feed(), PathHealth("first"), Standing()
    gone: dict[str, str] = {}
    store_cause = [""]
    media_causes: dict[tuple[FaultKind, str], str] = {}
    async with opened(folder) as store:
        clock.busy = store.busy
        stage = Supervising(
            store=store,
            clock=clock,
            envelopes=envelopes(),
            cameras=cameras,
            feed=feed,
            paths=[path],
            gone=gone,
            store_cause=lambda: store_cause[0],
            wake_delivering=lambda: None,
            data_dir=folder,
            reserve_bytes=1,
            database_full=lambda: False,
            standing=standing,
            found_elsewhere=lambda _now: media_causes.items(),
        )
        task = asyncio.create_task(stage.run())
        try:
            await clock.settle()
            yield Watch(store, clock, cameras, feed, path, stage, standing, gone, store_cause, media_causes)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error


def test_a_camera_is_given_its_grace_then_one_fault_that_is_cleared_under_its_id(tmp_path: Path) -> None:
    """Five seconds of reconnecting are nothing; after that raised once, however long, and cleared with the same id."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.cameras.ill["cam-a"] = ("401 Unauthorized", w.clock.now())
            await w.clock.advance(4)
            assert await w.told() == []
            await w.clock.advance(60)
            ((type_, what, id_),) = await w.told()
            assert (type_, what) == ("fault.raised", "camera:cam-a")
            w.cameras.ill.clear()
            await w.clock.advance(2)
            assert (await w.told())[1:] == [("fault.cleared", "camera:cam-a", id_)]
            assert w.supervising.open_faults == {}

    run(story())


def test_a_fault_that_outlives_a_restart_keeps_its_id(tmp_path: Path) -> None:
    """The second run, which at first knows nothing of the camera, neither clears it nor raises it anew; and one that has
    ended meanwhile is cleared once that is known."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.cameras.ill["cam-a"] = w.cameras.ill["cam-b"] = ("no frames", w.clock.now())
            await w.clock.advance(7)
            ids = {what: id_ for _, what, id_ in await w.told()}
        async with watch(tmp_path) as w:
            w.cameras.ill["cam-a"] = ("no frames", w.clock.now())
            await w.clock.advance(14)
            assert len(await w.told()) == 2
            await w.clock.advance(2)
            assert (await w.told())[2:] == [("fault.cleared", "camera:cam-b", ids["camera:cam-b"])]
            w.cameras.ill.clear()
            await w.clock.advance(2)
            assert (await w.told())[3:] == [("fault.cleared", "camera:cam-a", ids["camera:cam-a"])]

    run(story())


@pytest.mark.parametrize(("what", "grace_s"), [("broker:mqtt", 2.0), ("path:first", 5.0)])
def test_broker_and_path_are_given_their_grace(tmp_path: Path, what: str, grace_s: float) -> None:
    """A short interruption is none; a longer one is a fault until it ends."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            if what == "broker:mqtt":
                w.feed.cause = "the connection ended"
            else:
                w.path.failing_since = w.clock.now()
            await w.clock.advance(grace_s - 1)
            assert await w.told() == []
            await w.clock.advance(3)
            assert [t[:2] for t in await w.told()] == [("fault.raised", what)]
            w.feed.cause, w.path.failing_since = "", None
            await w.clock.advance(2)
            assert [t[:2] for t in await w.told()][1:] == [("fault.cleared", what)]

    run(story())


@pytest.mark.parametrize(
    ("kind", "first", "then", "after_s", "renamed"),
    [
        (FaultKind.PATH, "cannot connect", "answers 401 Unauthorized", 31, True),
        (FaultKind.PATH, "cannot connect", "answers 401 Unauthorized", 20, False),
        (FaultKind.PATH, "answers 401 Unauthorized", "answers 404 Not Found", 31, True),
        (FaultKind.PATH, "no answer for 12.5 s", "no answer for 1380 s", 31, False),
        (FaultKind.CAMERA, "nothing answers", "refuses the password", 301, True),
        (FaultKind.CAMERA, "nothing answers", "refuses the password", 120, False),
        (FaultKind.BROKER, "nothing answers", "refuses the password", 2, True),
        (FaultKind.STORE, "12 wait", "the store is full", 600, False),
    ],
)
def test_a_fault_whose_cause_became_another_is_told_anew(
    tmp_path: Path, kind: FaultKind, first: str, then: str, after_s: float, renamed: bool
) -> None:
    """So nobody mends what was wrong before: the one is cleared under its id, the other raised. Not for another number in it,
    and of what may change with each attempt not each time."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.media_causes[kind, "subject"] = first
            await w.clock.advance(1)
            w.media_causes[kind, "subject"] = then
            await w.clock.advance(after_s)
            told = [t[0] for t in await w.told()]
            assert told == ["fault.raised", *(["fault.cleared", "fault.raised"] if renamed else [])]
            assert w.supervising.open_faults[kind, "subject"].cause == (then if renamed else first)

    run(story())


def test_what_is_wrong_from_the_start_is_a_fault_at_once(tmp_path: Path) -> None:
    """Warnings of the site file stand until the next start."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.standing.causes[FaultKind.SITE, "points.p-1"] = "no camera"
            await w.clock.advance(100)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "site:points.p-1")]

    run(story())


def test_an_unaccepted_alarm_is_escalated_once(tmp_path: Path) -> None:
    """After accept_within_s, once, and only while it is raised."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            accepted = replace(alarm("alm_2", point="p-2"), state=State.ACCEPTED)

            def work(tx: Any) -> None:
                tx.alarms.add(alarm())
                tx.alarms.add(accepted)

            await w.store.write(work)
            await w.clock.advance(59)
            assert await w.store.read(lambda tx: tx.messages.about("alm_1")) == []
            await w.clock.advance(120)
            said = await w.store.read(lambda tx: tx.messages.about("alm_1"))
            assert [m.type.value for m, _ in said] == ["alarm.escalated"]
            assert 60 <= json.loads(said[0][0].body)["data"]["waited_s"] <= 61.5
            assert await w.store.read(lambda tx: tx.messages.about("alm_2")) == []

    run(story())


@pytest.mark.parametrize("set_by", [timedelta(hours=-2), timedelta(minutes=-1), timedelta(hours=2)], ids=str)
def test_a_clock_that_is_set_neither_puts_off_nor_hastens_an_escalation(
    tmp_path: Path, set_by: timedelta
) -> None:
    """Both the escalation and the fault of an alert that nobody received come at their time on the clock that never jumps."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            envelope = envelopes()
            raised, said = envelope.about_alarm(
                alarm(), MessageType.ALARM_RAISED, {}, at=MORNING, now=MORNING
            )

            def work(tx: Any) -> None:
                tx.alarms.add(raised)
                tx.messages.add(said)

            await w.store.write(work)
            await w.clock.advance(5)
            w.clock.step_wall(set_by.total_seconds())
            await w.clock.advance(12)
            told = [t[1] for t in await w.told()]
            assert "alarm:alm_1 undelivered" not in told
            await w.clock.advance(6)
            assert "alarm:alm_1 undelivered" in [t[1] for t in await w.told()]
            await w.clock.advance(35)

            def escalated(tx: Any) -> bool:
                return "alarm.escalated" in [m.type.value for m, _ in tx.messages.about("alm_1")]

            assert not await w.store.read(escalated)
            await w.clock.advance(4)
            assert await w.store.read(escalated)

    run(story())


def test_an_alarm_open_for_a_day_is_a_fault(tmp_path: Path) -> None:
    """Until the centre closes it."""

    async def story() -> None:
        clock = ManualClock(MORNING + timedelta(hours=24))
        async with watch(tmp_path, clock) as w:
            one = replace(alarm(), state=State.ACCEPTED)
            await w.store.write(lambda tx: tx.alarms.add(one))
            await w.clock.advance(1)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "alarm:alm_1")]
            closed = one.replied(State.CLOSED, w.clock.now())
            assert closed is not None
            await w.store.write(lambda tx: tx.alarms.save(closed))
            await w.clock.advance(1)
            assert [t[:2] for t in await w.told()][1:] == [("fault.cleared", "alarm:alm_1")]

    run(story())


def test_evidence_not_uploaded_for_five_minutes_is_a_fault_until_it_is(tmp_path: Path) -> None:
    """One fault an alarm, cleared when the centre has fetched it."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            item = Evidence(
                id="evd_1",
                alarm="alm_1",
                camera="cam-a",
                kind=Kind.STILL,
                moment=Moment.PRESS,
                start=MORNING,
                end=MORNING,
                state=EvidenceState.STORED,
                stored_at=MORNING,
                key="k",
            )
            await w.store.write(lambda tx: tx.evidence.add([item]))
            await w.clock.advance(299)
            assert await w.told() == []
            await w.clock.advance(3)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "evidence:alm_1")]
            await w.store.write(lambda tx: tx.evidence.save(replace(item, uploaded_at=w.clock.now())))
            await w.clock.advance(1)
            assert [t[0] for t in await w.told()] == ["fault.raised", "fault.cleared"]

    run(story())


def test_an_alert_the_centre_does_not_take_is_a_fault_of_its_own(tmp_path: Path) -> None:
    """Even while the path answers everything else: somebody has to pick up the telephone."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            _, said = envelopes().about_alarm(
                alarm(), MessageType.ALARM_RAISED, {}, at=MORNING, now=w.clock.now()
            )
            refused = _attempt(said.id, w.clock.now(), 400, Outcome.FAILED)
            await w.store.write(lambda tx: tx.messages.add(said))
            await w.store.write(lambda tx: tx.messages.attempted(refused, w.clock.now()))
            await w.clock.advance(19)
            assert await w.told() == []
            await w.clock.advance(3)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "alarm:alm_1 undelivered")]
            received = _attempt(said.id, w.clock.now(), 204, Outcome.RECEIVED)
            await w.store.write(lambda tx: tx.messages.attempted(received, None))
            await w.clock.advance(1)
            assert [t[0] for t in await w.told()] == ["fault.raised", "fault.cleared"]

    run(story())


def _attempt(message: str, at: datetime, status: int, outcome: Outcome) -> Attempt:
    return Attempt(
        message=message, path="first", at=at, took_ms=1, status=status, outcome=outcome, detail="Bad Request"
    )


def test_what_contacts_said_is_forgotten_after_thirty_days(tmp_path: Path) -> None:
    """Quarantine and admitted ids do not fill the disk for ever; nothing younger goes."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            now = w.clock.now()
            for age_days in (31, 29):
                at = now - timedelta(days=age_days)
                await w.store.write(partial(_keep, topic=f"old-{age_days}", at=at))
            await w.clock.advance(3602)
            rows = await w.store.read(lambda tx: tx.inbox.quarantined(10))
            assert [r["topic"] for r in rows] == ["old-29"]
            items = await w.store.read(lambda tx: tx.answer_items.untold(10))
            assert [i.id for i in items] == ["old-29"]

    run(story())


def _keep(tx: Any, *, topic: str, at: datetime) -> None:
    tx.inbox.quarantine(topic, b"?", "unreadable", at)
    tx.answer_items.add(
        AnsweredItem(id=topic, digest="", kind=ItemKind.REPLY, alarm=None, seen_at=at, ok=True)
    )


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 2.5])
def test_a_clock_that_jumps_is_a_fault_for_ten_minutes(tmp_path: Path, step_s: float) -> None:
    """The jump and its size are said; a clock that goes on quietly clears it."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            await w.clock.advance(5)
            w.clock.step_wall(step_s)
            await w.clock.advance(2)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "clock:gateway")]
            assert f"{step_s:+.1f} s" in w.supervising.open_faults[FaultKind.CLOCK, "gateway"].cause
            await w.clock.advance(602)
            assert [t[0] for t in await w.told()] == ["fault.raised", "fault.cleared"]

    run(story())


def test_a_disk_below_its_reserve_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free space is asked at every tick."""
    usage = namedtuple("usage", "total used free")
    free = [10]

    async def story() -> None:
        async with watch(tmp_path) as w:
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 0, free[0]))
            free[0] = 0
            await w.clock.advance(1)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "disk:data")]
            free[0] = 10
            await w.clock.advance(1)
            assert [t[0] for t in await w.told()] == ["fault.raised", "fault.cleared"]

    run(story())


def hearing_of(w: Watch) -> Callable[[Message, Answer], Awaitable[None]]:
    """A hearing stage whose complaints go to the watch."""
    heard = ear(w.store, w.clock)
    heard.hearing._complain = w.supervising.heard
    return heard.hearing.take


def test_an_answer_nobody_can_understand_is_a_fault_even_beside_a_good_one(tmp_path: Path) -> None:
    """Between two ticks a bad and a good answer come: the fault is raised, and cleared when only good ones follow."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            bad = Answer(status=200, body=b'{"replies": 7}', content_type="application/json")
            good = Answer(status=200, body=b"")
            hears = hearing_of(w)
            await hears(message(), bad)
            await hears(message(), good)
            await w.clock.advance(1)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "centre:answers")]
            await w.clock.advance(60)
            await hears(message(), good)
            await w.clock.advance(1)
            assert [t[0] for t in await w.told()] == ["fault.raised", "fault.cleared"]

    run(story())


def test_gone_is_a_fault_of_its_path(tmp_path: Path) -> None:
    """410 is said while it lasts."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.gone["first"] = "the centre answers 410 Gone on the path first"
            await w.clock.advance(1)
            w.gone.clear()
            await w.clock.advance(1)
            assert [t[:2] for t in await w.told()] == [
                ("fault.raised", "centre:gone-first"),
                ("fault.cleared", "centre:gone-first"),
            ]

    run(story())


def test_a_database_that_refuses_for_a_while_ends_no_watch(tmp_path: Path) -> None:
    """What could not be put on record is raised when it can be."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.store.refuse = 3
            w.store_cause[0] = "the store is away"
            await w.clock.advance(6)
            assert [t[:2] for t in await w.told()] == [("fault.raised", "store:objects")]

    run(story())


@asynccontextmanager
async def beating(folder: Path) -> AsyncIterator[tuple[Watch, ScriptedPath, list[Any]]]:
    """A heartbeat over one scripted path; the list's item is when the centre was last heard."""
    heard: list[Any] = [None]
    async with watch(folder) as w:
        path = ScriptedPath(w.clock)
        beat = Heartbeat(
            number=0,
            path=path,
            store=w.store,
            clock=w.clock,
            envelopes=envelopes(),
            supervising=w.supervising,
            undelivered=lambda: 3,
            answered=lambda number, answer: None,
            heard_at=lambda: heard[0],
            signed=lambda head: {"size": head.size},
            take=hearing_of(w),
        )
        task = asyncio.create_task(beat.run())
        try:
            await w.clock.settle()
            yield w, path, heard
        finally:
            task.cancel()
            await asyncio.wait([task])


def _gaps(path: ScriptedPath) -> list[float]:
    at = [t.at_s for t in path.tried]
    return [round(b - a, 3) for a, b in pairwise(at)]


def test_a_heartbeat_goes_every_15_s_and_says_so(tmp_path: Path) -> None:
    """At rest: 15 s apart, each with a new id, never in the outbox."""

    async def story() -> None:
        async with beating(tmp_path) as (w, path, _):
            await w.clock.advance(61)
            assert _gaps(path) == [15, 15, 15, 15]
            data = path.documents()[0]["data"]
            assert (data["next_within_s"], data["open_alarms"], data["faults"], data["undelivered"]) == (
                15,
                0,
                0,
                3,
            )
            assert len({t.message for t in path.tried}) == 5
            assert await w.store.read(lambda tx: tx.messages.undelivered()) == 0

    run(story())


@pytest.mark.parametrize("cause", ["press", "reply"])
def test_a_heartbeat_goes_every_2_s_until_ten_minutes_after_the_last_sign(tmp_path: Path, cause: str) -> None:
    """After a press, a reply or a request; then it calms down."""

    async def story() -> None:
        async with beating(tmp_path) as (w, path, heard):
            if cause == "press":
                await w.store.write(lambda tx: tx.alarms.add(alarm(at=w.clock.now())))
            else:
                heard[0] = w.clock.now()
            await w.clock.advance(15)
            path.tried.clear()
            await w.clock.advance(580)
            assert set(_gaps(path)) == {2.0}
            assert path.documents()[-1]["data"]["next_within_s"] == 2
            await w.clock.advance(60)
            assert _gaps(path)[-2:] == [15, 15]
            if cause == "press":
                assert path.documents()[-1]["data"]["open_alarms"] == 1

    run(story())


def test_a_press_is_followed_by_the_quick_beat_at_once(tmp_path: Path) -> None:
    """A centre that can only answer is heard within seconds of the press, not when the slow beat comes round."""

    async def story() -> None:
        async with beating(tmp_path) as (w, path, _):
            await w.clock.advance(4)
            path.tried.clear()
            await w.store.write(lambda tx: tx.alarms.add(alarm(at=w.clock.now())))
            await w.clock.advance(2)
            assert len(path.tried) == 1

    run(story())


def test_a_heartbeat_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    """The next one supersedes it, on time."""

    async def story() -> None:
        async with beating(tmp_path) as (w, path, _):
            path.answer = lambda _: Answer(status=503)
            await w.clock.advance(46)
            assert _gaps(path) == [15, 15, 15]

    run(story())


def test_what_pushing_suffers_from_is_a_fault_while_it_lasts(tmp_path: Path) -> None:
    """A cause that the stages of pushing tell is raised at once and cleared when it is gone."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            w.media_causes[FaultKind.EVIDENCE, "alm_1 refused"] = "the centre refuses evd_1 (413)"
            await w.clock.advance(2)
            w.media_causes.clear()
            await w.clock.advance(20)
            told = [(type_, what) for type_, what, _ in await w.told()]
            assert told == [
                ("fault.raised", "evidence:alm_1 refused"),
                ("fault.cleared", "evidence:alm_1 refused"),
            ]

    run(story())


def test_what_came_of_an_item_is_told_until_a_beat_is_received(tmp_path: Path) -> None:
    """An answer to a beat accepts and asks for a still; each later beat says what came of both until one is received."""

    async def story() -> None:
        async with beating(tmp_path) as (w, path, _):
            await w.store.write(lambda tx: tx.alarms.add(alarm(at=w.clock.now())))
            path.answer = lambda _: saying(
                replies=[reply_item(), reply_item("r-2", "arrived")], requests=[still_item()]
            )
            await w.clock.advance(2)
            (asked,) = await w.store.read(lambda tx: tx.requests.about("alm_1"))
            found = await w.store.read(lambda tx: tx.alarms.get("alm_1"))
            assert found is not None
            assert found.state is State.ACCEPTED
            path.answer = lambda _: Answer(status=503)
            path.tried.clear()
            await w.clock.advance(4)
            path.answer = lambda _: Answer(status=204)
            await w.clock.advance(4)
            told = [d["data"]["answered"] for d in path.documents()]
            assert told[0] == told[1] == told[2]
            assert told[3:] == [[]] * len(told[3:])
            by_id = {each["id"]: each for each in told[0]}
            assert by_id["r-1"] == {
                "id": "r-1",
                "ok": True,
                "reason": None,
                "state": "accepted",
                "request": None,
            }
            assert by_id["q-1"]["request"] == asked.id
            assert (by_id["r-2"]["ok"], by_id["r-2"]["state"]) == (False, "accepted")
            assert "arrived" in by_id["r-2"]["reason"]
            assert [t[:2] for t in await w.told()] == [("fault.raised", "centre:item r-2")]

    run(story())


def test_items_that_were_refused_are_faults_of_their_own_up_to_a_bound(tmp_path: Path) -> None:
    """Two in one answer are two faults; a hundred are not a hundred."""

    async def story() -> None:
        async with watch(tmp_path) as w:
            hears = hearing_of(w)
            await hears(
                message(), saying(replies=[reply_item("r-1", "closed"), reply_item("r-2", alarm="alm_9")])
            )
            await w.clock.advance(1)
            assert sorted(t[1] for t in await w.told()) == ["centre:item r-1", "centre:item r-2"]
            await hears(message(), saying(replies=[reply_item(f"x-{n}", alarm="alm_9") for n in range(100)]))
            await w.clock.advance(1)
            assert len(w.supervising.open_faults) == supervising.MOST_NONSENSE + 1

    run(story())
