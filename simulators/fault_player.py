"""Carry out a plan of faults: each begun and ended at its time, and everything in good order at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from simulators.button import ButtonError
from simulators.fault_doors import Door, DoorError
from simulators.faults import Plan, PlannedFault

Tell = Callable[[float, str, str, str], None]
"""Hears of each step: seconds since the beginning, simulator, fault, and what came of it."""


async def carry_out(
    plan: Plan, doors: Mapping[str, Door], tell: Tell, *, stopped: asyncio.Event
) -> list[str]:
    """Begin and end each fault at its time, until the plan is over or `stopped` is set; then everything is in good order.

    Returns what did not work; the rest of the plan is carried out all the same. Raises DoorError before anything is begun
    if a door cannot be opened, and KeyError for a simulator without one.
    """
    lines = {name: [line for line in plan if line.simulator == name] for name in doors}
    if missing := {line.simulator for line in plan} - set(doors):
        raise KeyError(", ".join(sorted(missing)))
    problems: list[str] = []
    opened: list[Door] = []
    try:
        for door in doors.values():
            await door.open()
            opened.append(door)
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for name, door in doors.items():
                group.create_task(_play(lines[name], door, tell, problems, began_s, stopped))
    finally:
        for door in opened:
            problems += await door.close()
    return problems


async def _play(
    lines: list[PlannedFault],
    door: Door,
    tell: Tell,
    problems: list[str],
    began_s: float,
    stopped: asyncio.Event,
) -> None:
    for line in lines:
        if await _stopped_before(began_s + line.at_s, stopped):
            return
        try:
            await _play_one(line, door, tell, began_s, stopped)
        except (DoorError, ButtonError) as error:
            problems.append(f"{line.simulator}: {line.fault} at {line.at_s:g} s: {error}")
            tell(time.monotonic() - began_s, line.simulator, line.fault, f"failed: {error}")


async def _play_one(
    line: PlannedFault, door: Door, tell: Tell, began_s: float, stopped: asyncio.Event
) -> None:
    try:
        said = await door.begin(line)
    except DoorError:
        with contextlib.suppress(DoorError):
            await door.end(line)  # an answer may have been lost, and the fault be there
        raise
    tell(time.monotonic() - began_s, line.simulator, line.fault, said)
    if line.for_s:
        try:
            await _stopped_before(began_s + line.end_s, stopped)
        finally:
            said = await door.end(line)
        tell(time.monotonic() - began_s, line.simulator, line.fault, said)


async def _stopped_before(at_s: float, stopped: asyncio.Event) -> bool:
    """Wait until `at_s` by the monotonic clock; whether it was stopped before."""
    try:
        await asyncio.wait_for(stopped.wait(), max(0.0, at_s - time.monotonic()))
    except TimeoutError:
        return stopped.is_set()
    return True
