"""One attempt at the centre, whatever happens in it: no answer, and no fault of this gateway in reading one, ends a stage."""

from __future__ import annotations

from collections.abc import Awaitable

import structlog

from gateway.domain.message import Answer
from gateway.domain.upload import Put

log = structlog.get_logger(__name__)


async def answer_of(attempt: Awaitable[Answer]) -> Answer:
    """The answer to an attempt. An exception in it is a failed attempt: the message is tried again, and the cause is on record
    and in the path's fault."""
    try:
        return await attempt
    except Exception as exc:
        return _failed(exc)


async def put_of(attempt: Awaitable[Put]) -> Put:
    """As :func:`answer_of`, of an attempt to put an item."""
    try:
        return await attempt
    except Exception as exc:
        return Put(answer=_failed(exc), whole=False)


def _failed(exc: Exception) -> Answer:
    log.exception("attempt.failed")
    words = f"this gateway failed on the attempt ({type(exc).__name__}: {exc}); tell the maker".encode(
        "utf-8", "replace"
    )
    # It may have happened after everything had been sent.
    return Answer(status=None, detail=words.decode()[:300], sent=True)
