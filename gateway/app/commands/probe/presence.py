"""Whether each contact is there, by what the broker keeps on its liveness topics, as the running gateway would see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.liveness import liveness_topics
from config.site import Point
from drivers.contacts.formats.liveness import decode
from gateway.app.commands.probe.table import Line, Result
from gateway.domain.errors import Malformed


def presence(point: Point, granted: Mapping[str, int | None], kept: Mapping[str, bytes]) -> Line | None:
    """A line for a contact that has such topics. Never a failure: a press is taken all the same."""
    if point.mqtt is None:
        return None
    topics = liveness_topics(point.mqtt.format, point.mqtt.topic, point.mqtt.liveness)
    if not topics.all:
        return None
    wrong = [said for topic in topics.all for said in _wrong(topic, granted, kept)]
    # With neither kept, one line says what to do about both.
    if len(wrong) == len(topics.all) and not any(topic in kept for topic in topics.all):
        wrong = wrong[:1]
    what = f"liveness 触点 {point.id}"
    if wrong:
        return Line(what, Result.WARN, "; ".join(wrong))
    return Line(what, Result.OK, f"online: {', '.join(topics.all)}")


def _wrong(topic: str, granted: Mapping[str, int | None], kept: Mapping[str, bytes]) -> Iterator[str]:
    if granted.get(topic) is None:
        yield f"{topic}: subscription refused, so that it is not known whether it is there; check the access list"
    elif topic not in kept:
        yield (
            f"{topic}: nothing is kept there, or the broker's access list hides it, so that it is not known whether it is there: "
            "give the gateway's user 'topic read' there; switch it on at the device or bridge (zigbee2mqtt: availability), or "
            "set mqtt.liveness or mqtt.silent_after_s"
        )
    else:
        try:
            there = decode(kept[topic])
        except Malformed as exc:
            yield f"{topic}: {exc}"
            return
        if there is False:
            yield f"{topic}: offline: a press of it is not heard; look at its power, battery and radio"
