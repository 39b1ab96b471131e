"""The brake on refused requests and the pace of turns, as pure functions of time."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway.domain.fault import FaultKind
from gateway.front.brake import LONGEST_HOLD_S, MOST_FAULTS, MOST_SOURCES, Brake, Pace, Refusal, source_of

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
