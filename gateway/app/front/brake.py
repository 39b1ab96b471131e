"""Refusals, counted by source: who presents wrong tokens or altered links, or scans, is slowed down, named in a fault and not in
a thousand lines of the log.

A request that carries a right token or an unaltered link never comes here: the centre behind the same address as an attacker
is answered as ever. A brake ends by itself, at the latest after a minute without a further request.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from gateway.domain.fault import FaultKind

log = structlog.get_logger(__name__)

ALLOWANCE = 300.0  # what a source may cost before the brake holds it; comes back at …
ALLOWANCE_A_SECOND = 5.0
AFTER_A_HOLD = 30.0  # what it has left when a hold ends: a person who mistyped is not held again at once
LONGEST_HOLD_S = 60.0
FORGIVEN_AFTER_S = 600.0  # without a refusal: the fault ends, and the next hold is a second again
MOST_SOURCES = 1024  # remembered; the one that was quiet for the longest is forgotten first
MOST_FAULTS = 5  # sources named each in a fault of its own; the others share one
LINES_A_MINUTE = 20  # of single refusals in the log, all sources together; the rest is summed up
SUMMED_EVERY_S = 60.0


class Refusal(StrEnum):
    """Why a request was refused."""

    TOKEN = "wrong token"
    LINK = "altered link"
    NO_TOKEN = "no token"
    NOT_FOUND = "no such path"
    METHOD = "wrong method"
    MALFORMED = "malformed request"
    TLS = "failed TLS handshake"
    ROLE = "a role that may not"
    BRAKED = "refused by the brake"


#: What is no slip of a person or a browser costs more: 60 wrong tokens at once, then one a second.
_COST = {
    Refusal.TOKEN: 5.0,
    Refusal.LINK: 5.0,
    Refusal.MALFORMED: 5.0,
    Refusal.ROLE: 0.0,
    Refusal.BRAKED: 0.0,
}


def source_of(address: str) -> str:
    """The source that an address counts for: an IPv4 address, or the /64 of an IPv6 one, all of which is one customer's."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if not found.is_loopback:
            return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


@dataclass(slots=True)
class _Source:
    left: float = ALLOWANCE
    at_s: float = 0.0  # when `left` was reckoned, and the last refusal was
    held_until_s: float = 0.0
    holds: int = 0
    counts: Counter[Refusal] = field(default_factory=Counter)  # since its first hold


class Brake:
    """Counts refusals; ``held`` says how long a source has to wait, ``found`` who is a fault."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._lines = 0
        self._unsaid: Counter[tuple[str, Refusal]] = Counter()
        self._summed_s: float | None = None

    def refused(self, source: str, why: Refusal, what: str, now_s: float) -> None:
        """A request of ``source`` was refused; ``what`` names it for the log, without its query."""
        self._say(source, why, what, now_s)
        known = self._sources.setdefault(source, _Source(at_s=now_s))
        self._sources.move_to_end(source)
        while len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)
        if now_s - known.at_s >= FORGIVEN_AFTER_S:
            known.holds, known.counts = 0, Counter()
        known.left = min(ALLOWANCE, known.left + (now_s - known.at_s) * ALLOWANCE_A_SECOND)
        known.left -= _COST.get(why, 1.0)
        known.at_s = now_s
        known.counts[why] += 1
        if known.left < 0:
            hold_s = min(LONGEST_HOLD_S, 2.0**known.holds)
            known.holds += 1
            known.left, known.held_until_s = AFTER_A_HOLD, now_s + hold_s
            log.warning("access.braked", source=source, seconds=hold_s, refused=_told(known.counts))

    def note(self, event: str, cause: str, now_s: float) -> None:
        """A line of the log, one of the few a minute."""
        self.sum_up(now_s)
        if self._lines < LINES_A_MINUTE:
            self._lines += 1
            log.warning(event, cause=cause)

    def held_s(self, source: str, now_s: float) -> float:
        """Seconds for which requests of the source without a right of their own are refused; 0 if they are not."""
        known = self._sources.get(source)
        return max(0.0, known.held_until_s - now_s) if known is not None else 0.0

    def found(self, now_s: float) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """Each source that was held in the last ten minutes."""
        held = [
            (source, known)
            for source, known in self._sources.items()
            if known.holds and now_s - known.at_s < FORGIVEN_AFTER_S
        ]
        held.sort(key=lambda one: -one[1].counts.total())
        for source, known in held[:MOST_FAULTS]:
            yield (FaultKind.SECURITY, f"caller {source}"), _cause(source, known.counts)
        if others := held[MOST_FAULTS:]:
            counts = sum((known.counts for _, known in others), Counter[Refusal]())
            yield (FaultKind.SECURITY, "callers"), _cause(f"{len(others)} more addresses", counts)

    def sum_up(self, now_s: float) -> None:
        """Once a minute, one line for all refusals that had none of their own."""
        if self._summed_s is not None and now_s - self._summed_s < SUMMED_EVERY_S:
            return
        self._summed_s, self._lines = now_s, 0
        if self._unsaid:
            worst = self._unsaid.most_common(5)
            log.warning(
                "access.refused_more",
                refused=self._unsaid.total(),
                most=[f"{source}: {count} × {why.value}" for (source, why), count in worst],
            )
            self._unsaid.clear()

    def _say(self, source: str, why: Refusal, what: str, now_s: float) -> None:
        self.sum_up(now_s)
        if self._lines < LINES_A_MINUTE:
            self._lines += 1
            log.info("access.refused", source=source, why=why.value, what=what[:200])
        elif len(self._unsaid) < MOST_SOURCES or (source, why) in self._unsaid:
            self._unsaid[source, why] += 1
        else:
            self._unsaid["others", why] += 1


def _told(counts: Counter[Refusal]) -> str:
    return ", ".join(f"{count} × {why.value}" for why, count in counts.most_common())


def _cause(who: str, counts: Counter[Refusal]) -> str:
    return (
        f"{who} sent requests that are refused, many and fast ({_told(counts)}), and is slowed down. If the address is the "
        "centre's or the school's own, correct its token or link; if not, close it out at the firewall"
    )


class Pace:
    """Turns, so many a second for one source and in all: when the next one of a source is due."""

    def __init__(
        self,
        one_a_second: float,
        all_a_second: float,
        *,
        burst_s: float = 1.0,
        shares: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """What was not used of the last ``burst_s`` may be used at once. ``shares`` are of the loop's time, for one source and in
        all: where a turn's cost is more than its number, the next one is due later."""
        self._each_s, self._all_s = 1 / one_a_second, 1 / all_a_second
        self._shares = shares
        self._burst_s = burst_s
        self._due: OrderedDict[str, float] = OrderedDict()
        self._due_all = 0.0

    def wait_s(self, source: str, now_s: float, cost_s: float = 0.0) -> float:
        """Take the source's next turn, which is expected to hold the loop for ``cost_s``; seconds until then."""
        due = max(self._due.get(source, 0.0), now_s - self._burst_s)
        due += max(self._each_s, cost_s / self._shares[0])
        self._due_all = max(self._due_all, now_s - self._burst_s) + max(self._all_s, cost_s / self._shares[1])
        self._due[source] = due
        self._due.move_to_end(source)
        while len(self._due) > MOST_SOURCES:
            self._due.popitem(last=False)
        return max(0.0, due - now_s, self._due_all - now_s)

    def late_s(self, source: str, now_s: float) -> float:
        """Seconds until the source's next turn, without taking it."""
        return max(self._due.get(source, 0.0), self._due_all) - now_s
