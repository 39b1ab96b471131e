"""Answering on the real database: only the centre moves an alarm, by the one table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm.answering import Answering, Operator
from gateway.domain.alarm import Alarm, State
from gateway.domain.errors import NotAllowed, NotFound, Refused
from gateway.domain.evidence import EvidenceState
from tests.support.builders import alarm, envelopes
from tests.support.clock import MORNING, ManualClock, run
from tests.support.stores import WatchedStore, opened

WANG = Operator(name="王警官", unit="市局 110")


@dataclass(slots=True)
class Desk:
    """An answering stage with one alarm on it."""

    store: WatchedStore
    clock: ManualClock
    answering: Answering
    woken: list[str] = field(default_factory=list)

    async def alarm(self) -> Alarm:
        found = await self.store.read(lambda tx: tx.alarms.get("alm_1"))
        assert found is not None
        return found

    async def steps(self) -> list[str]:
        return [t.what for t in await self.store.read(lambda tx: tx.alarms.timeline("alm_1"))]

    async def said(self) -> list[tuple[str, dict[str, Any]]]:
        messages = await self.store.read(lambda tx: tx.messages.about("alm_1"))
        return [(m.type.value, json.loads(m.body)["data"]) for m, _ in messages]


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    async with opened(folder) as store:
        woken: list[str] = []
        answering = Answering(
            store=store,
            clock=clock,
            envelopes=envelopes(),
            wake_delivering=lambda: woken.append("delivering"),
            wake_gathering=lambda: woken.append("gathering"),
        )
        await store.write(lambda tx: tx.alarms.add(alarm()))
        yield Desk(store, clock, answering, woken)


def test_a_reply_moves_the_alarm_once_and_a_repeat_changes_nothing(tmp_path: Path) -> None:
    """The second accepted is told as a repeat; the timeline has one step, with who said it."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            assert (await d.answering.reply("alm_1", State.ACCEPTED, WANG))[1]
            assert not (await d.answering.reply("alm_1", State.ACCEPTED, Operator(name="李", unit="110")))[1]
            assert await d.steps() == ["replied"]
            (step,) = await d.store.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert step.detail == {"reply": "accepted", "name": "王警官", "unit": "市局 110", "reason": ""}
            assert (await d.alarm()).state is State.ACCEPTED
            assert d.answering.last_heard_at == MORNING

    run(story())


def test_the_whole_life_is_on_record(tmp_path: Path) -> None:
    """Accepted, dispatched, arrived, closed; closing ends what is recorded and starts the ten minutes of live."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            for state in (State.ACCEPTED, State.DISPATCHED, State.ARRIVED):
                await d.answering.reply("alm_1", state, WANG)
            await d.answering.reply("alm_1", State.CLOSED, WANG, "处置完毕")
            closed = await d.alarm()
            assert (closed.open, closed.closed_at, closed.during_next_at) == (False, MORNING, None)
            assert closed.live_revoked_at == MORNING + timedelta(minutes=10)
            assert await d.steps() == ["replied"] * 4

    run(story())


def test_what_the_table_does_not_have_is_refused_with_the_present_state(tmp_path: Path) -> None:
    """raised cannot be closed; nothing changes and nothing is on the timeline."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            with pytest.raises(NotAllowed) as refused:
                await d.answering.reply("alm_1", State.CLOSED, WANG, "x")
            assert refused.value.state == "raised"
            assert (await d.alarm(), await d.steps()) == (alarm(), [])

    run(story())


@pytest.mark.parametrize("state", [State.REJECTED, State.CLOSED])
@pytest.mark.parametrize("reason", ["", "  \n"])
def test_rejected_and_closed_need_a_reason(tmp_path: Path, state: State, reason: str) -> None:
    """A later reader must be able to tell why it ended so; blanks are no reason."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            with pytest.raises(Refused, match="reason"):
                await d.answering.reply("alm_1", state, WANG, reason)
            assert await d.alarm() == alarm()

    run(story())


def test_an_alarm_or_camera_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Every door says which thing it does not know."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            with pytest.raises(NotFound, match="alm_9"):
                await d.answering.reply("alm_9", State.ACCEPTED, WANG)
            with pytest.raises(NotFound, match="cam-z"):
                await d.answering.request_still("alm_1", "cam-z", WANG, "look")
            with pytest.raises(NotFound, match="alm_9"):
                await d.answering.request_still("alm_9", "cam-a", WANG, "look")
            with pytest.raises(NotFound, match="alm_9"):
                await d.answering.note("alm_9", "x", "门卫", withdraw=False)

    run(story())


def test_a_request_wants_evidence_and_is_on_record(tmp_path: Path) -> None:
    """A clip of a span and a still of now, each with who asked why; gathering is woken."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            start, end = MORNING - timedelta(seconds=20), MORNING + timedelta(seconds=10)
            clip = await d.answering.request_clip("alm_1", "cam-a", start, end, WANG, "追看")
            still = await d.answering.request_still("alm_1", "cam-b", WANG, "看一眼")
            items = await d.store.read(lambda tx: tx.evidence.of("alm_1"))
            assert [(i.id, i.camera, i.start, i.end, i.state) for i in items] == [
                (clip.evidence, "cam-a", start, end, EvidenceState.WANTED),
                (still.evidence, "cam-b", MORNING, MORNING, EvidenceState.WANTED),
            ]
            assert await d.store.read(lambda tx: tx.requests.about("alm_1")) == [clip, still]
            assert d.woken == ["gathering"] * 2
            assert await d.steps() == ["requested"] * 2

    run(story())


@pytest.mark.parametrize(("from_s", "to_s"), [(0, 0), (10, 5), (0, 1801), (1700, 1801)])
def test_an_impossible_span_is_refused(tmp_path: Path, from_s: int, to_s: int) -> None:
    """Backwards, empty, too long, or too far ahead: nothing is wanted of a camera."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            a, b = (MORNING + timedelta(seconds=s) for s in (from_s, to_s))
            with pytest.raises(Refused):
                await d.answering.request_clip("alm_1", "cam-a", a, b, WANG, "x")
            assert await d.store.read(lambda tx: tx.evidence.of("alm_1")) == []

    run(story())


def test_a_move_is_answered_honestly(tmp_path: Path) -> None:
    """request.result says at once that no camera is moved, and the wish is on the timeline."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            asked = await d.answering.request_ptz("alm_1", "cam-a", WANG, "左转")
            ((type_, result),) = await d.said()
            assert (type_, result["request"], result["ok"]) == ("request.result", asked.id, False)
            assert await d.steps() == ["requested"]
            assert d.answering.last_heard_at == MORNING

    run(story())


def test_a_note_goes_to_the_centre_and_moves_nothing(tmp_path: Path) -> None:
    """Even a request to withdraw leaves the decision to the centre."""

    async def story() -> None:
        async with desk(tmp_path) as d:
            await d.answering.note("alm_1", "误按", "门卫老赵", withdraw=True)
            ((type_, data),) = await d.said()
            assert type_ == "alarm.note"
            assert data["note"]["withdraw"] is True
            assert (await d.alarm()).state is State.RAISED

    run(story())
