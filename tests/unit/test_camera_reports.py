"""A camera's RTCP reports set the time of its pictures from the first group on, wherever in the stream they come."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.stream import reports, rtsp
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.ring import Ring
from drivers.cameras.worker.stream.rtsp import Session
from simulators.camera.encoded import EncodedStream

STEP = 3600
JUMP = 90_000_000
WALL_S = 1_800_000_000.0
"""When the camera's picture at time 0 was, by its own clock; the gateway's monotonic clock is at 0 then."""


class Piece(bytes):
    """What one RTP packet carried, as the media library hands it out."""

    stream_index = 0
    pts: int
    wall_us: int | None

    @property
    def size(self) -> int:
        return len(self)

    def has_sidedata(self, name: str) -> bool:
        return name == "prft" and self.wall_us is not None

    def get_sidedata(self, name: str) -> bytes:
        assert name == "prft"
        return struct.pack("=qi", self.wall_us, 24)


def pieces(told_from: int, jump_at: int | None) -> list[Piece]:
    """Two groups of 25 pictures in packets of 700 bytes. ``told_from`` is the packet behind the first report, from which the
    library goes on. From picture ``jump_at`` on the camera counts its time from elsewhere, and reports that at once."""
    stream = EncodedStream.make(width=320, height=180, bits_per_s=1_000_000, seconds=2)
    made: list[Piece] = []
    for n, picture in enumerate(stream.frames):
        for whole in (b"\0\0\0\1" + unit for unit in picture):
            for at in range(0, len(whole), 700):
                piece = Piece(whole[at : at + 700])
                piece.pts = n * STEP + (JUMP if jump_at is not None and n >= jump_at else 0)
                told = len(made) >= told_from
                piece.wall_us = round(1e6 * (WALL_S + n * STEP / 90_000)) if told else None
                made.append(piece)
    return made


class Told(Ring):
    """Notes what it is told, by picture, and whether that picture lies in the group that it is told of."""

    def __init__(self) -> None:
        super().__init__(RingLimits(seconds=60, bytes=16 << 20))
        self.told: list[tuple[int, float, bool]] = []

    def report(self, pts: int, at_s: float) -> float | None:
        group = self.open_group()
        self.told.append((pts, at_s, group is not None and pts in [frame.pts for frame in group.frames]))
        return super().report(pts, at_s)


def received(given: list[Piece], monkeypatch: pytest.MonkeyPatch) -> tuple[Session, Told]:
    """The session over these packets, and its ring."""
    video = SimpleNamespace(
        index=0, time_base=Fraction(1, 90_000), codec_context=SimpleNamespace(name="h264", extradata=b"")
    )
    streams = SimpleNamespace(video=[video])
    container = SimpleNamespace(streams=streams, demux=lambda *_: iter(given))

    @contextmanager
    def opened(address: Address, *, audio: bool, connecting: Callable[[str], None]) -> Iterator[Any]:
        yield container

    monkeypatch.setattr(rtsp, "opened", opened)
    over, ring = threading.Event(), Told()
    session = Session(
        "cam",
        ring,
        HouseClock(0.0, WALL_S),
        on_frame=lambda _: None,
        on_change=lambda: over.set() if "ended" in session.cause else None,
    )
    session.point_at(Address(url="rtsp://127.0.0.1:1/"))
    session.start()
    try:
        assert over.wait(30), session.cause
    finally:
        session.end()
    return session, ring


@pytest.mark.parametrize(
    ("told_from", "jump_at"),
    [
        pytest.param(0, None, id="in front of the first picture"),
        pytest.param(1, None, id="between the packets of the first picture"),
        pytest.param(30, None, id="later"),
        pytest.param(0, 25, id="and again as the camera counts from elsewhere"),
    ],
)
def test_a_report_sets_the_time_of_the_picture_that_it_stands_beside(
    told_from: int, jump_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as that picture lies in the ring: not before, when it would be of the picture before or of none at all."""
    monkeypatch.setattr(reports, "LOOKED_EVERY_S", 0.0)
    given = pieces(told_from, jump_at)
    session, ring = received(given, monkeypatch)
    assert session.clock_offset_s is not None
    said = {piece.pts: piece.wall_us / 1e6 - WALL_S for piece in given if piece.wall_us is not None}
    whole = told_from == 0 or given[told_from].pts != given[told_from - 1].pts
    assert ring.told[0][0] == given[told_from].pts + (0 if whole else STEP), (
        "the first picture all of which came behind it"
    )
    for pts, at_s, laid in ring.told:
        assert laid
        assert at_s == pytest.approx(said[pts], abs=1e-5)
    if jump_at is not None:
        assert max(pts for pts, _, _ in ring.told) >= JUMP
