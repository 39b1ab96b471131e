"""Who is let in where: tokens, roles, signed links, and what leaks nowhere."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from gateway.domain.alarm import Drill, State
from gateway.domain.drill import DrillWindow
from gateway.domain.recording import Segment, segment_key
from storage.sql.transaction import SqlTransaction
from tests.support.holds import span_held
from tests.support.http_face import (
    CAMERA,
    EVERYONE,
    OTHER,
    START,
    TOKEN_OF,
    Face,
    listed_playlist,
    on_face,
)

OPERATOR = {"name": "王警官", "unit": "110"}
REPLY = {"reply": "accepted", "operator": OPERATOR}
STILL = {"request": "still", "camera": CAMERA, "operator": OPERATOR, "reason": "看一下"}
DECISION = {"by": {"name": "李老师", "unit": "第三中学"}, "reason": "核对"}
CLOCK = {"now": "2026-03-02T10:15:07+08:00", **DECISION}
HOLD = {"from": "2026-03-02T10:00:00+08:00", "to": "2026-03-02T11:00:00+08:00", **DECISION}
PLAYBACK = {
    "from": (START - timedelta(minutes=2)).isoformat(),
    "to": (START - timedelta(minutes=1)).isoformat(),
    **DECISION,
}

SPAN = urlencode(
    {
        "from": (START - timedelta(minutes=3)).isoformat(),
        "to": (START - timedelta(minutes=1)).isoformat(),
        "reason": "核查",
    }
)
#: method, path, body, roles that are let in: API.md.
TABLE = [
    ("GET", "/api/v1/site", None, EVERYONE),
    ("GET", "/api/v1/caller", None, EVERYONE),
    ("GET", "/api/v1/cameras", None, EVERYONE),
    ("GET", "/api/v1/points", None, EVERYONE),
    ("GET", "/api/v1/faults", None, ("technician", "inspector")),
    ("GET", "/api/v1/quarantine", None, ("technician", "inspector")),
    ("GET", "/api/v1/alarms", None, EVERYONE),
    ("GET", "/api/v1/alarms/alm_1", None, EVERYONE),
    ("POST", "/api/v1/alarms/alm_1/replies", REPLY, ("centre",)),
    ("POST", "/api/v1/alarms/alm_1/requests", STILL, ("centre",)),
    ("POST", "/api/v1/alarms/alm_1/notes", {"text": "误报"}, ("guard", "technician")),
    ("GET", "/api/v1/drills", None, EVERYONE),
    ("POST", "/api/v1/drills", {"point": "p-gate", "arm_s": 30}, ("technician",)),
    ("GET", "/api/v1/drills/windows/wnd_1", None, ("technician",)),
    ("GET", "/api/v1/drills/drl_1", None, EVERYONE),
    ("POST", "/api/v1/drills/drl_1/replies", REPLY, ("centre",)),
    ("POST", "/api/v1/drills/drl_1/requests", STILL, ("centre",)),
    ("POST", "/api/v1/drills/drl_1/notes", {"text": "演练"}, ("guard", "technician")),
    ("GET", "/api/v1/access-register", None, ("inspector",)),
    ("GET", "/api/v1/access-register/proof?size=1&line=1", None, ("inspector",)),
    (
        "GET",
        f"/api/v1/cameras/{CAMERA}/recordings?{SPAN}",
        None,
        ("guard", "technician", "inspector"),
    ),
    ("GET", "/api/v1/recordings/days", None, ("guard", "technician", "inspector")),
    ("POST", f"/api/v1/cameras/{CAMERA}/playback", PLAYBACK, ("guard", "technician", "inspector")),
    ("GET", f"/api/v1/cameras/{CAMERA}/export?{SPAN}", None, ("technician", "inspector")),
    ("GET", "/api/v1/retention", None, ("technician", "inspector")),
    ("POST", "/api/v1/retention/clock", CLOCK, ("technician",)),
    ("POST", "/api/v1/retention/database", DECISION, ("technician",)),
    ("GET", "/api/v1/holds", None, ("technician", "inspector")),
    ("POST", "/api/v1/holds", HOLD, ("technician",)),
    ("POST", "/api/v1/holds/hld_1/review", DECISION, ("technician",)),
    ("POST", "/api/v1/holds/hld_1/release", DECISION, ("technician",)),
    ("GET", "/media/EVIDENCE", None, EVERYONE),
    ("GET", f"/live/{CAMERA}", None, EVERYONE),
    ("POST", f"/live/{CAMERA}", {"name": "王五"}, EVERYONE),
    ("GET", f"/live/{CAMERA}/index.m3u8", None, EVERYONE),
    ("GET", f"/live/{CAMERA}/init-0.mp4", None, EVERYONE),
    ("GET", "/metrics", None, ("technician", "inspector")),
    ("GET", "/openapi.json", None, EVERYONE),
    ("GET", "/docs", None, EVERYONE),
]
OPEN = [
    *("/healthz", "/readyz", "/recordings"),
    *("/static/player.js", "/static/player.css", "/static/hls.light.min.js"),
    *("/static/recordings.js", "/static/recordings.css"),
]


async def prepared(face: Face) -> str:
    """An alarm, an item and a live picture; the item's path."""
    await face.add_alarm()
    await face.add_alarm("drl_1", drill=Drill.DRILL)
    until = face.clock.now() + timedelta(seconds=30)
    window = DrillWindow(id="wnd_1", point="p-gate", by="维护", armed_at=face.clock.now(), until=until)
    await face.store.write(lambda tx: tx.windows.add(window))
    await face.parts.registering.configured("site file")
    hold = span_held(CAMERA, face.clock.now(), until, at=face.clock.now())
    await face.store.write(lambda tx: tx.holds.place(hold))
    segment = Segment(
        id="seg_1",
        camera=CAMERA,
        start=START - timedelta(minutes=2),
        end=START - timedelta(minutes=1),
        frames=1500,
        bytes=3,
        key=segment_key("jms-no3-middle", CAMERA, START),
        sha256="ab" * 32,
        stored_at=START,
    )

    def record(tx: SqlTransaction) -> None:
        tx.recordings.begin(CAMERA, START - timedelta(minutes=5))
        tx.recordings.add(segment)

    await face.store.write(record)
    item = await face.add_evidence(b"picture")
    face.cameras.playlists[CAMERA] = listed_playlist()
    face.cameras.parts["init-0.mp4"] = b"init"
    return f"/media/{item.key}"


