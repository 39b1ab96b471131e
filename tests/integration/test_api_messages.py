"""The AsyncAPI document against what the stages really send."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import gateway.api
from gateway.domain.alarm import State
from gateway.domain.evidence import EvidenceState
from gateway.domain.fault import FaultKind
from gateway.domain.message import Answer, Message, MessageType
from gateway.watch.supervising import Heartbeat, Standing, Supervising, announce_plan
from tests.support.http_face import CAMERA, Face, on_face
from tests.support.json_schema import misfits

DOCUMENT: dict[str, Any] = yaml.safe_load(
    Path(gateway.api.__file__).with_name("asyncapi.yaml").read_text("utf-8")
)
OPERATOR = {"name": "王警官", "unit": "110"}


class Armed:
    armed, cause = True, ""


class Heard:
    """A path that keeps what goes over it."""

    name = "first"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.heard = asyncio.Event()

    async def deliver(
        self,
        message: str,
        body: bytes,
        *,
        drill: bool = False,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Answer:
        self.bodies.append(body)
        self.heard.set()
        return Answer(status=204)


def supervising(face: Face, standing: Standing) -> Supervising:
    return Supervising(
        store=face.store,
        clock=face.clock,
        envelopes=face.parts.envelopes,
        cameras=face.cameras,
        feed=Armed(),  # type: ignore[arg-type]
        paths=[],
        gone={},
        store_cause=lambda: "",
        wake_delivering=lambda: None,
        data_dir=face.directory,
        reserve_bytes=0,
        database_full=lambda: False,
        standing=standing,
    )


async def _says_nothing(message: Message, answer: Answer) -> None:
    """The centre's answers to heartbeats have no body here."""


async def all_messages(face: Face) -> list[dict[str, Any]]:
    """One life of an alarm, so told that every type of message is sent at least once."""
    envelopes, now = face.parts.envelopes, face.clock.now()
    alarm = await face.add_alarm()
    item = await face.add_evidence(b"picture")
    missing = replace(item, id="evd_2", key=None, state=EvidenceState.FAILED, reason="no frames", sha256=None)
    point = face.parts.site.points[alarm.point]

    def keep(tx: Any) -> None:
        found = tx.alarms.get("alm_1")
        for type_, data in (
            (MessageType.ALARM_RAISED, envelopes.raised(found, point, {CAMERA: True}, now)),
            (MessageType.ALARM_REPEATED, envelopes.repeated(found, point, now, now)),
            (MessageType.ALARM_EVIDENCE, envelopes.evidence(item, now)),
            (MessageType.ALARM_MANIFEST, envelopes.manifest(found, [item, missing], 1)),
        ):
            found, said = envelopes.about_alarm(found, type_, data, at=now, now=now)
            tx.messages.add(said)
        tx.alarms.save(found)

    await face.store.write(keep)
    drill = await face.parts.drilling.drill(alarm.point, "test")
    await face.parts.drilling.arm("p-gate", 60, "test")

    def keep_drill(tx: Any) -> None:
        found = tx.alarms.get(drill.id)
        for type_, data in (
            (MessageType.ALARM_EVIDENCE, envelopes.evidence(item, now)),
            (MessageType.ALARM_MANIFEST, envelopes.manifest(found, [item, missing], 1)),
        ):
            found, said = envelopes.about_alarm(found, type_, data, at=now, now=now)
            tx.messages.add(said)
        tx.alarms.save(found)

    await face.store.write(keep_drill)
    await face.say(f"/api/v1/drills/{drill.id}/notes", {"text": "演练"}, role="guard")
    await announce_plan(face.store, face.clock, envelopes, lambda: None)
    await face.say("/api/v1/alarms/alm_1/notes", {"text": "误报", "withdraw": True}, role="guard")
    ptz = {"request": "ptz", "camera": CAMERA, "move": "stop", "operator": OPERATOR, "reason": "x"}
    await face.say("/api/v1/alarms/alm_1/requests", ptz)
    standing = Standing()
    standing.causes[FaultKind.SITE, "points"] = "a point without cameras"
    stage = supervising(face, standing)
    face.clock.advance(seconds=61)
    await stage.tick()
    standing.causes.clear()
    await stage.tick()
    path = Heard()
    heartbeat = Heartbeat(
        number=0,
        path=path,
        store=face.store,
        clock=face.clock,
        envelopes=envelopes,
        supervising=stage,
        undelivered=lambda: 3,
        answered=lambda _number, _answer: None,
        heard_at=lambda: None,
        signed=face.parts.registering.signed,
        take=_says_nothing,
    )
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.wait_for(path.heard.wait(), 10)
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    probe = envelopes.message(MessageType.LINK_PROBE, {"path": "first"}, at=now, now=now)
    path.bodies.append(probe.body)
    pending = await face.store.read(lambda tx: tx.messages.pending(0, 100))
    assert (await face.store.read(lambda tx: tx.alarms.get("alm_1"))).state is State.RAISED  # type: ignore[union-attr]
    return [json.loads(body) for body in (*(message.body for _, message in pending), *path.bodies)]


