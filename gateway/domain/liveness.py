"""Whether a contact would be heard if somebody pressed it: what it last told of itself, and what is wrong with that.

Pure: the stage (``watching``) brings the messages and the time. A contact that nobody hears is the fault this whole gateway
exists to prevent, so each cause is said in words a technician can act on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.contact import Signal, SignalKind
from gateway.domain.plan import Point

#: A contact or bridge that is back within this was only restarting (a Tasmota device takes about 4 s).
OFFLINE_GRACE_S = 5.0
#: After the broker's connection stands again, what waited there needs a moment to arrive before silence is judged.
SETTLED_S = 15.0
#: Below this a battery is to be changed. Ours: a CR2032 at 15 % lasts weeks; the usual warning of phones is 20 %.
BATTERY_LOW = 15
#: From this on it counts as changed. The gap keeps a reading that swings with the temperature from raising it daily.
BATTERY_WELL = 20
#: Somebody must see that a contact was opened, even if it was closed again at once.
TAMPER_HELD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a contact last told of itself; ``None`` where it never did.

    ``at`` is its last message of whatever kind. ``heard_s`` is the listening clock then: seconds during which the broker's
    connection stood, counted over restarts, so that our own absence is never taken for a contact's silence.
    ``tampered`` is whether the last message still told of it. ``qos`` is that of its last publish.
    """

    at: datetime | None = None
    battery: int | None = None
    battery_low: bool = False
    tamper_at: datetime | None = None
    tampered: bool = False
    test_at: datetime | None = None
    qos: int | None = None
    heard_s: float = 0.0

    def heard(self, signals: Sequence[Signal], *, at: datetime, qos: int, listened_s: float) -> Seen:
        """After one message of its own (never the broker's kept copy)."""
        battery = next((s.battery for s in reversed(signals) if s.battery is not None), self.battery)
        low = battery is not None and battery < (BATTERY_WELL if self.battery_low else BATTERY_LOW)
        tampered = any(s.kind is SignalKind.TAMPER for s in signals)
        tested = any(s.kind is SignalKind.TEST for s in signals)
        return Seen(
            at=at,
            battery=battery,
            battery_low=low,
            tamper_at=at if tampered else self.tamper_at,
            tampered=tampered,
            test_at=at if tested else self.test_at,
            qos=qos,
            heard_s=listened_s,
        )

    def alive(self, at: datetime, listened_s: float) -> Seen:
        """After a live word on its liveness topic: it is there, though it told nothing of itself."""
        return replace(self, at=at, heard_s=listened_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The last word on a liveness topic, and since when (monotonic) it stands."""

    online: bool
    since_s: float
    at: datetime


def wrong(
    point: Point,
    seen: Seen,
    *,
    device: Word | None,
    bridge: Word | None,
    now: datetime,
    now_s: float,
    listened_s: float | None,
) -> Iterator[tuple[str, str]]:
    """What is wrong with a contact, as (subject, cause). ``listened_s`` is ``None`` while silence cannot be judged."""
    source = point.source
    if source is None:
        return
    unheard = _gone(source.bridge_topic, bridge, now_s, _BRIDGE) or _gone(
        source.liveness_topic, device, now_s, _DEVICE
    )
    if not unheard and source.silent_after_s is not None and listened_s is not None:
        silent_s = listened_s - seen.heard_s
        if silent_s >= source.silent_after_s:
            unheard = _SILENT.format(s=source.silent_after_s, topic=source.topic)
    if unheard:
        yield point.id, unheard
    if seen.battery_low:
        yield f"{point.id} battery", f"its battery is below {BATTERY_LOW} %; change it, then press its test"
    if seen.tamper_at is not None and (seen.tampered or now - seen.tamper_at < TAMPER_HELD):
        yield (
            f"{point.id} tamper",
            "its housing was opened or it was taken off the wall; look at it, mount it again, and make it report (a test)",
        )


_BRIDGE = (
    "its bridge is offline ({topic}): no press of any of the bridge's contacts is heard; start it again, and look at its "
    "radio stick"
)
_DEVICE = (
    "it is offline ({topic}): no press of it is heard; look at its power or battery and its radio or network, then press "
    "its test"
)
_SILENT = (
    "nothing was heard from it for {s} s ({topic}, mqtt.silent_after_s): a press of it may not be heard; look at its "
    "power or battery and its radio, then press its test"
)


def _gone(topic: str | None, word: Word | None, now_s: float, cause: str) -> str:
    if topic is None or word is None or word.online or now_s - word.since_s < OFFLINE_GRACE_S:
        return ""
    return cause.format(topic=topic)
