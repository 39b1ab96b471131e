"""The live source: pictures drawn by the wall clock and encoded as they are drawn, once for all clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from simulators.camera.codecs import CODECS, described, prepared
from simulators.camera.encoder import EncodedPicture, PictureEncoder, first_key_frame
from simulators.camera.picture import Canvas, Image
from simulators.camera.rtp import CLOCK_HZ
from simulators.camera.settings import StreamSettings
from simulators.camera.stream import Frame

_TICKS_PER_MS = CLOCK_HZ // 1000


class LiveSource:
    """Draws and encodes in a thread of its own; idle as long as nobody plays."""

    def __init__(self, settings: StreamSettings, *, title: str) -> None:
        self._title = title
        self.settings = settings
        self.description = described(settings, first_key_frame(settings))
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
            if self.settings.keys_on_demand:
                self._key_wanted.set()
            self._wanted.set()
        else:
            self._wanted.clear()

    async def change(self, settings: StreamSettings) -> None:
        """Film with other settings from the next picture on, which is a key frame with new parameter sets.

        Raises ValueError for a size that cannot be drawn; then nothing is changed.
        """
        if settings == self.settings:
            return
        Canvas(width=settings.width, height=settings.height)
        self.description = described(settings, await asyncio.to_thread(first_key_frame, settings))
        self.settings = settings

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

        def deliver(codec: str, frame: Frame) -> None:
            # What the old encoder still had is nothing for sessions that were promised the new codec.
            if codec == self.settings.codec:
                publish(frame)

        try:
            self._run(lambda codec, frame: loop.call_soon_threadsafe(deliver, codec, frame))
        except BaseException as caught:
            error = caught
        if loop.is_closed():
            return  # the program is ending without having stopped the camera: nobody is left to be told
        if error is None:
            loop.call_soon_threadsafe(running.set_result, None)
        else:
            loop.call_soon_threadsafe(running.set_exception, error)

    def _run(self, publish: Callable[[str, Frame], object]) -> None:
        number = 0
        while not self._stopping.is_set():
            self._wanted.wait()
            number = self._film(publish, number)

    def _film(self, publish: Callable[[str, Frame], object], number: int) -> int:
        """Draw, encode and publish with one encoder as long as somebody plays; return the next picture's number."""
        settings = self.settings
        interval_s = 1 / settings.fps
        canvas = Canvas(width=settings.width, height=settings.height, title=self._title)
        encoder = PictureEncoder(settings, title=self._title)
        numbers: dict[int, int] = {}
        image: Image | None = None
        due_s = time.time()
        while self._wanted.is_set() and not self._stopping.is_set():
            if settings != self.settings:
                # The old encoder's last pictures were taken before the change.
                for picture in encoder.drain():
                    publish(settings.codec, _frame(settings.codec, picture, numbers.pop(picture.pts)))
                break
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
            image = canvas.draw(unix_ms=unix_ms, frame=number, out=image)
            key = self._key_wanted.is_set()
            if key:
                self._key_wanted.clear()
            # The stamp in the picture and the time stamp of the packet are the same millisecond.
            timestamp = unix_ms * _TICKS_PER_MS
            numbers[timestamp] = number
            for picture in encoder.encode(image, pts=timestamp, key=key):
                publish(settings.codec, _frame(settings.codec, picture, numbers.pop(picture.pts)))
            number += 1
        return number


def _frame(codec: str, picture: EncodedPicture, number: int) -> Frame:
    return Frame(
        prepared=prepared(codec, CODECS[codec].stamped(picture.nals, number)),
        number=number,
        key=picture.key,
        rtp_timestamp=picture.pts,
        taken_at_s=picture.pts / CLOCK_HZ,
    )
