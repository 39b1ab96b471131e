"""All cameras of the site as the gateway sees them. Implements ``gateway.ports.cameras.CameraBank``.

Imports no media library: what a camera streams is never read in this process. One file, though long: all that is known of a
camera meets here, and each part of it is a module of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drivers.cameras.channel import Message
from drivers.cameras.parent.addresses import Addresses, Found
from drivers.cameras.parent.corrections import Corrections
from drivers.cameras.parent.link import ProcessFell, WorkerLink
from drivers.cameras.parent.reached import at_first, by_onvif, by_stream, not_reached
from drivers.cameras.parent.salvage import salvage
from drivers.cameras.parent.snapshots import Snapshots
from drivers.cameras.parent.suspects import Suspects
from drivers.cameras.spec import CameraSpec
from gateway.domain.camera import CameraHealth, LivePlaylist, LiveSegment
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import ClipTaken, StillTaken
from gateway.domain.fault import FaultKind
from gateway.domain.recording import SEGMENT_S, stagger_s
from gateway.ports.clock import Clock

ANSWER_S = 10.0
"""What an answer may take beyond the instant asked for: 16 cameras' clips are written and synced well within it."""

SUSPECTS_EVERY_S = 0.5

log = logging.getLogger(__name__)


class SubprocessCameraBank:
    """All cameras of the site, in a process of their own. :meth:`run` supervises it until cancelled or stopped.

    ``ring_s`` is what each camera's ring covers at least; ``ring_bytes_total`` bounds all rings together and is shared
    out evenly. Clips are only written below ``spool``.
    """

    def __init__(
        self,
        specs: Sequence[CameraSpec],
        *,
        ring_s: float,
        ring_bytes_total: int,
        spool: Path,
        clock: Clock,
        recordings: Path | None = None,
        segment_s: float = 60.0,
        segment_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """What is recorded lies below ``recordings``, a folder for each camera, until it is taken from there; files of
        ``segment_s``. ``segment_closed`` is a hint that there is more."""
        self._recordings = recordings.absolute() if recordings is not None else None
        self._segment_s = segment_s
        self._segment_closed = segment_closed
        recorded = [spec.id for spec in specs if spec.record and recordings is not None]
        self._offset_s = {id_: stagger_s(n, len(recorded)) for n, id_ in enumerate(recorded)}
        self._giving_way: frozenset[str] = frozenset()
        self._keys_only: frozenset[str] = frozenset()
        self._substream: frozenset[str] = frozenset()
        self._specs = {spec.id: spec for spec in specs}
        self._ring_s = ring_s
        self._ring_bytes = ring_bytes_total // max(1, len(specs))
        self._spool = spool.absolute()
        self._clock = clock
        now = clock.now()
        self._health = {
            spec.id: CameraHealth(
                camera=spec.id, healthy=False, cause="the camera process is starting", since=now
            )
            for spec in specs
        }
        self._reached: dict[str, Message] = {spec.id: at_first(spec) for spec in specs}
        self._found: dict[str, Found] = {}
        self._addresses = Addresses(
            {spec.id: spec.onvif for spec in specs if spec.onvif is not None}, clock, self._address_changed
        )
        self._corrections = Corrections(
            clock,
            lambda: [s for s in self._specs.values() if not self._health[s.id].healthy],
            self._corrected,
        )
        self._snapshots = Snapshots()
        self._link = WorkerLink(
            clock,
            greeting=self._greeting,
            told=self._told,
            fell=self._process_fell,
        )
        self._deaths: list[tuple[str, str, str, int]] = []
        self._hangs, self._bounded = "", True
        self._suspects = Suspects()
        self._left_out: frozenset[str] = frozenset()
        self._fresh: set[str] = set()  # cameras whose frames come, whatever else is told of them
        self._ended = asyncio.Event()
        self._ended.set()

    # ------------------------------------------------------------------ life

    @property
    def restarts(self) -> int:
        """How often the camera process fell and was started again."""
        return self._link.restarts

    @property
    def process_id(self) -> int | None:
        """The camera process now, if one is running."""
        return self._link.pid

    async def start(self) -> None:
        """Make the spool ready. Raises ``OSError`` where it cannot be made; waits for no camera."""
        await asyncio.to_thread(self._spool.mkdir, parents=True, exist_ok=True)

    async def run(self) -> None:
        """Keep the camera process alive until cancelled or :meth:`stop`. Its falls are told in ``health`` and the log."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(each.run()) for each in (self._addresses, self._corrections)]
                beside.append(group.create_task(self._watch_suspects()))
                await self._link.run()
                for each in beside:
                    each.cancel()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End the camera process and :meth:`run`; harmless when repeated or never started."""
        self._link.stop()
        await self._ended.wait()

    # ------------------------------------------------------------------ what is known of the cameras

    def health(self) -> Mapping[str, CameraHealth]:
        """See :meth:`gateway.ports.cameras.CameraBank.health`."""
        return dict(self._health)

    async def _watch_suspects(self) -> None:
        """Leave cameras out that the process dies of, and take them in again."""
        while True:
            await self._clock.sleep(SUSPECTS_EVERY_S)
            now_s = self._clock.monotonic()
            self._suspects.looked({id_: id_ in self._fresh for id_ in self._specs}, now_s)
            left_out = self._suspects.left_out(now_s)
            if changed := left_out ^ self._left_out:
                self._left_out = left_out
                self._link.send(self._configuration(changed))

    def _reached_by(self, camera: str) -> Message:
        if camera not in self._left_out:
            return self._reached[camera]
        cause = self._suspects.cause(camera, self._clock.monotonic())
        return {"address": None, "cause": cause, "no_sub": cause}

    def _greeting(self) -> Message:
        self._left_out = self._suspects.left_out(self._clock.monotonic())
        return self._configuration(self._specs)

    def _configuration(self, cameras: Iterable[str]) -> Message:
        configured = [
            {
                "id": camera,
                "audio": self._specs[camera].audio,
                "record": self._record(camera),
                **self._reached_by(camera),
            }
            for camera in cameras
        ]
        return {
            "op": "cameras",
            "cameras": configured,
            "ring_s": self._ring_s,
            "ring_bytes": self._ring_bytes,
            # Also where no camera is recorded: what earlier runs left open there is closed.
            "recordings": str(self._recordings) if self._recordings is not None else None,
        }

    def _record(self, camera: str) -> Message | None:
        if camera not in self._offset_s or camera in self._giving_way:
            return None
        return {
            "folder": str(self._recordings),
            "offset_s": self._offset_s[camera] * self._segment_s / SEGMENT_S,
            "segment_s": self._segment_s,
            "keys_only": camera in self._keys_only,
            "substream": camera in self._substream,
        }

    def give_way(
        self, stopped: Collection[str], keys_only: Collection[str] = (), substream: Collection[str] = ()
    ) -> None:
        """Record those no longer, of these only the key frames, of the last their second stream where it comes, and everything of
        all others that are to be recorded."""
        wanted = (frozenset(stopped), frozenset(keys_only), frozenset(substream))
        if (self._giving_way, self._keys_only, self._substream) != wanted:
            self._giving_way, self._keys_only, self._substream = wanted
            self._link.send(self._configuration(self._specs))

    def _address_changed(self, camera: str, found: Found | None, cause: str) -> None:
        onvif = self._specs[camera].onvif
        assert onvif is not None
        if found is not None:
            self._reached[camera] = by_onvif(onvif, found)
            self._found[camera] = found
            log.info("camera %s: %s at %s", camera, found.profile, found.stream_url)
        elif camera not in self._found:  # else the address known so far may still be right
            self._reached[camera] = not_reached(cause)
        self._link.send(self._configuration([camera]))

    def _corrected(self, spec: CameraSpec) -> None:
        """Other credentials than before: tried at once, by ONVIF and by its stream."""
        self._specs[spec.id] = spec
        if spec.stream is not None:
            self._reached[spec.id] = by_stream(spec.stream)
            self._link.send(self._configuration([spec.id]))
        if spec.onvif is not None:
            if spec.id in self._found:
                self._address_changed(spec.id, self._found[spec.id], "")
            self._addresses.correct(spec.id, spec.onvif)

    def _told(self, message: Message) -> None:
        if "segment" in message:
            self._segment_closed()
        elif "at" in message:
            camera, doing, begins = message["at"]
            (self._suspects.begun if begins else self._suspects.ended)(camera, doing)
        else:
            self._take_health(message)

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        """What is wrong with the camera process itself; faults are made of it."""
        often = self._suspects.often(self._clock.monotonic())
        return of_process(self._deaths, self._specs, often, self._hangs, bounded=self._bounded)

    def _take_health(self, message: Message) -> None:
        self._deaths, self._hangs, self._bounded = message["deaths"], message["hangs"], message["bounded"]
        for facts in message["health"]:
            if facts["camera"] in self._health:
                self._health[facts["camera"]] = self._updated(self._health[facts["camera"]], facts)
                if facts["cause"]:
                    self._addresses.doubt(facts["camera"], refused=facts["refused"])

    def _updated(self, known: CameraHealth, facts: dict[str, Any]) -> CameraHealth:
        found, offset_s, last = self._found.get(known.camera), facts["clock_offset_s"], facts["last_frame_at"]
        suspected = self._suspects.cause(known.camera, self._clock.monotonic())
        (self._fresh.add if facts["healthy"] else self._fresh.discard)(known.camera)
        return replace(
            known,
            healthy=facts["healthy"] and not suspected,
            cause=suspected or facts["cause"],
            # One of the process's deaths is not a new beginning of what is wrong with the camera.
            since=known.since if suspected and not known.healthy else _wall(facts["since"]),
            last_frame_at=known.last_frame_at if last is None else _wall(last),
            codec=facts["codec"],
            width=facts["width"],
            height=facts["height"],
            # The stream's own word is precise; what ONVIF says is in whole seconds.
            clock_offset_s=found.clock_offset_s if offset_s is None and found is not None else offset_s,
            offers_snapshot=found is not None and found.snapshot_url is not None,
            ring_s=facts["ring_s"],
            ring_bytes=facts["ring_bytes"],
            sessions=facts["sessions"],
            timing_error_s=facts["timing_error_s"],
            key_frames_apart_s=facts["key_frames_apart_s"],
            live_codec=facts["live_codec"],
            live_note=facts["live_note"],
            reached=facts["reached"],
            recording=facts["recording"],
            recorded_since=_wall(facts["recorded_since"]) if facts["recorded_since"] else None,
            recorded_until=_wall(facts["recorded_until"]) if facts["recorded_until"] else None,
            recorded_substream=facts["recorded_substream"],
            substream_missing=facts["substream_missing"],
        )

    def _process_fell(self, cause: str) -> None:
        now, now_s = self._clock.now(), self._clock.monotonic()
        self._suspects.fell(cause, now_s)
        self._fresh.clear()
        self._deaths, self._hangs = [], ""
        for camera, known in self._health.items():
            suspected = self._suspects.cause(camera, now_s)
            self._health[camera] = replace(
                known,
                healthy=False,
                cause=suspected or cause,
                since=known.since if suspected and not known.healthy else now,
                ring_s=0.0,
                ring_bytes=0,
                recording=suspected or cause,
            )

    def _known(self, camera: str) -> str:
        if camera not in self._specs:
            raise Unavailable(f"no camera {camera!r} in the plan")
        return camera

    # ------------------------------------------------------------------ evidence

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        """See :meth:`gateway.ports.cameras.CameraBank.take_still`."""
        request = {"op": "still", "camera": self._known(camera), "at": at.timestamp(), "at_s": at_s}
        message, jpeg = await self._link.ask(request, within_s=self._until_s(at, at_s) + ANSWER_S)
        offset = timedelta(seconds=message["offset_s"])
        return StillTaken(
            jpeg=jpeg,
            taken_at=at + offset,
            offset_ms=round(offset / timedelta(milliseconds=1)),
            clock=message["clock"],
            source="ring",
        )

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        """See :meth:`gateway.ports.cameras.CameraBank.fetch_snapshot`.

        The picture's instant is taken to be halfway between the request that it answers and its beginning.
        """
        onvif, found = self._specs[self._known(camera)].onvif, self._found.get(camera)
        if onvif is None:
            raise Unavailable("the camera offers no snapshot: it is reached by its stream alone")
        if found is None:
            raise Unavailable(f"the camera's snapshot address is not known: {self._health[camera].cause}")
        if found.snapshot_url is None:
            raise Unavailable("the camera offers no snapshot")
        asked_at, asked_s = self._clock.now(), asyncio.get_running_loop().time()
        snapshot = await self._snapshots.fetch(found.snapshot_url, onvif)
        offset = timedelta(seconds=snapshot.taken_s - asked_s)
        return StillTaken(
            jpeg=snapshot.jpeg,
            taken_at=asked_at + offset,
            offset_ms=round(offset / timedelta(milliseconds=1)),
            clock="arrival",
            source="onvif",
        )

    async def cut_clip(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        target: Path,
        *,
        span_s: tuple[float, float] | tuple[None, None] = (None, None),
    ) -> ClipTaken:
        """See :meth:`gateway.ports.cameras.CameraBank.cut_clip`. ``target`` lies below the spool (``ValueError`` otherwise).

        If the camera process dies meanwhile, what it had written is kept as a shorter clip.
        """
        path = self._inside_spool(target)
        if end <= start:
            raise ValueError(f"a clip from {start} to {end} is no span")
        request = {
            "op": "clip",
            "camera": self._known(camera),
            "start": start.timestamp(),
            "end": end.timestamp(),
            "span_s": span_s if span_s[0] is not None else None,
            "target": str(path),
        }
        within_s = self._until_s(end, span_s[1]) + 2 * ANSWER_S
        call = self._link.new_call()
        try:
            message, _ = await self._link.ask(request, within_s=within_s, call=call)
        except ProcessFell as exc:
            if call.progress is None:
                raise
            return await self._salvaged(path, call.progress, start, end, exc.reason)
        return _clip_taken(message, start, message["sha256"], message["shortfall"])

    def _until_s(self, at: datetime, at_s: float | None) -> float:
        """How long it is until then."""
        ahead_s = (at - self._clock.now()).total_seconds() if at_s is None else at_s - self._clock.monotonic()
        return max(0.0, ahead_s)

    async def _salvaged(
        self, path: Path, progress: Message, start: datetime, end: datetime, reason: str
    ) -> ClipTaken:
        try:
            digest = await asyncio.to_thread(salvage, path, progress["bytes"])
        except OSError as exc:
            raise Unavailable(f"{reason}, and the clip it was writing cannot be kept: {exc}") from exc
        missing_s = (end - start).total_seconds() - progress["offset_s"] - progress["lasts_s"]
        return _clip_taken(progress, start, digest, f"ends {missing_s:.1f} s early: {reason}")

    def _inside_spool(self, target: Path) -> Path:
        path = Path(os.path.abspath(target))
        if not path.is_relative_to(self._spool):
            raise ValueError(f"{target} is not below the spool {self._spool}")
        return path

    # ------------------------------------------------------------------ live picture

    async def live_playlist(self, camera: str) -> LivePlaylist:
        """See :meth:`gateway.ports.cameras.CameraBank.live_playlist`."""
        message, _ = await self._link.ask(
            {"op": "playlist", "camera": self._known(camera)}, within_s=ANSWER_S
        )
        epoch = message["epoch"]
        return LivePlaylist(
            codec=message["codec"],
            note=message["note"],
            init=f"init-{epoch}.mp4",
            epoch=epoch,
            segments=[
                LiveSegment(
                    name=f"{epoch}-{number}.m4s",
                    sequence=number,
                    duration_s=duration_s,
                    begins_at=_wall(begins),
                )
                for number, duration_s, begins in message["segments"]
            ],
        )

    async def live_part(self, camera: str, name: str) -> bytes:
        """See :meth:`gateway.ports.cameras.CameraBank.live_part`."""
        request = {"op": "part", "camera": self._known(camera), "name": name}
        _, data = await self._link.ask(request, within_s=ANSWER_S)
        return data


def of_process(
    deaths: Sequence[tuple[str, str, str, int]],
    cameras: Collection[str],
    often: str | None,
    hangs: str,
    *,
    bounded: bool,
) -> dict[tuple[FaultKind, str], str]:
    """What is wrong with the camera process itself: its parts that died (part, camera, cause, how often), that it dies ``often``,
    that its disk ``hangs``, and that its media library was not told how much it may allocate (``bounded``)."""
    found: dict[tuple[FaultKind, str], str] = {}
    for name, camera, cause, count in deaths:
        subject = f"{camera} thread" if camera in cameras else f"thread {name}"
        found[FaultKind.CAMERA, subject] = (
            f"a part of the camera process ({name}) ended by an error {count} time(s) and was begun again: {cause}"
        )
    if often:
        found[FaultKind.CAMERA, "camera process"] = often
    if hangs:
        found[FaultKind.DISK, "recordings hang"] = hangs
    if not bounded:
        found[FaultKind.CAMERA, "camera memory"] = (
            "the media library of this installation could not be told how much memory it may take: one camera can take that of "
            "all; install the gateway anew with the packages of its lock (scripts/install)"
        )
    return found


def _wall(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _clip_taken(facts: Message, asked: datetime, sha256: str, shortfall: str | None) -> ClipTaken:
    """``asked`` is the instant that was asked for: what came is told by its clock, whatever the clock shows now."""
    start = asked + timedelta(seconds=facts["offset_s"])
    return ClipTaken(
        start=start,
        end=start + timedelta(seconds=facts["lasts_s"]),
        bytes=facts["bytes"],
        sha256=sha256,
        clock=facts.get("clock", "arrival"),
        shortfall=shortfall,
    )
