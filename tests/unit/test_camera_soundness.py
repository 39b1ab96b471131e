"""Files that earlier versions spoiled are found, and others are not suspected."""

from __future__ import annotations

import io

import pytest

from drivers.cameras.export.soundness import complaints
from tests.support import odd_streams
from tests.support.odd_streams import ALL, message
from tests.support.samples import film_of


@pytest.mark.parametrize(("codec", "name"), ALL)
def test_files_as_they_should_be_are_not_suspected(codec: str, name: str) -> None:
    """Of all odd streams, whoever wrote the file."""
    samples = odd_streams.odd(codec)[name]
    for marked in (True, False):
        assert complaints(io.BytesIO(film_of(codec, samples, marked=marked))) == []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("gop", [2, odd_streams.GOP])
def test_two_pictures_in_a_sample_are_counted(codec: str, gop: int) -> None:
    """Each key frame with the picture after it, as earlier versions joined them."""
    pictures = odd_streams.odd(codec)[
        "messages before and behind" + (" every picture" if codec == "h264" else "")
    ]
    samples = []
    for n, picture in enumerate(pictures):
        if n % gop == 1:
            samples[-1] = samples[-1] + picture
        else:
            samples.append(picture)
    (said,) = complaints(io.BytesIO(film_of(codec, samples, marked=True)))
    assert said.startswith(f"{len(pictures) // gop} of {len(samples)} samples have two pictures or more")


@pytest.mark.parametrize(
    ("text", "marked", "suspected"), [(b"hvc1", False, 1), (b"hvc1", True, 0), (b"hev1", False, 0)]
)
def test_bytes_that_an_earlier_version_may_have_altered_are_named(
    text: bytes, marked: bool, suspected: int
) -> None:
    """Only in files that do not say they were written since."""
    samples = [
        [*picture[:-1], message(text), picture[-1]] for picture in odd_streams.odd("h264")["as x264 makes it"]
    ]
    said = complaints(io.BytesIO(film_of("h264", samples, marked=marked)))
    assert len(said) == suspected
    assert all("nothing can tell any more" in each for each in said)


def test_what_is_no_film_is_no_matter_here() -> None:
    """Its hash is another check's."""
    for data in (b"", b"no film", b"\0\0\0\x18ftypisom" + bytes(200)):
        assert complaints(io.BytesIO(data)) == []
