"""The encoded source: a heavy stream made once and sent for ever, almost for free.

Every frame carries the block code with its place in the loop (its time is 0), and a frame stamp that counts on over the
loops. The file is a plain Annex B stream, so any player shows it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from simulators.camera.codecs import CODECS, described, prepared
from simulators.camera.encoder import opened
from simulators.camera.h264 import join_annex_b, read_frame_stamp, split_annex_b
from simulators.camera.picture import Canvas
from simulators.camera.rtp import CLOCK_HZ
from simulators.camera.settings import StreamSettings
from simulators.camera.stream import Frame
from simulators.camera.surface import Surface

# Part of the cached file's name: raise it when the making changes.
_EDITION = 2


class EncodedStream:
    """A loop of encoded frames, shared by all cameras of a process.

    Frames are lists of NAL units in the order of decoding; their stamps are the pictures' numbers, 0 to n-1.
    """

    def __init__(self, frames: list[list[bytes]], settings: StreamSettings) -> None:
        self._codec = CODECS[settings.codec]
        self.settings = settings
        self.description = described(settings, frames[0])
        self.frames = frames
        self.keys = [self._codec.is_key(nals) for nals in frames]
        self._numbers = [_number_of(nals) for nals in frames]
        self._places = {number: place for place, number in enumerate(self._numbers)}
        self.reordering = max(number - place for place, number in enumerate(self._numbers))
        """Frames by which a picture may be sent before its turn; 0 without B-frames."""
        self._prepared = [prepared(settings.codec, nals) for nals in frames]

    @classmethod
    def make(
        cls,
        *,
        codec: str = "h264",
        width: int = 1920,
        height: int = 1080,
        fps: int = 25,
        gop: int = 25,
        b_frames: int = 0,
        bits_per_s: int = 4_000_000,
        seconds: int = 10,
        cache: Path | None = None,
    ) -> EncodedStream:
        """Encode the loop, or read it from the folder `cache` if it was made before with the same values.

        Takes seconds of a processor (H.265 several times as many): call it in a thread. `seconds * fps` is a multiple
        of `gop`. Raises ValueError for values that no camera can be set to.
        """
        settings = StreamSettings(
            codec=codec, width=width, height=height, fps=fps, gop=gop, b_frames=b_frames
        )
        if seconds * fps % gop:
            raise ValueError(f"{seconds} s of {fps} frames: expected a multiple of the group's {gop} frames")
        name = f"camera-{_EDITION}-{width}x{height}-{fps}-{gop}-{b_frames}-{bits_per_s}-{seconds}.{codec}"
        kept = cache / name if cache else None
        if kept is not None and kept.exists():
            frames = _frames_of(kept.read_bytes(), codec)
        else:
            frames = _encode(settings, bits_per_s=bits_per_s, count=seconds * fps)
            if kept is not None:
                _keep(kept, frames)
        return cls(frames, settings)

    def frame(self, place: int, *, started_s: float, first: int) -> Frame:
        """Return the frame at a place in the order of sending (counted over all loops) ready to be sent.

        Picture `first` counts as taken at `started_s`.
        """
        loops, index = divmod(place, len(self.frames))
        number = loops * len(self.frames) + self._numbers[index]
        fps = self.settings.fps
        return Frame(
            prepared=self._prepared[index],
            number=number,
            key=self.keys[index],
            rtp_timestamp=int(started_s * CLOCK_HZ) + (number - first) * (CLOCK_HZ // fps),
            taken_at_s=started_s + (number - first) / fps,
        )

    def nals(self, number: int) -> list[bytes]:
        """Return the NAL units of picture `number` exactly as they are sent, stamp included."""
        index = number % len(self.frames)
        stamp = self._codec.stamp(index)
        return [
            self._codec.stamp(number) if nal == stamp else nal for nal in self.frames[self._places[index]]
        ]


class EncodedSource:
    """Sends one camera's frames by the wall clock; `offset` shifts the loop, so that cameras' key frames do not meet."""

    def __init__(self, stream: EncodedStream, *, offset: int = 0) -> None:
        self.description = stream.description
        self.settings = stream.settings
        self._stream = stream
        self._offset = offset
        self._task: asyncio.Task[None] | None = None

    def start(self, publish: Callable[[Frame], None], on_failure: Callable[[BaseException], None]) -> None:
        """Begin in the running event loop."""
        self._task = asyncio.create_task(self._run(publish), name="camera-encoded")

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                on_failure(error)

        self._task.add_done_callback(ended)

    def want(self, wanted: bool) -> None:
        """Change nothing: sending to nobody costs nothing worth a pause."""

    async def change(self, settings: StreamSettings) -> None:
        """Raise ValueError unless the settings are those of the loop."""
        if settings != self.settings:
            raise ValueError(f"a loop encoded beforehand stays as it is: {self.settings}, not {settings}")

    async def stop(self) -> None:
        """End it; harmless if it never ran. Raises what ended it before."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _run(self, publish: Callable[[Frame], None]) -> None:
        fps = self.description.fps
        started_s = time.time()
        # The loop's clock is monotonic: a step of the wall clock must not stop or flood the stream.
        loop = asyncio.get_running_loop()
        started_loop_s = loop.time()
        sent = 0
        while True:
            # No picture is sent before it is taken, also if it is sent out of turn.
            wait_s = started_loop_s + (sent + self._stream.reordering) / fps - loop.time()
            # Even when late, let the other cameras of the process have their turn.
            await asyncio.sleep(max(0.0, wait_s))
            publish(self._stream.frame(self._offset + sent, started_s=started_s, first=self._offset))
            sent += 1


