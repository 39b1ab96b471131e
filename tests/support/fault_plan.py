"""One fault of a plan, played on a real simulator until a test has looked at it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from simulators.fault_doors import HttpDoor
from simulators.fault_player import carry_out
from simulators.faults import PlannedFault

_WITHIN_S = 10.0


@contextlib.asynccontextmanager
async def played(url: str, simulator: str, fault: str, value: float | None = None) -> AsyncIterator[None]:
    """Inside, the fault is in effect at the simulator whose control address is ``url``; it has ended after it.

    It is meant to last an hour: that it ends shows that stopping a plan heals.
    """
    line = PlannedFault(at_s=0.0, simulator=simulator, fault=fault, value=value, for_s=3600.0)
    begun, stopped, told = asyncio.Event(), asyncio.Event(), list[str]()

    def tell(_at_s: float, _simulator: str, _fault: str, said: str) -> None:
        told.append(said)
        begun.set()

    playing = asyncio.create_task(
        carry_out((line,), {simulator: HttpDoor(simulator, url)}, tell, stopped=stopped)
    )
    await asyncio.wait_for(begun.wait(), _WITHIN_S)
    assert told == ["begun"]
    yield
    stopped.set()
    assert await asyncio.wait_for(playing, _WITHIN_S) == []
    assert told == ["begun", "ended"]
