"""Alarms over HTTP: the list, the whole story of one, replies, requests and notes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.domain.alarm import ALLOWED, State
from gateway.domain.camera import CameraHealth
from gateway.domain.message import Attempt, MessageType, Outcome
from tests.support.http_face import CAMERA, START, Face, on_face

OPERATOR = {"name": "王警官", "unit": "市局指挥中心"}
SHANGHAI = timedelta(hours=8)


async def reply(face: Face, word: str, **more: Any) -> Any:
    return await face.say(
        "/api/v1/alarms/alm_1/replies", {"reply": word, "operator": OPERATOR, "reason": "核实", **more}
    )


@on_face
async def test_pages_are_stable_while_alarms_come_in(face: Face) -> None:
    """Walking the cursor sees every old alarm once, newest first, however many are raised meanwhile, at equal instants too."""
    for n in range(7):
        await face.add_alarm(f"alm_{n}", point=f"p-{n}", raised_at=START + timedelta(seconds=n // 3))
    seen: list[str] = []
    path, pages = "/api/v1/alarms?limit=2", 0
    while path:
        page = (await face.ask(path, role="guard")).json
        assert len(page["alarms"]) <= 2
        seen += [alarm["id"] for alarm in page["alarms"]]
        pages += 1
        await face.add_alarm(
            f"alm_new_{pages}", point=f"p-new-{pages}", raised_at=START + timedelta(hours=pages)
        )
        path = f"/api/v1/alarms?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == ["alm_6", "alm_5", "alm_4", "alm_3", "alm_2", "alm_1", "alm_0"]
    assert pages == 4


@on_face
async def test_alarms_are_found_by_state_and_time(face: Face) -> None:
    """States may be repeated, joined by commas or said as "open"; times bound when an alarm was raised."""
    for n, state in enumerate(State):
        await face.add_alarm(
            f"alm_{n}",
            point=f"p-{n}",
            state=state,
            raised_at=START + timedelta(minutes=n),
            closed_at=START if state is State.CLOSED else None,
        )

    async def found(query: str) -> set[str]:
        answer = await face.ask(f"/api/v1/alarms?{query}", role="centre")
        assert answer.status == 200, answer.body
        return {alarm["state"] for alarm in answer.json["alarms"]}

    assert await found("") == set(State)
    assert await found("state=raised") == {"raised"}
    assert await found("state=raised,closed") == {"raised", "closed"}
    assert await found("state=raised&state=closed") == {"raised", "closed"}
    assert await found("state=open") == set(State) - {"closed"}
    assert await found("from=2026-03-02T10:16:07.123%2B08:00") == set(State) - {"raised"}
    assert await found("from=2026-03-02T10:16:07.123+08:00") == set(State) - {"raised"}
    assert await found("to=2026-03-02T02:16:07.123Z") == {"raised"}


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("state=lost", "query.state"),
        ("state=", "query.state"),
        ("from=2026-03-02T10:16:07", "query.from"),
        ("to=yesterday", "query.to"),
        ("cursor=x", "query.cursor"),
        ("cursor=", "query.cursor"),
        ("cursor=%F0%9F%92%A9", "query.cursor"),
        ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Lng", "query.cursor"),
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=many", "query.limit"),
    ],
)
@on_face
async def test_a_wrong_filter_is_named(face: Face, query: str, where: str) -> None:
    """A filter that cannot be understood is 422 and says which, never an empty list that looks like peace."""
    answer = await face.ask(f"/api/v1/alarms?{query}", role="centre")
    assert (answer.status, answer.problem) == (422, "invalid")
    assert [error["where"] for error in answer.json["errors"]] == [where]
    assert all(error["found"] and error["expected"] for error in answer.json["errors"])


@on_face
async def test_one_alarm_tells_its_whole_story(face: Face) -> None:
    """Timeline, evidence with fresh links, every delivery attempt, requests, live links; times with the school's offset."""
    alarm = await face.add_alarm()
    item = await face.add_evidence(b"picture")
    changed, message = face.parts.envelopes.about_alarm(
        alarm, MessageType.ALARM_RAISED, {}, at=START, now=START
    )
    attempt = Attempt(
        message=message.id,
        path="first",
        at=START,
        took_ms=12,
        status=204,
        outcome=Outcome.RECEIVED,
        detail="",
    )

    def keep(tx: Any) -> None:
        tx.alarms.save(changed)
        tx.alarms.note("alm_1", START, "raised", {"point": "p-b1-301"})
        tx.messages.add(message)
        tx.messages.attempted(attempt, None)

    await face.store.write(keep)
    face.cameras.known[CAMERA] = CameraHealth(camera=CAMERA, healthy=True, cause="", since=START)
    asked = await face.say(
        "/api/v1/alarms/alm_1/requests",
        {"request": "still", "camera": CAMERA, "operator": OPERATOR, "reason": "看"},
    )
    story = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json
    assert story["point"]["zone"]["floor"] == 3
    assert [step["what"] for step in story["timeline"]] == ["raised", "requested"]
    assert story["evidence"][0]["id"] == item.id
    assert story["evidence"][0]["state"] == "stored"
    assert (await face.ask(story["evidence"][0]["url"])).body == b"picture"
    assert story["evidence"][1]["state"] == "wanted"
    assert story["evidence"][1]["url"] is None
    assert story["deliveries"][0]["id"] == message.id
    assert story["deliveries"][0]["attempts"][0]["status"] == 204
    assert story["requests"][0]["id"] == asked.json["id"]
    assert story["requests"][0]["ok"] is None
    assert story["cameras"][0]["healthy"] is True
    assert story["reply_url"] == f"{face.base}/api/v1/alarms/alm_1/replies"
    assert (await face.ask(story["cameras"][0]["live"]["page"])).status == 200
    for text in (story["raised_at"], story["timeline"][0]["at"], story["evidence"][0]["expires_at"]):
        assert datetime.fromisoformat(text).utcoffset() == SHANGHAI


