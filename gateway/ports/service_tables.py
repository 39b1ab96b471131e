"""The tables of what is wrong and of who looked at what. Each is asked within one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gateway.domain.fault import Fault
from gateway.domain.register import Act, Head, RegisterLine, WrittenLine


class Faults(Protocol):
    """Faults, open and past. Part of a transaction."""

    def open(self) -> list[Fault]:
        """Those not cleared, oldest first."""

    def find(self, kind: str, subject: str) -> Fault | None:
        """The open fault of that kind and subject."""

    def add(self, fault: Fault) -> None:
        """Keep a new fault."""

    def clear(self, fault: str, at: datetime) -> None:
        """Mark it cleared."""

    def listed(self, limit: int) -> list[Fault]:
        """Newest first, cleared ones included."""


class Register(Protocol):
    """Who looked at what, and what was done to the record. Part of a transaction; lines are never changed or removed."""

    def append(self, line: RegisterLine) -> int:
        """Write the next line; its number, from 1 and without gaps."""

    def head(self) -> Head:
        """Its length and the root of its tree."""

    def lines(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        since: datetime | None = None,
        until: datetime | None = None,
        acts: Sequence[Act] | None = None,
    ) -> list[WrittenLine]:
        """Lines above number ``after``, by number."""

    def leaves(self, size: int) -> list[bytes]:
        """The hashes of the first ``size`` lines."""

    def last(self, act: Act) -> WrittenLine | None:
        """The newest line of that act."""
