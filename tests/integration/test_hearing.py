"""Hearing on the real database: what a centre that cannot call says in its answers is applied once, by the rules of a call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.alarm import Alarm, Drill, State
from gateway.domain.answer import AnsweredItem
from gateway.domain.errors import Unavailable
from gateway.domain.message import Answer, MessageType
from tests.support.builders import alarm
from tests.support.clock import MORNING, ManualClock, run
from tests.support.hearing import Ear, ear, message, reply_item, saying, still_item
from tests.support.stores import opened


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Ear]:
    """The stages with one alarm and one drill raised."""
    clock = ManualClock()
    async with opened(folder) as store:
        await store.write(lambda tx: tx.alarms.add(alarm()))
        await store.write(lambda tx: tx.alarms.add(alarm("drl_1", point="p-9", drill=Drill.DRILL)))
        yield ear(store, clock)


async def state(e: Ear, id_: str = "alm_1") -> State:
    found: Alarm | None = await e.store.read(lambda tx: tx.alarms.get(id_))
    assert found is not None
    return found.state


async def untold(e: Ear) -> dict[str, AnsweredItem]:
    return {i.id: i for i in await e.store.read(lambda tx: tx.answer_items.untold(1000))}


async def everything(e: Ear) -> Any:
    """All that items could change."""

    def look(tx: Any) -> Any:
        alarms = tx.alarms.listed()
        return [(a, tx.alarms.timeline(a.id), tx.evidence.of(a.id), tx.requests.about(a.id)) for a in alarms]

    return await e.store.read(look)


def test_a_reply_and_a_request_in_an_answer_are_those_of_a_call(tmp_path: Path) -> None:
    """The alarm moves, the evidence is wanted, both are on the timeline with who said them, and the outcomes wait to be told."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), saying(replies=[reply_item()], requests=[still_item()]))
            assert await state(e) is State.ACCEPTED
            (asked,) = await e.store.read(lambda tx: tx.requests.about("alm_1"))
            assert (asked.item, asked.camera, asked.operator["name"]) == ("q-1", "cam-a", "王警官")
            (item,) = await e.store.read(lambda tx: tx.evidence.of("alm_1"))
            assert item.request == asked.id
            steps = await e.store.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert [(s.what, s.detail.get("name") or s.detail.get("by")) for s in steps] == [
                ("replied", "王警官"),
                ("requested", "王警官"),
            ]
            told = await untold(e)
            assert (told["r-1"].ok, told["r-1"].state, told["r-1"].request) == (True, "accepted", None)
            assert (told["q-1"].ok, told["q-1"].request) == (True, asked.id)
            assert e.answering.last_heard_at == MORNING
            assert set(e.woken) == {"gathering", "delivering"}
            assert e.complaints == [[]]

    run(story())


def test_an_item_given_again_is_applied_once_also_over_a_restart(tmp_path: Path) -> None:
    """A centre repeats itself until it knows the outcome; the outcome is then told again."""

    async def story() -> None:
        said = saying(requests=[still_item()])
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), said)
            await e.hearing.take(message(), saying(requests=[still_item(), still_item()]))
            await e.store.write(lambda tx: tx.answer_items.told(["q-1"]))
            assert await untold(e) == {}
        async with opened(tmp_path) as store:
            e = ear(store, ManualClock())
            await e.hearing.take(message(), said)
            assert len(await store.read(lambda tx: tx.evidence.of("alm_1"))) == 1
            assert list(await untold(e)) == ["q-1"]
            assert e.refused == {}

    run(story())


def test_what_is_refused_changes_nothing_and_spoils_no_other_item(tmp_path: Path) -> None:
    """Each is a fault that names it, its outcome says why, and what stood beside it is applied."""
    bad = {
        "r-gone": reply_item("r-gone", alarm="alm_9"),
        "r-table": reply_item("r-table", "arrived"),
        "r-nobody": reply_item("r-nobody", operator=None),
        "r-why": reply_item("r-why", "rejected"),
        "r-extra": reply_item("r-extra", colour="blue"),
        "r-where": reply_item("r-where", alarm=None),
        "r-list": reply_item("r-list", alarm=["alm_1"]),  # type: ignore[arg-type]
        "q-camera": still_item("q-camera", "cam-z"),
        "q-gone": still_item("q-gone", alarm="alm_9"),
        "q-clip": still_item("q-clip", request="clip", **{"from": "2026-03-02T10:14:00Z", "to": "2026-03-02T10:13:00Z"}),
    }  # fmt: skip

    async def story() -> None:
        async with listening(tmp_path) as e:
            before = await everything(e)
            replies = [item for item in bad.values() if "reply" in item]
            requests = [item for item in bad.values() if "request" in item]
            await e.hearing.take(message(), saying(replies=replies, requests=requests))
            assert await everything(e) == before
            assert set(e.refused) == {f"item {id_}" for id_ in bad}
            outcomes = await untold(e)
            assert {id_: o.ok for id_, o in outcomes.items()} == dict.fromkeys(bad, False)
            assert "alm_9" in (outcomes["r-gone"].reason or "")
            assert outcomes["r-table"].state == "raised"
            assert e.answering.last_heard_at is None
            await e.hearing.take(
                message(), saying(replies=[*replies, reply_item()], requests=[still_item(), *requests])
            )
            assert await state(e) is State.ACCEPTED
            assert len(await e.store.read(lambda tx: tx.evidence.of("alm_1"))) == 1

    run(story())


