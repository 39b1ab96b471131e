"""What a contact said that leaves a doubt whether its next press is heard, in words a technician can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from gateway.domain.contact import COPIED_WITHIN, Memory, Signal, SignalKind
from gateway.domain.flag import ambiguous, unheard_since
from gateway.domain.plan import Point
from gateway.domain.words import alarms_left_out, is_wanted, unpressing

#: Somebody must have the time to see that a press was taken for a copy.
DROPPED_HELD = timedelta(hours=1)
MOST_NAMED = 5  # words

_STANDS = (
    "its {flag} still says true since {since}, and no alarm of it is open: a further push cannot be heard until it is "
    "released; release or reset the button, then press its test"
)
_PRESSED = (
    "it still stands {state}, which is its pressed state, and no alarm of it is open: a further push cannot be heard until it is "
    "released; release or reset the button (or correct mqtt.contact), then press its test"
)
_AMBIGUOUS = (
    "its {flag} says true in report after report and never said false, so a report cannot be told from a push, and may raise a "
    "false alarm: in Zigbee2MQTT set filtered_cache: [{flag}] for this device; or say mqtt.flag: state or push for {point} "
    "in the site file"
)
_NEVER_NAMED = (
    "nothing was ever heard of its input {input}, and its device reports {words}: none of that raises an alarm; let mqtt.input "
    "name the input as the device does, then press it"
)
_DROPPED = (
    "a press of {at} under the number or id {identity}, which was used at {before}, was taken for a copy and raised nothing: if "
    "somebody pressed, call the centre; let the contact give each press an id of its own, or send none"
)


_LEFT_OUT = (
    "{words} was heard on {topic} and raised nothing: mqtt.press names only {presses}; a call for help by it is not heard; "
    "name the word there, or take the list out, then press it"
)


def doubts(
    point: Point,
    memory: Memory,
    *,
    now: datetime,
    alarm_open: bool,
    stamp: Callable[[datetime], str],
    on_topic: Sequence[Point] = (),
) -> Iterator[tuple[str, str]]:
    """Each doubt as (subject, cause). ``alarm_open``: an alarm of the point is open, so that the centre is there already.
    ``on_topic`` are all points on its topic (none named: itself)."""
    on_topic = on_topic or [point]
    is_ = point.source.flag if point.source is not None else None
    stands = unheard_since(memory.flags, is_)
    if stands is not None and not alarm_open:
        flag, since = stands
        yield f"{point.id} flag", _STANDS.format(flag=flag, since=stamp(since))
    if memory.closed is not None and not alarm_open and _is_pressed(point, memory.closed):
        yield f"{point.id} state", _PRESSED.format(state="closed" if memory.closed else "open")
    flag_ = ambiguous(memory.flags, is_)
    if flag_ is not None:
        yield f"{point.id} reports", _AMBIGUOUS.format(flag=flag_, point=point.id)
    if point.source is not None and (alarms := alarms_left_out(memory, point, on_topic)):
        words, listed = ", ".join(alarms[:MOST_NAMED]), ", ".join(point.source.presses[:MOST_NAMED])
        yield (
            f"{point.id} words",
            _LEFT_OUT.format(words=words, topic=point.source.topic, presses=listed),
        )
    other = unpressing(memory, point, on_topic)
    if point.source is not None and point.source.input is not None and other and not memory.was_heard:
        words = ", ".join(sorted(other)[:MOST_NAMED])
        yield f"{point.id} input", _NEVER_NAMED.format(input=point.source.input, words=words)
    if memory.dropped is not None:
        identity, at, before = memory.dropped
        if at - before > COPIED_WITHIN and timedelta(0) <= now - at < DROPPED_HELD:
            yield (
                f"{point.id} id",
                _DROPPED.format(at=stamp(at), identity=identity, before=stamp(before)),
            )


def _is_pressed(point: Point, closed: bool) -> bool:
    source = point.source
    if source is None or closed is not source.normally_open:
        return False
    return is_wanted(Signal(kind=SignalKind.CLOSED, word=source.input or "contact"), source.presses)
