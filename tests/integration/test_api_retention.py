"""Retention and holds over HTTP: what is kept of each camera, who holds and releases, and by which time things go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gateway.domain.alarm import State
from gateway.domain.recording import Gap, GapCause
from tests.support.footage import recorded
from tests.support.http_face import CAMERA, OTHER, START, Face, on_face

BY = {"name": "李老师", "unit": "第三中学"}
SPAN = {"from": "2026-03-02T10:00:00+08:00", "to": "2026-03-02T11:00:00+08:00"}


async def kept(face: Face, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = (await face.ask(f"/api/v1/retention{query}", role="inspector")).json
    return found


@on_face
async def test_what_is_kept_is_told_per_camera(face: Face) -> None:
    """Since when, how much of what was to be, its gaps by cause; cameras that left the plan too; and by default the period."""
    begin = START.replace(minute=0, second=0, microsecond=0)
    for camera, minutes in ((OTHER, 90), ("cam-replaced", 30)):
        await recorded(face.store, face.objects, camera, begin, minutes)
    gap = Gap(
        id="gap_1",
        camera=OTHER,
        start=begin + timedelta(minutes=90),
        end=begin + timedelta(minutes=100),
        cause=GapCause.NETWORK,
    )
    await face.store.write(lambda tx: tx.recordings.open_gap(gap))
    await face.store.write(lambda tx: tx.recordings.cease("cam-replaced", begin + timedelta(minutes=30)))
    face.clock.at = begin + timedelta(minutes=120)
    found = await kept(face)
    cameras = {camera["id"]: camera for camera in found["cameras"]}
    assert list(cameras) == sorted([CAMERA, OTHER, "cam-replaced"])
    gate, old = cameras[OTHER], cameras["cam-replaced"]
    assert (gate["first_kept"], gate["recorded_since"]) == ("2026-03-02T10:00:00.000+08:00",) * 2
    assert (gate["covered_s"], gate["expected_s"], gate["coverage"]) == (5400, 7200, 0.75)
    assert gate["gaps"] == {"network": 600}
    assert (old["in_plan"], old["coverage"]) == (False, 1.0)
    assert old["recorded_until"] == "2026-03-02T10:30:00.000+08:00"
    assert cameras[CAMERA]["coverage"] is None
    assert found["from"] == "2026-01-31T12:00:00.000+08:00"
    hour = await kept(face, "?from=2026-03-02T11:00:00%2B08:00&to=2026-03-02T12:00:00%2B08:00")
    assert next(c for c in hour["cameras"] if c["id"] == OTHER)["covered_s"] == 1800
    wrong = await face.ask("/api/v1/retention?from=2027-01-01T00:00:00Z", role="inspector")
    assert (wrong.status, wrong.problem) == (422, "invalid")


@on_face
async def test_the_forecast_stands_beside_it(face: Face) -> None:
    """Bytes a day as recorded, and when the room is used up at that."""
    begin = START.replace(minute=0, second=0, microsecond=0)
    await recorded(face.store, face.objects, OTHER, begin, 60, size=10**9)
    face.clock.at = begin + timedelta(hours=1)
    await face.parts.keeping.look()
    forecast = (await kept(face))["forecast"]
    assert forecast == {
        "free_bytes": 10**12,
        "reserve_bytes": 10**9,
        "bytes_per_day": 24 * 60 * 10**9,
        "full_in_hours": 17,
        "giving_way": {},
    }


@on_face
async def test_a_hold_is_placed_looked_at_and_released_by_a_person(face: Face) -> None:
    """Each step is a line of the register with name, unit and reason; a second release is refused, an unknown hold is 404."""
    body = {"camera": OTHER, **SPAN, "by": BY, "reason": "案件 2026-17"}
    placed = await face.say("/api/v1/holds", body, role="technician")
    assert placed.status == 201
    hold = placed.json["hold"]
    assert (hold["camera"], hold["placed_by"], hold["overdue"]) == (OTHER, "李老师", False)
    assert (hold["from"], hold["review_at"]) == (
        "2026-03-02T10:00:00.000+08:00",
        "2026-05-31T10:15:07.123+08:00",
    )
    assert placed.json["deleted_before"] == []
    face.clock.advance(days=91)
    assert (await face.ask("/api/v1/holds", role="inspector")).json["holds"][0]["overdue"]
    assert (await kept(face))["holds_overdue"] == 1
    path = f"/api/v1/holds/{hold['id']}"
    reviewed = await face.say(f"{path}/review", {"by": BY, "reason": "尚未结案"}, role="technician")
    assert (reviewed.status, reviewed.json["overdue"]) == (200, False)
    released = await face.say(f"{path}/release", {"by": BY, "reason": "结案"}, role="technician")
    assert (released.json["released_by"], released.json["released_reason"]) == ("李老师", "结案")
    again = await face.say(f"{path}/release", {"by": BY, "reason": "结案"}, role="technician")
    assert (again.status, again.problem) == (422, "refused")
    assert "李老师" in again.json["detail"]
    unknown = await face.say("/api/v1/holds/hld_x/release", {"by": BY, "reason": "r"}, role="technician")
    assert (unknown.status, unknown.problem) == (404, "not-found")
    assert (await face.ask("/api/v1/holds", role="technician")).json["holds"] == []
    (old,) = (await face.ask("/api/v1/holds?all=true", role="technician")).json["holds"]
    assert old["released_unit"] == "第三中学"
    lines = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    assert [(x["act"], x["name"], x["unit"], x["right"], x["reason"]) for x in lines] == [
        (act, "李老师", "第三中学", "technician", reason)
        for act, reason in (("held", "案件 2026-17"), ("reviewed", "尚未结案"), ("released", "结案"))
    ]


@on_face
async def test_a_hold_without_reason_or_person_or_with_a_span_that_is_none_is_refused(face: Face) -> None:
    """Where, what was found and what was expected; and nothing is kept of it."""
    good = {**SPAN, "by": BY, "reason": "r"}
    for change in (
        {"reason": " "},
        {"by": {"name": "李老师"}},
        {"to": SPAN["from"]},
        {"review_at": "2036-01-01T00:00:00Z"},
        {"resaon": "r"},
    ):
        answer = await face.say("/api/v1/holds", {**good, **change}, role="technician")
        assert answer.status == 422, change
    answer = await face.say("/api/v1/holds", {**good, "camera": "cam-nowhere"}, role="technician")
    assert answer.status == 404
    assert (await face.ask("/api/v1/holds?all=true", role="technician")).json["holds"] == []


@on_face
async def test_alarm_evidence_is_released_once_its_alarm_is_closed_and_then_goes(face: Face) -> None:
    """Its link is 410 afterwards, and the alarm says by which record the item went."""
    await face.add_alarm()
    item = await face.add_evidence(b"picture")
    await face.parts.keeping.look()
    (hold,) = (await face.ask("/api/v1/holds", role="technician")).json["holds"]
    assert (hold["alarm"], hold["placed_by"]) == ("alm_1", "gateway")
    path = f"/api/v1/holds/{hold['id']}/release"
    refused = await face.say(path, {"by": BY, "reason": "误报"}, role="technician")
    assert (refused.status, refused.problem) == (422, "refused")
    close = {"reply": "closed", "operator": BY, "reason": "误报"}
    for reply in ({"reply": "accepted", "operator": BY}, close):
        assert (await face.say("/api/v1/alarms/alm_1/replies", reply)).status == 200
    assert (await face.say(path, {"by": BY, "reason": "误报"}, role="technician")).status == 200
    face.clock.advance(days=30, hours=2)
    face.parts.keeping.heard_time(face.clock.now(), "110")
    await face.parts.keeping.sweep()
    gone = await face.ask(f"/media/{item.key}", role="guard")
    assert (gone.status, gone.problem) == (410, "deleted")
    told = (await face.ask("/api/v1/alarms/alm_1", role="guard")).json
    assert told["state"] == State.CLOSED.value
    assert (told["evidence"][0]["state"], told["evidence"][0]["url"]) == ("deleted", None)
    assert "deleted after 30 days (del_" in told["evidence"][0]["shortfall"]


@on_face
async def test_a_technician_confirms_a_clock_that_agrees(face: Face) -> None:
    """One that does not is refused and told what the gateway's clock says; the answer says how far it is confirmed."""
    await face.parts.keeping.look()
    face.clock.at += timedelta(days=2)
    body = {"now": face.clock.at.isoformat(timespec="seconds"), "by": BY, "reason": "手表"}
    wrong = await face.say(
        "/api/v1/retention/clock", {**body, "now": "2026-03-02T10:15:07+08:00"}, role="technician"
    )
    assert (wrong.status, wrong.problem) == (422, "refused")
    assert "2026-03-04" in wrong.json["detail"]
    right = await face.say("/api/v1/retention/clock", body, role="technician")
    assert (right.status, right.json["behind_s"], right.json["confirmed_by"]) == (200, 0.0, "李老师")
    assert (await kept(face))["clock"]["confirmed_by"] == "李老师"
