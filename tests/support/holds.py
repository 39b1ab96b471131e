"""Holds of which a test says no more than what they hold."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.domain.hold import Hold


def span_held(camera: str, start: datetime, end: datetime, *, at: datetime, id: str = "hld_1") -> Hold:
    """What a camera recorded in this span, held by somebody since ``at`` and for 90 days."""
    return Hold(
        id=id,
        reason="r",
        placed_by="n",
        placed_unit="u",
        placed_at=at,
        review_at=at + timedelta(days=90),
        camera=camera,
        start=start,
        end=end,
    )
