"""Pushing on the real database: in order, on the schedule, and nothing claimed that was not answered.

One file, though long: its tests share one yard.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm import evidence_messages
from gateway.alarm.answering import Answering, Operator
from gateway.alarm.gathering import Gathering
from gateway.alarm.pushing import SLOTS, Pushing
from gateway.domain.alarm import Drill
from gateway.domain.envelope import Envelopes
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment, press_evidence
from gateway.domain.fault import FaultKind
from gateway.domain.ids import is_drill
from gateway.domain.message import Answer
from gateway.domain.stored import Kept
from gateway.domain.upload import Put, item_place
from tests.support.builders import alarm, envelopes
from tests.support.cameras import ScriptedCameras
from tests.support.clock import ManualClock, run
from tests.support.memory_objects import MemoryObjects
from tests.support.scripted_media import SILENT, TAKEN, ScriptedMedia, TriedPut, answered
from tests.support.stores import WatchedSpool, WatchedStore, opened

MEDIA_URL = "https://centre.example/media"


@dataclass(slots=True)
class Yard:
    """Pushing at work on one database, and gathering where a test starts it."""

    store: WatchedStore
    clock: ManualClock
    media: ScriptedMedia
    objects: MemoryObjects
    pushing: Pushing
    envelopes: Envelopes
    folder: Path

    async def stored(
        self,
        id_: str = "alm_1",
        *,
        kinds: tuple[tuple[Kind, Moment], ...] = ((Kind.STILL, Moment.PRESS),),
        camera: str = "cam-a",
        point: str | None = None,
        **changes: Any,
    ) -> list[str]:
        """An alarm with items that gathering has just stored; returns their places."""
        now = self.clock.now()
        known = await self.store.inner.read(lambda tx: tx.alarms.get(id_))
        items = []
        for n, (kind, moment) in enumerate(kinds):
            data = f"{id_} {camera} {kind} {moment} {n}".encode()
            item = Evidence(
                id=f"evd_{id_}_{camera}_{n}",
                alarm=id_,
                camera=camera,
                kind=kind,
                moment=moment,
                start=now,
                end=now,
                state=EvidenceState.STORED,
                media_type="image/jpeg" if kind is Kind.STILL else "video/mp4",
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                key=f"school/{id_}/{camera}/{n}",
                stored_at=now,
                taken_at=now,
                **changes,
            )
            await self.objects.put_bytes(item.key or "", data)
            items.append(item)

        def work(tx: Any) -> None:
            if known is None:
                drill = Drill.DRILL if is_drill(id_) else None
                at = f"p-{id_}" if point is None else point
                tx.alarms.add(alarm(id_, at=now, point=at, during_next_at=None, drill=drill))
            tx.evidence.add(items)

        await self.store.inner.write(work)
        self.pushing.wake.set()
        await self.clock.settle()
        return [item_place(item) for item in items]

    async def items(self, id_: str = "alm_1") -> list[Evidence]:
        return await self.store.inner.read(lambda tx: tx.evidence.of(id_))

    async def said(self, type_: str, id_: str = "alm_1") -> list[dict[str, Any]]:
        messages = await self.store.inner.read(lambda tx: tx.messages.about(id_))
        return [json.loads(m.body)["data"] for m, _ in messages if m.type.value == type_]

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator[Gathering]:
        spool = WatchedSpool(self.folder / "spool")
        self.clock.busy = lambda: self.store.busy() or spool.busy()
        stage = Gathering(
            store=self.store,
            clock=self.clock,
            cameras=ScriptedCameras(self.clock),
            objects=_Direct(self.objects),  # type: ignore[arg-type]
            envelopes=self.envelopes,
            spool=spool,
            wake_delivering=self.pushing.wake.set,
        )
        self.pushing._uploaded = stage.wake
        task = asyncio.create_task(stage.run())
        try:
            await self.clock.settle()
            yield stage
        finally:
            task.cancel()
            await asyncio.wait([task])


class _Direct(MemoryObjects):
    """The same objects, on the loop's own thread: the hand-driven clock knows nothing of others and would not wait."""

    def __init__(self, inner: MemoryObjects) -> None:
        self._objects = inner._objects

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        return await self.put_bytes(key, _taken(source), locked_until=locked_until)


def _taken(source: Path) -> bytes:
    data = source.read_bytes()
    source.unlink()
    return data


