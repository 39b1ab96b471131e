"""Each fault of a plan at a real centre: what a school sees of it, and that it is over when the plan is."""

from __future__ import annotations

import asyncio
import hashlib
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from simulators.centre import Faults, SimulatedCentre
from simulators.centre.signatures import new_secret
from tests.support.fault_plan import played
from tests.support.school import School

LIVE, DRILL, TOKEN, MEDIA_TOKEN = new_secret(), new_secret(), "school-token", "media-token"

Look = Callable[[School, SimulatedCentre], Awaitable[None]]


def run(test: Look, **options: Any) -> None:
    async def inside() -> None:
        async with (
            School(secret=LIVE, drill_secret=DRILL) as school,
            SimulatedCentre(
                secret=LIVE, drill_secret=DRILL, token=TOKEN, media_token=MEDIA_TOKEN, **options
            ) as centre,
        ):
            await test(school, centre)

    asyncio.run(asyncio.wait_for(inside(), 40))


async def drop(school: School, centre: SimulatedCentre) -> None:
    assert await school.send(centre.url, school.raised(1)) == (0, "ServerDisconnectedError")
    assert centre.messages == []


async def delay(school: School, centre: SimulatedCentre) -> None:
    began_s = time.monotonic()
    assert (await school.send(centre.url, school.raised(1)))[0] == 204
    assert time.monotonic() - began_s >= 0.5


async def duplicate(school: School, centre: SimulatedCentre) -> None:
    await school.send(centre.url, school.raised(1))
    sent = await centre.reply("alm_1", "accepted")
    assert (sent.status, [heard.body["reply"] for heard in school.replies]) == (200, ["accepted"] * 3)


async def reorder(school: School, centre: SimulatedCentre) -> None:
    first = asyncio.create_task(school.send(centre.url, school.raised(1)))
    done, _ = await asyncio.wait([first], timeout=0.5)
    assert not done
    assert (await school.send(centre.url, school.raised(2)))[0] == 204
    assert (await asyncio.wait_for(first, 1.0))[0] == 204, "it waited on, though it was overtaken"
    assert list(centre.alarms) == ["alm_2", "alm_1"]
    began_s = time.monotonic()
    assert (await school.send(centre.url, school.raised(3)))[0] == 204
    assert time.monotonic() - began_s >= 2.0, "one behind which nothing comes waits its time"


async def refuse(school: School, centre: SimulatedCentre) -> None:
    assert await school.send(centre.url, school.raised(1)) == (0, "ClientConnectorError")


async def freeze(school: School, centre: SimulatedCentre) -> None:
    sending = asyncio.create_task(school.send(centre.url, school.raised(1)))
    await centre.wait_for(lambda: centre.ledger.attempts, 5)
    done, _ = await asyncio.wait([sending], timeout=0.7)
    assert not done
    assert centre.messages == []
    sending.cancel()


async def skew(school: School, centre: SimulatedCentre) -> None:
    status, said = await school.send(centre.url, school.raised(1))
    assert (status, "timestamp" in said) == (401, True)


async def wrong_password(school: School, centre: SimulatedCentre) -> None:
    assert (await school.send(centre.url, school.raised(1)))[0] == 401
    assert centre.messages == []


async def slow(school: School, centre: SimulatedCentre) -> None:
    sending = asyncio.create_task(school.send(centre.url, school.raised(1)))
    await centre.wait_for(lambda: centre.messages, 5)
    began_s = time.monotonic()
    assert (await sending)[0] == 200
    assert time.monotonic() - began_s >= 1.5


async def cut(school: School, centre: SimulatedCentre) -> None:
    assert await school.send(centre.url, school.raised(1)) == (0, "ClientPayloadError")
    assert len(centre.messages) == 1


LOOKS: list[tuple[str, float | None, Look]] = [
    ("drop", None, drop),
    ("delay", 0.5, delay),
    ("duplicate", 2, duplicate),
    ("reorder", 2, reorder),
    ("refuse", None, refuse),
    ("freeze", None, freeze),
    ("skew", 900, skew),
    ("skew", -900, skew),
    ("wrong-password", None, wrong_password),
    ("slow", 200, slow),
    ("cut", None, cut),
]


@pytest.mark.parametrize(("fault", "value", "look"), LOOKS, ids=[f"{f}-{v}" for f, v, _ in LOOKS])
def test_a_centre_with_a_planned_fault(fault: str, value: float | None, look: Look) -> None:
    """A school sees the fault from its beginning and a centre in good order from its end."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        async with played(centre.page_url, "centre", fault, value):
            await look(school, centre)
        assert centre.faults == Faults()
        assert (await school.send(centre.url, school.raised(9)))[0] == 204

    run(test)


def test_what_hung_is_let_go_when_the_plan_ends() -> None:
    """A message that was never answered ends with a reset and was not taken; the operator's own faults stay as they were."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        await centre.misbehave(Faults(conflict_on_duplicate=True))
        async with played(centre.page_url, "centre", "freeze"):
            sending = asyncio.create_task(school.send(centre.url, school.raised(1)))
            await centre.wait_for(lambda: centre.ledger.attempts, 5)
        assert await sending == (0, "ServerDisconnectedError")
        assert centre.messages == []
        assert centre.faults == Faults(conflict_on_duplicate=True)

    run(test)


def test_a_skew_that_the_specification_allows_changes_nothing() -> None:
    """Two minutes off is no reason to refuse an alarm."""

    async def test(school: School, centre: SimulatedCentre) -> None:
        for value in (-120, 120):
            async with played(centre.page_url, "centre", "skew", value):
                assert (await school.send(centre.url, school.raised(1)))[0] == 204

    run(test)


async def put(centre: SimulatedCentre, body: bytes) -> int | str:
    """PUT a still as a school does; the status, or what the connection ended with."""
    digest = b64encode(hashlib.sha256(body).digest()).decode()
    headers = {
        "Authorization": f"Bearer {MEDIA_TOKEN}",
        "Content-Digest": f"sha-256=:{digest}:",
        "Content-Type": "image/jpeg",
    }
    async with aiohttp.ClientSession() as http:
        try:
            async with http.put(f"{centre.media_url}/alm_1/ev_1.jpg", data=body, headers=headers) as answer:
                return answer.status
        except aiohttp.ClientError as error:
            return type(error).__name__


@pytest.mark.parametrize(
    ("fault", "value", "expected"),
    [
        ("drop", None, "reset"),
        ("refuse", None, 503),
        ("wrong-password", None, 401),
        ("slow", 100_000, "2xx"),
        ("cut", 50, "reset"),
    ],
)
def test_what_is_put_meets_a_planned_fault(fault: str, value: float | None, expected: int | str) -> None:
    """A PUT is reset, refused or slow while the fault lasts, and taken at once when it is over."""
    body = bytes(100_000)

    async def test(_: School, centre: SimulatedCentre) -> None:
        async with played(centre.page_url, "media", fault, value):
            began_s = time.monotonic()
            got = await put(centre, body)
            took_s = time.monotonic() - began_s
        match expected:
            case "reset":
                assert isinstance(got, str), got
            case "2xx":
                assert isinstance(got, int)
                assert (200 <= got <= 299, took_s >= 0.7) == (True, True), (got, took_s)
            case _:
                assert got == expected
        after = await put(centre, body)
        assert isinstance(after, int)
        assert 200 <= after <= 299

    run(test)
