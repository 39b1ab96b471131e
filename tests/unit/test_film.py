"""How long an MP4 lasts by its own tables."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.clip_file import MUXER as CLIPPED
from drivers.cameras.worker.evidence.film import FilmWriter
from drivers.cameras.worker.record.segment_file import MUXER as RECORDED
from drivers.cameras.worker.stream.ring import Ring
from gateway.box.film import Reel, film_of
from gateway.domain.errors import Malformed
from tests.support.films import box, film, fragmented
from tests.support.h264_packets import FPS, lay, packets_of


@pytest.mark.parametrize(
    ("data", "lasts_s", "pictures"),
    [
        (film(30.0), 30.0, 10),
        (film(0.04, pictures=1), 0.04, 1),
        (fragmented(6.0), 6.0, 10),
        (fragmented(6.0, each=False), 6.0, 10),
        (fragmented(6.0)[:-40], 3.0 + 3.0, 10),  # the last bytes of the last fragment's data are missing
        (film(86_400.0, pictures=100), 86_400.0, 100),
    ],
)
def test_a_file_lasts_as_long_as_its_pictures(
    data: bytes, lasts_s: float, pictures: int, tmp_path: Path
) -> None:
    """Plain or in fragments, whatever the sound beside them says."""
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    found = film_of(path)
    assert (found.lasts_s, found.pictures) == (pytest.approx(lasts_s, abs=0.01), pictures)


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [film(30.0), fragmented(6.0), fragmented(6.0, each=False), box(b"free") + film(3.0), film(3.0)[:-100]],
)
def test_in_pieces_it_is_the_same(data: bytes, piece: int, tmp_path: Path) -> None:
    """However the bytes come."""
    path, reel = tmp_path / "film.mp4", Reel()
    path.write_bytes(data)
    for at in range(0, len(data), piece):
        reel.feed(data[at : at + piece])
    try:
        found = film_of(path)
    except Malformed:
        with pytest.raises(Malformed):
            reel.film()
    else:
        assert reel.film() == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xe0 a picture of another kind",
        box(b"ftyp", b"isom"),
        film(3.0)[:60],
        box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"vide"), box(b"mdhd", b"\1")))),
        film(3.0).replace(b"vide", b"soun"),
        b"\xff\xff\xff\xffmoov" + bytes(64),
        b"\0\0\0\1moov" + b"\xff" * 8,
    ],
)
def test_what_has_no_pictures_is_told(data: bytes, tmp_path: Path) -> None:
    """Nothing but ``Malformed``, and nothing allocated for what a length claims."""
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(Malformed):
        film_of(path)


@pytest.mark.parametrize("muxer", [CLIPPED, RECORDED])
def test_the_files_we_write_are_read(muxer: dict[str, str], tmp_path: Path) -> None:
    """Clips and recordings, as the muxer really writes them; the media library's own reader says the same."""
    path = tmp_path / "film.mp4"
    ring = Ring(RingLimits(seconds=60, bytes=1 << 24))
    groups = lay(ring, packets_of(3), 1, 1000.0)
    with path.open("w+b") as file:
        film = FilmWriter(file, groups[0], groups[0].frames[0], muxer=muxer, sound=None)
        for group in groups:
            film.add(group, group.frames, float("inf"))
        film.end()
    found = film_of(path)
    with av.open(str(path)) as source:
        times = [(p.pts + (p.duration or 0)) * p.time_base for p in source.demux(video=0) if p.size]
    assert (found.lasts_s, found.pictures) == (pytest.approx(float(max(times)), abs=0.01), 3 * FPS)
    assert found.lasts_s == pytest.approx(3.0, abs=0.01)
