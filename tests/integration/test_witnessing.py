"""What is noted of the database outside it shows one that knows less than it did, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.box.clock import SystemClock
from gateway.domain.fault import Fault, FaultKind
from gateway.domain.loss import Loss
from gateway.domain.register import Act, RegisterLine, Who
from gateway.ports.store import Transaction
from gateway.watch.witness import Witnessing, marks_of, older
from storage.objects.local import LocalObjects
from storage.witness import WitnessFiles
from tests.support.builders import alarm
from tests.support.clock import MORNING
from tests.support.footage import SITE, recorded
from tests.support.signals import wait_until
from tests.support.stores import opened

SOMEBODY = Who(name="李老师", unit="第三中学", right="guard")
Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Noted:
    """Losses that only remember what they are told."""

    forgetful = False

    def __init__(self) -> None:
        self.causes: list[str] = []

    def note_older(self, cause: str) -> None:
        self.causes.append(cause)

    async def acknowledge(self) -> Sequence[Loss]:
        return ()


def fill(tx: Transaction) -> None:
    for number in range(3):
        tx.register.append(RegisterLine(at=MORNING, act=Act.VIEWED, who=SOMEBODY, content=f"ev_{number}"))
        tx.faults.add(
            Fault(id=f"flt_{number}", kind=FaultKind.CAMERA, subject=f"c-{number}", cause="-", since=MORNING)
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m, ""),
        (lambda m: {**m, "register": 2, "register_root": None}, "not those it had"),
        (lambda m: {**m, "register": 0, "register_root": ""}, ""),
        (lambda m: {**m, "register": 4}, "has 3 lines and had 4"),
        (lambda m: {**m, "register_root": "00" * 32}, "not those it had"),
        (lambda m: {**m, "fault": m["fault"] + 1}, "knows less"),
        (lambda m: {**m, "message": 7}, "knows less"),
        (lambda m: {**m, "hold": 1}, "knows less"),
        (lambda m: {**m, "fault": m["fault"] - 1}, ""),
        (lambda m: {**m, "recorded_until": int(MORNING.timestamp())}, "knows less"),
        (lambda m: {**m, "recorded_until": int((MORNING - timedelta(days=31)).timestamp())}, ""),
        (lambda m: {**m, "a table of a later version": 9}, "knows less"),
        (lambda m: {}, ""),
    ],
)
def test_a_database_is_older_where_any_count_went_back(tmp_path: Path, change: Change, says: str) -> None:
    """Counts that only grow, and the register's root; recordings only while they cannot have gone by their period."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.write(fill)
            marks = change(await store.read(marks_of))
            noted = {"at": MORNING.isoformat(), "marks": marks}
            cause = await store.read(lambda tx: older(tx, noted, MORNING + timedelta(hours=1)))
            assert (says in cause) if says else cause == ""

    asyncio.run(story())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"marks": 7}', '{"at": null}'])
def test_a_note_that_says_nothing_is_no_loss(tmp_path: Path, content: str) -> None:
    """A torn or strange file beside the database must not raise an alarm that nobody can explain."""
    files = WitnessFiles(tmp_path / "gateway.db", None)
    (tmp_path / "gateway.db.head").write_text(content, "utf-8")

    async def story() -> None:
        async with opened(tmp_path) as store:
            for noted in files.read():
                assert await store.read(lambda tx, noted=noted: older(tx, noted, MORNING)) == ""  # type: ignore[misc]

    asyncio.run(story())


