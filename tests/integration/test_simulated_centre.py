"""The simulated centre over real HTTP: what it takes, refuses, fetches, replies and breaks.

One file, though long: the centre is one, and each test asks it something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest

from simulators.centre import Faults, SimulatedCentre, read_script
from simulators.centre.signatures import new_secret
from tests.support.school import School

LIVE, DRILL, TOKEN = new_secret(), new_secret(), "school-token"


@contextlib.asynccontextmanager
async def both(**options: Any) -> AsyncIterator[tuple[School, SimulatedCentre]]:
    async with (
        School(secret=LIVE, drill_secret=DRILL) as school,
        SimulatedCentre(secret=LIVE, drill_secret=DRILL, token=TOKEN, **options) as centre,
    ):
        yield school, centre


def run(test: Callable[[School, SimulatedCentre], Awaitable[None]], **options: Any) -> None:
    async def inside() -> None:
        async with both(**options) as (school, centre):
            await test(school, centre)

    asyncio.run(inside())


def picture() -> bytes:
    image = np.full((90, 160, 3), 200, np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1])


def test_takes_what_the_reference_library_signs(tmp_path: Path) -> None:
    """A signed alarm is answered 2xx and filed once, with its arrival, in memory and in the log."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        before_s, before_monotonic_s = time.time(), time.monotonic()
        assert await school.send(centre.url, school.raised(1)) == (204, "")
        message = await centre.wait_for(lambda: next(iter(centre.messages), None), 2)
        assert message is not None
        assert message.type == "alarm.raised"
        assert message.problems == []
        assert message.attempts[0].signed_with == "live"
        assert before_s <= message.attempts[0].arrived_s <= time.time()
        assert before_monotonic_s <= message.attempts[0].arrived_monotonic_s <= time.monotonic()
        assert centre.alarms["alm_1"].raised is message

    log = tmp_path / "log.jsonl"
    run(test, log=log)
    entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(entry["n"], entry["what"]) for entry in entries] == [(1, "received")]
    assert entries[0]["about"]["data"]["point"]["name"] == "301 教室讲台"


def test_refuses_what_is_altered_stale_or_of_the_other_plane() -> None:
    """401 for a wrong or stale signature and for a drill under the live secret; nothing of it is filed."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        alarm, drill = school.raised(1), school.raised(2, drill=True)
        stale = datetime.now(UTC) - timedelta(minutes=6)
        refused = [
            await school.send(centre.url, alarm, secret=new_secret()),
            await school.send(centre.url, alarm, signed_at=stale),
            await school.send(centre.url, alarm, webhook_id="msg_other"),
            await school.send(centre.url, alarm, secret=DRILL),
            await school.send(centre.url, drill, secret=LIVE),
        ]
        assert [status for status, _ in refused] == [401] * 5
        assert "drill secret" in refused[3][1]
        assert "live secret" in refused[4][1]
        assert (await school.send(centre.url, alarm | {"specversion": "2.0"}))[0] == 400
        assert (await school.send(centre.url, alarm, Content_Type="application/json"))[0] == 415
        assert centre.messages == []
        assert centre.alarms == {}
        assert len(centre.ledger.refusals) == 7
        assert (await school.send(centre.url, drill))[0] == 204
        assert centre.alarms["drl_2"].drill

    run(test)


def test_headers_and_bodies_of_no_sense_are_refused_and_harm_nothing(tmp_path: Path) -> None:
    """Bytes that are no text, half surrogates and names that are paths neither break the centre nor escape."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        host, port = "127.0.0.1", int(centre.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"POST /campus HTTP/1.1\r\nHost: x\r\nwebhook-id: \xff\xfe\r\nwebhook-timestamp: 1\r\n"
            b"webhook-signature: v1,\xff\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert (await reader.readline()).split()[1] in (b"400", b"401")
        writer.close()
        await writer.wait_closed()
        odd = school.raised(1)
        odd["data"]["point"]["name"] = "\ud800"
        odd["data"]["cameras"] = "none"
        assert (await school.send(centre.url, odd | {"subject": "../../alm"}))[0] == 204
        evil = school.evidence(1, 2, picture()) | {"subject": ".."}
        assert (await school.send(centre.url, evil))[0] == 204
        item = await centre.wait_for(lambda: centre.alarms[".."].evidence["ev_1_2"].fetched_s, 5)
        assert item
        async with aiohttp.ClientSession() as http, http.get(f"{centre.page_url}control/state") as answer:
            assert answer.status == 200
            await answer.json()

    media = tmp_path / "a" / "b" / "media"
    run(test, media_dir=media, watch_live=True, log=tmp_path / "log.jsonl")
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".jpg"]
    assert len(kept) == 1
    assert kept[0].is_relative_to(media)


