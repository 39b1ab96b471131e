"""The plan with live health, liveness and readiness, the interface's own description, and how failures look."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

from fastapi.openapi.models import OpenAPI

from gateway.api.first_answers import Opening
from gateway.domain.camera import CameraHealth
from gateway.domain.errors import InvariantBroken, Unavailable
from gateway.domain.fault import Fault, FaultKind
from tests.support.http_face import CAMERA, EVERYONE, OTHER, START, TOKEN_OF, Face, on_face


@on_face
async def test_the_plan_is_shown_with_its_health(face: Face) -> None:
    """Site, cameras and points are those of the plan, with what is known of them now."""
    await face.add_alarm()
    face.ready = (False, ["broker"])
    face.seen["p-b1-301"] = {"at": START, "battery": 87, "tamper": False, "test": None}
    face.cameras.known[CAMERA] = CameraHealth(
        camera=CAMERA,
        healthy=False,
        cause="it answers 401: wrong password",
        since=START,
        last_frame_at=START,
        width=1920,
    )
    site = (await face.ask("/api/v1/site", role="guard")).json
    assert (site["id"], site["ready"], site["degraded"]) == ("jms-no3-middle", False, ["broker"])
    assert [zone["id"] for zone in site["zones"]] == ["gate-south", "b1-f3-corridor", "b1-301"]
    cameras = {c["id"]: c for c in (await face.ask("/api/v1/cameras", role="guard")).json["cameras"]}
    assert cameras[CAMERA]["health"]["cause"] == "it answers 401: wrong password"
    assert cameras[CAMERA]["health"]["last_frame_at"] == "2026-03-02T10:15:07.123+08:00"
    assert cameras[OTHER]["continuous"] is True
    assert cameras[OTHER]["health"]["healthy"] is False
    assert cameras[OTHER]["health"]["cause"]
    points = {p["id"]: p for p in (await face.ask("/api/v1/points", role="guard")).json["points"]}
    assert points["p-b1-301"]["last_seen"] == {
        "at": "2026-03-02T10:15:07.123+08:00",
        "battery": 87,
        "tamper": False,
        "test": None,
    }
    assert points["p-b1-301"]["open_alarm"] == "alm_1"
    assert points["p-gate"]["last_seen"] == {"at": None, "battery": None, "tamper": None, "test": None}
    assert points["p-gate"]["open_alarm"] is None


@on_face
async def test_faults_are_open_ones_unless_all_are_asked_for(face: Face) -> None:
    """The list shows what is wrong now; with all=true what was wrong as well."""
    fault = Fault(id="flt_1", kind=FaultKind.CAMERA, subject=CAMERA, cause="no frames", since=START)

    def keep(tx: Any) -> None:
        tx.faults.add(fault)
        tx.faults.add(replace(fault, id="flt_2", subject=OTHER))
        tx.faults.clear("flt_1", START)

    await face.store.write(keep)
    opened = (await face.ask("/api/v1/faults", role="technician")).json["faults"]
    assert [(f["id"], f["cleared_at"]) for f in opened] == [("flt_2", None)]
    everything = (await face.ask("/api/v1/faults?all=true", role="technician")).json["faults"]
    assert {f["id"] for f in everything} == {"flt_1", "flt_2"}


@on_face
async def test_what_no_codec_could_read_is_shown(face: Face) -> None:
    """An unreadable contact message is listed with topic, reason, size and its beginning, whatever its bytes are."""
    payload = b"\xff\x00<script>" + b"x" * 5000
    await face.store.write(lambda tx: tx.inbox.quarantine("school/p-9", payload, "no JSON", START))
    row = (await face.ask("/api/v1/quarantine", role="inspector")).json["quarantine"][0]
    assert (row["topic"], row["reason"], row["bytes"]) == ("school/p-9", "no JSON", len(payload))
    assert len(row["head"]) == 1024


@on_face
async def test_readiness_is_about_presses_alone(face: Face) -> None:
    """200 while a press would be committed, whatever else is degraded; 503 only otherwise; liveness is always 200."""
    degraded = ["camera:cam-b1-f3", "camera:cam-gate-south", "centre:primary", "contact:p-b1-301 battery"]
    face.ready = (True, degraded)
    for role in EVERYONE:
        answer = await face.ask("/readyz", role=role)
        assert (answer.status, answer.json) == (200, {"status": "ready", "degraded": degraded})
    face.ready = (False, ["broker:mqtt"])
    answer = await face.ask("/readyz", role="guard")
    assert (answer.status, answer.json) == (503, {"status": "not ready", "degraded": ["broker:mqtt"]})
    assert (await face.ask("/healthz")).json == {"status": "ok"}


@on_face
async def test_readiness_names_nothing_to_a_stranger(face: Face) -> None:
    """Without a token of the list, or with one in a wrong form or place, only kinds and their numbers are listed."""
    face.ready = (
        True,
        ["camera:cam-b1-f3", "camera:cam-gate-south", "contact:p-b1-301 battery", "alarm:alm_1"],
    )
    for path, headers in (
        ("/readyz", {}),
        ("/readyz", {"Authorization": "Bearer wrong"}),
        ("/readyz", {"Authorization": TOKEN_OF["centre"]}),
        ("/readyz", {"Authorization": f"Basic {TOKEN_OF['centre']}"}),
        (f"/readyz?token={TOKEN_OF['centre']}", {}),
    ):
        answer = await face.ask(path, headers=headers)
        assert answer.status == 200
        assert answer.json == {"status": "ready", "degraded": ["alarm: 1", "camera: 2", "contact: 1"]}
        for name in ("cam-", "p-b1", "battery", "alm_"):
            assert name.encode() not in answer.body
    opening = Opening(face.parts)  # what answers in the first second, before the framework is there
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    await opening({"type": "http", "path": "/readyz"}, None, send)  # type: ignore[arg-type]
    assert b"cam-" not in told[-1]["body"]
    assert b"camera: 2" in told[-1]["body"]


@on_face
async def test_metrics_are_prometheus_text(face: Face) -> None:
    """What the wiring measured is passed on as it is."""
    answer = await face.ask("/metrics", role="technician")
    assert answer.body == b"campus_presses_total 3\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


@on_face
async def test_the_description_is_valid_and_whole(face: Face) -> None:
    """/openapi.json is a valid OpenAPI document, names every path served, and every reference in it leads somewhere."""
    document = (await face.ask("/openapi.json", role="centre")).json
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        *(f"/api/v1/{name}" for name in ("site", "cameras", "points", "faults", "quarantine", "alarms")),
        *(f"/api/v1/alarms/{{alarm}}{tail}" for tail in ("", "/replies", "/requests", "/notes")),
        *(f"/api/v1/cameras/{{camera}}{tail}" for tail in ("/export", "/playback", "/recordings")),
        *("/api/v1/caller", "/api/v1/recordings/days", "/recordings", "/recordings/{camera}/{span}.m3u8"),
        *(
            f"/recordings/{{camera}}/{{year}}/{{month}}/{{day}}/{{name}}{tail}"
            for tail in ("-head.mp4", ".m4s")
        ),
        *("/api/v1/access-register", "/api/v1/access-register/proof"),
        *("/api/v1/retention", "/api/v1/retention/clock", "/api/v1/retention/database"),
        *(f"/api/v1/holds{tail}" for tail in ("", "/{hold}/review", "/{hold}/release")),
        *(f"/api/v1/drills{tail}" for tail in ("", "/windows/{window}")),
        *(f"/api/v1/drills/{{drill}}{tail}" for tail in ("", "/replies", "/requests", "/notes")),
        *(f"/live/{{camera}}{tail}" for tail in ("", "/index.m3u8", "/{name}.{suffix}")),
        *("/media/{key}", "/static/{name}", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"),
    }
    for reference in re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    operations = [op for methods in document["paths"].values() for op in methods.values()]
    assert all(op["summary"] for op in operations)
    assert len({op["operationId"] for op in operations}) == len(operations)


@on_face
async def test_the_page_of_the_description_loads_nothing(face: Face) -> None:
    """/docs is one document: no script, no style sheet, no picture, no address of another place."""
    answer = await face.ask("/docs", role="guard")
    text = answer.body.decode()
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|https?://", text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in (await face.ask("/openapi.json", role="guard")).json["paths"]:
        assert path in text


@on_face
async def test_unknown_paths_and_methods_are_problems(face: Face) -> None:
    """404 and 405 are problem documents, 405 names every method the path takes, and what is not built is not there."""
    for path in (
        "/",
        "/api/v1",
        "/api/v1/events",
        f"/api/v1/cameras/{CAMERA}/recording",
        "/x/../y",
    ):
        answer = await face.ask(path, role="technician")
        assert (path, answer.status, answer.problem) == (path, 404, "not-found")
    answer = await face.ask(f"/live/{CAMERA}/whep", method="POST", role="centre")
    assert (answer.status, answer.problem) == (404, "not-found")
    for method, path, allow in (
        ("DELETE", "/api/v1/alarms/alm_1", "GET, HEAD"),
        ("GET", "/api/v1/alarms/alm_1/replies", "POST"),
        ("PUT", "/healthz", "GET, HEAD"),
    ):
        answer = await face.ask(path, method=method, role="centre")
        assert (answer.status, answer.problem, answer.headers["allow"]) == (405, "method-not-allowed", allow)


@on_face
async def test_head_is_answered_like_get_without_a_body(face: Face) -> None:
    """HEAD gives GET's status and headers everywhere, errors included."""
    for path, status in (("/healthz", 200), ("/api/v1/site", 200), ("/nothing", 404)):
        get = await face.ask(path, role="centre")
        head = await face.ask(path, role="centre", method="HEAD")
        assert (head.status, head.body) == (status, b"")
        for name in ("content-type", "content-length", "cache-control"):
            assert head.headers[name] == get.headers[name]


