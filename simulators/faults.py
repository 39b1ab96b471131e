"""A plan of faults for buttons, cameras and the centre: made from a seed, printed, and read from its print.

Pure: no time, no I/O. `fault_player` carries a plan out.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simulators.fault_kinds import KINDS, Kind, kind_of

LONGEST_S = 24 * 3600.0
_BETWEEN_S = (3.0, 10.0)
"""In good order between two faults of one simulator: long enough for a system to come back from the last one."""
_LASTS_S = (4.0, 15.0)
_PRESS_EVERY_S = (2.0, 6.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One line of a plan: seconds from its beginning, who, what, and for how long (0: a single press of a button).

    `simulator` is `button`, `centre`, `media` or `camera-1`, `camera-2`, …; raises ValueError saying what was found and expected.
    """

    at_s: float
    simulator: str
    fault: str
    value: float | None = None
    for_s: float = 0.0

    def __post_init__(self) -> None:
        kinds = KINDS.get(kind_of(self.simulator))
        if kinds is None:
            raise ValueError(
                f"simulator: found {self.simulator!r}, expected button, centre, media or camera-1, camera-2, …"
            )
        kind = kinds.get(self.fault)
        if kind is None:
            raise ValueError(
                f"{self.simulator}: fault: found {self.fault!r}, expected one of {', '.join(kinds)}"
            )
        _check_value(f"{self.simulator}: {self.fault}", kind, self.value)
        for name, seconds in (("at_s", self.at_s), ("for_s", self.for_s)):
            if not 0 <= seconds <= LONGEST_S:
                raise ValueError(f"{name}: found {seconds:g}, expected 0 to {LONGEST_S:g} seconds")
        if (self.for_s == 0) != (self.simulator == "button"):
            expected = (
                "none: a fault of a button is one press"
                if self.simulator == "button"
                else "more than 0 seconds"
            )
            raise ValueError(f"{self.simulator}: for_s: found {self.for_s:g}, expected {expected}")

    @property
    def kind(self) -> Kind:
        """What the fault is."""
        return KINDS[kind_of(self.simulator)][self.fault]

    @property
    def end_s(self) -> float:
        """When it is over."""
        return round(self.at_s + self.for_s, 3)


Plan = tuple[PlannedFault, ...]


def make_plan(seed: int, *, duration_s: float, simulators: Sequence[str], only: Iterable[str] = ()) -> Plan:
    """The plan of a seed: the same for ever, whatever else is in it.

    Each simulator has its own dice, so its lines stay as they are when another is added or left out. None has two faults at
    once; each plays all it can (of `only`, if given) before one comes again, and is in good order at the end. Raises KeyError for
    a name that is none.
    """
    wanted = set(only)
    lines = [line for name in simulators for line in _lines(seed, name, duration_s, wanted)]
    return _sorted(lines)


def _lines(seed: int, simulator: str, duration_s: float, only: set[str]) -> Iterator[PlannedFault]:
    kinds = {name: kind for name, kind in KINDS[kind_of(simulator)].items() if not only or name in only}
    if not kinds:
        return
    # random.Random gives the same numbers for the same text under every Python; its choice and shuffle need not.
    dice = random.Random(f"{seed}/{simulator}")
    button = simulator == "button"
    between_s, deck, at_s = (_PRESS_EVERY_S if button else _BETWEEN_S), list[str](), 0.0
    while True:
        at_s = round(at_s + _between(dice, between_s), 1)
        for_s = 0.0 if button else round(_between(dice, _LASTS_S), 1)
        if at_s + for_s + between_s[0] > duration_s:
            return
        if not deck:
            # A press in good order now and then shows whether the last fault broke anything for good.
            deck = sorted(kinds) + (["none"] * 4 if "none" in kinds else [])
        fault = deck.pop(int(dice.random() * len(deck)))
        values = kinds[fault].values
        value = values[int(dice.random() * len(values))] if values else None
        yield PlannedFault(at_s=at_s, simulator=simulator, fault=fault, value=value, for_s=for_s)
        at_s += for_s


