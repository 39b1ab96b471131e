"""The register of who looked at what, and of what was done to the record.

Order 799, Art. 16 item 3 asks for reason, content, unit and name of every viewing. One line is one act. Lines are only ever
appended; their bytes are fixed, and a Merkle tree over them (:mod:`gateway.domain.merkle`), whose signed head goes to the centre,
makes a line that was altered or taken out show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway.domain.merkle import leaf_hash

NO_NAME = "name not given"  # what stands where nobody said who looks


class Act(StrEnum):
    """What was done."""

    VIEWED = "viewed"  # a still or clip was given out
    WATCHED = "watched"  # a live picture was opened
    NAMED = "named"  # the person behind an earlier line said who they are
    PLAYED = "played"  # recordings of a span were opened to be played
    EXPORTED = "exported"  # recordings of a span were taken away
    CONFIGURED = "configured"  # the gateway started with another site file
    HELD = "held"  # a hold was placed
    REVIEWED = "reviewed"  # a person looked at a hold, and it stands
    RELEASED = "released"  # a person ended a hold
    DELETED = "deleted"  # objects whose period was over are gone
    CONFIRMED = "confirmed"  # a person confirmed the gateway's clock, or knows what happened to the database
    DROPPED = "dropped"  # so many lines could not be kept: they are missing here


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who acted: the person's name as far as it was said, their unit, and by what right (a role, ``link`` or ``gateway``)."""

    name: str
    unit: str
    right: str


GATEWAY = Who(name="gateway", unit="", right="gateway")  # what the gateway does by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterLine:
    """One act, not numbered yet. ``content`` is what it was done to: a camera, an item of evidence, the site file."""

    at: datetime
    act: Act
    who: Who
    content: str
    reason: str = ""
    alarm: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def written(self, number: int) -> bytes:
        """Its bytes as line ``number`` (from 1): JSON with sorted keys and no spaces, which is what the tree is over."""
        document = {
            "n": number,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "act": self.act.value,
            "name": self.who.name,
            "unit": self.who.unit,
            "right": self.who.right,
            "content": self.content,
            "reason": self.reason,
            "alarm": self.alarm,
            "detail": dict(self.detail),
        }
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLine:
    """A line as it is kept: its number, its bytes and their hash."""

    number: int
    body: bytes
    leaf: bytes

    @property
    def content(self) -> str:
        """What the act was done to."""
        return str(json.loads(self.body)["content"])

    @property
    def sound(self) -> bool:
        """Whether the bytes are those of the hash, and the number is that of the bytes."""
        return leaf_hash(self.body) == self.leaf and json.loads(self.body)["n"] == self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How long the register is and the root of its tree."""

    size: int
    root: bytes

    def signed_bytes(self, site: str, at: datetime) -> bytes:
        """What the box's key signs: whose register, how long, which root, when."""
        return "\n".join(
            (
                "campus-gateway register v1",
                site,
                str(self.size),
                self.root.hex(),
                at.astimezone(UTC).isoformat(),
            )
        ).encode()
