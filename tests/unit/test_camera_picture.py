"""The picture says when it was drawn, whatever was done to it since."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from simulators.camera.picture import FRAME_NUMBERS, Canvas, Image, Reading, UnreadablePicture, draw, read

MOMENT = Reading(unix_ms=1_772_418_907_123, frame=123_456)


def drawn(width: int = 640, height: int = 360) -> Image:
    return draw(unix_ms=MOMENT.unix_ms, frame=MOMENT.frame, width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height"), [(160, 120), (320, 180), (480, 270), (640, 360), (640, 480), (1920, 1080)]
)
def test_reads_back_what_was_drawn(width: int, height: int) -> None:
    """Every usual picture size carries time and number, in gray and in colour."""
    image = drawn(width, height)
    assert image.shape == (height, width)
    assert read(image) == MOMENT
    assert read(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) == MOMENT


@pytest.mark.parametrize("unix_ms", [0, 1, 2**48 - 1])
@pytest.mark.parametrize("frame", [0, 2**24, 2**32 - 1])
def test_carries_the_whole_range(unix_ms: int, frame: int) -> None:
    """The smallest and the largest values fit, and a larger frame number wraps."""
    assert read(draw(unix_ms=unix_ms, frame=frame)) == Reading(unix_ms=unix_ms, frame=frame)
    assert read(draw(unix_ms=unix_ms, frame=frame + FRAME_NUMBERS)).frame == frame


@pytest.mark.parametrize("quality", [95, 50, 10])
def test_survives_jpeg(quality: int) -> None:
    """A still of poor quality is still readable."""
    _, encoded = cv2.imencode(".jpg", drawn(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(np.asarray(encoded), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert read(decoded) == MOMENT


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 2.0])
def test_survives_scaling(scale: float) -> None:
    """A thumbnail and an enlargement are readable."""
    assert read(cv2.resize(drawn(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)) == MOMENT


def test_survives_two_poor_encodings_in_motion() -> None:
    """Ten moving frames, encoded at a poor rate factor twice over, are all readable."""
    canvas = Canvas()
    expected = [Reading(unix_ms=MOMENT.unix_ms + 40 * number, frame=number) for number in range(10)]
    frames = [canvas.draw(unix_ms=each.unix_ms, frame=each.frame) for each in expected]
    for _ in range(2):
        frames = through_h264(frames, rate_factor="38")
    assert [read(frame) for frame in frames] == expected


def through_h264(images: list[Image], *, rate_factor: str) -> list[Image]:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": rate_factor, "preset": "veryfast", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    packets = []
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="gray").astype(np.uint8) for frame in decoded]


def test_refuses_a_picture_without_code() -> None:
    """A blank picture is refused instead of being read as some time."""
    with pytest.raises(UnreadablePicture, match="no block code"):
        read(np.full((360, 640), 128, np.uint8))


def test_refuses_noise() -> None:
    """Noise of full contrast fails the checksum."""
    noise = np.random.default_rng(1).integers(0, 2, (90, 160), dtype=np.uint8) * 255
    with pytest.raises(UnreadablePicture, match="checksum"):
        read(np.kron(noise, np.ones((4, 4), np.uint8)))


def test_refuses_one_flipped_square() -> None:
    """One square painted over is noticed."""
    left, top = 32, 360 - int(8.5 * 16)
    image = drawn()
    image[top : top + 16, left : left + 16] = 251 - image[top : top + 16, left : left + 16]
    with pytest.raises(UnreadablePicture, match="checksum"):
        read(image)


def test_refuses_what_is_no_picture() -> None:
    """An array of the wrong shape is named."""
    with pytest.raises(UnreadablePicture, match="shape"):
        read(np.zeros(5, np.uint8))


@pytest.mark.parametrize(("width", "height"), [(641, 360), (640, 361), (100, 100), (640, 200)])
def test_refuses_sizes_it_cannot_draw(width: int, height: int) -> None:
    """Odd, tiny and very wide pictures are refused at the start."""
    with pytest.raises(ValueError, match=f"{width}x{height}"):
        Canvas(width=width, height=height)
