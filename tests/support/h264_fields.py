"""H.264 written by hand, bit by bit: pictures of two fields each, as an interlaced camera sends them and no encoder here makes.

Every key picture is plain grey (I_PCM), every other one a copy of the one before (all macroblocks skipped). ITU-T H.264 §7.3.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 32
HEIGHT = 64
"""In luma samples; a field has half the lines: 2 by 2 macroblocks."""

_FRAME_NUM_BITS = _ORDER_BITS = 4


class Writer:
    """Fields of a NAL unit, in the order they are written."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, bits: int) -> Writer:
        """``u(n)``."""
        self._bits.append(f"{value:0{bits}b}")
        return self

    def ue(self, *values: int) -> Writer:
        """``ue(v)``."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)
        return self

    def se(self, value: int) -> Writer:
        """``se(v)``."""
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def align(self) -> Writer:
        """``pcm_alignment_zero_bit`` up to the next byte."""
        count = sum(map(len, self._bits))
        self._bits.append("0" * (-count % 8))
        return self

    def unit(self, header: int) -> bytes:
        """The NAL unit, with its trailing bits and with emulation prevention."""
        text = "".join(self._bits) + "1"
        text += "0" * (-len(text) % 8)
        made, zeros = bytearray((header,)), 0
        for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
            if zeros >= 2 and byte <= 3:
                made.append(3)
                zeros = 0
            made.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(made)


def parameter_sets(*, order_type: int = 0, redundant: bool = False) -> list[bytes]:
    """SPS (baseline-like main profile, interlaced) and PPS."""
    sps = Writer().u(77, 8).u(0, 8).u(30, 8).ue(0, _FRAME_NUM_BITS - 4, order_type)
    if order_type == 0:
        sps.ue(_ORDER_BITS - 4)
    sps.ue(2).u(0, 1).ue(WIDTH // 16 - 1, HEIGHT // 32 - 1).u(0, 1).u(0, 1).u(1, 1).u(0, 1).u(0, 1)
    pps = Writer().ue(0, 0).u(0, 1).u(0, 1).ue(0, 0, 0).u(0, 1).u(0, 2).se(0).se(0).se(0).u(1, 1).u(0, 1)
    return [sps.unit(0x67), pps.u(int(redundant), 1).unit(0x68)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSlice:
    """What the header of a field's slice says. ``rows`` are the macroblock rows it holds, of two."""

    frame_num: int
    bottom: bool
    idr: bool = False
    grey: int | None = None
    order: int = 0
    reference: bool = True
    first_row: int = 0
    rows: int = 2

    def unit(self) -> bytes:
        """The NAL unit."""
        bits = Writer().ue(self.first_row * WIDTH // 16, 7 if self.grey is not None else 5, 0)
        bits.u(self.frame_num, _FRAME_NUM_BITS).u(1, 1).u(int(self.bottom), 1)
        if self.idr:
            bits.ue(0)
        bits.u(self.order % (1 << _ORDER_BITS), _ORDER_BITS)
        if self.grey is None:
            bits.u(0, 1).u(0, 1)  # as many references as usual, in their usual order
        if self.reference:
            bits.u(0, 2 if self.idr else 1)
        bits.se(0).ue(1)  # the usual quantiser; no deblocking
        count = self.rows * WIDTH // 16
        if self.grey is None:
            bits.ue(count)
        else:
            for _ in range(count):
                bits.ue(25).align()
                for _ in range(384):
                    bits.u(self.grey, 8)
        header = (0x60 if self.reference else 0) | (5 if self.idr else 1)
        return bits.unit(header)


def pictures(count: int, *, gop: int, slices: int = 1) -> list[list[bytes]]:
    """So many pictures of two fields each, as lists of NAL units; parameter sets before each key picture."""
    made = []
    for number in range(count):
        place = number % gop
        grey = 40 + 10 * (number // gop % 20)
        units = parameter_sets() if place == 0 else []
        for bottom in (False, True):
            for row in range(0, 2, 2 // slices):
                units.append(
                    FieldSlice(
                        frame_num=place % (1 << _FRAME_NUM_BITS),
                        bottom=bottom,
                        idr=place == 0 and not bottom,
                        grey=grey if place == 0 else None,
                        order=2 * place + bottom,
                        first_row=row,
                        rows=2 // slices,
                    ).unit()
                )
        made.append(units)
    return made
