"""The simulated centre that cannot call: its operator's words go into answers, signed, until a heartbeat tells the outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from simulators.centre import Faults, SimulatedCentre, answers, read_script
from simulators.centre.signatures import new_secret
from tests.support.school import School

LIVE, DRILL, ANSWER = new_secret(), new_secret(), new_secret()


def run(test: Callable[[School, SimulatedCentre], Awaitable[None]], **options: Any) -> None:
    async def inside() -> None:
        async with (
            School(secret=LIVE, drill_secret=DRILL) as school,
            SimulatedCentre(
                secret=LIVE, drill_secret=DRILL, token="t", answer_secret=ANSWER, **options
            ) as centre,
        ):
            await test(school, centre)
            assert school.replies == []
            assert school.fetches == {}

    asyncio.run(asyncio.wait_for(inside(), 20))


def beat(school: School, n: int, *outcomes: dict[str, Any]) -> dict[str, Any]:
    data = {"next_within_s": 2, "open_alarms": 1, "faults": 0, "undelivered": 0, "answered": list(outcomes)}
    return school.envelope("link.heartbeat", None, None, data) | {"id": f"msg_beat_{n}"}


async def asked(school: School, url: str, envelope: dict[str, Any]) -> dict[str, Any]:
    """Send a message and give what its answer says, once the published library has believed it."""
    body = json.dumps(envelope)
    at = datetime.now(UTC)
    key = DRILL if envelope["type"].startswith("drill.") else LIVE
    headers = {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": envelope["id"],
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(key).sign(envelope["id"], at, body),
    }
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
        text = await answer.text()
        if answer.status == 204:
            assert text == ""
            return {"replies": [], "requests": []}
        assert answer.status == 200
        assert answer.headers["webhook-id"] == envelope["id"]
        found: dict[str, Any] = Webhook(ANSWER).verify(text, dict(answer.headers))
        return found


def test_a_reply_goes_into_every_answer_until_its_outcome_is_told() -> None:
    """The script's word waits for the next message or heartbeat, is given again, and ends with what the school says of it."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        assert await asked(school, centre.url, school.raised(1)) == {"replies": [], "requests": []}
        alarm = centre.alarms["alm_1"]
        given = [
            await asked(school, centre.url, beat(school, n))
            for n in range(3)
            if not await asyncio.sleep(0.05)
        ]
        (item,) = given[-1]["replies"]
        assert given[0]["replies"] in ([], [item])
        assert (item["alarm"], item["reply"]) == ("alm_1", "accepted")
        assert item["operator"]["name"]
        assert alarm.state == "raised"
        outcome = {"id": item["id"], "ok": True, "reason": None, "state": "accepted", "request": None}
        after = await asked(school, centre.backup_url, beat(school, 9, outcome))
        assert item not in after["replies"]
        await centre.wait_for(lambda: alarm.state == "accepted", 5)
        assert [(r.word, r.status, r.item) for r in alarm.replies] == [("accepted", 200, item["id"])]

    run(test, script=read_script("accepted+0"))


def test_a_request_is_given_with_its_own_id_and_a_refusal_is_known() -> None:
    """Both come back by heartbeat: the request with the school's id for it, the refusal with the reason."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        body = {
            "request": "still",
            "camera": "cam-1",
            "operator": {"name": "王", "unit": "110"},
            "reason": "x",
        }
        wanted = asyncio.create_task(centre.request("alm_1", body))
        closed = asyncio.create_task(centre.reply("alm_1", "closed"))
        await asyncio.sleep(0)
        said = await asked(school, centre.url, school.manifest(1, 2))
        (request,), (reply,) = said["requests"], said["replies"]
        assert request == {"id": request["id"], "alarm": "alm_1", **body}
        outcomes = [
            {"id": request["id"], "ok": True, "reason": None, "state": "raised", "request": "req_1"},
            {
                "id": reply["id"],
                "ok": False,
                "reason": "an alarm that is raised",
                "state": "raised",
                "request": None,
            },
        ]
        await asked(school, centre.url, beat(school, 1, *outcomes))
        assert ((await wanted).status, (await wanted).answer["request"]) == (202, "req_1")
        assert ((await closed).status, (await closed).answer["reason"]) == (409, "an alarm that is raised")
        assert centre.alarms["alm_1"].state == "raised"

    run(test)


def test_an_answer_about_one_plane_says_nothing_of_the_other() -> None:
    """A drill's word waits for the drill's next message or a heartbeat."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        await school.send(centre.url, school.raised(2, drill=True))
        waiting = [asyncio.create_task(centre.reply(a, "accepted")) for a in ("alm_1", "drl_2")]
        await asyncio.sleep(0)
        drill = school.raised(2, drill=True) | {"id": "msg_more", "sequence": "2", "type": "drill.note"}
        about = [
            [i["alarm"] for i in (await asked(school, centre.url, message))["replies"]]
            for message in (school.manifest(1, 2), drill, beat(school, 1))
        ]
        assert about == [["alm_1"], ["drl_2"], ["alm_1", "drl_2"]]
        for task in waiting:
            task.cancel()

    run(test)


