"""What it takes to put pictures together from RTP packets: 1080p25 H.264 at 4 Mbit/s, without network and camera process.

Printed are microseconds a picture and a packet, of one core. Nothing is decoded; the goal is to stay near a tenth of what
receiving a picture takes altogether (250 µs).
"""

from __future__ import annotations

import timeit

from drivers.cameras.codec.slices import order_of
from drivers.cameras.worker.frames.timing import Arrival
from drivers.cameras.worker.stream.assembly import LONG_START, Assembly
from simulators.camera.encoded import EncodedStream

PAYLOAD_BYTES = 1400
TURNS = 7


def pieces_of(stream: EncodedStream) -> list[tuple[bytes, int]]:
    """What the media library hands out of each RTP packet, with its time."""
    made = []
    for number, picture in enumerate(stream.frames):
        for unit in picture:
            whole = LONG_START + unit
            made += [
                (whole[at : at + PAYLOAD_BYTES], number * 3600) for at in range(0, len(whole), PAYLOAD_BYTES)
            ]
    return made


def assemble(pieces: list[tuple[bytes, int]]) -> int:
    """Put them together as a session does; how many pictures came of it."""
    assembly, came, pictures = Assembly(order_of("h264")), Arrival(0.0, prompt=True), 0
    for piece, pts in pieces:
        if not assembly.goes_on(piece, pts):
            pictures += len(assembly.take(piece, pts, came))
    return pictures


def main(argv: list[str] | None = None) -> None:
    stream = EncodedStream.make(width=1920, height=1080, bits_per_s=4_000_000, seconds=4)
    pieces = pieces_of(stream)
    took_s = min(timeit.repeat(lambda: assemble(pieces), number=1, repeat=TURNS))
    print(
        f"assembly: {1e6 * took_s / len(stream.frames):.1f} us a picture, {1e6 * took_s / len(pieces):.2f} us a packet "
        f"({len(pieces)} packets, {len(stream.frames)} pictures)"
    )


if __name__ == "__main__":
    main()