@on_face
async def test_every_answer_carries_the_security_headers(face: Face) -> None:
    """No sniffing, no Referer, nothing kept: on answers, errors and failures alike."""
    face.parts.metrics = lambda: 1 // 0  # type: ignore[assignment,return-value]
    for path, role in (
        ("/api/v1/site", "guard"),
        ("/api/v1/site", None),
        ("/nothing", None),
        ("/healthz", None),
        ("/metrics", "technician"),
        ("/docs", "guard"),
        (f"/live/{CAMERA}", "guard"),
    ):
        answer = await face.ask(path, role=role)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["referrer-policy"] == "no-referrer", path
        assert answer.headers["x-frame-options"] == "DENY", path
        policies = [part.strip() for part in answer.headers["content-security-policy"].split(";")]
        assert policies.count("frame-ancestors 'none'") == 1, path
        assert answer.headers["cache-control"] == "private, no-store", path
        assert "server" not in answer.headers


@on_face
async def test_failures_tell_nothing_of_the_inside(face: Face) -> None:
    """A bug is 500, a refusing database 503; neither says a word of what went wrong inside, and the face goes on."""

    def broken() -> bytes:
        raise InvariantBroken("secret table layout at /var/lib/gateway")

    face.parts.metrics = broken
    answer = await face.ask("/metrics", role="technician")
    assert (answer.status, answer.problem) == (500, "internal")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body

    async def refusing(work: object) -> object:
        raise Unavailable("the database refuses: secret path", retry_after_s=3)

    read, face.store.read = face.store.read, refusing  # type: ignore[method-assign,assignment]
    answer = await face.ask("/api/v1/alarms", role="technician")
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "unavailable", "3")
    assert b"secret" not in answer.body
    face.store.read = read  # type: ignore[method-assign]
    assert (await face.ask("/api/v1/alarms", role="technician")).status == 200


@on_face
async def test_many_callers_at_once_are_served(face: Face) -> None:
    """A hundred requests at once, of every role, are all answered."""
    await face.add_alarm()
    paths = ["/api/v1/site", "/api/v1/cameras", "/api/v1/points", "/api/v1/alarms", "/api/v1/alarms/alm_1"]
    answers = await asyncio.gather(
        *(face.ask(path, role=role) for path in paths for role in EVERYONE for _ in range(5))
    )
    assert {answer.status for answer in answers} == {200}
