"""The encoded source: a heavy stream made once and sent for ever, almost for free.

Every frame carries the block code with its place in the loop (its time is 0), and a frame stamp that counts on over the
loops. The file is plain Annex B H.264, so any player shows it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from simulators.camera.h264 import (
    NAL_IDR,
    StreamDescription,
    is_key,
    join_annex_b,
    nal_type,
    parameter_sets,
    split_annex_b,
    stamped,
)
from simulators.camera.picture import Canvas
from simulators.camera.rtp import CLOCK_HZ, H264_PAYLOAD_TYPE, PreparedFrame, packetize_h264
from simulators.camera.rtsp import Frame
from simulators.camera.surface import Surface

# Part of the cached file's name: raise it when the making changes.
_EDITION = 1


class EncodedStream:
    """A loop of encoded frames, shared by all cameras of a process; frames are lists of NAL units, stamped 0 to n-1."""

    def __init__(self, frames: list[list[bytes]], *, width: int, height: int, fps: int, gop: int) -> None:
        sps, pps = parameter_sets(frames[0])
        self.description = StreamDescription(width=width, height=height, fps=fps, gop=gop, sps=sps, pps=pps)
        self.frames = frames
        self.keys = [is_key(nals) for nals in frames]
        self._prepared = [
            PreparedFrame.of(packetize_h264(nals), payload_type=H264_PAYLOAD_TYPE) for nals in frames
        ]

    @classmethod
    def make(
        cls,
        *,
        width: int = 1920,
        height: int = 1080,
        fps: int = 25,
        gop: int = 25,
        bits_per_s: int = 4_000_000,
        seconds: int = 10,
        cache: Path | None = None,
    ) -> EncodedStream:
        """Encode the loop, or read it from the folder `cache` if it was made before with the same values.

        Takes seconds of a processor: call it in a thread. `seconds * fps` is a multiple of `gop`.
        """
        if seconds * fps % gop:
            raise ValueError(f"{seconds} s of {fps} frames: expected a multiple of the group's {gop} frames")
        kept = (
            cache / f"camera-{_EDITION}-{width}x{height}-{fps}-{gop}-{bits_per_s}-{seconds}.h264"
            if cache
            else None
        )
        if kept is not None and kept.exists():
            frames = _frames_of(kept.read_bytes())
        else:
            frames = _encode(
                width=width, height=height, fps=fps, gop=gop, bits_per_s=bits_per_s, count=seconds * fps
            )
            if kept is not None:
                _keep(kept, frames)
        return cls(frames, width=width, height=height, fps=fps, gop=gop)

    def frame(self, number: int, *, rtp_timestamp: int, taken_at_s: float) -> Frame:
        """Return frame `number` (counted over all loops) ready to be sent."""
        index = number % len(self.frames)
        return Frame(
            prepared=self._prepared[index],
            number=number,
            key=self.keys[index],
            rtp_timestamp=rtp_timestamp,
            taken_at_s=taken_at_s,
        )

    def nals(self, number: int) -> list[bytes]:
        """Return the NAL units of frame `number` exactly as they are sent, stamp included."""
        index = number % len(self.frames)
        stamp = stamped([], index)[0]
        return [stamped([], number)[0] if nal == stamp else nal for nal in self.frames[index]]


class EncodedSource:
    """Sends one camera's frames by the wall clock; `offset` shifts the loop, so that cameras' key frames do not meet."""

    def __init__(self, stream: EncodedStream, *, offset: int = 0) -> None:
        self.description = stream.description
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
        step = CLOCK_HZ // fps
        started_s = time.time()
        # The loop's clock is monotonic: a step of the wall clock must not stop or flood the stream.
        loop = asyncio.get_running_loop()
        started_loop_s = loop.time()
        sent = 0
        while True:
            wait_s = started_loop_s + sent / fps - loop.time()
            # Even when late, let the other cameras of the process have their turn.
            await asyncio.sleep(max(0.0, wait_s))
            publish(
                self._stream.frame(
                    self._offset + sent,
                    rtp_timestamp=int(started_s * CLOCK_HZ) + sent * step,
                    taken_at_s=started_s + sent / fps,
                )
            )
            sent += 1


def _encode(*, width: int, height: int, fps: int, gop: int, bits_per_s: int, count: int) -> list[list[bytes]]:
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, fps), Fraction(fps, 1)
    codec.bit_rate = bits_per_s
    kbit = bits_per_s // 1000
    codec.options = {
        "preset": "ultrafast",
        "profile": "high",
        # One slice a frame, no look-ahead; the filling that nal-hrd=cbr adds keeps the rate where the noise does not.
        "x264-params": (
            f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:rc-lookahead=0:sliced-threads=0:cabac=1:"
            f"repeat-headers=1:nal-hrd=cbr:vbv-maxrate={kbit}:vbv-bufsize={kbit}"
        ),
    }
    canvas = Canvas(width=width, height=height, title="encoded")
    # The same noise at every run: the stream's size and load are then comparable between runs.
    rng = np.random.default_rng(20260302)
    texture = rng.integers(-9, 10, (height, width + 64 * count // 16), dtype=np.int16)
    surface = Surface(width=width, height=height, blue=124, red=132, time_base=Fraction(1, fps))
    top = height * 9 // 20
    frames: list[list[bytes]] = []
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
        for packet in codec.encode(surface.at(number)):
            frames.append(split_annex_b(bytes(packet)))
    for packet in codec.encode(None):
        frames.append(split_annex_b(bytes(packet)))
    return [stamped(nals, number) for number, nals in enumerate(frames)]


def _frames_of(data: bytes) -> list[list[bytes]]:
    """Split a file: a frame ends where a unit that is neither slice nor filling follows its slice."""
    frames: list[list[bytes]] = []
    has_slice = True
    for nal in split_annex_b(data):
        if has_slice and 6 <= nal_type(nal) <= 9:
            frames.append([])
            has_slice = False
        frames[-1].append(nal)
        has_slice = has_slice or 1 <= nal_type(nal) <= NAL_IDR
    return frames


def _keep(path: Path, frames: list[list[bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_bytes(b"".join(join_annex_b(nals) for nals in frames))
    unfinished.replace(path)