def test_it_is_noted_beside_the_database_and_among_the_objects(tmp_path: Path) -> None:
    """Either shows a loss; the one among the objects is no object, and is not written where the store's disk is not there."""
    objects = LocalObjects(tmp_path / "objects", known=tmp_path / "objects.mark")
    files = WitnessFiles(tmp_path / "gateway.db", tmp_path / "objects")

    async def story() -> None:
        files.write({"at": "now", "marks": {"hold": 1}})
        assert len(files.read()) == 1
        assert not (tmp_path / "objects").exists()
        await objects.start()
        files.write({"at": "now", "marks": {"hold": 2}})
        assert await objects.keys("") == []
        (tmp_path / "gateway.db.head").unlink()
        (noted,) = files.read()
        assert json.loads(json.dumps(noted))["marks"] == {"hold": 2}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("noted", "says"),
    [
        ({}, ""),
        ({"hold": 1}, "knows less"),
        ({"message": 400}, "knows less"),
        ({"register": 3, "register_root": "00" * 32}, "not those it had"),
        ({"register": 9, "register_root": "00" * 32}, "has 3 lines and had 9"),
    ],
)
@pytest.mark.parametrize("place", ["beside the database", "among the objects"])
def test_a_start_holds_the_database_against_each_note_and_then_notes_its_own(
    tmp_path: Path, noted: Mapping[str, Any], says: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever note shows it, the loss is told before that note is written over; a change afterwards is noted too."""
    monkeypatch.setattr("gateway.watch.witness.EVERY_S", 0.02)
    objects = LocalObjects(tmp_path / "objects", known=tmp_path / "objects.mark")
    files = WitnessFiles(tmp_path / "gateway.db", tmp_path / "objects")
    losses = Noted()
    told_first: list[bool] = []

    class Watched(WitnessFiles):
        def write(self, document: Mapping[str, Any]) -> None:
            told = bool(losses.causes)
            super().write(document)
            told_first.append(told)

    async def story() -> None:
        await objects.start()
        async with opened(tmp_path) as store:
            await store.write(fill)
            marks = {**await store.read(marks_of), **noted}
            at = json.dumps({"at": MORNING.isoformat(), "marks": marks})
            file, other = sorted(files._files, key=lambda each: (each == files._own) is not (place[0] == "b"))
            file.write_text(at, "utf-8")
            other.write_text(json.dumps({"at": MORNING.isoformat(), "marks": {}}), "utf-8")
            watched = Watched(tmp_path / "gateway.db", tmp_path / "objects")
            stage = Witnessing(
                store=store,
                clock=SystemClock(),
                witnesses=watched,
                losses=losses,
                objects=objects,
                prefix=f"{SITE}/",
            )
            running = asyncio.ensure_future(stage.run())
            await wait_until(lambda: bool(told_first), 20)
            assert len(losses.causes) == bool(says)
            assert says in "".join(losses.causes)
            assert told_first[0] is bool(says)
            before = len(told_first)
            line = RegisterLine(at=MORNING, act=Act.VIEWED, who=SOMEBODY, content="ev_3")
            await store.write(lambda tx: tx.register.append(line))
            await wait_until(lambda: len(told_first) > before, 20)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert {each["marks"]["register"] for each in files.read()} == {4}

    asyncio.run(story())


@pytest.mark.parametrize("known", [True, False], ids=["known", "strange"])
def test_objects_that_an_empty_database_has_never_heard_of_are_a_loss(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no note left at all: the data folder is a new one, the store of objects is not."""
    monkeypatch.setattr("gateway.watch.witness.EVERY_S", 0.05)
    objects = LocalObjects(tmp_path / "objects")
    losses = Noted()

    async def story() -> None:
        await objects.start()
        async with opened(tmp_path) as store:
            await recorded(store, objects, "cam-a", MORNING, 2)
        folder = tmp_path if known else tmp_path / "another"
        folder.mkdir(exist_ok=True)
        async with opened(folder) as store:
            stage = Witnessing(
                store=store,
                clock=SystemClock(),
                witnesses=WitnessFiles(folder / "gateway.db", None),
                losses=losses,
                objects=objects,
                prefix=f"{SITE}/",
            )
            running = asyncio.ensure_future(stage.run())
            await asyncio.sleep(1.0)
            running.cancel()
        assert bool(losses.causes) is not known

    asyncio.run(story())


@pytest.mark.parametrize(
    ("key", "strange"),
    [
        ("canary/20260302T101500Z-aa.txt", False),
        ("canary/probe-aa.txt", False),
        ("probe-aa", False),
        ("alarms/2026/03/02/alm_1/cam-a/evd_1.jpg", False),
        ("alarms/2026/03/02/alm_2/cam-a/evd_2.jpg", True),
        ("drills/2026/03/02/drl_2/cam-a/evd_3.jpg", True),
    ],
)
def test_only_objects_of_a_ledger_that_nobody_remembers_are_strange(
    tmp_path: Path, key: str, strange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the trials of the store's lock, and not evidence of an alarm on record whose row a kill came before."""
    monkeypatch.setattr("gateway.watch.witness.EVERY_S", 0.05)
    objects = LocalObjects(tmp_path / "objects")
    losses = Noted()

    async def story() -> None:
        await objects.start()
        await objects.put_bytes(f"{SITE}/{key}", b"data")
        async with opened(tmp_path) as store:
            await store.write(lambda tx: tx.alarms.add(alarm()))
            stage = Witnessing(
                store=store,
                clock=SystemClock(),
                witnesses=WitnessFiles(tmp_path / "gateway.db", None),
                losses=losses,
                objects=objects,
                prefix=f"{SITE}/",
            )
            assert await stage._look_for_strangers()
        assert bool(losses.causes) is strange

    asyncio.run(story())