@on_face
async def test_every_role_gets_what_is_its_own_and_no_more(face: Face) -> None:
    """Each path lets in exactly the roles of the contract, says 403 to the others and 401 to strangers."""
    media = await prepared(face)
    for method, path, body, allowed in TABLE:
        path = path.replace("/media/EVIDENCE", media)
        for role in (None, *EVERYONE):
            answer = await face.ask(path, method=method, role=role, json=body)
            told = (method, path, role, answer.status, answer.body[:200])
            if role is None:
                assert answer.status == 401, told
                assert answer.problem == "no-token"
                assert answer.headers["www-authenticate"].startswith("Bearer")
            elif role in allowed:
                assert 200 <= answer.status < 300, told
            else:
                assert answer.status == 403, told
                assert answer.problem == "wrong-role"


@on_face
async def test_the_document_names_the_roles_that_are_enforced(face: Face) -> None:
    """The x-roles of /openapi.json are those of the contract; what is open says so."""
    paths = (await face.ask("/openapi.json", role="inspector")).json["paths"]
    known = {
        "alm_1": "{alarm}",
        "drl_1": "{drill}",
        "wnd_1": "{window}",
        "hld_1": "{hold}",
        "EVIDENCE": "{key}",
        CAMERA: "{camera}",
        "init-0.mp4": "{name}.{suffix}",
    }
    told = {}
    for method, path, _, allowed in TABLE:
        path = path.partition("?")[0]
        for value, name in known.items():
            path = path.replace(value, name)
        told[method.lower(), path] = sorted(allowed)
    for path, methods in paths.items():
        for method, operation in methods.items():
            if operation.get("security") == []:
                assert "x-roles" not in operation
                assert path in ("/healthz", "/readyz", "/static/{name}", "/recordings")
            elif operation["security"] == [{"link": []}]:
                assert "x-roles" not in operation
                assert path.startswith("/recordings/{camera}/")
            else:
                assert operation["x-roles"] == told.pop((method, path))
    assert told == {}