@asynccontextmanager
async def yard(
    folder: Path,
    *,
    clock: ManualClock | None = None,
    objects: MemoryObjects | None = None,
    media: ScriptedMedia | None = None,
) -> AsyncIterator[Yard]:
    """Pushing on the database in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    media = media or ScriptedMedia(clock)
    objects = objects or MemoryObjects()
    telling = replace(envelopes(), media_url=MEDIA_URL)
    async with opened(folder) as store:
        clock.busy = store.busy
        pushing = Pushing(
            store=store,
            clock=clock,
            uplink=media,
            objects=objects,
            envelopes=telling,
            chance=random.Random(7),
            uploaded=lambda: None,
        )
        task = asyncio.create_task(pushing.run())
        try:
            await clock.settle()
            yield Yard(store, clock, media, objects, pushing, telling, folder)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error


def test_an_item_is_told_once_the_centre_has_it(tmp_path: Path) -> None:
    """No message and no ``uploaded_at`` while it is refused; after 2xx both, and ``url`` names the place."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            (place,) = await y.stored()
            await y.clock.advance(3)
            assert await y.said("alarm.evidence") == []
            assert [i.uploaded_at for i in await y.items()] == [None]
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(2)
            (told,) = await y.said("alarm.evidence")
            (item,) = await y.items()
            assert (told["evidence"]["url"], told["evidence"]["expires_at"]) == (f"{MEDIA_URL}/{place}", None)
            assert item.uploaded_at is not None
            assert hashlib.sha256(y.media.kept[place]).hexdigest() == told["evidence"]["sha256"]

    run(story())


def test_stills_go_before_clips_and_the_press_first(tmp_path: Path) -> None:
    """However they were stored: stills of the press, before and after, then clips before, requested, whole and during."""
    kinds = (
        (Kind.CLIP, Moment.DURING),
        (Kind.CLIP, Moment.WHOLE),
        (Kind.CLIP, Moment.REQUESTED),
        (Kind.CLIP, Moment.BEFORE),
        (Kind.STILL, Moment.AFTER),
        (Kind.STILL, Moment.BEFORE),
        (Kind.STILL, Moment.PRESS),
    )

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            await y.stored("alm_0", point="p-0")  # the path fails
            await y.clock.advance(0.1)
            drill = await y.stored("drl_2", kinds=((Kind.STILL, Moment.PRESS),), point="p-2")
            places = await y.stored("alm_1", kinds=kinds)
            y.media.tried.clear()
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(90)
            tried = [p for p in y.media.places() if not p.startswith("alm_0")]
            stills = [p for p in tried if p.endswith("jpg")]
            clips = [p for p in tried if p.endswith("mp4")]
            assert stills == [*places[:3:-1], *drill]
            assert clips == places[3::-1]

    run(story())


def test_attempts_follow_the_schedule_of_messages(tmp_path: Path) -> None:
    """0, 1, 2, 4, 8, 15 and 30 s after the first, then every 30 s, each at most a tenth of its step later."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            (place,) = await y.stored()
            await y.clock.advance(130)
            times = y.media.times_s(place)
            wanted = [0, 1, 2, 4, 8, 15, 30, 60, 90, 120]
            assert len(times) == len(wanted)
            for n, (at, due) in enumerate(zip(times, wanted, strict=True)):
                step = due - wanted[max(0, n - 1)]
                assert due <= at <= due + 0.1 * step + 0.01, (times, wanted)

    run(story())


def test_after_an_outage_everything_is_due_at_once(tmp_path: Path) -> None:
    """Deep in their schedules, all items go as soon as one is answered, not at their own turns."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            for n in range(12):
                await y.stored(f"alm_{n}", point=f"p-{n}")
            await y.clock.advance(300)
            y.media.tried.clear()
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(35)  # the next knock
            at = {t.place: t.at_s for t in y.media.tried}
            assert len(at) == 12
            assert max(at.values()) - min(at.values()) <= 1.0
            assert y.pushing.health.failing_since is None

    run(story())


