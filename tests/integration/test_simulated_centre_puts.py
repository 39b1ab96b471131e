"""What is PUT at the simulated centre: taken only with token and right digest, kept when cut, judged when it is announced."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest

from simulators.centre import SimulatedCentre
from simulators.centre.put_faults import PutFaults, PutPlan, put_faults_from
from simulators.centre.signatures import new_secret
from tests.support.school import School

LIVE, DRILL, TOKEN = new_secret(), new_secret(), "media-token"
STILL = bytes(cv2.imencode(".jpg", np.full((90, 160, 3), 200, np.uint8))[1])
BODY = bytes(range(256)) * 1000

Test = Callable[[School, SimulatedCentre, aiohttp.ClientSession], Awaitable[None]]


def run(test: Test, **options: Any) -> None:
    async def inside() -> None:
        async with (
            School(secret=LIVE, drill_secret=DRILL) as school,
            SimulatedCentre(
                secret=LIVE, drill_secret=DRILL, token="t", media_token=TOKEN, **options
            ) as centre,
            aiohttp.ClientSession() as http,
        ):
            await test(school, centre, http)

    asyncio.run(inside())


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def headers(data: bytes, **changes: str | None) -> dict[str, str]:
    plain: dict[str, str | None] = {"Authorization": f"Bearer {TOKEN}", "Content-Digest": digest(data)}
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in {**plain, **changed}.items() if value is not None}


def test_a_put_without_its_token_or_digest_is_not_kept() -> None:
    """401 without a token, 403 with another, 400 for a digest that is missing or wrong, 415 and 400 for odd places."""

    async def test(_: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        place = f"{centre.media_url}/alm_1/evd_1.jpg"
        cases: list[tuple[str, dict[str, str], int]] = [
            (place, headers(STILL, Authorization=None), 401),
            (place, headers(STILL, Authorization="Bearer another"), 403),
            (place, headers(STILL, Content_Digest=None), 400),
            (place, headers(STILL, Content_Digest=digest(b"another")), 400),
            (place, headers(STILL, Content_Digest="sha-256=:####:"), 400),
            (f"{centre.media_url}/alm_1/evd_1.exe", headers(STILL), 415),
            (f"{centre.media_url}/alm_1/.hidden.jpg", headers(STILL), 400),
        ]
        for url, said, status in cases:
            async with http.put(url, data=STILL, headers=said) as answer:
                assert answer.status == status, (url, said)
        assert centre.pushed.whole("evd_1") is None
        assert len(centre.pushed.refusals) == len(cases)
        async with http.put(place, data=STILL, headers=headers(STILL)) as answer:
            assert answer.status == 201
        assert centre.pushed.whole("evd_1") is not None

    run(test)


def test_what_was_cut_is_told_and_gone_on_with() -> None:
    """HEAD tells the kept length, PATCH from elsewhere is refused, the rest completes it, and the whole's digest is checked."""

    async def test(_: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        place = f"{centre.media_url}/alm_1/evd_1.mp4"
        with pytest.raises(aiohttp.ClientError):
            await http.put(place, data=aiohttp.BytesPayload(BODY), headers=headers(BODY, Connection="close"))
        kept = len(BODY) * 9 // 10
        auth = {"Authorization": f"Bearer {TOKEN}"}
        async with http.head(place, headers=auth) as answer:
            assert (answer.status, answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]) == (
                204,
                str(kept),
                "?0",
            )
        rest = BODY[kept:]
        async with http.patch(place, data=rest, headers=headers(rest, Upload_Offset="7")) as answer:
            assert (answer.status, answer.headers["Upload-Offset"]) == (409, str(kept))
        altered = bytes(len(rest))
        async with http.patch(place, data=altered, headers=headers(rest, Upload_Offset=str(kept))) as answer:
            assert answer.status == 400, "the rest is not that of its digest, and is not kept"
        async with http.patch(place, data=rest, headers=headers(rest, Upload_Offset=str(kept))) as answer:
            assert answer.status == 201
        async with http.head(place, headers=auth) as answer:
            assert (answer.status, answer.headers["Repr-Digest"]) == (200, digest(BODY))
            assert answer.headers["Content-Length"] == str(len(BODY))
        async with http.put(place, data=STILL, headers=headers(STILL)) as answer:
            assert answer.status == 409, "other bytes at a place that is taken"
        item = centre.pushed.whole("evd_1")
        assert item is not None
        assert item.file.read_bytes() == BODY

    run(test, put_faults=PutFaults(answer="cut", percent=90, count=2))  # the client itself tries a PUT twice


