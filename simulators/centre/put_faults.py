"""How the simulated centre misbehaves to what is PUT: one object, changeable while it runs."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

PutAnswer = Literal["normal", "status", "cut", "drop", "early"]
PUT_ANSWERS: tuple[str, ...] = get_args(PutAnswer)
PUT_KINDS = ("still", "clip", "live")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutFaults:
    """What goes wrong with PUTs. The default is a centre that works.

    Nothing treated badly counts as taken; of an item that was `cut` the part that came is kept, and told on HEAD
    if the centre is `resumable`.
    """

    answer: PutAnswer = "normal"
    """normal | status (the body is read, then answered with `status`) | cut (connection reset after `percent` of the body) |
    drop (connection reset before the body) | early (200 before the body has come, then closed)."""
    status: int = 503
    percent: float = 90.0
    bytes_per_s: int | None = None
    """Reads no faster than that, which a thin line looks like; also with `normal`."""
    count: int | None = None
    """How many of the next PUTs are treated so; None: all, until changed."""
    kinds: tuple[str, ...] = ()
    """Only still, clip or live; empty: all."""
    chance_percent: float = 100.0
    """Of those, how many, drawn from `seed`: the same seed treats the same PUTs so."""
    seed: int = 1
    resumable: bool = True
    """Whether HEAD tells what was kept of an attempt that broke off, and PATCH goes on from there."""

    def __post_init__(self) -> None:
        if self.answer not in PUT_ANSWERS:
            raise ValueError(f"answer: found {self.answer!r}, expected one of {', '.join(PUT_ANSWERS)}")
        if not 200 <= self.status <= 599:
            raise ValueError(f"status: found {self.status}, expected 200 to 599")
        if not (0 <= self.percent <= 100 and 0 <= self.chance_percent <= 100):
            raise ValueError("percent and chance_percent: expected 0 to 100")
        if (self.bytes_per_s is not None and self.bytes_per_s <= 0) or (
            self.count is not None and self.count < 0
        ):
            raise ValueError("bytes_per_s: expected more than 0; count: 0 or more")
        for kind in self.kinds:
            if kind not in PUT_KINDS:
                raise ValueError(f"kinds: found {kind!r}, expected {', '.join(PUT_KINDS)}")


class PutPlan:
    """The faults in force and the chance that goes with them."""

    def __init__(self, faults: PutFaults) -> None:
        self.faults = faults
        self._chance = random.Random(faults.seed)

    def for_one(self, kind: str) -> PutFaults:
        """How the next PUT of that kind is treated; counts it."""
        faults = self.faults
        bad = faults.answer != "normal" and faults.count != 0 and (not faults.kinds or kind in faults.kinds)
        if not bad or self._chance.random() * 100 >= faults.chance_percent:
            return replace(faults, answer="normal")
        if faults.count is not None:
            self.faults = replace(faults, count=faults.count - 1)
        return faults


def put_faults_from(before: PutFaults, changes: dict[str, Any]) -> PutFaults:
    """Apply changes that came as JSON. Raises ValueError for an unknown name or a value that does not fit."""
    number, maybe = (int, float), (int, type(None))
    kinds: dict[str, tuple[type, ...]] = {
        "answer": (str,),
        "status": (int,),
        "percent": number,
        "bytes_per_s": maybe,
        "count": maybe,
        "kinds": (list, tuple),
        "chance_percent": number,
        "seed": (int,),
        "resumable": (bool,),
    }
    for name, value in changes.items():
        if name not in kinds:
            known = ", ".join(sorted(field.name for field in fields(PutFaults)))
            raise ValueError(f"fault {name!r}: not known; known are {known}")
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
            raise ValueError(f"fault {name}: {value!r} does not fit")
    if "kinds" in changes:
        changes = {**changes, "kinds": tuple(str(kind) for kind in changes["kinds"])}
    return replace(before, **changes)
