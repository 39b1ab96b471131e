"""Frames and sounds of groups in an MP4 file of a clip or a recording, each with its time in the file, written as they come.

The file begins at time 0 with its first frame. A frame's time in it is its timestamp's distance from that of the first one; where
the stream was opened again, and its timestamps started again, the distance is that of the moments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import av

from drivers.cameras.worker.frames.group import Frame, Group, Sound
from drivers.cameras.worker.frames.mp4 import CODECS, TICKS, Mp4, SoundFormat, VideoFormat, name_hvc1
from drivers.cameras.worker.frames.order import decode_times, lag_of

OUT_OF_ORDER = "some frames came later than they were to be shown: all are here, a few of them shown late"

JITTER_S = 0.05
"""What two epochs of one camera may lie over each other by the error of their clocks alone."""

SOUND_DRIFT_S = 0.05
"""Sound is laid end to end until it lies this far from its time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A clip is a valid file up to ``bytes``, and shows ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    bytes: int


class FilmWriter:
    """Lays frames and sounds into an open file. ``first_s`` is when its first frame was, ``last_s`` when its latest one so far
    was."""

    def __init__(
        self,
        file: Any,
        group: Group,
        first: Frame,
        *,
        muxer: Mapping[str, str],
        sound: SoundFormat | None,
        lag: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """``file`` takes ``write`` and ``flush``, with ``progress`` also reading and seeking; whoever opened it closes it, or has
        it closed by :meth:`let_go`. ``muxer`` are the muxer's options; ``lag`` is how long frames are held back, in ticks,
        ``None`` to find it out by the first ones; ``progress`` is called for each fragment as it is written."""
        self.video: VideoFormat = group.stream
        self.video_session = self.video.session
        self.sound = sound
        self.epoch = group.epoch
        self.clock = group.clock()
        self.first_s = self.last_s = group.time_of(first)
        self.heard_s = 0.0
        self.complaints: list[str] = []
        self._file = file
        self._mp4 = Mp4(file, self.video, dict(muxer), sound)
        self._progress = progress
        self._described = self.video  # what the file's head says, or what the stream had since
        self._base = (first.pts, 0)  # this pts of the epoch lies at these ticks of the file
        self._lag = lag
        self._held: tuple[Frame, int, int, bytes] | None = (
            None  # written once the next one tells how long it lasts
        )
        self._latest = -1  # ticks at which the latest frame is shown
        self._end = 0  # ticks at which its showing ends
        self._sound_next: int | None = None
        self._key: tuple[int, int] | None = None  # size and ticks at the last key frame handed to the muxer
        self._sounds_taken: tuple[Group, int] | None = None
        self._sounds_waiting: list[Sound] = []  # sent sooner than the picture that belongs to them

    # ------------------------------------------------------------------ pictures

    def change(self, video: VideoFormat) -> None:
        """From now on the pictures are of another kind of the same codec."""
        self.video = video

    def rebase(self, group: Group, at_s: float) -> None:
        """The group begins another epoch, and its first frame was at ``at_s``.

        It may be sooner after the last frame than these follow each other: an encoder set anew does not wait. And it may be
        before it: some cameras begin a session with what they have kept. Every frame keeps its time that can; those due before
        what the file already shows come right after it, as fast as they may.
        """
        ticks = round((at_s - self.first_s) * TICKS)
        if 0 <= self._latest - ticks < JITTER_S * TICKS:
            ticks = self._latest + 1
        self._base = (group.frames[0].pts, ticks)
        self.epoch = group.epoch
        self.video_session = group.stream.session

    def add(self, group: Group, frames: list[Frame], end_s: float) -> None:
        """Write frames of one group in their order, and what was heard meanwhile, up to ``end_s``."""
        frames = self._decodable(group, frames)
        if not frames:
            return
        shown = [self._ticks(frame.pts, group) for frame in frames]
        if self._lag is None:
            self._lag = lag_of(shown)
        after = self._held[2] if self._held is not None else None
        decoded = decode_times(shown, self._lag, after=after)
        sounds = self._heard(group, end_s)
        for i, (frame, at, dts) in enumerate(zip(frames, shown, decoded, strict=True)):
            pts = max(at, dts)
            if pts != at and OUT_OF_ORDER not in self.complaints:
                self.complaints.append(OUT_OF_ORDER)
            while sounds and sounds[0][1] * TICKS < dts * self._rate():
                self._write_sound(*sounds.pop(0))
            self._flush_held(dts)
            self._held = (frame, pts, dts, self._sets(frame) if i == 0 else b"")
        for each in sounds:
            self._write_sound(*each)
        self._latest = max(self._latest, *shown)
        self.last_s = max(self.last_s, group.at(max(frame.pts for frame in frames)))
        self._end = self._latest + max(1, round(group.run.interval_s * TICKS))

    def _decodable(self, group: Group, frames: list[Frame]) -> list[Frame]:
        """Without those that refer to frames from before a beginning: they are shown before it, and could not be."""
        begins = self._held is None or self._base[0] == group.frames[0].pts
        return [frame for frame in frames if not frame.leading] if begins else frames

    def _sets(self, frame: Frame) -> bytes:
        """Parameter sets the frame needs before it: where they have changed and the camera does not repeat them itself."""
        if self.video is self._described or self.video.parameters == self._described.parameters:
            return b""
        self._described = self.video
        given = CODECS[self.video.codec].parameter_sets(bytes(frame.packet))
        return b"" if given else self.video.parameters

    def _ticks(self, pts: int, group: Group) -> int:
        tick_s: float = group.stream.tick_s
        return self._base[1] + round((pts - self._base[0]) * tick_s * TICKS)

    def _flush_held(self, next_dts: int) -> None:
        if self._held is None:
            return
        frame, pts, dts, sets = self._held
        before = self._file.tell() if self._progress is not None else 0
        self._mp4.write(frame, pts, max(1, next_dts - dts), dts=dts, sets=sets)
        if frame.key and pts and self._progress is not None:
            self._report_progress(self._progress, pts, before)

    def _report_progress(self, progress: Callable[[Progress], None], ticks: int, before: int) -> None:
        """A fragment ends before a key frame; with sound beside, the muxer may keep the key frame back for a while."""
        if self.sound is None:
            self._file.flush()
            shown = ticks
        elif self._key is not None and before > self._key[0]:
            shown = self._key[1]
        else:
            self._key = (before, ticks)
            return
        self._key = (before, ticks)
        if self.video.codec == "hevc":
            name_hvc1(self._file)
            self._file.flush()
        self._file.flush()
        progress(Progress(start_s=self.first_s, end_s=self.first_s + shown / TICKS, bytes=self._file.tell()))

    # ------------------------------------------------------------------ sound

    def _rate(self) -> int:
        return self.sound.rate if self.sound is not None else 1

    def _heard(self, group: Group, end_s: float) -> list[tuple[Sound, int, int]]:
        """What of the group's sound was not taken yet, with its place and length in samples."""
        if self.sound is None:
            return []
        taken = self._sounds_taken[1] if self._sounds_taken and self._sounds_taken[0] is group else 0
        sounds, seen = group.sounds[taken:], len(group.sounds)
        if (
            self._sounds_taken is None and group.before is not None
        ):  # sound is often sent sooner than its picture
            sounds = [*group.before.sounds, *sounds]
        self._sounds_taken = (group, seen)
        self._sounds_waiting += sounds
        placed: list[tuple[Sound, int, int]] = []
        anchor_s, anchor = group.time_of(group.frames[0]), self._ticks(group.frames[0].pts, group) / TICKS
        while self._sounds_waiting:
            sound = self._sounds_waiting[0]
            at_s = group.heard_at(sound)
            if at_s > end_s:
                break
            del self._sounds_waiting[0]
            place = round((anchor + at_s - anchor_s) * self.sound.rate)
            length = max(1, round((sound.end_s - sound.begins_s) * self.sound.rate))
            if place < 0:
                continue
            following = self._sound_next
            if following is not None and abs(place - following) < SOUND_DRIFT_S * self.sound.rate:
                place = following
            if following is not None and place < following:
                continue
            self._sound_next = place + length
            self.heard_s += length / self.sound.rate
            placed.append((sound, place, length))
        return placed

    def _write_sound(self, sound: Sound, at: int, length: int) -> None:
        self._mp4.write_sound(sound, at, length)

    # ------------------------------------------------------------------ ending

    def end(self) -> float:
        """Write the last frame and close the muxer; returns when that frame's showing ends. The file stays open. Raises
        ``OSError`` from the disk."""
        if self._held is not None:
            self._flush_held(max(self._held[2] + 1, self._end - (self._lag or 0)))
        self._mp4.close()
        return self.first_s + self._end / TICKS

    def let_go(self) -> None:
        """Close muxer and file, whatever they say."""
        try:
            self._mp4.close()
        except (OSError, av.FFmpegError):
            log.debug("an abandoned clip could not be closed in order", exc_info=True)
        try:
            self._file.close()
        except OSError:
            log.debug("an abandoned clip could not be flushed", exc_info=True)
