"""Showing: while an alarm is open its cameras' live picture is PUT at the centre, so that a school nobody can reach is seen.

Live is live: nothing is stored or tried again. A line slower than the picture is given the newest segments, with a
discontinuity where some were left out. Segments go first and the playlist after them, so that a player never asks for what is not
there; stills of a press go before both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from gateway.alarm.attempt import answer_of
from gateway.box.pause import pause
from gateway.box.wake import Wake
from gateway.domain.alarm import Alarm
from gateway.domain.camera import LivePlaylist, LiveSegment
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.hls import Entry, PushedPlaylist
from gateway.domain.message import Answer, scheduled_s
from gateway.domain.upload import LIVE_PLAYLIST, live_place
from gateway.ports.cameras import CameraBank
from gateway.ports.centre import MediaUplink
from gateway.ports.clock import Clock
from gateway.ports.store import Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

MOST_SHOWN = 16  # pictures at once: 64 Mbit/s of 4-Mbit/s cameras; those of the newest presses
LOOK_S = 0.4  # a segment lasts a second and more
LOOK_AGAIN_S = 2.0  # should a wake be lost
BEGINS_WITH = 3  # segments a player needs to begin at once
MOST_BEHIND = 3  # more than that are left out: the newest picture counts
CAMERA_AGAIN_S = 1.0
LONGEST_AGAIN_S = 8.0  # after failures; then the picture is again one of now
ENDED_WITHIN_S = 1.8  # after closing nothing is shown any more within 2 s
FAILING_S = 5.0  # shorter is a hiccup of the line
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"  # RFC 8216 §4
PART_TYPE = "video/mp4"


class Showing:
    """The stage. ``wake``: an alarm may have opened or closed; ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        cameras: CameraBank,
        uplink: MediaUplink,
        envelopes: Envelopes,
        heard: Callable[[Answer], None],
        give_way: Callable[[], Awaitable[None]],
        wake: Wake | None = None,
    ) -> None:
        """``heard`` is told of every part that was taken; ``give_way`` is awaited before each."""
        self._store = store
        self._clock = clock
        self._cameras = cameras
        self._uplink = uplink
        self._envelopes = envelopes
        self._heard = heard
        self._give_way = give_way
        self.wake = wake or Wake()
        self._shows: dict[tuple[str, str], _Show] = {}
        self._left_out = 0

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        """Why live pictures do not get through."""
        found: dict[tuple[FaultKind, str], str] = {}
        now_s = self._clock.monotonic()
        for show in self._shows.values():
            if show.failing_since_s is not None and now_s - show.failing_since_s >= FAILING_S:
                found[FaultKind.PATH, "media-live"] = f"live pictures do not get through: {show.cause}"
        if self._left_out:
            found[FaultKind.PATH, "media-live-most"] = (
                f"{self._left_out} live pictures of open alarms are not put at the centre: {MOST_SHOWN} at once "
                "are, those of the newest presses; close what is over"
            )
        return found

    async def run(self) -> None:
        self._shows.clear()
        async with asyncio.TaskGroup() as shows:
            while True:
                self.wake.clear()
                await self._look(shows)
                await self.wake.wait(self._clock, LOOK_AGAIN_S)

    async def _look(self, shows: asyncio.TaskGroup) -> None:
        """Begin what is to be shown and end what is not."""
        try:
            alarms = await self._store.read(lambda tx: [*tx.alarms.open(), *tx.alarms.open_drills()])
        except Unavailable as exc:
            log.error("showing.cannot_read", cause=exc.reason)
            return
        # Exercises last, then the newest press first.
        alarms.sort(key=lambda alarm: (alarm.drill is None, alarm.last_press_at), reverse=True)
        wanted = {(alarm.id, camera): alarm for alarm in alarms for camera in alarm.cameras}
        self._left_out = max(0, len(wanted) - MOST_SHOWN)
        shown = dict(list(wanted.items())[:MOST_SHOWN])
        for key in [key for key in self._shows if key not in shown]:
            # One that only made room for newer ones may go on later: its playlist is left without an end.
            self._shows.pop(key).end(over=key not in wanted)
        for key, alarm in shown.items():
            if key not in self._shows:
                show = self._shows[key] = self._begin(alarm, key[1])
                shows.create_task(show.run(), name=f"show {key[0]} {key[1]}")

    def _begin(self, alarm: Alarm, camera: str) -> _Show:
        return _Show(
            alarm=alarm,
            camera=camera,
            clock=self._clock,
            cameras=self._cameras,
            uplink=self._uplink,
            envelopes=self._envelopes,
            heard=self._heard,
            give_way=self._give_way,
        )