@on_face
async def test_every_message_sent_is_as_described(face: Face) -> None:
    """All types are sent in this test, and every member of every body is in the document and as it says."""
    messages = await all_messages(face)
    assert {message["type"] for message in messages} == set(MessageType)
    for message in messages:
        payload = DOCUMENT["components"]["messages"][message["type"]]["payload"]
        assert misfits(message, payload, DOCUMENT) == []
        for altered in alterations(message):
            assert misfits(altered, payload, DOCUMENT), f"nothing is said of {altered}"


@on_face
async def test_messages_of_a_school_that_pushes_are_as_described(face: Face) -> None:
    """With a place for evidence a camera names its pushed playlist, and an item its place, which does not expire."""
    pushing = replace(face.parts.envelopes, media_url="https://centre.example/media")
    now, alarm = face.clock.now(), await face.add_alarm()
    item = await face.add_evidence(b"picture")
    point = face.parts.site.points[alarm.point]
    raised = pushing.raised(alarm, point, {CAMERA: True}, now)
    for type_, data in (
        (MessageType.ALARM_RAISED, raised),
        (MessageType.ALARM_EVIDENCE, pushing.evidence(item, now)),
        (MessageType.ALARM_MANIFEST, pushing.manifest(alarm, [item], 1)),
    ):
        _, said = pushing.about_alarm(alarm, type_, data, at=now, now=now)
        payload = DOCUMENT["components"]["messages"][type_.value]["payload"]
        assert misfits(json.loads(said.body), payload, DOCUMENT) == []
    place = f"https://centre.example/media/{alarm.id}"
    assert raised["cameras"][0]["live"]["pushed"] == f"{place}/live/{CAMERA}/index.m3u8"
    told = pushing.evidence(item, now)["evidence"]
    assert (told["url"], told["expires_at"]) == (f"{place}/{item.id}.jpg", None)


def alterations(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message with something wrong, which the document must not let pass."""
    more = copy.deepcopy(message)
    more["data"]["undescribed"] = 1
    empty = copy.deepcopy(message)
    empty["data"] = {}
    other = {**message, "type": "alarm.raised" if message["type"] == "drill.raised" else "drill.raised"}
    naive = {**message, "time": "2026-03-02T10:15:07"}
    nameless = {key: value for key, value in message.items() if key != "id"}
    return [more, empty, other, naive, nameless]


def test_the_document_names_every_type_and_no_other() -> None:
    """Each message type is a message of the channel, and nothing is promised that is not built."""
    types = {member.value for member in MessageType}
    assert DOCUMENT["asyncapi"].startswith("3.")
    assert set(DOCUMENT["components"]["messages"]) == types
    assert set(DOCUMENT["channels"]["webhook"]["messages"]) == types
    for name, place in DOCUMENT["channels"]["webhook"]["messages"].items():
        assert place == {"$ref": f"#/components/messages/{name}"}
        assert DOCUMENT["components"]["messages"][name]["summary"]
