"""The camera's microphone: AAC (RFC 3640) or G.711 (RFC 3551), encoded once and sent by the wall clock."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np

from simulators.camera.rtp import PreparedFrame
from simulators.camera.settings import AUDIO_CODECS
from simulators.camera.sound import Samples, draw_sound
from simulators.camera.stream import Frame

_AAC_PAYLOAD_TYPE = 97
_AAC_SAMPLES = 1024  # of one access unit, ISO/IEC 14496-3
_AAC_BITS_PER_S = 32_000
_G711_SAMPLES = 320  # 40 ms, as many cameras pack it
# Behind or ahead by more, the clock was set: go on from the time it says now.
_OUT_OF_STEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioLoop:
    """One period of sound, ready to be sent, shared by all cameras of a process."""

    codec: str
    rate_hz: int
    """Samples a second, and the RTP clock."""
    samples: int
    """Samples a packet."""
    payload_type: int
    sdp_lines: tuple[str, ...]
    """What stands behind the m= line."""
    bits_per_s: int
    payloads: tuple[bytes, ...]
    """What the packets carry, from a Unix time divisible by eight seconds on."""
    prepared: tuple[PreparedFrame, ...]

    @staticmethod
    def make(codec: str) -> AudioLoop:
        """Encode the loop (once a process); raises ValueError for a codec that is none of `AUDIO_CODECS`."""
        if codec not in AUDIO_CODECS:
            raise ValueError(f"audio {codec!r}: expected one of {', '.join(AUDIO_CODECS)}")
        return _aac() if codec == "aac" else _g711(codec)

    def frame(self, number: int) -> Frame:
        """Return packet `number`, counted since 1970, ready to be sent."""
        return Frame(
            prepared=self.prepared[number % len(self.prepared)],
            number=number,
            key=True,
            rtp_timestamp=number * self.samples,
            taken_at_s=number * self.samples / self.rate_hz,
        )


class AudioSource:
    """Sends one camera's sound, each packet as soon as its last sample is in the past."""

    def __init__(self, loop: AudioLoop) -> None:
        self._loop = loop
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, publish: Callable[[Frame], object], on_failure: Callable[[BaseException], None]) -> None:
        """Begin in the running event loop."""
        self._task = asyncio.create_task(self._run(publish), name="camera-sound")

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                on_failure(error)

        self._task.add_done_callback(ended)

    def want(self, wanted: bool) -> None:
        """Say whether anybody listens."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def stop(self) -> None:
        """End it; harmless if it never ran. Raises what ended it before."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _run(self, publish: Callable[[Frame], object]) -> None:
        packet_s = self._loop.samples / self._loop.rate_hz
        while True:
            await self._wanted.wait()
            number = int(time.time() / packet_s)
            while self._wanted.is_set():
                wait_s = (number + 1) * packet_s - time.time()
                if abs(wait_s) > _OUT_OF_STEP_S:
                    break
                await asyncio.sleep(max(0.0, wait_s))
                publish(self._loop.frame(number))
                number += 1


@cache
def _aac() -> AudioLoop:
    rate_hz = 16_000
    sound = draw_sound(rate_hz=rate_hz)
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate_hz, "mono", "fltp"
    context.bit_rate, context.time_base = _AAC_BITS_PER_S, Fraction(1, rate_hz)
    # Three periods, of which the middle one is taken: an access unit is decoded with the help of the one before.
    units: dict[int, bytes] = {}
    count = len(sound) // _AAC_SAMPLES
    whole = np.tile(sound, 3)
    for number in range(3 * count):
        frame = _audio_frame(whole[number * _AAC_SAMPLES : (number + 1) * _AAC_SAMPLES], rate_hz)
        frame.pts = number * _AAC_SAMPLES
        for packet in context.encode(frame):
            assert packet.pts is not None
            units[packet.pts // _AAC_SAMPLES] = bytes(packet)
    # One AU-header of 16 bits: size in 13, index in 3 (RFC 3640, 3.3.6).
    payloads = tuple(
        struct.pack(">HH", 16, len(units[number]) << 3) + units[number] for number in range(count, 2 * count)
    )
    config = bytes(context.extradata or b"").hex()
    return AudioLoop(
        codec="aac",
        rate_hz=rate_hz,
        samples=_AAC_SAMPLES,
        payload_type=_AAC_PAYLOAD_TYPE,
        sdp_lines=(
            f"a=rtpmap:{_AAC_PAYLOAD_TYPE} MPEG4-GENERIC/{rate_hz}/1",
            f"a=fmtp:{_AAC_PAYLOAD_TYPE} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;"
            f"indexdeltalength=3;config={config}",
        ),
        bits_per_s=_AAC_BITS_PER_S,
        payloads=payloads,
        prepared=tuple(PreparedFrame.of([each], payload_type=_AAC_PAYLOAD_TYPE) for each in payloads),
    )


@cache
def _g711(codec: str) -> AudioLoop:
    rate_hz = 8000
    encoder, payload_type = {"pcmu": ("pcm_mulaw", 0), "pcma": ("pcm_alaw", 8)}[codec]
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate_hz, "mono", "s16"
    context.time_base = Fraction(1, rate_hz)
    frame = av.AudioFrame.from_ndarray(
        (draw_sound(rate_hz=rate_hz) * 32767).astype(np.int16)[None, :], format="s16", layout="mono"
    )
    frame.sample_rate, frame.pts = rate_hz, 0
    data = b"".join(bytes(packet) for packet in context.encode(frame))
    payloads = tuple(data[at : at + _G711_SAMPLES] for at in range(0, len(data), _G711_SAMPLES))
    return AudioLoop(
        codec=codec,
        rate_hz=rate_hz,
        samples=_G711_SAMPLES,
        payload_type=payload_type,
        sdp_lines=(f"a=rtpmap:{payload_type} {codec.upper()}/{rate_hz}",),
        bits_per_s=rate_hz * 8,
        payloads=payloads,
        # The marker would say that speech begins after silence (RFC 3551, 4.1): this microphone is always open.
        prepared=tuple(
            PreparedFrame.of([each], payload_type=payload_type, marker=False) for each in payloads
        ),
    )


def _audio_frame(samples: Samples, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono")
    frame.sample_rate = rate_hz
    return frame