@on_face
async def test_what_is_open_needs_no_token(face: Face) -> None:
    """Liveness, readiness and the player's static files are for anybody; nothing else is served beside them."""
    for path in OPEN:
        assert (await face.ask(path)).status == 200, path
    for path in (
        "/static/README.md",
        "/static/player.html",
        "/static/..%2fapp.py",
        "/static/",
        "/",
        "/events",
    ):
        answer = await face.ask(path)
        assert (path, answer.status, answer.problem) == (path, 404, "not-found")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN_OF['centre']}x",
        f"Bearer {TOKEN_OF['centre'][:-1]}",
        f"Basic {TOKEN_OF['centre']}",
        TOKEN_OF["centre"],
        "Bearer \xff\xfe",
    ],
)
@on_face
async def test_other_tokens_are_none(face: Face, header: str) -> None:
    """A token that is not exactly one of the list is answered 401 like none at all."""
    answer = await face.ask("/api/v1/site", headers={"Authorization": header})
    assert (answer.status, answer.problem) == (401, "no-token")


@on_face
async def test_the_scheme_may_be_written_as_it_likes(face: Face) -> None:
    """The scheme's name has no case (RFC 9110 §11.1)."""
    answer = await face.ask("/api/v1/site", headers={"Authorization": f"bearer {TOKEN_OF['guard']}"})
    assert answer.status == 200


@on_face
async def test_a_stranger_learns_nothing_from_how_bodies_are_judged(face: Face) -> None:
    """Without the right token the answer is 401 or 403, whatever the body and whether or not the alarm exists."""
    await face.add_alarm()
    for path in ("/api/v1/alarms/alm_1/replies", "/api/v1/alarms/alm_none/replies"):
        for body in (b"", b"{", b"{}", b"x" * 100_000):
            headers = {"Content-Type": "application/json"}
            assert (await face.ask(path, method="POST", data=body, headers=headers)).problem == "no-token"
            answer = await face.ask(path, method="POST", role="guard", data=body, headers=headers)
            assert answer.problem == "wrong-role"


@on_face
async def test_a_link_opens_exactly_what_it_was_made_for(face: Face) -> None:
    """A media link and live links work without a token, until they expire."""
    await prepared(face)
    item = await face.evidence()
    for link in (
        face.media_link(item, hours=1),
        face.live_link(f"/live/{CAMERA}", hours=1),
        face.live_link(f"/live/{CAMERA}/index.m3u8", hours=1),
        face.live_link(f"/live/{CAMERA}/init-0.mp4", hours=1),
    ):
        assert (await face.ask(link)).status == 200, link
        face.clock.advance(seconds=3599)
        assert (await face.ask(link)).status == 200, link
        face.clock.advance(seconds=1)
        answer = await face.ask(link)
        assert (answer.status, answer.problem) == (410, "link-expired")
        face.clock.advance(hours=-1)


@on_face
async def test_a_link_altered_in_any_way_is_refused(face: Face) -> None:
    """Another path, expiry, alarm or signature, a parameter too few, too many or twice: 403, expired or not."""
    await prepared(face)
    await face.add_alarm("alm_2", point="p-gate")
    other = await face.add_evidence(b"other", "evd_2", alarm="alm_2")
    item = await face.evidence()
    for link in (face.media_link(item), face.live_link(f"/live/{CAMERA}/index.m3u8")):
        parts = urlsplit(link)
        right = dict(parse_qsl(parts.query))
        altered = [
            right | {"expires": str(int(right["expires"]) + 1)},
            right | {"expires": "0" + right["expires"]},
            right | {"expires": ""},
            right | {"expires": "never"},
            right | {"alarm": "alm_2"},
            right | {"alarm": ""},
            right | {"signature": ""},
            right | {"signature": right["signature"][:-1]},
            right | {"signature": right["signature"] + "="},
            right | {"signature": right["signature"].swapcase()},
            right | {"signature": "\u4e2d"},
            right | {"more": "1"},
            *({k: v for k, v in right.items() if k != name} for name in right),
            *({k.upper() if k == name else k: v for k, v in right.items()} for name in right),
        ]
        base = f"{face.base}{parts.path}"
        queries = [urlencode(query) for query in altered]
        queries += [f"{parts.query}&{name}={right[name]}" for name in right]
        for query in queries:
            answer = await face.ask(f"{base}?{query}")
            assert (answer.status, answer.problem) == (403, "altered-link"), query
        for path in (f"/media/{other.key}", f"/live/{OTHER}/index.m3u8", parts.path + "x", "/media/nothing"):
            answer = await face.ask(f"{face.base}{path}?{parts.query}")
            assert answer.status in (403, 404), path  # a path that no route has is 404 whatever the query
            assert answer.status == 403 or path == parts.path + "x"
        face.clock.advance(days=30)
        assert (await face.ask(f"{base}?{queries[0]}")).status == 403, "altered comes before expired"
        face.clock.advance(days=-30)