def test_a_refused_item_is_not_applied_later(tmp_path: Path) -> None:
    """Arrived before dispatched was refused; given again when it would be allowed, nobody means it any more."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            early = reply_item("r-early", "arrived")
            await e.hearing.take(message(), saying(replies=[early]))
            await e.hearing.take(message(), saying(replies=[reply_item("r-2", "dispatched"), early]))
            assert await state(e) is State.DISPATCHED
            await e.hearing.take(message(), saying(replies=[reply_item("r-late", "arrived")]))
            assert await state(e) is State.ARRIVED

    run(story())


def test_another_item_under_a_known_id_is_refused(tmp_path: Path) -> None:
    """An id is used once; the first outcome stands."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(
                message(), saying(replies=[reply_item("r-1"), reply_item("r-1", "dispatched")])
            )
            assert await state(e) is State.ACCEPTED
            assert "id of its own" in e.refused["item r-1"]
            assert (await untold(e))["r-1"].ok

    run(story())


@pytest.mark.parametrize(
    "doubt", ["it is not signed", "its webhook-id is not that of the message it answers"]
)
def test_an_answer_in_doubt_changes_nothing_and_is_said(tmp_path: Path, doubt: str) -> None:
    """None of its ids is remembered either, or whoever forges could use up the centre's own."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            before = await everything(e)
            await e.hearing.take(
                message(), saying(replies=[reply_item()], requests=[still_item()], doubt=doubt)
            )
            assert await everything(e) == before
            assert doubt in e.refused["doubtful-answers"]
            assert await untold(e) == {}
            await e.hearing.take(message(), saying(replies=[reply_item()]))
            assert await state(e) is State.ACCEPTED

    run(story())


def test_an_empty_answer_in_doubt_is_no_fault(tmp_path: Path) -> None:
    """Who says nothing need not sign it."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), saying(doubt="it is not signed"))
            await e.hearing.take(message(), Answer(status=204))
            assert e.complaints == [[], []]

    run(story())


@pytest.mark.parametrize("lost", ["is too long and was dropped", "broke off: ClientPayloadError"])
def test_a_json_answer_that_did_not_arrive_whole_is_said(tmp_path: Path, lost: str) -> None:
    """Whatever stood in it was not heard."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), Answer(status=200, content_type="application/json", lost=lost))
            assert lost in e.refused["answers"]

    run(story())


def test_the_planes_do_not_touch(tmp_path: Path) -> None:
    """An answer about an alarm moves no drill, one about a drill no alarm; a heartbeat's may end either."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            raised = message(MessageType.ALARM_RAISED, "alm_1")
            await e.hearing.take(raised, saying(replies=[reply_item("r-1", alarm="drl_1")]))
            drill = message(MessageType.DRILL_RAISED, "drl_1")
            await e.hearing.take(drill, saying(replies=[reply_item("r-2")], requests=[still_item()]))
            assert {await state(e), await state(e, "drl_1")} == {State.RAISED}
            assert set(e.refused) == {"item r-1", "item r-2", "item q-1"}
            await e.hearing.take(
                message(), saying(replies=[reply_item("r-3"), reply_item("r-4", alarm="drl_1")])
            )
            assert {await state(e), await state(e, "drl_1")} == {State.ACCEPTED}

    run(story())


def test_what_the_database_refuses_is_not_half_applied(tmp_path: Path) -> None:
    """The disk is full: nothing is kept, nobody is told, and the centre gives it again."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            e.store.refuse = 1
            with pytest.raises(Unavailable):
                await e.hearing.take(message(), saying(replies=[reply_item()]))
            assert await state(e) is State.RAISED
            assert (e.complaints, e.woken) == ([], [])
            await e.hearing.take(message(), saying(replies=[reply_item()]))
            assert await state(e) is State.ACCEPTED

    run(story())


def test_a_mistake_of_ours_on_an_item_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the answer is kept, and a fault names its items."""

    async def story() -> None:
        async with listening(tmp_path) as e:

            def fails(*_: object) -> Any:
                raise KeyError("ours")

            monkeypatch.setattr(e.hearing, "_say", fails)
            await e.hearing.take(message(), saying(replies=[reply_item()]))
            assert "KeyError" in e.refused["item r-1"]
            assert await untold(e) == {}

    run(story())


def test_items_are_forgotten_thirty_days_after_they_were_last_given(tmp_path: Path) -> None:
    """Not while the centre still repeats them."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), saying(requests=[still_item("q-1"), still_item("q-2")]))
            e.clock.step_wall(10 * 86400)
            await e.hearing.take(message(), saying(requests=[still_item("q-2")]))
            before = MORNING + timedelta(days=5)
            await e.store.write(lambda tx: tx.answer_items.forget(before))
            assert list(await untold(e)) == ["q-2"]

    run(story())


def test_a_move_asked_for_in_an_answer_is_answered_with_its_item(tmp_path: Path) -> None:
    """request.result names the centre's own id."""

    async def story() -> None:
        async with listening(tmp_path) as e:
            await e.hearing.take(message(), saying(requests=[still_item("q-1", request="ptz", move="stop")]))
            ((said, _),) = await e.store.read(lambda tx: tx.messages.about("alm_1"))
            data = json.loads(said.body)["data"]
            assert (data["item"], data["ok"], data["request"]) == (
                "q-1",
                False,
                (await untold(e))["q-1"].request,
            )

    run(story())
