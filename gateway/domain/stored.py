"""Objects in the store: their versions, their locks, and what is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How an object is kept. ``version`` is the store's name for it, where it keeps versions; ``locked_until`` until when the
    store itself lets nobody delete or alter it, ``None`` where that was not proved."""

    version: str | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of an object as a store lists it. ``hides`` marks no bytes but a mark of deletion, which hides the versions
    before it; only the ``newest`` of a key is what a reader gets. ``version`` is ``None`` where the store keeps none."""

    key: str
    version: str | None
    bytes: int
    stored_at: datetime | None
    newest: bool
    hides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDue:
    """An object on record whose lock, if it has any, ends before its period. ``end`` is when what it shows ended; ``number``
    orders those of one kind."""

    number: int
    key: str
    end: datetime
    bytes: int | None
    version: str | None
    locked_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockProof:
    """What a trial of the store's lock showed: an object was locked, and deleting it was really tried.

    ``holds`` if it was refused; else ``cause`` says what happened instead. ``stuck`` says which trial objects could not be
    removed although their lock is over, empty if none.
    """

    holds: bool
    cause: str = ""
    stuck: str = ""
