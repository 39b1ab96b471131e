"""Certifying: how long every certificate still holds, ours and those that others show us; renewed files are taken up.

A certificate that ends silences an alarm on a day that was known for years. So its end is a fault 30 days before, in other
words 7 days before, and once more when it has come. Reading and handshakes are done beside the loop; what is found is
asked for by supervising.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from gateway.domain.certificate import Certificate, Stage, day, deciding, span
from gateway.domain.errors import Malformed, Unavailable
from gateway.domain.fault import FaultKind
from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0  # costs one stat a file
READ_EVERY_S = 86_400.0  # a file may be changed without its stamp telling
PEERS_EVERY_S = 6 * 3600.0  # nobody renews a certificate more often than daily
PEERS_AGAIN_S = 600.0  # … while one is about to end, or nobody was there

_STOPS = {
    "http.tls.cert": "whoever calls the gateway over https refuses it from then on: no reply, no picture",
    "http.tls.client_ca": "nobody who shows a certificate of it is let in from then on",
    "centre.webhook.cert": "the centre refuses the gateway from then on: no alarm gets there",
    "centre.webhook.ca": "the centre is not trusted any more from then on: no alarm gets there",
    "mqtt.cert": "the broker refuses the gateway from then on: no press is heard",
    "mqtt.ca": "the broker is not trusted any more from then on: no press is heard",
    "storage.ca": "the store is not trusted any more from then on: evidence waits in the spool",
}
_MEND = (
    "renew it (campus-gateway certs renew, or whoever issued it); a new file is taken up without a restart"
)
_THEIRS = "its owner has to renew it: tell them"

Found = tuple[FaultKind, str]
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another's certificate: ``see`` makes a handshake (blocking) and returns what was shown, ``None`` if it was not to be
    had, which is no matter of this stage."""

    what: str
    see: Callable[[], Certificate | None]


class Certifying:
    """The stage. ``run`` looks until cancelled; ``observed`` is what is wrong now."""

    def __init__(
        self,
        *,
        clock: Clock,
        files: Mapping[str, Path],
        keys: Mapping[str, Path],
        read: Callable[[Path], list[Certificate]],
        take_up: Callable[[], Mapping[str, str]],
        peers: Mapping[str, Peer],
    ) -> None:
        """``files`` are certificates by their key in the site file, ``keys`` what changes together with them. ``take_up``
        puts changed files to use and returns what cannot be used, by section."""
        self._clock = clock
        self._files = files
        self._watched = {**files, **keys}
        self._read = read
        self._take_up = take_up
        self._peers = peers
        self._stamps: dict[str, Stamp | None] = {}
        self._read_s = 0.0
        self._ours: dict[str, Certificate] = {}
        self._unreadable: dict[str, str] = {}
        self._unusable: Mapping[str, str] = {}
        self._theirs: dict[str, Certificate] = {}
        self._peers_due_s = clock.monotonic()

    async def run(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Read what has changed, put it to use, and see the others' where that is due."""
        stamps = await asyncio.to_thread(self._stamped)
        now_s = self._clock.monotonic()
        changed = stamps != self._stamps
        if changed or self._unusable or now_s - self._read_s >= READ_EVERY_S:
            first, self._stamps, self._read_s = not self._stamps, stamps, now_s
            await asyncio.to_thread(self._read_all)
            before = self._unusable
            self._unusable = self._take_up()
            if changed and not first:
                log.info("certificates.taken_up", refused=dict(self._unusable))
            elif self._unusable != before:
                log.warning("certificates.unusable", refused=dict(self._unusable))
        if self._peers and now_s >= self._peers_due_s:
            await self._see_peers()

    def observed(self, now: datetime) -> Iterator[tuple[Found, str]]:
        """What is wrong, as faults: other words as the end comes nearer are a fault of their own."""
        for section, words in self._unusable.items():
            yield (
                (FaultKind.CERTIFICATE, f"{section} unusable"),
                f"the files have changed and cannot be used: {words}. What was read before goes on until the next start, "
                "which would be refused",
            )
        for key, words in self._unreadable.items():
            yield (FaultKind.CERTIFICATE, f"{key} unreadable"), words
        for key, certificate in self._ours.items():
            stage = certificate.stage(now)
            if stage is not None:
                words = _words(certificate, stage, now)
                cause = f"{self._files[key]} {words} ({certificate}): {_STOPS.get(key, '')}; {_MEND}"
                yield (FaultKind.CERTIFICATE, _subject(key, stage)), cause
        for key, certificate in self._theirs.items():
            stage = certificate.stage(now)
            if stage is not None:
                words = _words(certificate, stage, now)
                cause = (
                    f"the certificate that {self._peers[key].what} shows {words} ({certificate}): {_THEIRS}"
                )
                yield (FaultKind.CERTIFICATE, _subject(f"{key} theirs", stage)), cause

    def _stamped(self) -> dict[str, Stamp | None]:
        return {key: _stamp(file) for key, file in self._watched.items()}

    def _read_all(self) -> None:
        ours: dict[str, Certificate] = {}
        unreadable: dict[str, str] = {}
        for key, file in self._files.items():
            try:
                ours[key] = deciding(self._read(file))
            except Unavailable as exc:
                unreadable[key] = exc.reason
            except Malformed as exc:
                unreadable[key] = str(exc)
        self._ours, self._unreadable = ours, unreadable

    async def _see_peers(self) -> None:
        again_s = PEERS_EVERY_S
        for key, peer in self._peers.items():
            try:
                seen = await asyncio.to_thread(peer.see)
            except OSError:
                seen = None
            if seen is not None:
                self._theirs[key] = seen
            if seen is None or seen.stage(self._clock.now()) is not None:
                again_s = PEERS_AGAIN_S
        self._peers_due_s = self._clock.monotonic() + again_s


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _subject(key: str, stage: Stage) -> str:
    return f"{key} {stage.value}"


def _words(certificate: Certificate, stage: Stage, now: datetime) -> str:
    left = span(certificate.left(now))
    if stage is Stage.EXPIRED:
        return f"has expired {left} ago, on {day(certificate.not_after)}"
    if stage is Stage.NOT_YET:
        return f"is not valid before {day(certificate.not_before)}; is this machine's clock right?"
    if stage is Stage.WITHIN_DAYS:
        return f"holds for only {left} more, until {day(certificate.not_after)}; now it is urgent"
    return f"holds for {left} more, until {day(certificate.not_after)}"