@on_face
async def test_live_links_are_given_while_they_hold(face: Face) -> None:
    """An alarm shows live links until ten minutes after it was closed."""
    alarm = await face.add_alarm()
    await face.change_alarm(alarm, state=State.CLOSED, closed_at=face.clock.now())

    async def live() -> Any:
        return (await face.ask("/api/v1/alarms/alm_1", role="guard")).json["cameras"][0]["live"]

    face.clock.advance(minutes=9)
    assert await live() is not None
    face.clock.advance(minutes=1)
    assert await live() is None


@on_face
async def test_an_unknown_alarm_is_not_found(face: Face) -> None:
    """Every way of naming an alarm that does not exist is 404."""
    for method, tail, role, body in (
        ("GET", "", "guard", None),
        ("POST", "/replies", "centre", {"reply": "accepted", "operator": OPERATOR}),
        ("POST", "/notes", "guard", {"text": "x"}),
        (
            "POST",
            "/requests",
            "centre",
            {"request": "still", "camera": CAMERA, "operator": OPERATOR, "reason": "x"},
        ),
    ):
        answer = await face.ask(f"/api/v1/alarms/alm_none{tail}", method=method, role=role, json=body)
        assert (tail, answer.status, answer.problem) == (tail, 404, "not-found")


@on_face
async def test_every_pair_of_states_is_answered_as_the_table_says(face: Face) -> None:
    """A step of the table is 200 and holds; the present state again is 200 and repeated; anything else 409 with the state."""
    alarm = await face.add_alarm()
    for before in State:
        for word in ("accepted", "rejected", "dispatched", "arrived", "closed"):
            await face.change_alarm(alarm, state=before, closed_at=START if before is State.CLOSED else None)
            answer = await reply(face, word)
            now = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json["state"]
            if word == before:
                assert (answer.status, answer.json["repeated"], now) == (200, True, before)
            elif State(word) in ALLOWED[before]:
                assert (answer.status, answer.json["repeated"], now) == (200, False, word)
                assert answer.json["alarm"]["state"] == word
            else:
                assert (answer.status, answer.problem) == (409, "not-in-this-state")
                assert answer.json["state"] == now == before


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"operator": OPERATOR}, "body.reply"),
        ({"reply": "raised", "operator": OPERATOR}, "body.reply"),
        ({"reply": "Accepted", "operator": OPERATOR}, "body.reply"),
        ({"reply": "accepted"}, "body.operator"),
        ({"reply": "accepted", "operator": {}}, "body.operator.name"),
        ({"reply": "accepted", "operator": {"name": "王"}}, "body.operator.unit"),
        ({"reply": "accepted", "operator": {"name": "  ", "unit": "110"}}, "body.operator.name"),
        ({"reply": "accepted", "operator": {"name": "王", "unit": "\u3000"}}, "body.operator.unit"),
        ({"reply": "accepted", "operator": {"name": "王" * 201, "unit": "x"}}, "body.operator.name"),
        ({"reply": "accepted", "operator": {"name": 1, "unit": "x"}}, "body.operator.name"),
        ({"reply": "accepted", "operator": OPERATOR, "raeson": "x"}, "body.raeson"),
        ({"reply": "accepted", "operator": OPERATOR | {"rank": "x"}}, "body.operator.rank"),
        ({"reply": "rejected", "operator": OPERATOR}, "body.reason"),
        ({"reply": "rejected", "operator": OPERATOR, "reason": " \n"}, "body.reason"),
        ({"reply": "rejected", "operator": OPERATOR, "reason": None}, "body.reason"),
        ({"reply": "closed", "operator": OPERATOR, "reason": ""}, "body.reason"),
        ({"reply": "accepted", "operator": OPERATOR, "reason": "x" * 2001}, "body.reason"),
        ([], "body"),
        ("accepted", "body"),
        (None, "body"),
    ],
)
@on_face
async def test_a_reply_that_is_not_complete_changes_nothing(face: Face, body: Any, where: str) -> None:
    """Without operator, or without reason where one is needed, or with an unknown key: 422, named, and nothing is kept."""
    await face.add_alarm()
    answer = await face.ask(
        "/api/v1/alarms/alm_1/replies",
        method="POST",
        role="centre",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status, answer.problem) == (422, "invalid"), answer.body
    assert where in [error["where"] for error in answer.json["errors"]], answer.json
    story = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json
    assert (story["state"], story["timeline"]) == ("raised", [])