def _encode(settings: StreamSettings, *, bits_per_s: int, count: int) -> list[list[bytes]]:
    width, height, fps = settings.width, settings.height, settings.fps
    kbit = bits_per_s // 1000
    rate = f"vbv-maxrate={kbit}:vbv-bufsize={kbit}"
    if settings.codec == "h264":
        # The filling that nal-hrd=cbr adds keeps the rate where the noise does not.
        options, parameters = {"profile": "high"}, f"cabac=1:nal-hrd=cbr:{rate}"
    else:
        options, parameters = {}, f"strict-cbr=1:{rate}"
    codec = opened(
        settings,
        {"preset": "ultrafast", "b": str(bits_per_s), **options},
        time_base=Fraction(1, fps),
        parameters=parameters,
    )
    canvas = Canvas(width=width, height=height, title="encoded")
    # The same noise at every run: the stream's size and load are then comparable between runs.
    rng = np.random.default_rng(20260302)
    texture = rng.integers(-9, 10, (height, width + 64 * count // 16), dtype=np.int16)
    surface = Surface(width=width, height=height, blue=124, red=132, time_base=Fraction(1, fps))
    top = height * 9 // 20
    packets: list[av.Packet[Any]] = []
    for number in range(count):
        drawn = canvas.draw(unix_ms=0, frame=number)
        rows = slice(0, top)
        np.clip(
            drawn[rows] + texture[rows, number * 4 : number * 4 + width],
            16,
            235,
            out=surface.luma[rows],
            casting="unsafe",
        )
        np.copyto(surface.luma[top:], drawn[top:])
        packets += codec.encode(surface.at(number))
    packets += codec.encode(None)
    stamped = CODECS[settings.codec].stamped
    return [stamped(split_annex_b(bytes(packet)), packet.pts or 0) for packet in packets]


def _number_of(nals: list[bytes]) -> int:
    """Return the number that `_encode` stamped in."""
    number = read_frame_stamp(b"".join(nals))
    if number is None:
        raise ValueError("a frame of the loop has no frame stamp: expected one in every frame")
    return number


def _frames_of(data: bytes, codec: str) -> list[list[bytes]]:
    """Split a file: a frame ends where a unit that can only begin the next one follows its slice."""
    about = CODECS[codec]
    frames: list[list[bytes]] = []
    has_slice = True
    for nal in split_annex_b(data):
        if has_slice and about.begins_frame(nal):
            frames.append([])
            has_slice = False
        frames[-1].append(nal)
        has_slice = has_slice or about.is_slice(nal)
    return frames


def _keep(path: Path, frames: list[list[bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_bytes(b"".join(join_annex_b(nals) for nals in frames))
    unfinished.replace(path)
