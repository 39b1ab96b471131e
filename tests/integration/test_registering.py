"""The register under an overload, and while the database takes nothing: no line is lost in silence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.box.clock import SystemClock
from gateway.domain.register import Act, RegisterLine, Who
from gateway.ports.recordings import Signer
from gateway.watch import access_register
from gateway.watch.access_register import Registering
from tests.support.stores import WatchedStore, opened

WITHIN_S = 20.0
SOMEBODY = Who(name="李老师", unit="第三中学", right="guard")


class Told:
    """What the stage tells."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text = text


@asynccontextmanager
async def running(folder: Path, told: Told) -> AsyncIterator[tuple[Registering, WatchedStore]]:
    async with opened(folder) as store:
        stage = Registering(
            store=store,
            clock=SystemClock(),
            site="journey",
            signer=Signer(sign=lambda _data: b"", public=b"key"),
            tell=told,
        )
        run = asyncio.ensure_future(stage.run())
        try:
            yield stage, store
        finally:
            run.cancel()
            with suppress(asyncio.CancelledError):
                await run


def line(number: int) -> RegisterLine:
    return RegisterLine(at=SystemClock().now(), act=Act.VIEWED, who=SOMEBODY, content=f"ev_{number}")


async def contents(store: WatchedStore) -> list[str]:
    lines = await store.read(lambda tx: tx.register.lines(limit=1000))
    return [one.content for one in lines]


async def until(store: WatchedStore, count: int) -> list[str]:
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        found = await contents(store)
        if len(found) >= count or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("lines", [1, 6, 450])
def test_what_waits_is_written_in_its_order_and_well_again(tmp_path: Path, lines: int) -> None:
    """Also more than one commit takes."""
    told = Told()

    async def story() -> None:
        async with running(tmp_path, told) as (stage, store):
            store.refuse = 1_000_000
            for number in range(lines):
                await stage.write(line(number))
            assert f"{lines} line(s)" in told.text
            store.refuse = 0
            assert await until(store, lines) == [f"ev_{n}" for n in range(lines)]
            await asyncio.sleep(0)
            assert told.text == ""

    asyncio.run(story())


def test_an_overload_waits_for_room_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 5 lines and 60 viewings at once: whoever looks waits."""
    monkeypatch.setattr(access_register, "MOST_WAITING", 5)
    monkeypatch.setattr(access_register, "RETRY_S", 0.1)
    told = Told()

    async def story() -> None:
        async with running(tmp_path, told) as (stage, store):
            store.refuse = 3
            viewings = [asyncio.ensure_future(stage.write(line(n))) for n in range(60)]
            await asyncio.wait_for(asyncio.gather(*viewings), WITHIN_S)
            assert sorted(await until(store, 60)) == sorted(f"ev_{n}" for n in range(60))

    asyncio.run(story())


def test_what_finds_no_room_is_counted_and_the_register_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in silence: in the fault with their number, and later in a line of its own; those that had room are all there."""
    monkeypatch.setattr(access_register, "MOST_WAITING", 5)
    monkeypatch.setattr(access_register, "RETRY_S", 0.1)
    monkeypatch.setattr(access_register, "ROOM_WITHIN_S", 0.2)
    told = Told()

    async def story() -> None:
        async with running(tmp_path, told) as (stage, store):
            store.refuse = 1_000_000
            await asyncio.gather(*(stage.write(line(n)) for n in range(8)))
            assert "5 line(s)" in told.text
            assert "3 more found no room and are lost" in told.text
            store.refuse = 0
            assert (await until(store, 6))[:5] == [f"ev_{n}" for n in range(5)]
            (last,) = (await store.read(lambda tx: tx.register.lines(after=5)))[-1:]
            document = json.loads(last.body)
            assert (document["act"], document["detail"]["lines"]) == ("dropped", 3)
            assert "3 line(s) of the access register are lost" in told.text

    asyncio.run(story())


def test_who_goes_before_the_line_is_written_does_not_take_it_along(tmp_path: Path) -> None:
    """A browser that gives up after the picture was asked for: that somebody looked stays on record."""
    told = Told()

    async def story() -> None:
        async with running(tmp_path, told) as (stage, store):
            store.refuse = 3
            asking = asyncio.ensure_future(
                stage.opened(Act.VIEWED, SOMEBODY, "ev_1", alarm="alm_1", reason="gone at once")
            )
            await asyncio.sleep(0)
            asking.cancel()
            assert await until(store, 1) == ["ev_1"]

    asyncio.run(story())