@on_face
async def test_bodies_that_are_no_document_are_refused(face: Face) -> None:
    """Too large (announced or not), broken, nested without end, of another type, with lone surrogates: told, and nothing kept."""
    await face.add_alarm()
    right = json.dumps({"reply": "accepted", "operator": OPERATOR}).encode()

    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1024

    json_type = {"Content-Type": "application/json"}
    for data, headers, status, problem in (
        (right + b" " * 65_536, json_type, 413, "body-too-large"),
        (endless(), json_type, 413, "body-too-large"),
        (right[:-1], json_type, 422, "invalid"),
        (b"[" * 60_000, json_type, 400, "unreadable-body"),
        (b'{"reply": "\xff"}', json_type, 400, "unreadable-body"),
        (b"", json_type, 422, "invalid"),
        (right, {"Content-Type": "text/plain"}, 422, "invalid"),
        (right.replace(b"\\u738b", b"\\ud800"), json_type, 422, "invalid"),
        (b'{"reply": ' + b"9" * 5000 + b"}", json_type, 400, "unreadable-body"),
    ):
        answer = await face.ask(
            "/api/v1/alarms/alm_1/replies", method="POST", role="centre", data=data, headers=headers
        )
        assert (answer.status, answer.problem) == (status, problem), (answer.status, answer.body)
    assert (await face.ask("/api/v1/alarms/alm_1", role="centre")).json["state"] == "raised"
    assert (await reply(face, "accepted")).status == 200


