"""What a technician is told of an error that nobody foresaw: that it is one, and where its details are; no name of Python's."""

from __future__ import annotations

UNFORESEEN = "something that was not foreseen; the gateway's log has the details: report it"


def in_words(exc: BaseException) -> str:
    """The system's own words for what the system refused, :data:`UNFORESEEN` for all else."""
    return (exc.strerror if isinstance(exc, OSError) else None) or UNFORESEEN
