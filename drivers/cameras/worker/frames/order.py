"""In which order frames are decoded and in which they are shown: they differ where a camera sends B-frames.

A camera tells when each frame is shown and sends them as they are to be decoded. What a file needs besides, a time for
decoding each, follows from both: the n-th frame sent is decoded when the n-th frame shown is due, earlier by the lag that the
most belated frame needs. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence


def lag_of(shown: Sequence[int]) -> int:
    """How long frames must be held back so that none is shown before it is decoded; 0 without B-frames. ``shown`` are the
    times of showing in the order of decoding, of whole groups."""
    return max((due - at for due, at in zip(sorted(shown), shown, strict=True)), default=0)


def decode_times(shown: Sequence[int], lag: int, *, after: int | None = None) -> list[int]:
    """Times of decoding for frames in that order: strictly rising, above ``after``, and none later than it is shown as
    long as ``after`` leaves the room."""
    times = [min(due - lag, at) for due, at in zip(sorted(shown), shown, strict=True)]
    for i in range(len(times) - 2, -1, -1):
        times[i] = min(times[i], times[i + 1] - 1)
    if after is not None:
        for i, at in enumerate(times):
            if at > after:
                break
            times[i] = after = after + 1
    return times