def test_while_nothing_gets_through_few_knock(tmp_path: Path) -> None:
    """Of a hundred items only as many as there are slots are tried: an outage makes no storm."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            await y.stored("alm_0", point="p-0")
            kinds = ((Kind.STILL, Moment.PRESS),) * 100
            await y.stored("alm_1", kinds=kinds)
            await y.clock.advance(120)
            assert len(set(y.media.places())) <= 2 * SLOTS[Kind.STILL]
            assert y.pushing.health.cause == (
                "centre.media_url: no answer: connection refused; check centre.media_url and the network"
            )
            assert y.pushing.waiting == 101

    run(story())


def test_a_new_press_knocks_before_what_waits(tmp_path: Path) -> None:
    """During an outage the still of a new press is tried at once, though older clips and stills wait."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            await y.stored("alm_0", kinds=((Kind.STILL, Moment.AFTER),) * 20, point="p-0")
            await y.clock.advance(100)
            (place,) = await y.stored("alm_1")
            assert place in y.media.places()

    run(story())


def test_a_clip_that_hangs_delays_no_still(tmp_path: Path) -> None:
    """Both slots of clips are taken by attempts that never end; a still of another alarm is through at once."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.hang = {f"alm_1/evd_alm_1_cam-a_{n}.mp4" for n in range(3)}
            await y.stored("alm_1", kinds=((Kind.CLIP, Moment.WHOLE),) * 3)
            assert len(y.media.tried) == SLOTS[Kind.CLIP]
            (still,) = await y.stored("alm_2", point="p-2")
            assert still in y.media.kept

    run(story())


def test_a_clip_pauses_while_a_still_is_on_its_way(tmp_path: Path) -> None:
    """The clip's next piece waits for the still, and not for ever for one that hangs."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.hang = {"alm_1/evd_alm_1_cam-a_0.jpg"}
            await y.stored("alm_1")
            (clip,) = await y.stored("alm_2", kinds=((Kind.CLIP, Moment.BEFORE),), point="p-2")
            assert clip not in y.media.kept
            await y.clock.advance(4.9)
            assert clip not in y.media.kept
            await y.clock.advance(0.2)
            assert clip in y.media.kept

    run(story())


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_an_item_that_is_refused_keeps_its_schedule_and_stops_nothing(tmp_path: Path, status: int) -> None:
    """The others go through, the path is well, and a fault names the item and what the centre said."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            bad = "alm_1/evd_alm_1_cam-a_0.jpg"
            y.media.answer = lambda t: answered(status, "no") if t.place == bad else TAKEN
            places = await y.stored("alm_1", kinds=((Kind.STILL, Moment.PRESS), (Kind.CLIP, Moment.BEFORE)))
            await y.clock.advance(20)
            assert list(y.media.kept) == places[1:]
            assert y.pushing.health.failing_since is None
            cause = y.pushing.causes[FaultKind.EVIDENCE, "alm_1 refused"]
            assert f"{status} no" in cause
            assert "evd_alm_1_cam-a_0" in cause
            assert 5 <= len(y.media.times_s(bad)) <= 7
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(15)
            assert bad in y.media.kept
            assert y.pushing.causes == {}

    run(story())


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "media_token"), (403, "media_token"), (507, "no room"), (302, "redirects"), (500, "answers 500")],
)
def test_what_the_path_suffers_from_is_said(tmp_path: Path, status: int, says: str) -> None:
    """A technician reads what to compare; it is tried on, and the cause is gone with the first answer."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: answered(status)
            await y.stored()
            await y.clock.advance(5)
            assert says in y.pushing.health.cause
            assert y.pushing.health.failing_since is not None
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(5)
            assert (y.pushing.health.failing_since, y.pushing.health.cause) == (None, "")

    run(story())


@pytest.mark.parametrize(
    ("status", "content_type", "body", "told"),
    [
        (200, "text/html; charset=utf-8", b"", True),
        (200, "application/xhtml+xml", b"", True),
        (200, "", b"<!DOCTYPE html><html>", True),
        (200, "text/plain", b"\xef\xbb\xbf <script>location='http://192.0.2.1/'</script>", True),
        (201, "text/html", b"<html>Created</html>", False),
        (200, "", b"", False),
        (200, "text/xml", b"<stored/>", False),
        (204, "text/html", b"", False),
    ],
)
def test_a_login_page_in_place_of_the_media_place_is_a_fault(
    tmp_path: Path, status: int, content_type: str, body: bytes, told: bool
) -> None:
    """It is a 2xx, so nothing is put again; a person is told to ask the centre. WebDAV's page of a 201 is none."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: Put(
                answer=Answer(status=status, content_type=content_type, body=body), whole=True
            )
            (place,) = await y.stored()
            await y.clock.advance(60)
            assert y.media.places() == [place]
            assert ((FaultKind.CENTRE, "page-media") in y.pushing.causes) == told
            y.media.answer = lambda _: TAKEN
            await y.stored("alm_2", point="p-2")
            assert y.pushing.causes == {}

    run(story())


def test_live_pictures_that_are_taken_make_no_storm_of_items(tmp_path: Path) -> None:
    """Parts of a live picture are taken every second, items are refused: their schedule holds, and the fault stays."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: answered(503, "no")
            (place,) = await y.stored()
            for _ in range(90):
                await y.clock.advance(1)
                y.pushing.heard(Answer(status=201))
            assert len(y.media.times_s(place)) <= 12
            assert y.pushing.health.failing_since is not None
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(33)
            assert y.pushing.health.failing_since is None

    run(story())


