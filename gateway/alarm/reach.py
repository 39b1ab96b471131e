"""What each path to the centre takes and what not, by kind of message: heartbeats that are answered prove nothing of alerts.

A path is *back* for a kind when a message of that kind is answered after others failed. A heartbeat is a kind of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from gateway.domain.message import (
    SECOND_PATH_AFTER_S,
    Answer,
    MessageClass,
    strangers_page,
    understand,
)
from gateway.domain.refusal import in_words, place_of
from gateway.domain.uplink import PathHealth
from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

#: Heartbeats; every other kind is a class of messages.
BEAT = None
Kind = MessageClass | None
#: A kind that fails and of which nothing waits any more (it went over the other path) is let be after so long.
FORGOTTEN_AFTER_S = 600.0


@dataclass(slots=True)
class _Failing:
    """One kind that a path does not take. ``silent``: no failure so far had a status, so it may be the network."""

    since_s: float
    last_s: float
    silent: bool
    words: str


class _Path:
    """What is known of one path."""

    def __init__(self, name: str, now_s: float) -> None:
        self.health = PathHealth(name)
        self.failing: dict[Kind, _Failing] = {}
        self.answered_s: dict[Kind, float] = {}
        self.began_s = now_s
        self.beats: bool | None = None  # whether the last heartbeat was answered; None: none was
        self.gave_json = False

    @property
    def dead(self) -> bool:
        """Whether nothing shows that it is anything but dead."""
        return bool(self.failing) and not self.beats


class Reach:
    """What is known of all paths, the first one first."""

    def __init__(self, clock: Clock, names: Sequence[str]) -> None:
        self._clock = clock
        self._paths = [_Path(name, clock.monotonic()) for name in names]
        #: Paths on which the centre answers 410, and on which somebody else seems to answer, with the words of it.
        self.gone: dict[str, str] = {}
        self.pages: dict[str, str] = {}

    @property
    def health(self) -> list[PathHealth]:
        """Each path's state as the API and the faults have it."""
        return [path.health for path in self._paths]

    def doubt(self, number: int, answer: Answer) -> str:
        """Why a 2xx on a path seems not to be the centre's; empty if it seems to be. What a path's answers are is learnt here."""
        path = self._paths[number]
        page = strangers_page(answer, path.gave_json)
        where = place_of(path.health.name).address
        if page:
            self.pages[path.health.name] = (
                f"{page} on the path {path.health.name}: a proxy, or a login page of the network, may have swallowed what was "
                f"sent there; call the centre about open alarms, and check {where} and the network"
            )
            return self.pages[path.health.name]
        self.pages.pop(path.health.name, None)
        if answer.body and not path.gave_json:
            with suppress(ValueError):
                path.gave_json = understand(answer) is not None
        return ""

    def took(self, number: int, kind: Kind, waiting: frozenset[Kind] = frozenset()) -> bool:
        """An attempt was answered as received. Whether the path is back by that: for this kind, or at all by a heartbeat.
        ``waiting`` are the kinds of which something waits, and so will show by itself."""
        path, now_s = self._paths[number], self._clock.monotonic()
        self.gone.pop(path.health.name, None)
        path.health.received_total += 1
        path.answered_s[kind] = now_s
        back = path.failing.pop(kind, None) is not None
        if kind is BEAT:
            back = path.beats is not True
            path.beats = True
            if back:  # what only the network had kept back is not known to fail any more
                path.failing = {k: f for k, f in path.failing.items() if not f.silent or k in waiting}
        self._say(path)
        return back

    def missed(self, number: int, kind: Kind, answer: Answer, began_s: float, words: str = "") -> None:
        """An attempt that began at ``began_s`` was not, for what its answer says or for ``words``."""
        path, now_s = self._paths[number], self._clock.monotonic()
        name = path.health.name
        if answer.status == 410:
            self.gone[name] = f"the centre answers 410 Gone on the path {name}"
        path.health.failed_total += 1
        if kind is BEAT:
            path.beats = False
        words = words or in_words(answer, place_of(name))
        failing = path.failing.get(kind)
        if failing is None:
            # It fails since the attempt began, which may have waited long for its answer.
            since_s = max(began_s, path.answered_s.get(kind, path.began_s))
            path.failing[kind] = _Failing(since_s, now_s, answer.status is None, words)
        else:
            failing.last_s, failing.words = now_s, words
            failing.silent = failing.silent and answer.status is None
        self._say(path)

    def forget(self, waiting: frozenset[Kind]) -> None:
        """Let be what a path did not take long ago, and of which nothing waits any more."""
        now_s = self._clock.monotonic()
        for path in self._paths:
            for kind in [k for k in path.failing if k is not BEAT and k not in waiting]:
                if path.beats and now_s - path.failing[kind].last_s >= FORGOTTEN_AFTER_S:
                    del path.failing[kind]
                    self._say(path)

    def second_from_s(self, kind: Kind) -> float | None:
        """From when on messages of a kind go over the further paths as well; ``None`` while the first one takes them."""
        first = self._paths[0]
        own = first.failing.get(kind)
        since = [own.since_s] if own is not None else []
        if first.dead:
            since += [failing.since_s for failing in first.failing.values()]
        return min(since) + SECOND_PATH_AFTER_S if since else None

    def _say(self, path: _Path) -> None:
        """Bring what is shown of a path up to date."""
        health = path.health
        if not path.failing:
            if health.failing_since is not None:
                log.info("path.back", path=health.name)
            health.failing_since, health.cause = None, ""
            return
        kind, failing = min(path.failing.items(), key=lambda item: _rank(item[0]))
        words = failing.words
        if kind is not BEAT and path.beats:
            words = f"takes heartbeats and no {_named(kind)}: {words}"
        since_s = min(each.since_s for each in path.failing.values())
        if health.failing_since is None:
            log.warning("path.failing", path=health.name, cause=words)
            health.failing_since = self._clock.now() - timedelta(seconds=self._clock.monotonic() - since_s)
        health.cause = words


def _rank(kind: Kind) -> int:
    return len(MessageClass) if kind is BEAT else int(kind)


def _named(kind: MessageClass) -> str:
    return {
        MessageClass.PRESS: "alarms",
        MessageClass.NOTE: "notes, escalations or results",
        MessageClass.FAULT: "faults",
        MessageClass.EVIDENCE: "evidence",
        MessageClass.DRILL: "drills",
        MessageClass.PLAN: "site plan",
    }[kind]