class _Show:
    """One camera's picture on its way to one alarm's place."""

    def __init__(
        self,
        *,
        alarm: Alarm,
        camera: str,
        clock: Clock,
        cameras: CameraBank,
        uplink: MediaUplink,
        envelopes: Envelopes,
        heard: Callable[[Answer], None],
        give_way: Callable[[], Awaitable[None]],
    ) -> None:
        self._alarm = alarm
        self._camera = camera
        self._clock = clock
        self._cameras = cameras
        self._uplink = uplink
        self._envelopes = envelopes
        self._heard = heard
        self._give_way = give_way
        self._playlist: PushedPlaylist | None = None
        self._last = -1  # number of the last segment that was taken or left out
        self._epoch = -1
        self._init = ""  # the initialisation the receiver has
        self._breaks = False
        self._failures = 0
        self._ended = asyncio.Event()
        self._over = False
        self.failing_since_s: float | None = None
        self.cause = ""

    def end(self, *, over: bool) -> None:
        """Stop showing; ``over`` writes the playlist's end."""
        self._over = over
        self._ended.set()

    async def run(self) -> None:
        while not self._ended.is_set():
            wait_s = LOOK_S
            try:
                newest = await self._until_ended(self._cameras.live_playlist(self._camera))
                if newest is not None and newest.segments:
                    await self._until_ended(self._show(newest))
                    if self._failures:
                        wait_s = min(LONGEST_AGAIN_S, scheduled_s(self._failures))
            except Unavailable:
                wait_s = CAMERA_AGAIN_S  # the camera gives no picture now; its own fault says so
            await pause(self._clock, wait_s, self._ended)
        if self._over and self._playlist is not None:
            await self._until(ENDED_WITHIN_S, self._put_playlist(ended=True))
        log.info("live.ended", alarm_id=self._alarm.id, camera=self._camera)

    async def _until_ended(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work, unless it is to end before: nothing is worth waiting for then."""
        doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((doing, ending), return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            ending.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.wait([doing])

    async def _until(self, seconds: float, work: Coroutine[Any, Any, bool]) -> None:
        doing, timer = asyncio.ensure_future(work), asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((doing, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            doing.cancel()

    async def _show(self, newest: LivePlaylist) -> None:
        """Put what is new, the oldest first, each with the playlist after it."""
        for segment in self._fresh(newest):
            try:
                init, data = await self._parts(newest, segment)
            except Unavailable:  # it left the ring meanwhile: the line is slower than the picture
                self._last, self._breaks = segment.sequence, True
                continue
            await self._give_way()
            if init and not await self._put(newest.init, init, PART_TYPE):
                return
            self._init = newest.init
            if not await self._put(segment.name, data, PART_TYPE):
                return
            self._take(newest, segment)
            if not await self._put_playlist():
                return

    def _fresh(self, newest: LivePlaylist) -> list[LiveSegment]:
        """Segments not yet shown; where there are too many, the newest of them."""
        fresh = [s for s in newest.segments if s.sequence > self._last]
        most = BEGINS_WITH if self._playlist is None else MOST_BEHIND
        if len(fresh) > most:
            self._breaks = self._playlist is not None
            fresh = fresh[-(most - 1) :] if self._breaks else fresh[-most:]
        return fresh

    async def _parts(self, newest: LivePlaylist, segment: LiveSegment) -> tuple[bytes, bytes]:
        """The initialisation, if the receiver has not this one, and the segment."""
        known = self._init == newest.init
        init = b"" if known else await self._cameras.live_part(self._camera, newest.init)
        return init, await self._cameras.live_part(self._camera, segment.name)

    def _take(self, newest: LivePlaylist, segment: LiveSegment) -> None:
        """The receiver has the segment: it may stand in the playlist."""
        if self._playlist is None:
            # Both grow with time faster than they are counted on, so a restart never goes back.
            elapsed = self._clock.now() - self._alarm.raised_at
            self._playlist = PushedPlaylist(
                first=segment.sequence, broken=max(0, elapsed // timedelta(seconds=10))
            )
            log.info("live.begun", alarm_id=self._alarm.id, camera=self._camera)
        elif newest.epoch != self._epoch or segment.sequence != self._last + 1:
            self._breaks = True
        self._playlist.add(
            Entry(
                name=segment.name,
                init=newest.init,
                duration_s=segment.duration_s,
                begins_at=segment.begins_at,
                breaks=self._breaks and not self._playlist.empty,
            )
        )
        self._last, self._epoch, self._breaks = segment.sequence, newest.epoch, False

    async def _put_playlist(self, *, ended: bool = False) -> bool:
        assert self._playlist is not None
        text = self._playlist.text(self._envelopes.stamp, ended=ended)
        return await self._put(LIVE_PLAYLIST, text.encode(), PLAYLIST_TYPE)

    async def _put(self, part: str, data: bytes, media_type: str) -> bool:
        """Whether the receiver has taken it. What it does not take is not tried again: by then there is something newer."""
        await self._give_way()
        place = live_place(self._alarm.id, self._camera, part)
        answer = await answer_of(self._uplink.put_part(place, data, media_type))
        if answer.status is not None and 200 <= answer.status < 300:
            self._failures, self.failing_since_s, self.cause = 0, None, ""
            self._heard(answer)
            return True
        self._failures += 1
        self.cause = f"{answer.status or ''} {answer.detail}".strip()
        if self.failing_since_s is None:
            self.failing_since_s = self._clock.monotonic()
            log.warning("live.failing", alarm_id=self._alarm.id, camera=self._camera, cause=self.cause)
        return False