def test_duplicates_are_counted_and_filed_once() -> None:
    """The same id again is an attempt, not a message; 409 if asked for; a body that changed is a problem."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        alarm = school.raised(1)
        assert (await school.send(centre.url, alarm))[0] == 204
        assert (await school.send(centre.url, alarm))[0] == 204
        await centre.misbehave(Faults(conflict_on_duplicate=True))
        assert (await school.send(centre.backup_url, alarm))[0] == 409
        assert (await school.send(centre.url, school.raised(2)))[0] == 204
        assert [message.id for message in centre.messages] == ["msg_alm_1_1", "msg_alm_2_1"]
        attempts = centre.messages[0].attempts
        assert [attempt.duplicate for attempt in attempts] == [False, True, True]
        assert [attempt.path for attempt in attempts] == ["/campus", "/campus", "/campus-backup"]
        assert centre.messages[0].problems == []
        await school.send(centre.url, alarm | {"time": "2026-03-02T10:15:07Z"})
        assert centre.messages[0].problems == ["body changed at attempt 4"]

    run(test)


def test_one_alarms_messages_are_filed_and_gaps_are_seen() -> None:
    """Repeats, manifests, faults, plan and heartbeats find their place; a number left out is named."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        for envelope in (
            school.raised(1),
            school.envelope(
                "alarm.repeated",
                "alm_1",
                2,
                {"alarm": {"id": "alm_1", "presses": 2}, "point": {}, "pressed_at": "", "raised_at": ""},
            ),
            school.manifest(1, 5),
            school.envelope("fault.raised", "flt_1", None, {"fault": {"id": "flt_1", "kind": "camera"}}),
            school.envelope("site.plan", None, None, {"zones": [], "points": [], "cameras": []}),
            school.envelope("link.heartbeat", None, None, {"next_within_s": 15}),
        ):
            assert (await school.send(centre.url, envelope))[0] == 204
        alarm = centre.alarms["alm_1"]
        assert (alarm.presses, len(alarm.repeated), len(alarm.manifests)) == (2, 1, 1)
        assert alarm.missing_sequences == [3, 4]
        assert list(centre.ledger.open_faults) == ["flt_1"]
        assert centre.ledger.plan == {"zones": [], "points": [], "cameras": []}
        assert len(centre.ledger.heartbeats) == 1
        cleared = school.envelope("fault.cleared", "flt_1", None, {"fault": {"id": "flt_1"}}) | {
            "id": "msg_c"
        }
        await school.send(centre.url, cleared)
        assert centre.ledger.open_faults == {}

    run(test)


def test_evidence_is_fetched_and_its_hash_recomputed(tmp_path: Path) -> None:
    """A right still is kept; a wrong hash, a broken picture and an expired link are each said of their item."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        school.fail_media = 2
        await school.send(centre.url, school.evidence(1, 2, picture()))
        items = centre.alarms["alm_1"].evidence
        await centre.wait_for(lambda: items["ev_1_2"].fetched_s, 10)
        await school.send(centre.url, school.evidence(1, 3, picture(), sha256="0" * 64))
        await school.send(centre.url, school.evidence(1, 4, b"no picture"))
        await school.send(centre.url, school.evidence(1, 5, b"no clip", kind="clip"))
        expired = school.evidence(1, 6, picture())
        del school.media["ev_1_6"]
        await school.send(centre.url, expired)
        await centre.wait_for(lambda: all(item.fetched_s or item.problem for item in items.values()), 10)
        right = items["ev_1_2"]
        assert (right.problem, right.sha256_right, right.bytes_right, right.decodes) == (
            None,
            True,
            True,
            True,
        )
        assert (right.tries, right.what, right.clock_ms) == (3, "160×90", None)
        assert right.file is not None
        assert await asyncio.to_thread(Path(right.file).read_bytes) == picture()
        assert "sha256" in (items["ev_1_3"].problem or "")
        assert "does not decode" in (items["ev_1_4"].problem or "")
        assert "does not decode" in (items["ev_1_5"].problem or "")
        assert "410" in (items["ev_1_6"].problem or "")
        assert school.fetches["ev_1_6"] == 1
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{centre.page_url}control/media/ev_1_2") as answer,
        ):
            assert answer.content_type == "image/jpeg"
            assert await answer.read() == picture()

    run(test, media_dir=tmp_path)


def test_live_link_is_opened() -> None:
    """With watch_live the playlist and its newest segment are fetched and the time of the first bytes kept."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        playlist = '#EXTM3U\n#EXT-X-MAP:URI="init.mp4?k=1"\n#EXTINF:1,\nold.m4s\n#EXTINF:1,\nnew.m4s?k=2\n'
        school.media["live/1/index.m3u8"] = ("application/vnd.apple.mpegurl", playlist.encode())
        school.media["live/1/init.mp4"] = ("video/mp4", b"i" * 10)
        school.media["live/1/new.m4s"] = ("video/mp4", b"s" * 90)
        await school.send(centre.url, school.raised(1))
        live = centre.alarms["alm_1"].live
        await centre.wait_for(lambda: live and live[0].first_bytes_s, 5)
        assert live[0].bytes == 100
        assert live[0].problem is None
        assert "live/1/old.m4s" not in school.fetches

    run(test, watch_live=True)


