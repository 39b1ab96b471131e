"""The live source: pictures drawn by the wall clock and encoded as they are drawn, once for all clients."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np

from simulators.camera.h264 import (
    NAL_SEI,
    StreamDescription,
    is_key,
    nal_type,
    parameter_sets,
    split_annex_b,
    stamped,
)
from simulators.camera.picture import Canvas, Image
from simulators.camera.rtp import CLOCK_HZ, H264_PAYLOAD_TYPE, PreparedFrame, packetize_h264
from simulators.camera.rtsp import Frame
from simulators.camera.surface import Surface

# x264's rate factor: the squares stay readable up to about 45; at 28 the clock takes some 0.2 Mbit/s.
_RATE_FACTOR = "28"


class PictureEncoder:
    """Encodes luma planes as H.264 without B-frames; not to be used from two threads at once.

    The title decides the tint, so that cameras beside each other differ by eye.
    """

    def __init__(self, *, width: int, height: int, fps: int, gop: int, title: str) -> None:
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, CLOCK_HZ), Fraction(fps, 1)
        # x264's own threads would wake up for pictures that take it a millisecond.
        codec.thread_count = 1
        codec.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": _RATE_FACTOR,
            "forced-idr": "1",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:repeat-headers=1",
        }
        self._codec = codec
        tint = zlib.crc32(title.encode())
        self._surface = Surface(
            width=width,
            height=height,
            blue=116 + tint % 25,
            red=116 + tint // 25 % 25,
            time_base=Fraction(1, CLOCK_HZ),
        )

    def encode(self, luma: Image, *, pts: int, key: bool = False) -> list[bytes]:
        """Return the frame's NAL units; `pts` counts 1/90000 s and grows."""
        np.copyto(self._surface.luma, luma)
        packets = self._codec.encode(self._surface.at(pts, key=key))
        # Zero latency: one frame in, one frame out.
        nals = split_annex_b(b"".join(bytes(packet) for packet in packets))
        # x264 advertises its version and options in an SEI of 600 bytes; a camera does not.
        return [nal for nal in nals if nal_type(nal) != NAL_SEI]


class LiveSource:
    """Draws and encodes in a thread of its own; idle as long as nobody plays."""

    def __init__(self, *, title: str, width: int, height: int, fps: int, gop: int) -> None:
        self._canvas = Canvas(width=width, height=height, title=title)
        self._encoder = PictureEncoder(width=width, height=height, fps=fps, gop=gop, title=title)
        self._fps = fps
        first = self._encoder.encode(self._canvas.draw(unix_ms=0, frame=0), pts=0, key=True)
        sps, pps = parameter_sets(first)
        self.description = StreamDescription(width=width, height=height, fps=fps, gop=gop, sps=sps, pps=pps)
        self._running: asyncio.Future[None] | None = None
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._key_wanted = threading.Event()

    def start(self, publish: Callable[[Frame], None], on_failure: Callable[[BaseException], None]) -> None:
        """Begin; both functions are called in the running event loop."""
        self._stopping.clear()
        running = self._running = asyncio.get_running_loop().create_future()

        def ended(running: asyncio.Future[None]) -> None:
            if not running.cancelled() and (error := running.exception()) is not None:
                on_failure(error)

        running.add_done_callback(ended)
        # A daemon, so that a program which dies with its camera running does not hang at its end.
        threading.Thread(
            target=self._live, args=(running, publish), name="camera-picture", daemon=True
        ).start()

    def want(self, wanted: bool) -> None:
        """Say whether anybody plays; the first frame after a pause is a key frame."""
        if wanted:
            self._key_wanted.set()
            self._wanted.set()
        else:
            self._wanted.clear()

    async def stop(self) -> None:
        """End the thread; harmless if it never ran. Raises what ended it before."""
        self._stopping.set()
        self._wanted.set()
        running, self._running = self._running, None
        if running is not None:
            await running
        self._wanted.clear()

    def _live(self, running: asyncio.Future[None], publish: Callable[[Frame], None]) -> None:
        """The thread: run, and tell the loop how it ended."""
        loop = running.get_loop()
        error: BaseException | None = None
        try:
            self._run(lambda frame: loop.call_soon_threadsafe(publish, frame))
        except BaseException as caught:
            error = caught
        if loop.is_closed():
            return  # the program is ending without having stopped the camera: nobody is left to be told
        if error is None:
            loop.call_soon_threadsafe(running.set_result, None)
        else:
            loop.call_soon_threadsafe(running.set_exception, error)

    def _run(self, publish: Callable[[Frame], object]) -> None:
        number = 0
        interval_s = 1 / self._fps
        image: Image | None = None
        while not self._stopping.is_set():
            self._wanted.wait()
            due_s = time.time()
            while self._wanted.is_set() and not self._stopping.is_set():
                taken_at_s = time.time()
                if taken_at_s < due_s:
                    if self._stopping.wait(due_s - taken_at_s):
                        break
                    taken_at_s = time.time()
                due_s += interval_s
                if due_s < taken_at_s + interval_s / 10:
                    # Behind by a frame: leave frames out as a camera does. Run after the clock, and two of a small
                    # picture fall into one millisecond, have one time stamp, and are one picture to every receiver.
                    due_s = taken_at_s + interval_s
                unix_ms = int(taken_at_s * 1000)
                image = self._canvas.draw(unix_ms=unix_ms, frame=number, out=image)
                key = self._key_wanted.is_set()
                if key:
                    self._key_wanted.clear()
                # The stamp in the picture and the time stamp of the packet are the same millisecond.
                timestamp = unix_ms * (CLOCK_HZ // 1000)
                nals = self._encoder.encode(image, pts=timestamp, key=key)
                prepared = PreparedFrame.of(
                    packetize_h264(stamped(nals, number)), payload_type=H264_PAYLOAD_TYPE
                )
                publish(
                    Frame(
                        prepared=prepared,
                        number=number,
                        key=is_key(nals),
                        rtp_timestamp=timestamp,
                        taken_at_s=unix_ms / 1000,
                    )
                )
                number += 1