def test_what_was_not_taken_is_answered_without_a_word() -> None:
    """A refused message, or one answered by a fault, brings nothing of the operator's."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        waiting = asyncio.create_task(centre.reply("alm_1", "accepted"))
        await asyncio.sleep(0)
        assert "replies" not in (await school.send(centre.url, beat(school, 1), secret=new_secret()))[1]
        await centre.misbehave(Faults(answer="status", status=503, count=1))
        assert "replies" not in (await school.send(centre.url, beat(school, 2)))[1]
        assert "replies" in (await school.send(centre.url, beat(school, 3)))[1]
        waiting.cancel()

    run(test)


def test_a_school_that_never_tells_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many answers the operator is told that nothing is known."""
    monkeypatch.setattr(answers, "GIVEN_AT_MOST", 3)

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        waiting = asyncio.create_task(centre.reply("alm_1", "accepted"))
        await asyncio.sleep(0)
        said = [len((await asked(school, centre.url, beat(school, n)))["replies"]) for n in range(5)]
        assert said == [1, 1, 1, 0, 0]
        assert "no outcome" in ((await waiting).problem or "")

    run(test)


def test_the_control_api_tells_what_waits() -> None:
    """A script sees what has not been fetched; a centre that calls says null."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await school.send(centre.url, school.raised(1))
        waiting = asyncio.create_task(centre.reply("alm_1", "accepted"))
        await asyncio.sleep(0)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{centre.page_url}control/state") as answer,
        ):
            (item,) = (await answer.json())["waiting"]
        assert (item["alarm"], item["reply"], item["given"]) == ("alm_1", "accepted", 0)
        waiting.cancel()

    run(test)


def test_an_answer_secret_that_signs_messages_is_refused() -> None:
    """Whoever checks the messages could forge answers."""
    for taken in (LIVE, DRILL):
        with pytest.raises(ValueError, match="answer secret"):
            SimulatedCentre(secret=LIVE, drill_secret=DRILL, token="t", answer_secret=taken)


def test_a_centre_that_repeats_itself_gives_an_item_again_after_its_outcome() -> None:
    """The same item, id included, stands in so many answers more than it had to, and the operator is told its outcome once."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await centre.misbehave(Faults(repeat_replies=2))
        await school.send(centre.url, school.raised(1))
        saying = asyncio.create_task(centre.reply("alm_1", "accepted"))
        await asyncio.sleep(0)
        (item,) = (await asked(school, centre.url, beat(school, 1)))["replies"]
        outcome = {"id": item["id"], "ok": True, "reason": None, "state": "accepted", "request": None}
        after = [
            (await asked(school, centre.url, beat(school, n, *([outcome] if n == 2 else []))))["replies"]
            for n in range(2, 6)
        ]
        assert after == [[item], [item], [], []]
        assert (await saying).status == 200
        assert len(centre.alarms["alm_1"].replies) == 1

    run(test)


def test_a_centre_whose_clock_is_wrong_signs_its_answers_with_that_time() -> None:
    """Four minutes ahead its answers still count for the published library; their timestamp is the wrong clock's."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await centre.misbehave(Faults(clock_skew_s=240.0))
        await school.send(centre.url, school.raised(1))
        saying = asyncio.create_task(centre.reply("alm_1", "accepted"))
        await asyncio.sleep(0)
        envelope = beat(school, 1)
        body, at = json.dumps(envelope), datetime.now(UTC)
        headers = {
            "Content-Type": "application/cloudevents+json",
            "webhook-id": envelope["id"],
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(LIVE).sign(envelope["id"], at, body),
        }
        async with (
            aiohttp.ClientSession() as http,
            http.post(centre.url, data=body, headers=headers) as answer,
        ):
            Webhook(ANSWER).verify(await answer.text(), dict(answer.headers))
            ahead_s = int(answer.headers["webhook-timestamp"]) - at.timestamp()
        assert ahead_s == pytest.approx(240, abs=3)
        saying.cancel()

    run(test)