def test_script_replies_in_order_counted_from_receipt() -> None:
    """Accepted comes its delay after the alarm, closed only after the manifest, each with operator and token."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        alarm = centre.alarms["alm_1"]
        await centre.wait_for(lambda: alarm.state == "accepted", 5)
        assert alarm.raised is not None
        assert alarm.replies[0].sent_s - alarm.raised.attempts[0].arrived_s == pytest.approx(0.2, abs=0.15)
        assert [reply.word for reply in alarm.replies] == ["accepted"]
        await school.send(centre.url, school.manifest(1, 2))
        await centre.wait_for(lambda: alarm.state == "closed", 5)
        first, last = school.replies
        assert first.path == "/api/v1/alarms/alm_1/replies"
        assert first.authorization == f"Bearer {TOKEN}"
        assert first.body == {
            "reply": "accepted",
            "operator": {"name": "值班员", "unit": "110 指挥中心（模拟）"},
        }
        assert last.body["reason"]

    run(test, script=read_script("accepted+0.2,closed@manifest+0.1"))


def test_control_api_plays_the_operator() -> None:
    """Replies, requests and faults by the control API; a long poll returns as soon as something happens."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        control = f"{centre.page_url}control"
        async with aiohttp.ClientSession() as http:

            async def post(path: str, body: dict[str, Any]) -> tuple[int, Any]:
                async with http.post(f"{control}/{path}", json=body) as answer:
                    text = await answer.text()
                    return answer.status, json.loads(text) if text.startswith("{") else text

            async def poll(after: int, wait_s: float) -> Any:
                async with http.get(f"{control}/events?after={after}&wait_s={wait_s}") as answer:
                    return await answer.json()

            assert await poll(0, 0) == {"events": [], "next": 0}
            waiting = asyncio.create_task(poll(0, 30))
            await school.send(centre.url, school.raised(1))
            seen = await asyncio.wait_for(waiting, 5)
            assert [event["what"] for event in seen["events"]] == ["received"]
            operator = {"name": "王警官", "unit": "指挥中心"}
            status, sent = await post("reply", {"alarm": "alm_1", "reply": "accepted", "operator": operator})
            assert (status, sent["status"]) == (200, 200)
            assert school.replies[-1].body == {"reply": "accepted", "operator": operator}
            request = {"request": "still", "camera": "cam-1", "operator": operator, "reason": "复核"}
            assert (await post("request", {"alarm": "alm_1", **request}))[0] == 200
            assert school.replies[-1].path == "/api/v1/alarms/alm_1/requests"
            assert school.replies[-1].body == request
            assert (await post("reply", {"alarm": "alm_9", "reply": "accepted"}))[0] == 404
            assert (await post("reply", {"alarm": "alm_1", "reply": "maybe"}))[0] == 400
            school.reply_status = 409
            assert (await post("reply", {"alarm": "alm_1", "reply": "arrived"}))[0] == 502
            assert centre.alarms["alm_1"].state == "closed"
            assert (await post("faults", {"answer": "status", "status": 410, "count": 1}))[0] == 200
            assert (await school.send(centre.url, school.raised(2)))[0] == 410
            assert (await school.send(centre.url, school.raised(2)))[0] == 204
            assert (await post("faults", {"status": "many"}))[0] == 400
            assert (await post("faults", {"colour": 1}))[0] == 400
            # A page elsewhere can send a form to loopback; it must not be able to reply to an alarm by it.
            async with http.post(f"{control}/reply", data='{"alarm": "alm_1", "reply": "closed"}') as answer:
                assert answer.status == 415

    run(test)


