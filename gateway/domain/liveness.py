"""Whether a contact would be heard if somebody pressed it: what it last told of itself, and what is wrong with that.

Pure: the stage (``watching``) brings the messages and the time. A contact that nobody hears is the fault this whole gateway
exists to prevent, so each cause is said in words a technician can act on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.contact import Signal, SignalKind
from gateway.domain.plan import ContactSource, Point

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
#: A contact of which one message is understood and the next is not, in turn, is not well in between.
UNREADABLE_HELD = timedelta(seconds=10)
#: Characters of why a message could not be understood.
REASON_MOST = 200


class Hearing(StrEnum):
    """Whether a contact's own topic brought anything that was understood. A retained copy, which may be of years ago, shows
    nothing, and neither does a liveness topic: it is another one."""

    HEARD = "heard"
    UNHEARD = "unheard"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a contact last told of itself; ``None`` where it never did.

    ``at`` is its last message of whatever kind. ``heard_s`` is the listening clock then: seconds during which the broker's
    connection stood, counted over restarts, so that our own absence is never taken for a contact's silence.
    ``tampered`` is whether the last message still told of it. ``qos`` is that of its last publish. ``heard_at`` is the last
    message on its own topic that was understood, ``unread_at`` the last that was not, ``unread`` why not. ``source`` is where and
    how that was heard (``ContactSource.read_as``); ``None``: noted by a version that did not keep it.
    """

    at: datetime | None = None
    battery: int | None = None
    battery_low: bool = False
    tamper_at: datetime | None = None
    tampered: bool = False
    test_at: datetime | None = None
    qos: int | None = None
    heard_s: float = 0.0
    heard_at: datetime | None = None
    unread_at: datetime | None = None
    unread: str | None = None
    source: str | None = None

    def of(self, source: ContactSource, listened_s: float) -> Seen:
        """What of this is told of ``source``, which the site file may have given the point since. From another topic nothing
        is; in another format or of another input, only what the device tells of itself. One noted without its source is taken
        for this one's, since else every contact would be unheard at once."""
        if self.source is None or self.source == source.read_as:
            return replace(self, source=source.read_as)
        if self.source.partition(" ")[2].partition("#")[0] != source.topic:
            return Seen(source=source.read_as, heard_s=listened_s)
        return replace(self, source=source.read_as, heard_at=None, unread_at=None, unread=None)

    def heard(
        self,
        signals: Sequence[Signal],
        *,
        at: datetime,
        qos: int,
        listened_s: float,
        unreadable: str | None = None,
        elsewhere: bool = False,
    ) -> Seen:
        """After one message of its own (never the broker's kept copy). ``unreadable`` is why nothing of it was understood;
        ``elsewhere``: all of it tells of other inputs of the device, so that it does not show that this one is heard."""
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
            heard_at=at if unreadable is None and not elsewhere else self.heard_at,
            unread_at=self.unread_at,
            unread=self.unread,
            source=self.source,
        )._not_understood(unreadable, at)

    def retained(self, *, at: datetime, qos: int, unreadable: str | None) -> Seen:
        """After the broker's kept copy of a message of its own."""
        seen = self if self.qos is not None else replace(self, qos=qos)
        return seen if self.heard_at is not None else seen._not_understood(unreadable, at)

    def _not_understood(self, unreadable: str | None, at: datetime) -> Seen:
        if unreadable is None:
            return self
        return replace(self, unread_at=at, unread=unreadable[:REASON_MOST])

    def hearing(self, now: datetime) -> Hearing:
        """What its topic brought lately."""
        if self.unread_at is not None and (
            self.heard_at is None
            or self.heard_at < self.unread_at
            or timedelta() <= now - self.unread_at < UNREADABLE_HELD
        ):
            return Hearing.UNREADABLE
        return Hearing.UNHEARD if self.heard_at is None else Hearing.HEARD

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
    if seen.hearing(now) is Hearing.UNREADABLE:
        yield (
            f"{point.id} unreadable",
            _UNREADABLE.format(topic=source.topic, reason=seen.unread, format=source.format),
        )
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
_UNREADABLE = (
    "what it publishes on {topic} cannot be understood as {format}: {reason}: a press of it may not be heard; correct the "
    "point's topic and format in the site file, or the device's settings, then press it"
)
#: Of a point from which nothing that was understood ever came.
NEVER_HEARD = (
    "it was never heard on {topic}: nobody knows whether a press of it arrives; press it once, or its test; if it stays so, the "
    "device publishes elsewhere: compare its topic with this one, letter by letter"
)
#: Of a point of which neither its device nor its bridge tells anything.
UNTOLD = (
    "whether it is there is not known: nothing came on {topics}; either nothing is kept there (switch it on at the device or "
    "bridge, with retain), or the broker's access list hides it (give the gateway's user 'topic read' there); where it cannot be "
    "told, set mqtt.liveness: none"
)
_SILENT = (
    "nothing was heard from it for {s} s ({topic}, mqtt.silent_after_s): a press of it may not be heard; look at its "
    "power or battery and its radio, then press its test"
)


def _gone(topic: str | None, word: Word | None, now_s: float, cause: str) -> str:
    if topic is None or word is None or word.online or now_s - word.since_s < OFFLINE_GRACE_S:
        return ""
    return cause.format(topic=topic)
