"""One of a camera's streams: its pictures, perhaps its sound, and the path under which both are served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from simulators.camera.audio import AudioLoop, AudioSource
from simulators.camera.codecs import CODECS, format_parameters
from simulators.camera.encoded import EncodedSource
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import StreamDescription
from simulators.camera.jpeg import packetize_jpeg
from simulators.camera.live import LiveSource
from simulators.camera.onvif_media import OfferedProfile, OfferedSound
from simulators.camera.rtp import CLOCK_HZ, JPEG_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, PreparedFrame
from simulators.camera.stream import Frame, MediaStream, MediaTrack

# A camera that serves JPEG by mistake does so at a few pictures a second.
_JPEG_EVERY = 5


class CameraProfile:
    """A stream with what ONVIF calls it.

    `jpeg` draws a picture for the fault `wrong_codec`; `on_frame` is told of every picture and how many clients got it.
    """

    def __init__(
        self,
        *,
        token: str,
        path: str,
        source: LiveSource | EncodedSource,
        audio: AudioLoop | None,
        faults: Callable[[], CameraFaults],
        jpeg: Callable[[], bytes],
        on_frame: Callable[[Frame, int], None],
    ) -> None:
        self.token = token
        self.audio = audio
        self.source = source
        self._sound = AudioSource(audio) if audio else None
        self._late: deque[tuple[Callable[[Frame], None], Frame]] = deque()
        self._faults, self._jpeg, self._on_frame = faults, jpeg, on_frame
        self._video = MediaTrack("trackID=0", picture=True, describe=self._describe_video)
        self._audio = MediaTrack("trackID=1", picture=False, describe=self._describe_audio)
        tracks = (self._video, self._audio) if audio else (self._video,)
        self.stream = MediaStream(path, tracks, on_playing=self._want)

    @property
    def path(self) -> str:
        """Its path on the RTSP port."""
        return self.stream.path

    @property
    def description(self) -> StreamDescription:
        """Codec, size, rate and parameter sets of the pictures."""
        return self.source.description

    def offered(self) -> OfferedProfile:
        """Return what ONVIF tells of it now."""
        sound = None
        if self.audio is not None:
            sound = OfferedSound(
                codec=self.audio.codec, rate_hz=self.audio.rate_hz, bits_per_s=self.audio.bits_per_s
            )
        return OfferedProfile(token=self.token, path=self.path, about=self.description, sound=sound)

    def start(self, on_failure: Callable[[BaseException], None]) -> None:
        """Begin in the running event loop."""
        self.source.start(lambda frame: self._in_time(self._publish, frame), on_failure)
        if self._sound is not None:
            self._sound.start(lambda frame: self._in_time(self._publish_sound, frame), on_failure)

    async def stop(self) -> None:
        """End it; harmless if it never ran. Raises what ended it before."""
        try:
            await self.source.stop()
        finally:
            if self._sound is not None:
                await self._sound.stop()

    def _want(self, playing: int) -> None:
        self.source.want(playing > 0)
        if self._sound is not None:
            self._sound.want(playing > 0)

    def _in_time(self, publish: Callable[[Frame], None], frame: Frame) -> None:
        """Publish now, or late if the fault says so, but never before what came before."""
        delay_s = self._faults().frame_delay_s
        if not delay_s and not self._late:
            publish(frame)
            return
        loop = asyncio.get_running_loop()
        self._late.append((publish, frame))
        # One turn for each: they go off in the order of the queue, whichever timer comes first.
        loop.call_later(delay_s, self._publish_late)

    def _publish_late(self) -> None:
        publish, frame = self._late.popleft()
        publish(frame)

    def _publish_sound(self, frame: Frame) -> None:
        self.stream.publish(self._audio, frame)

    def _publish(self, frame: Frame) -> None:
        if self._faults().wrong_codec:
            if frame.number % _JPEG_EVERY or not self.stream.playing:
                return
            payloads = packetize_jpeg(self._jpeg())
            frame = replace(
                frame, prepared=PreparedFrame.of(payloads, payload_type=JPEG_PAYLOAD_TYPE), key=True
            )
        self._on_frame(frame, self.stream.publish(self._video, frame))

    def _describe_video(self) -> list[str]:
        about = self.description
        if self._faults().wrong_codec:
            lines = [
                f"m=video 0 RTP/AVP {JPEG_PAYLOAD_TYPE}",
                f"a=rtpmap:{JPEG_PAYLOAD_TYPE} JPEG/{CLOCK_HZ}",
            ]
        else:
            lines = [
                f"m=video 0 RTP/AVP {VIDEO_PAYLOAD_TYPE}",
                f"a=rtpmap:{VIDEO_PAYLOAD_TYPE} {CODECS[about.codec].sdp_name}/{CLOCK_HZ}",
                f"a=fmtp:{VIDEO_PAYLOAD_TYPE} {format_parameters(about)}",
            ]
        return [*lines, f"a=framerate:{about.fps}"]

    def _describe_audio(self) -> list[str]:
        assert self.audio is not None
        return [f"m=audio 0 RTP/AVP {self.audio.payload_type}", *self.audio.sdp_lines]