def as_table(plan: Plan, heading: str = "") -> str:
    """The plan for people; `read_plan` reads it as well. Lines of `heading` go above it."""
    rows = [("# at_s", "for_s", "simulator", "fault", "value", "what happens")]
    for line in plan:
        value = "-" if line.value is None else str(_tidy(line.value))
        about = line.kind.what if line.value is None else f"{line.kind.what} ({value} {line.kind.unit})"
        lasts = str(_tidy(line.for_s)) if line.for_s else "-"
        rows.append((str(_tidy(line.at_s)), lasts, line.simulator, line.fault, value, about))
    at, lasts_w, *named = (max(len(row[n]) for row in rows) for n in range(4))
    text = [f"# {line}" for line in heading.splitlines()]
    for row in rows:
        cells = [row[0].rjust(at), row[1].rjust(lasts_w), *(row[n + 2].ljust(w) for n, w in enumerate(named))]
        text.append("  ".join([*cells, row[4].rjust(7), row[5]]))
    return "\n".join(text) + "\n"


def as_json_lines(plan: Plan) -> str:
    """The plan for programs: one object per line."""
    return "".join(
        json.dumps(
            {
                "at_s": _tidy(line.at_s),
                "simulator": line.simulator,
                "fault": line.fault,
                "value": None if line.value is None else _tidy(line.value),
                "for_s": _tidy(line.for_s),
            }
        )
        + "\n"
        for line in plan
    )


def read_plan(text: str) -> Plan:
    """Read a print of either form; empty lines and what begins with # are passed over.

    Raises ValueError naming the line, also where a simulator would have two faults at once.
    """
    lines: list[PlannedFault] = []
    for number, row in enumerate(text.splitlines(), start=1):
        row = row.strip()
        if not row or row.startswith("#"):
            continue
        try:
            lines.append(_from_json(row) if row.startswith("{") else _from_row(row))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    plan = _sorted(lines)
    _check_one_at_a_time(plan)
    return plan


def _from_json(row: str) -> PlannedFault:
    try:
        said: Any = json.loads(row)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    known = {"at_s", "simulator", "fault", "value", "for_s"}
    if not isinstance(said, dict) or set(said) - known or known - {"value", "for_s"} - set(said):
        raise ValueError(f"found {row[:80]!r}, expected an object with at_s, simulator, fault, value, for_s")
    for name in ("at_s", "value", "for_s"):
        value = said.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | None)
            or (value is None and name == "at_s")
        ):
            raise ValueError(f"{name}: found {value!r}, expected a number")
    if not isinstance(said["simulator"], str) or not isinstance(said["fault"], str):
        raise ValueError("simulator and fault: expected texts")
    return PlannedFault(**{**said, "for_s": said.get("for_s") or 0.0})


def _from_row(row: str) -> PlannedFault:
    cells = row.split(maxsplit=5)
    if len(cells) < 5:
        raise ValueError(f"found {row[:80]!r}, expected at_s, for_s, simulator, fault and value (- for none)")
    at, lasts, simulator, fault, value = cells[:5]
    return PlannedFault(
        at_s=_number("at_s", at),
        simulator=simulator,
        fault=fault,
        value=None if value == "-" else _number("value", value),
        for_s=0.0 if lasts == "-" else _number("for_s", lasts),
    )


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: found {text!r}, expected a number") from None


def _check_value(where: str, kind: Kind, value: float | None) -> None:
    if not kind.values:
        if value is not None:
            raise ValueError(f"{where}: found the value {value:g}, expected none")
        return
    wanted = f"{'a whole number' if kind.whole else 'a number'} of {kind.unit}"
    if value is None or not math.isfinite(value) or (kind.whole and value != int(value)):
        raise ValueError(f"{where}: found the value {value}, expected {wanted}")
    if value < 0 and not kind.signed:
        raise ValueError(f"{where}: found the value {value:g}, expected {wanted} that is not negative")


def _check_one_at_a_time(plan: Plan) -> None:
    last: dict[str, PlannedFault] = {}
    for line in plan:
        before = last.get(line.simulator)
        if before is not None and line.at_s < before.end_s:
            raise ValueError(
                f"{line.simulator}: {line.fault} at {line.at_s:g} s begins before {before.fault} ends at {before.end_s:g} s; "
                "a simulator has one fault at a time"
            )
        last[line.simulator] = line


def _between(dice: random.Random, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + dice.random() * (high - low)


def _tidy(number: float) -> float:
    """A whole number without its point, so that both forms of a plan print alike."""
    return int(number) if number == int(number) else number


def _sorted(lines: Iterable[PlannedFault]) -> Plan:
    return tuple(sorted(lines, key=lambda line: (line.at_s, line.simulator)))