def test_token_is_not_given_to_a_stranger() -> None:
    """A reply_url outside of the named school's address gets no request at all."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        with pytest.raises(ValueError, match="may not have the school's token"):
            await centre.reply("alm_1", "accepted")
        await centre.wait_for(
            lambda: any(entry.what == "reply-not-sent" for entry in centre.ledger.journal), 5
        )
        assert school.replies == []

    run(test, schools=["https://school.example"], script=read_script("accepted+0"))


@pytest.mark.parametrize(
    ("answer", "status", "body_starts", "taken"),
    [
        ("status", 503, "fault", False),
        ("truncated", 200, '{"replies": 5', True),
        ("nonsense", 200, '{"replies": 5, "requests"', True),
        ("html", 200, "<!doctype html>", True),
        ("cut", 0, "ClientPayloadError", True),
        ("drop", 0, "", False),
    ],
)
def test_bad_answers(answer: Any, status: int, body_starts: str, taken: bool) -> None:
    """Each bad answer looks so on the wire, for as many messages as asked, and then the centre is well again."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await centre.misbehave(Faults(answer=answer, count=2, types=("alarm.",)))
        heartbeat = school.envelope("link.heartbeat", None, None, {"next_within_s": 15})
        assert (await school.send(centre.url, heartbeat))[0] == 204
        for _ in range(2):
            got, body = await school.send(centre.url, school.raised(1))
            assert got == status
            assert body.startswith(body_starts)
            assert bool(centre.messages) is taken
        assert (await school.send(centre.url, school.raised(1)))[0] == 204
        assert len(centre.messages) == 1
        assert len(centre.messages[0].attempts) == 3

    run(test)


def test_retry_after_and_delay() -> None:
    """Retry-After is sent as given, and a delay holds the answer back for that long."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await centre.misbehave(Faults(answer="status", status=429, retry_after_s=7, delay_s=0.3, count=1))
        started_s = time.monotonic()
        async with aiohttp.ClientSession() as http, http.post(centre.url, data=b"{}") as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "7"
        assert time.monotonic() - started_s >= 0.3
        assert (await school.send(centre.url, school.raised(1)))[0] == 204

    run(test)


def test_refusing_closes_the_listener_and_keeps_the_page() -> None:
    """While it refuses, connecting fails and open connections are gone; afterwards the address is the same."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        url = centre.url
        assert (await school.send(url, school.raised(1)))[0] == 204
        await centre.misbehave(Faults(refuse=True))
        assert await school.send(url, school.raised(2)) == (
            0,
            "ServerDisconnectedError",
        )  # the kept connection
        assert await school.send(url, school.raised(2)) == (0, "ClientConnectorError")
        async with aiohttp.ClientSession() as http, http.get(centre.page_url) as answer:
            assert "110 指挥中心" in await answer.text()
        await centre.misbehave(Faults())
        assert centre.url == url
        assert (await school.send(url, school.raised(2)))[0] == 204

    run(test)


def test_a_busy_port_moves_on() -> None:
    """Two centres asked for the same ports both start, the second on others."""

    async def inside() -> None:
        async with SimulatedCentre(secret=LIVE, drill_secret=DRILL, token=TOKEN) as first:
            port = int(first.url.split(":")[2].split("/")[0])
            async with SimulatedCentre(
                secret=LIVE, drill_secret=DRILL, token=TOKEN, port=port, control_port=port
            ) as second:
                assert len({first.url, second.url, second.page_url}) == 3

    asyncio.run(inside())


def test_equal_secrets_are_refused() -> None:
    """A centre whose drill secret is its live secret could not tell a drill from an alarm."""

    async def inside() -> None:
        SimulatedCentre(secret=LIVE, drill_secret=LIVE, token=TOKEN)

    with pytest.raises(ValueError, match="equal"):
        asyncio.run(inside())


def test_thousand_messages() -> None:
    """A thousand alarms on fifty connections are all taken, with the page's state still answered after it."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        gate = asyncio.Semaphore(50)

        async def one(n: int) -> int:
            async with gate:
                return (await school.send(centre.url, school.raised(n)))[0]

        assert set(await asyncio.gather(*(one(n) for n in range(1000)))) == {204}
        assert len(centre.messages) == 1000
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{centre.page_url}control/state?newest=3") as answer,
        ):
            state = await answer.json()
        assert (state["alarms_total"], len(state["alarms"])) == (1000, 3)

    run(test)
