"""The playlist of a live picture that is put at the centre segment by segment (RFC 8216).

It names only what the receiver has taken. Where segments were left out, because the line is slower than the picture or the
camera came back, a discontinuity says so; numbers of entries never go back, not even over a restart of the gateway.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

LISTED = 12
"""Segments kept in the playlist: a player may lag by a quarter of a minute and still find its next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One segment as it was taken; ``breaks`` if it does not follow on the one before."""

    name: str
    init: str
    duration_s: float
    begins_at: datetime
    breaks: bool


class PushedPlaylist:
    """``first`` numbers the first entry, ``broken`` the discontinuities before it: both must not be lower than what an earlier
    run told for the same place."""

    def __init__(self, *, first: int, broken: int) -> None:
        self._entries: deque[Entry] = deque()
        self._first = first
        self._broken = broken

    @property
    def empty(self) -> bool:
        return not self._entries

    def add(self, entry: Entry) -> None:
        """The receiver has taken one more segment. The oldest leaves when there are too many."""
        self._entries.append(entry)
        while len(self._entries) > LISTED:
            left = self._entries.popleft()
            self._first += 1
            self._broken += left.breaks

    def text(self, stamp: Callable[[datetime], str], *, ended: bool = False) -> str:
        """The playlist; with ``ended`` nothing more will come."""
        longest_s = max((entry.duration_s for entry in self._entries), default=1.0)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest_s))}",
            f"#EXT-X-MEDIA-SEQUENCE:{self._first}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._broken}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        init = ""
        for entry in self._entries:
            if entry.breaks:
                lines.append("#EXT-X-DISCONTINUITY")
            if entry.init != init:
                init = entry.init
                lines.append(f'#EXT-X-MAP:URI="{init}"')
            lines += [
                f"#EXT-X-PROGRAM-DATE-TIME:{stamp(entry.begins_at)}",
                f"#EXTINF:{entry.duration_s:.3f},",
                entry.name,
            ]
        if ended:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join([*lines, ""])
