"""The brake on refused requests and the pace of turns, as pure functions of time."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from structlog.testing import capture_logs

from gateway.app.front.brake import LONGEST_HOLD_S, MOST_FAULTS, MOST_SOURCES, Brake, Pace, Refusal, source_of
from gateway.app.front.costs import MOST_PLACES, UNKNOWN_S, Costs, Measured
from gateway.domain.fault import FaultKind

HERE = "192.0.2.7"


def refuse(
    brake: Brake, count: int, why: Refusal = Refusal.TOKEN, *, source: str = HERE, now_s: float = 0.0
) -> None:
    for _ in range(count):
        brake.refused(source, why, "GET /api/v1/site", now_s)


@pytest.mark.parametrize(
    ("why", "allowed"),
    [
        (Refusal.TOKEN, 60),
        (Refusal.LINK, 60),
        (Refusal.MALFORMED, 60),
        (Refusal.NO_TOKEN, 300),
        (Refusal.NOT_FOUND, 300),
        (Refusal.METHOD, 300),
        (Refusal.TLS, 300),
    ],
)
def test_a_slip_is_none_and_a_flood_is_held(why: Refusal, allowed: int) -> None:
    """What a person or a script gets wrong in a moment passes; the next one at once is held, and only that source."""
    brake = Brake()
    refuse(brake, allowed, why)
    assert brake.held_s(HERE, 0.0) == 0
    refuse(brake, 1, why)
    assert brake.held_s(HERE, 0.0) == 1
    assert brake.held_s("192.0.2.8", 0.0) == 0


@pytest.mark.parametrize("why", [Refusal.ROLE, Refusal.BRAKED])
def test_what_costs_nothing_never_holds(why: Refusal) -> None:
    """A right token of another role, and what the brake itself refuses, do not make a hold longer."""
    brake = Brake()
    refuse(brake, 10_000, why)
    assert brake.held_s(HERE, 0.0) == 0
    assert not list(brake.found(0.0))


def test_holds_grow_to_a_minute_and_end_by_themselves() -> None:
    """1, 2, 4 … 60 s while it goes on; after ten minutes without a refusal all is forgotten, the fault too."""
    brake, now_s, holds = Brake(), 0.0, []
    refuse(brake, 60)
    for _ in range(9):
        while not brake.held_s(HERE, now_s):
            refuse(brake, 1, now_s=now_s)
        holds.append(brake.held_s(HERE, now_s))
        now_s += holds[-1]
        assert brake.held_s(HERE, now_s) == 0
    assert holds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(holds) == LONGEST_HOLD_S
    assert list(brake.found(now_s))
    now_s += 600
    assert not list(brake.found(now_s))
    refuse(brake, 61, now_s=now_s)
    assert brake.held_s(HERE, now_s) == 1


def test_a_slow_trickle_is_never_held() -> None:
    """One wrong token a second, for an hour: an old script somewhere, which costs nothing."""
    brake = Brake()
    for second in range(3600):
        refuse(brake, 1, now_s=float(second))
        assert brake.held_s(HERE, float(second)) == 0


def test_the_fault_names_the_source_and_its_counts() -> None:
    """Who, how many of what, and what to do; five sources by name, the others together."""
    brake = Brake()
    refuse(brake, 70)
    refuse(brake, 3, Refusal.LINK)
    ((kind, subject), cause) = next(iter(brake.found(1.0)))
    assert (kind, subject) == (FaultKind.SECURITY, f"caller {HERE}")
    assert "70 × wrong token" in cause
    assert "3 × altered link" in cause
    assert "firewall" in cause
    for n in range(20):
        refuse(brake, 400, Refusal.NOT_FOUND, source=f"198.51.100.{n}", now_s=1.0)
    found = dict(brake.found(2.0))
    assert len(found) == MOST_FAULTS + 1
    assert "16 more addresses" in found[FaultKind.SECURITY, "callers"]


def test_what_is_remembered_and_logged_is_bounded() -> None:
    """100,000 refusals of 100,000 sources: a thousand are remembered, and the log has some twenty lines and one sum a minute."""
    brake = Brake()
    with capture_logs() as lines:
        for n in range(100_000):
            brake.refused(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", Refusal.TOKEN, "GET /", n / 5000)
        brake.sum_up(60.0)
        brake.sum_up(60.1)
    assert len(brake._sources) == MOST_SOURCES
    assert len(lines) <= 22
    (total,) = [line["refused"] for line in lines if line["event"] == "access.refused_more"]
    assert total + 20 == 100_000


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("x" * 4000, "unknown"),
    ],
)
def test_a_source_is_what_one_customer_has(address: str, source: str) -> None:
    """Whoever has a /64 has 2^64 addresses."""
    assert source_of(address) == source


def test_turns_are_kept_by_source_and_in_all() -> None:
    """A burst of a second's worth at once, then one after the other; another source does not wait behind the first's."""
    pace = Pace(10, 25)
    waits = [pace.wait_s("a", 100.0) for _ in range(20)]
    assert waits[:10] == [0] * 10
    assert waits[10:] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert [pace.wait_s("b", 100.0) for _ in range(5)] == pytest.approx([0] * 5)
    assert pace.wait_s("c", 100.0) == pytest.approx(1 / 25)  # all together
    assert pace.late_s("a", 100.0) == pytest.approx(1.0)
    assert pace.late_s("a", 102.0) <= 0


def test_what_costs_more_is_due_later() -> None:
    """Requests that hold the loop for 50 ms each get 0.2 of it, cheap ones go on by their number."""
    pace = Pace(60, 150, burst_s=0.5, shares=(0.2, 0.5))
    waits = [pace.wait_s("a", 100.0, 0.05) for _ in range(10)]
    assert waits[-1] == pytest.approx(10 * 0.05 / 0.2 - 0.5)
    assert pace.wait_s("b", 100.0, 0.001) < 1.0


def test_a_cost_is_measured_and_expected_of_the_next_at_the_same_place() -> None:
    """Only what holds the loop counts, not what is waited for; ids make no places, and places are bounded."""
    costs = Costs()
    assert costs.expected_s("/api/v1/alarms/alm_1") == UNKNOWN_S

    async def work() -> None:
        await asyncio.sleep(0.2)
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until:
            pass
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 0.05)

    async def inside() -> float:
        measured = Measured(work())
        await measured
        return measured.held_s

    held_s = asyncio.run(inside())
    assert 0.05 <= held_s < 0.2
    costs.note("/api/v1/alarms/alm_1/replies", held_s)
    assert costs.expected_s("/api/v1/alarms/alm_2/replies") == held_s
    assert costs.expected_s("/api/v1/alarms/alm_2") == UNKNOWN_S
    for n in range(10_000):
        costs.note(f"/{n}/x", 1.0)
    assert len(costs._known) <= MOST_PLACES


def test_a_failure_and_a_cancellation_pass_through_what_measures() -> None:
    """As if it were awaited itself."""

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("x")

    async def inside() -> None:
        with pytest.raises(ValueError, match="x"):
            await Measured(failing())
        task = asyncio.ensure_future(_awaited(Measured(_long())))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(inside())


async def _long() -> None:
    await asyncio.sleep(60)


async def _awaited(measured: Measured) -> None:
    await measured