CLIP = {
    "request": "clip",
    "camera": CAMERA,
    "from": "2026-03-02T10:14:00+08:00",
    "to": "2026-03-02T10:15:00+08:00",
}
PTZ = {"request": "ptz", "camera": CAMERA}


@pytest.mark.parametrize(
    "body",
    [
        CLIP,
        {"request": "still", "camera": CAMERA},
        PTZ | {"move": {"pan": -1, "tilt": 0.5, "zoom": 0, "for_s": 5}},
        PTZ | {"move": "stop"},
        PTZ | {"stop": True},
        PTZ | {"preset": "1"},
    ],
)
@on_face
async def test_requests_are_put_on_record(face: Face, body: dict[str, Any]) -> None:
    """A request is answered 202 with its id and stands in the alarm with operator and reason."""
    await face.add_alarm()
    answer = await face.say(
        "/api/v1/alarms/alm_1/requests", body | {"operator": OPERATOR, "reason": "看一下"}
    )
    assert answer.status == 202, answer.body
    request = (await face.ask("/api/v1/alarms/alm_1", role="inspector")).json["requests"][0]
    assert request["id"] == answer.json["id"]
    assert request["operator"] == OPERATOR
    assert request["reason"] == "看一下"
    assert request["ok"] is (False if body["request"] == "ptz" else None)


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (CLIP | {"to": CLIP["from"]}, 422, None),
        (CLIP | {"to": "2026-03-02T11:15:00+08:00"}, 422, None),
        (CLIP | {"from": "2026-03-02T10:14:00"}, 422, "body.clip.from"),
        (CLIP | {"from": "0001-01-01T00:00:00+14:00"}, 422, "body.clip.from"),
        (CLIP | {"operator": {"name": "", "unit": "x"}}, 422, "body.clip.operator.name"),
        (CLIP | {"reason": " "}, 422, "body.clip.reason"),
        (CLIP | {"why": "x"}, 422, "body.clip.why"),
        (CLIP | {"camera": "cam-none"}, 404, None),
        (CLIP | {"request": "audio"}, 422, "body"),
        (PTZ, 422, "body.move"),
        (PTZ | {"move": {"pan": 1.01}}, 422, "body.ptz.move.Move.pan"),
        (PTZ | {"move": {"pan": 1, "for_s": 5.1}}, 422, "body.ptz.move.Move.for_s"),
        (PTZ | {"stop": False}, 422, "body.ptz.stop"),
    ],
)
@on_face
async def test_an_impossible_request_is_refused(
    face: Face, body: dict[str, Any], status: int, named: str | None
) -> None:
    """A span that cannot be, an unknown camera, no operator or reason: told, and nothing is asked of any camera."""
    await face.add_alarm()
    answer = await face.say("/api/v1/alarms/alm_1/requests", {"operator": OPERATOR, "reason": "x"} | body)
    assert answer.status == status, answer.body
    assert answer.problem in ("invalid", "refused", "not-found")
    if named is not None:
        assert named in [error["where"] for error in answer.json["errors"]]
    story = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json
    assert (story["requests"], story["evidence"]) == ([], [])


@on_face
async def test_a_note_goes_to_the_centre_and_decides_nothing(face: Face) -> None:
    """The school's note is on record and due to the centre, says who spoke, and leaves the state as it was."""
    await face.add_alarm()
    body = {"text": "已到现场，误碰", "by": "李老师", "withdraw": True}
    answer = await face.say("/api/v1/alarms/alm_1/notes", body, role="guard")
    assert (answer.status, answer.json["alarm"]["state"]) == (201, "raised")
    pending = await face.store.read(lambda tx: tx.messages.pending(0, 10))
    said = json.loads(pending[0][1].body)
    assert said["type"] == "alarm.note"
    assert said["data"]["note"]["by"] == "李老师 (门卫)"
    assert said["data"]["note"]["withdraw"] is True
    for wrong in ({}, {"text": " "}, {"text": "x" * 2001}, {"text": "x", "state": "closed"}):
        assert (await face.say("/api/v1/alarms/alm_1/notes", wrong, role="guard")).problem == "invalid"