@pytest.mark.parametrize("failure", [OverflowError("no"), RecursionError(), KeyError("x")], ids=repr)
def test_an_exception_in_a_put_is_a_failed_attempt(tmp_path: Path, failure: Exception) -> None:
    """Of that item: the others get through, it is tried again, and the cause is on record."""

    async def story() -> None:
        async with yard(tmp_path) as y:

            def fails(tried: TriedPut) -> Put:
                raise failure

            y.media.answer = fails
            (place,) = await y.stored("alm_3", point="p-3")
            await y.clock.advance(4)
            assert [round(at) for at in y.media.times_s(place)][:3] == [0, 1, 2]
            assert type(failure).__name__ in y.pushing.health.cause
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(8)
            assert place in y.media.kept

    run(story())


def test_410_raises_a_fault_and_stops_nothing(tmp_path: Path) -> None:
    """The centre says gone: a person is told, and the item is tried on."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: answered(410)
            (place,) = await y.stored()
            await y.clock.advance(10)
            assert "media_url" in y.pushing.causes[FaultKind.CENTRE, "gone-media"]
            assert len(y.media.times_s(place)) >= 4

    run(story())


def test_retry_after_is_honoured_up_to_30_s(tmp_path: Path) -> None:
    """The centre asks for an hour and gets half a minute."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: answered(429, retry_after_s=3600)
            (place,) = await y.stored()
            await y.clock.advance(32)
            first, second = y.media.times_s(place)
            assert (first, 30 <= second <= 33) == (0, True)

    run(story())


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was uploaded is not PUT again; what was not is, and the centre is asked first what it kept of it."""

    async def story() -> None:
        clock, objects = ManualClock(), MemoryObjects()
        async with yard(tmp_path, clock=clock, objects=objects) as y:
            stays = "alm_1/evd_alm_1_cam-a_1.jpg"
            y.media.answer = lambda t: SILENT if t.place == stays else TAKEN
            places = await y.stored("alm_1", kinds=((Kind.STILL, Moment.PRESS),) * 2)
            await y.clock.advance(20)
            tried = len(y.media.times_s(stays))
        silent = ScriptedMedia(clock)
        silent.answer = lambda _: SILENT
        async with yard(tmp_path, clock=clock, objects=objects, media=silent) as y:
            await clock.advance(10)
            assert y.media.places() == [stays], "at its next turn, not at the schedule's beginning"
        async with yard(tmp_path, clock=clock, objects=objects) as y:
            await clock.settle()
            assert [(t.place, t.resume) for t in y.media.tried] == [(places[1], True)]
            records = await y.store.read(lambda tx: tx.evidence.attempts("alm_1"))
            assert len(records["evd_alm_1_cam-a_1"]) == tried + 2
            assert len(await y.said("alarm.evidence")) == 2

    run(story())


def test_what_the_centre_fetched_meanwhile_is_told_and_not_put(tmp_path: Path) -> None:
    """A centre that fetches by a link of the API has the item: it is told once, and not PUT again."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            (place,) = await y.stored()
            answering = Answering(
                store=y.store,
                clock=y.clock,
                envelopes=y.envelopes,
                wake_delivering=lambda: None,
                wake_gathering=lambda: None,
            )
            await answering.taken("evd_alm_1_cam-a_0")
            tried = len(y.media.tried)
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(120)
            assert len(y.media.tried) == tried
            assert place not in y.media.kept
            assert len(await y.said("alarm.evidence")) == 1
            assert y.pushing.waiting == 0

    run(story())


