"""The playlist of a pushed live picture: what a player reads of it stays true while it slides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.domain.hls import LISTED, Entry, PushedPlaylist

BEGAN = datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)


def entry(n: int, *, init: str = "init-1.mp4", breaks: bool = False, duration_s: float = 1.04) -> Entry:
    return Entry(
        name=f"1-{n}.m4s",
        init=init,
        duration_s=duration_s,
        begins_at=BEGAN + timedelta(seconds=n),
        breaks=breaks,
    )


def read(playlist: PushedPlaylist) -> dict[int, tuple[str, str, int]]:
    """What a player makes of it: number to name, initialisation and discontinuity sequence (RFC 8216 §4.3)."""
    number = broken = 0
    init = ""
    found = {}
    for line in playlist.text(datetime.isoformat).splitlines():
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            number = int(line.partition(":")[2])
        elif line.startswith("#EXT-X-DISCONTINUITY-SEQUENCE:"):
            broken = int(line.partition(":")[2])
        elif line == "#EXT-X-DISCONTINUITY":
            broken += 1
        elif line.startswith("#EXT-X-MAP:"):
            init = line.split('"')[1]
        elif line and not line.startswith("#"):
            found[number] = (line, init, broken)
            number += 1
    return found


def test_an_entry_keeps_its_number_initialisation_and_discontinuity_while_the_list_slides() -> None:
    """Over fifty segments with a reopened stream and two gaps among them, every entry is read the same each time it is listed."""
    playlist = PushedPlaylist(first=1000, broken=3)
    told: dict[int, tuple[str, str, int]] = {}
    for n in range(50):
        init = "init-1.mp4" if n < 20 else "init-2.mp4"
        playlist.add(entry(n, init=init, breaks=n in (7, 20, 33)))
        now = read(playlist)
        assert len(now) == min(n + 1, LISTED)
        for number, what in now.items():
            assert told.setdefault(number, what) == what
    assert sorted(told) == list(range(1000, 1050))
    assert told[1049][2] == 3 + 3


def test_the_text_is_what_rfc_8216_asks_for() -> None:
    """Version, target duration rounded up, the map first, a date and a duration for each segment, and the end when it ended."""
    playlist = PushedPlaylist(first=7, broken=0)
    playlist.add(entry(7, duration_s=1.04))
    playlist.add(entry(8, duration_s=2.2))
    assert playlist.text(datetime.isoformat).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:3",
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-DISCONTINUITY-SEQUENCE:0",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init-1.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T02:15:14+00:00",
        "#EXTINF:1.040,",
        "1-7.m4s",
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T02:15:15+00:00",
        "#EXTINF:2.200,",
        "1-8.m4s",
    ]
    assert playlist.text(datetime.isoformat, ended=True).splitlines()[-1] == "#EXT-X-ENDLIST"