@on_face
async def test_a_token_does_not_mend_a_broken_link(face: Face) -> None:
    """Whoever presents a link is judged by it."""
    media = await prepared(face)
    answer = await face.ask(f"{media}?expires=1&alarm=alm_1&signature=x", role="centre")
    assert (answer.status, answer.problem) == (403, "altered-link")


@on_face
async def test_live_links_end_ten_minutes_after_their_alarm(face: Face) -> None:
    """Revoked 10 min after closing and not before; so are the playlist's entries; a media link is not."""
    await prepared(face)
    alarm = await face.store.read(lambda tx: tx.alarms.get("alm_1"))
    assert alarm is not None
    links = [face.live_link(f"/live/{CAMERA}{tail}") for tail in ("", "/index.m3u8", "/init-0.mp4")]
    media = face.media_link(await face.evidence())
    await face.change_alarm(alarm, state=State.CLOSED, closed_at=face.clock.now())
    face.clock.advance(minutes=9, seconds=59)
    for link in links:
        assert (await face.ask(link)).status == 200
    face.clock.advance(seconds=1)
    for link in links:
        answer = await face.ask(link)
        assert (answer.status, answer.problem) == (410, "link-revoked")
    assert (await face.ask(media)).status == 200


@on_face
async def test_a_live_link_of_an_unknown_alarm_is_revoked(face: Face) -> None:
    """Rightly signed, but there is no such alarm (any more): 410."""
    await prepared(face)
    answer = await face.ask(face.live_link(f"/live/{CAMERA}/index.m3u8", alarm="alm_gone"))
    assert (answer.status, answer.problem) == (410, "link-revoked")


@on_face
async def test_signatures_and_tokens_reach_no_log(face: Face) -> None:
    """Whatever is asked rightly or wrongly, neither a token nor a signature stands in what is printed or logged."""
    await prepared(face)
    printed, logged = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    links = [face.media_link(await face.evidence()), face.live_link(f"/live/{CAMERA}/index.m3u8")]
    links += [face.live_link(f"/live/{CAMERA}", alarm="alm_gone")]
    expired = [
        face.parts.links.url(
            f"/live/{CAMERA}", expires_at=face.clock.now() - timedelta(days=1), alarm="alm_1"
        )
    ]
    face.parts.metrics = lambda: 1 // 0  # type: ignore[assignment,return-value]
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            for link in (*links, *expired, *(link + "x" for link in links)):
                await face.ask(link)
                await face.ask(link, role="guard")
            for role in EVERYONE:
                for path in ("/metrics", "/api/v1/site", "/api/v1/faults", "/api/v1/alarms/none"):
                    await face.ask(path, role=role)
            await face.ask("/api/v1/site", headers={"Authorization": "Bearer a-guessed-token"})
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    text = printed.getvalue() + logged.getvalue()
    assert "http.failed" in text, "what is looked through is what the face says"
    secrets = [dict(parse_qsl(urlsplit(link).query))["signature"] for link in (*links, *expired)]
    for secret in (*secrets, *TOKEN_OF.values(), "a-guessed-token"):
        assert secret not in text
