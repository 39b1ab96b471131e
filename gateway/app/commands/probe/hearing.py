"""Whether each contact was ever heard and understood: what came while the probe listened, and what the gateway remembers.

A broker that lets the gateway read proves nothing of a contact that publishes elsewhere, in another format, or not at all. Only a
press does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from config.site import Point
from drivers.contacts.formats import CODECS
from gateway.app.commands.probe.table import Line, Result
from gateway.domain.errors import Malformed
from gateway.domain.liveness import Hearing
from gateway.domain.misread import reads_as

MOST_NAMED = 10


def hearing(
    points: Sequence[Point], payloads: Mapping[str, bytes], remembered: Mapping[str, Hearing]
) -> Iterator[Line]:
    """A line for each contact whose message could not be understood, and one for all of which nothing is known. ``payloads`` are
    what came on their topics now, retained or not; ``remembered`` is what the gateway on this data knows."""
    unheard = []
    for point in points:
        if point.mqtt is None or point.mqtt.format not in CODECS:
            continue
        payload = payloads.get(point.mqtt.topic)
        reason = _unreadable(point.mqtt.format, payload) if payload else None
        if reason is None and payload is None and remembered.get(point.id) is Hearing.UNREADABLE:
            reason = "its last message, before this probe (GET /api/v1/points says why)"
        if reason is not None:
            detail = (
                f"{point.mqtt.topic}: what it publishes cannot be understood as {point.mqtt.format}: {reason}; correct the "
                "point's topic and format, or the device's settings, then press it"
            )
            yield Line(f"hearing 触点 {point.id}", Result.FAIL, detail, True)
        elif remembered.get(point.id) is not Hearing.HEARD:
            unheard.append(point.id)
    if unheard:
        more = f" and {len(unheard) - MOST_NAMED} more" if len(unheard) > MOST_NAMED else ""
        detail = (
            f"never heard: {', '.join(unheard[:MOST_NAMED])}{more}: that a contact publishes on its topic, in its format, only a "
            "press shows: press each contact, and look at health.state in GET /api/v1/points"
        )
        yield Line("hearing 触点", Result.WARN, detail)


def _unreadable(format_: str, payload: bytes) -> str | None:
    try:
        CODECS[format_](payload)
    except Malformed as exc:
        return reads_as(payload, format_, CODECS) + str(exc)
    return None