def test_an_item_is_judged_when_it_is_announced() -> None:
    """PUT before told: judged by the message's hash and shown. Told before it was PUT, or with another hash: said so."""

    async def test(school: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        await school.send(centre.url, school.raised(1))
        told = [school.evidence(1, n, STILL) for n in (2, 3, 4)]
        for n, message in enumerate(told):
            evidence = message["data"]["evidence"]
            evidence["url"] = f"{centre.media_url}/alm_1/{evidence['id']}.jpg"
            if n == 2:
                evidence["sha256"] = "0" * 64
            if n != 1:
                async with http.put(evidence["url"], data=STILL, headers=headers(STILL)) as answer:
                    assert answer.status == 201
            await school.send(centre.url, message)
        items = centre.alarms["alm_1"].evidence
        await centre.wait_for(lambda: all(e.fetched_s or e.problem for e in items.values()), 10)
        good, early, wrong = items.values()
        assert (good.problem, good.sha256_right, good.decodes) == (None, True, True)
        assert good.pushed_s is not None
        assert good.pushed_s <= time.time()
        assert early.problem == "announced before it was PUT"
        assert wrong.sha256_right is False
        assert school.fetches == {}

    run(test)


def test_a_manifest_that_claims_what_was_not_put_is_found_out() -> None:
    """Of two claims one is false; the message is taken, and what is wrong with it is kept beside it."""

    async def test(school: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        await school.send(centre.url, school.raised(1))
        place = f"{centre.media_url}/alm_1/evd_1.jpg"
        async with http.put(place, data=STILL, headers=headers(STILL)) as answer:
            assert answer.status == 201
        item = {"camera": "cam-1", "kind": "still", "moment": "press", "from": "x", "to": "x", "reason": None}
        items = [{**item, "evidence": f"evd_{n}", "uploaded_at": "2026-03-02T10:15:09+08:00"} for n in (1, 2)]
        await school.send(centre.url, school.manifest(1, 2, items))
        (manifest,) = centre.alarms["alm_1"].manifests
        assert len(manifest.problems) == 1
        assert "evd_2 is claimed" in manifest.problems[0]

    run(test)


def test_a_live_picture_is_served_to_the_page_and_a_false_playlist_is_seen() -> None:
    """What was PUT comes back byte for byte below the control address; a playlist ahead of its segment is noted."""

    async def test(_: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        base = f"{centre.media_url}/alm_1/live/cam-1"
        text = b'#EXTM3U\n#EXT-X-MAP:URI="init-1.mp4"\n#EXTINF:1.0,\n1-7.m4s\n'
        for name, data in (("init-1.mp4", b"init"), ("1-7.m4s", b"segment"), ("index.m3u8", text)):
            async with http.put(f"{base}/{name}", data=data, headers=headers(data)) as answer:
                assert answer.status == 201
            async with http.get(f"{centre.page_url}control/live/alm_1/cam-1/{name}") as answer:
                assert (answer.status, await answer.read()) == (200, data)
        live = centre.pushed.live["alm_1", "cam-1"]
        assert (live.segments, live.problem, live.ended_s) == (1, None, None)
        ahead = text + b"#EXTINF:1.0,\n1-8.m4s\n#EXT-X-ENDLIST\n"
        async with http.put(f"{base}/index.m3u8", data=ahead, headers=headers(ahead)) as answer:
            assert answer.status == 201
        assert live.problem == "the playlist names 1-8.m4s, which has not come"
        assert live.ended_s is not None
        async with http.put(f"{base}/1-9.m4s", data=b"x", headers=headers(b"y")) as answer:
            assert answer.status == 400

    run(test)


def test_faults_of_puts_are_changed_while_it_runs() -> None:
    """By the control API, strictly; the same seed treats the same PUTs badly."""

    async def test(_: School, centre: SimulatedCentre, http: aiohttp.ClientSession) -> None:
        faults = f"{centre.page_url}control/put-faults"
        async with http.post(faults, json={"answer": "status", "status": 507, "kinds": ["clip"]}) as answer:
            assert (await answer.json())["status"] == 507
        for name, status in (("evd_1.mp4", 507), ("evd_2.jpg", 201)):
            place = f"{centre.media_url}/alm_1/{name}"
            async with http.put(place, data=STILL, headers=headers(STILL)) as answer:
                assert answer.status == status
        for wrong in ({"answer": "explode"}, {"colour": 1}, {"percent": "90"}, {"count": True}):
            async with http.post(faults, json=wrong) as answer:
                assert answer.status == 400, wrong

    run(test)
    plan = put_faults_from(PutFaults(), {"answer": "drop", "chance_percent": 50, "seed": 7})
    one, two = PutPlan(plan), PutPlan(plan)
    drawn = [one.for_one("clip").answer for _ in range(50)]
    assert drawn == [two.for_one("clip").answer for _ in range(50)]
    assert set(drawn) == {"normal", "drop"}
