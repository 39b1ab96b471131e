"""A sound that proves its own time: a short tone at the beginning of each second, whose pitch tells which second.

In second `s` since 1970 the tone is of `400 + 200 * (s % 8)` Hz and 100 ms long; the rest is silence. So the sound repeats
every eight seconds, and sound and picture of one moment can be held against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

PERIOD_S = 8
"""After so many seconds the sound is the same again."""
_TONE_S = 0.1
_LOWEST_HZ, _STEP_HZ = 400, 200
_LOUDNESS = 0.5
# A tone is where the sound is louder than a quarter of the tone's peak; what is apart by less is one tone.
_THRESHOLD = _LOUDNESS / 4
_GAP_S = 0.05

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """One tone that was heard."""

    at_s: float
    """Where it begins, in seconds from the first sample."""
    second: int
    """Which second it stands for, modulo `PERIOD_S`."""


def draw_sound(*, rate_hz: int) -> Samples:
    """Return one period of the sound, mono, between -1 and 1; its first sample is that of a Unix time divisible by 8."""
    sound = np.zeros(PERIOD_S * rate_hz, np.float32)
    at = np.arange(int(_TONE_S * rate_hz)) / rate_hz
    for second in range(PERIOD_S):
        tone = _LOUDNESS * np.sin(2 * np.pi * (_LOWEST_HZ + _STEP_HZ * second) * at)
        sound[second * rate_hz : second * rate_hz + len(at)] = tone
    return sound


def hear(sound: npt.NDArray[Any], *, rate_hz: int) -> list[Tone]:
    """Return the whole tones in mono samples between -1 and 1, in order; a tone cut off at either end is left out."""
    loud = np.flatnonzero(np.abs(sound) > _THRESHOLD)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > _GAP_S * rate_hz) + 1
    tones = []
    for begin, end in pairwise((0, *breaks.tolist(), len(loud))):
        first, last = int(loud[begin]), int(loud[end - 1])
        if last - first < 0.8 * _TONE_S * rate_hz:
            continue
        # Four times as many points as samples: the pitch is found closer than the step between two.
        power = np.abs(np.fft.rfft(sound[first : last + 1], 4 * (last + 1 - first)))
        pitch_hz = float(np.argmax(power)) * rate_hz / (4 * (last + 1 - first))
        tones.append(Tone(at_s=first / rate_hz, second=round((pitch_hz - _LOWEST_HZ) / _STEP_HZ) % PERIOD_S))
    return tones
