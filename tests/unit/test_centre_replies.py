"""The centre's script of replies, and to whom it gives the school's token."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulators.centre.replies import ScriptRun, Step, may_have_token, read_script, requests_url


def test_script() -> None:
    """Delays count from the trigger, and without one from the item before."""
    assert read_script("accepted, dispatched+3,arrived,closed@manifest,closed@escalated+0.5", delay_s=2) == (
        Step(word="accepted", trigger="raised", delay_s=2),
        Step(word="dispatched", trigger="raised", delay_s=3),
        Step(word="arrived", trigger="raised", delay_s=5),
        Step(word="closed", trigger="manifest", delay_s=2),
        Step(word="closed", trigger="escalated", delay_s=0.5),
    )
    assert read_script("") == ()


def test_script_waits_for_its_triggers() -> None:
    """A word is due its delay after its trigger was received, however late it is asked for, and never before."""

    async def inside() -> None:
        run = ScriptRun(read_script("accepted+30,closed@manifest+0"))
        words = run.words()
        run.came("raised", time.monotonic() - 30)
        assert await asyncio.wait_for(anext(words), 1) == "accepted"
        closing = asyncio.ensure_future(anext(words))
        done, _ = await asyncio.wait([closing], timeout=0.1)
        assert not done
        run.came("manifest", time.monotonic())
        run.came("manifest", time.monotonic() + 60)
        assert await asyncio.wait_for(closing, 1) == "closed"
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(words), 1)

    asyncio.run(inside())


@pytest.mark.parametrize("text", ["accept", "accepted@noon", "accepted+soon", "accepted+-1", "accepted+1s"])
def test_script_refused(text: str) -> None:
    """An item that cannot be read is refused by its text."""
    with pytest.raises(ValueError, match="WORD"):
        read_script(text)


@pytest.mark.parametrize(
    ("url", "schools", "allowed"),
    [
        ("http://127.0.0.1:8080/api/v1/alarms/a/replies", [], True),
        ("http://[::1]:8080/x", [], True),
        ("http://127.0.0.1.evil.example/x", [], False),
        ("https://school.example/x", [], False),
        ("https://school.example:8443/api/x", ["https://school.example:8443"], True),
        ("https://SCHOOL.example:8443/api/x", ["https://school.example:8443/"], True),
        ("https://school.example:8443.evil.example/x", ["https://school.example:8443"], False),
        ("https://user@school.example:8443/x", ["https://school.example:8443"], False),
        ("http://school.example:8443/x", ["https://school.example:8443"], False),
        ("https://proxy.example/north/x", ["https://proxy.example/north"], True),
        ("https://proxy.example/northern/x", ["https://proxy.example/north"], False),
        ("https://proxy.example/north/../south/x", ["https://proxy.example/north"], False),
        ("http://127.0.0.1:8080/x", ["https://school.example"], False),
        ("file:///etc/passwd", [], False),
    ],
)
def test_token_goes_to_the_school_only(url: str, schools: list[str], allowed: bool) -> None:
    """A forged reply_url does not get the token: it goes below the named addresses only, or to loopback."""
    assert may_have_token(url, schools) is allowed


def test_requests_lie_beside_replies() -> None:
    """The address for requests is derived from reply_url, its query kept."""
    assert requests_url("https://s.example/api/v1/alarms/alm_1/replies?k=1") == (
        "https://s.example/api/v1/alarms/alm_1/requests?k=1"
    )
    with pytest.raises(ValueError, match="/replies"):
        requests_url("https://s.example/other")
