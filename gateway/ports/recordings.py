"""Finished files of recordings, and what joins them into a film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gateway.domain.bundle import Film, Taken
from gateway.domain.recording import ClosedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The box's own key for the register and exports: Ed25519. ``public`` is its 32 bytes."""

    sign: Callable[[bytes], bytes]
    public: bytes


class RecordedFiles(Protocol):
    """What the cameras' process has recorded and nobody has taken yet. Errors: ``Unavailable``."""

    async def closed(self) -> list[ClosedFile]:
        """All of it that is finished, by its start. ``path`` may be gone where its bytes were taken and it was not forgotten."""

    async def forget(self, file: ClosedFile) -> None:
        """It is safe elsewhere; harmless when repeated."""


class Joining(Protocol):
    """One export on its way."""

    async def take(self, path: Path, start: datetime) -> Taken | None:
        """Append what lies in the span of a recording that began at ``start``; ``None`` if nothing does. In order of time.
        ``Malformed`` if it cannot be read as one."""

    async def finish(self) -> list[Film]:
        """Close the films and tell of them."""


class FilmJoiner(Protocol):
    """Joins recordings into films without touching a picture's bytes."""

    def joining(
        self,
        folder: Path,
        begin: datetime,
        end: datetime,
        gaps: Sequence[tuple[datetime, datetime, str]],
    ) -> AbstractAsyncContextManager[Joining]:
        """Begin films in ``folder`` of the span; ``gaps`` (from, to, cause) become chapters. ``Unavailable`` if that cannot be
        done now."""