def test_what_was_told_while_the_centre_fetched_is_put_and_not_told_again(tmp_path: Path) -> None:
    """The site file said link when it was stored and says push now: the item gets there, its message went out before."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            (place,) = await y.stored(told_at=y.clock.now())
            assert place in y.media.kept
            assert await y.said("alarm.evidence") == []
            assert [i.uploaded_at is None for i in await y.items()] == [False]

    run(story())


def test_what_waited_to_be_pushed_is_told_when_the_centre_fetches_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site file said push while nothing got through and says link now: at the start each item is told once, with a link."""
    monkeypatch.setattr(evidence_messages, "TOLD_AT_ONCE", 1)  # and in as many commits as that takes

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            await y.stored(kinds=((Kind.STILL, Moment.PRESS), (Kind.CLIP, Moment.BEFORE)))
            y.envelopes = replace(y.envelopes, media_url=None)
            for _ in range(2):
                async with y.gathering():
                    pass
                told = await y.said("alarm.evidence")
                assert len(told) == 2
            assert all("/media/school/alm_1/" in t["evidence"]["url"] for t in told)
            assert all("signature=" in t["evidence"]["url"] for t in told)

    run(story())


def test_a_full_disk_forgets_no_answer_and_claims_none(tmp_path: Path) -> None:
    """While the commit is refused nothing is told; when there is room it is told once, without another PUT."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.store.refuse = 3
            (place,) = await y.stored()
            assert place in y.media.kept
            assert await y.said("alarm.evidence") == []
            await y.clock.advance(10)
            assert len(await y.said("alarm.evidence")) == 1
            assert y.media.places() == [place]

    run(story())


def test_the_manifest_claims_what_was_answered_and_a_later_one_the_rest(tmp_path: Path) -> None:
    """Nothing gets through until after the window: revision 1 says of each item that it is not yet uploaded, the last has all."""

    async def story() -> None:
        async with yard(tmp_path) as y, y.gathering() as gathering:
            y.media.answer = lambda _: SILENT
            now = y.clock.now()
            one = alarm(at=now, manifest_due_at=now + timedelta(seconds=30), during_next_at=None)
            asked = press_evidence(before_s=30, after_s=30, pressed_at=now, cameras=one.cameras)
            items = [
                Evidence(id=f"evd_{n}", alarm=one.id, camera=c, kind=k, moment=m, start=a, end=b)
                for n, (c, k, m, a, b) in enumerate(asked)
            ]

            def work(tx: Any) -> None:
                tx.alarms.add(one)
                tx.evidence.add(items)

            await y.store.inner.write(work)
            gathering.wake()
            await y.clock.advance(44)
            assert await y.said("alarm.manifest") == []
            await y.clock.advance(6)
            (first,) = await y.said("alarm.manifest")
            assert {(i["uploaded_at"], i["reason"]) for i in first["items"]} == {(None, "not yet uploaded")}
            assert await y.said("alarm.evidence") == []
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(60)
            last = (await y.said("alarm.manifest"))[-1]
            assert last["revision"] > 1
            assert all(i["uploaded_at"] and i["reason"] is None for i in last["items"])
            assert len(await y.said("alarm.evidence")) == len(items)

    run(story())


def test_a_requests_result_comes_after_the_put(tmp_path: Path) -> None:
    """The result names evidence that the centre has; until then the request is not done."""

    async def story() -> None:
        async with yard(tmp_path) as y, y.gathering() as gathering:
            y.media.answer = lambda t: TAKEN if "cam-a" in t.place else SILENT
            await y.stored()
            answering = Answering(
                store=y.store,
                clock=y.clock,
                envelopes=y.envelopes,
                wake_delivering=lambda: None,
                wake_gathering=gathering.wake,
            )
            asked = await answering.request_still("alm_1", "cam-b", Operator(name="王", unit="110"), "核实")
            await y.clock.advance(3)
            assert await y.said("request.result") == []
            assert (await y.store.read(lambda tx: tx.requests.get(asked.id))).ok is None
            y.media.answer = lambda _: TAKEN
            await y.clock.advance(5)
            (result,) = await y.said("request.result")
            assert (result["ok"], result["evidence"]) == (True, asked.evidence)
            assert f"alm_1/{asked.evidence}.jpg" in y.media.kept

    run(story())


def test_an_answer_to_a_live_picture_brings_what_waits(tmp_path: Path) -> None:
    """A part of a live picture got through: the items need not wait for their own turn."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.media.answer = lambda _: SILENT
            (place,) = await y.stored()
            await y.clock.advance(65)
            y.media.answer = lambda _: TAKEN
            y.pushing.heard(Answer(status=201))
            await y.clock.settle()
            assert place in y.media.kept

    run(story())
