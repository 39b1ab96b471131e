"""Which picture a NAL unit belongs to, by the rules of its codec: whether a slice begins another picture or goes on with the one
before, and what may only stand in front of a picture.

Nothing is decoded: some twenty bytes at the beginning of a slice are read. Sources: ITU-T H.264 §7.3.3 (slice header), §7.3.2.2
(picture parameter set), §7.4.1.2.3 (order of NAL units), §7.4.1.2.4 (first slice of a picture), §3.30 (complementary fields),
D.1.8 (recovery point); ITU-T H.265 §7.3.6.1 (slice segment header), §7.4.2.4.4 (order of NAL units).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from drivers.cameras.codec import hevc, sps
from drivers.cameras.codec.sps import Bits, nal_units
from gateway.domain.errors import Malformed

HEADER_BYTES = 64
"""Of a slice so much is looked at: all fields up to the last one compared fit into 40 bytes, emulation prevention included."""


class Role(Enum):
    """What a NAL unit is to the picture before it."""

    ANOTHER = "the first slice of another picture"
    FIELD = "the first slice of its second field"
    MORE = "another slice of it"
    BEFORE = "stands in front of the picture whose slices come next"
    BEHIND = "stands behind the slices it follows"


@dataclass(frozen=True, slots=True)
class Unit:
    """One NAL unit judged. ``key`` says that decoding can begin with its picture."""

    role: Role
    key: bool = False


class Order(Protocol):
    """The rules of one codec, and what they need to remember of one stream."""

    def judge(self, unit: bytes, *, same_time: bool) -> Unit:
        """Judge the next NAL unit of the stream (without start code; its beginning will do for slices). ``same_time`` says that
        it has the time of the picture before, which decides where the codec's own rules do not."""


_MORE, _BEFORE, _BEHIND = Unit(Role.MORE), Unit(Role.BEFORE), Unit(Role.BEHIND)


def order_of(codec: str, parameters: bytes = b"") -> Order:
    """The rules of ``h264`` or ``hevc``. ``parameters`` are the parameter sets known beforehand, as a byte stream or as the
    configuration record of a file (``avcC``); what cannot be read of them is left out."""
    return H265Order() if codec == "hevc" else H264Order(parameters)


# ---------------------------------------------------------------------- H.264

_PICTURE_SLICES = frozenset({1, 2, 5})
_MORE_SLICES = frozenset({3, 4, 19, 20, 21})
"""Partitions B and C; slices of an auxiliary picture, of another view or layer: never the first of a picture."""
_BEFORE_264 = frozenset({6, 7, 8, 9, 14, 15, 16, 17, 18})
_SEI, _RECOVERY_POINT = 6, 6


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a slice header needs of its sequence parameter set."""

    planes: bool
    frame_num_bits: int
    order_type: int
    order_bits: int
    deltas: bool
    frames_only: bool


@dataclass(frozen=True, slots=True)
class _PictureSet:
    """What a slice header needs of its picture parameter set."""

    sequence: int
    bottom_delta: bool
    redundant: bool


@dataclass(frozen=True, slots=True)
class _Slice:
    """The fields of a slice header that tell pictures apart."""

    first_mb: int
    picture_set: int
    frame_num: int
    field: bool
    bottom: bool
    idr: bool
    idr_id: int
    reference: bool
    order: tuple[int, ...]
    redundant: bool


class H264Order:
    """See :class:`Order`."""

    def __init__(self, parameters: bytes = b"") -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._picture_sets: dict[int, _PictureSet] = {}
        self._sets: dict[tuple[int, int], bytes] = {}
        self._last: _Slice | None = None
        self._begun = False  # the slice with the picture's first macroblock has come
        self._paired = False
        for unit in _from_avcc(parameters) if parameters[:1] == b"\1" else nal_units(parameters):
            self._set(unit)

    def judge(self, unit: bytes, *, same_time: bool) -> Unit:
        """See :meth:`Order.judge`."""
        kind = unit[0] & 31
        if kind in _PICTURE_SLICES:
            return Unit(self._slice(unit[:HEADER_BYTES], same_time), key=kind == sps.IDR)
        if kind == _SEI:
            return Unit(Role.BEFORE, key=_is_recovery_point(unit))
        if kind in _BEFORE_264:
            self._set(unit)
            return _BEFORE
        return _MORE if kind in _MORE_SLICES else _BEHIND

    def _slice(self, unit: bytes, same_time: bool) -> Role:
        try:
            now = self._header(unit)
        except (IndexError, KeyError, Malformed):
            self._last = None
            return Role.MORE if same_time else Role.ANOTHER
        last, self._last = self._last, now
        if last is None:
            role = Role.MORE if same_time else Role.ANOTHER
        elif now.redundant or not _differs(last, now):
            # The first macroblock is in one slice of a picture only: some encoders count nothing from one key frame to the next.
            again = now.first_mb == 0 and not now.redundant and (self._begun or not same_time)
            role = Role.ANOTHER if again else Role.MORE
        elif not self._paired and _is_second_field(last, now):
            role = Role.FIELD
        else:
            role = Role.ANOTHER
        if role is not Role.MORE:
            self._paired, self._begun = role is Role.FIELD, False
        self._begun = self._begun or (now.first_mb == 0 and not now.redundant)
        return role

    def _header(self, unit: bytes) -> _Slice:
        bits = Bits(unit[1:])
        first_mb = bits.unsigned()
        bits.unsigned()  # slice_type
        set_id = bits.unsigned()
        picture_set = self._picture_sets[set_id]
        about = self._sequences[picture_set.sequence]
        if about.planes:
            bits.bits(2)
        frame_num = bits.bits(about.frame_num_bits)
        field = bottom = False
        if not about.frames_only:
            field = bool(bits.bit())
            bottom = field and bool(bits.bit())
        idr = unit[0] & 31 == sps.IDR
        idr_id = bits.unsigned() if idr else 0
        order: tuple[int, ...] = ()
        if about.order_type == 0:
            order = (bits.bits(about.order_bits),)
            if picture_set.bottom_delta and not field:
                order += (bits.signed(),)
        elif about.deltas:
            order = (bits.signed(),)
            if picture_set.bottom_delta and not field:
                order += (bits.signed(),)
        return _Slice(
            first_mb=first_mb,
            picture_set=set_id,
            frame_num=frame_num,
            field=field,
            bottom=bottom,
            idr=idr,
            idr_id=idr_id,
            reference=bool(unit[0] & 0x60),
            order=order,
            redundant=bool(picture_set.redundant and bits.unsigned()),
        )

    def _set(self, unit: bytes) -> None:
        """Remember a parameter set; most streams repeat the same ones."""
        if unit in self._sets.values():
            return
        kind = unit[0] & 31
        try:
            if kind == sps.SPS:
                number, sequence = _sequence(unit)
                self._sequences[number] = sequence
            elif kind == sps.PPS:
                number, picture_set = _picture_set(unit)
                self._picture_sets[number] = picture_set
            else:
                return
        except (IndexError, Malformed):
            return  # its slices cannot be read then, and their times tell
        self._sets[kind, number] = unit


def _differs(last: _Slice, now: _Slice) -> bool:
    """Whether two slices are of different pictures (§7.4.1.2.4); fields are pictures of their own here."""
    return (
        last.frame_num != now.frame_num
        or last.field != now.field
        or last.bottom != now.bottom
        or last.reference != now.reference
        or last.idr != now.idr
        or last.idr_id != now.idr_id
        or last.order != now.order
        or (last.picture_set != now.picture_set and now.first_mb <= last.first_mb)
    )


def _is_second_field(last: _Slice, now: _Slice) -> bool:
    """Whether a field's slice is of the other field of the frame that the last one began (§3.30): the second is never IDR."""
    return (
        last.field
        and now.field
        and last.bottom != now.bottom
        and last.frame_num == now.frame_num
        and not now.idr
    )


def _sequence(unit: bytes) -> tuple[int, _Sequence]:
    """Number and content of a sequence parameter set. Raises ``IndexError`` and ``Malformed``."""
    bits = Bits(unit[4:])
    number = bits.unsigned()
    planes = unit[1] in sps.WITH_CHROMA and sps.skip_high_profile(bits)[2]
    frame_num_bits = bits.unsigned() + 4
    order_type, order_bits, deltas = bits.unsigned(), 0, False
    if order_type == 0:
        order_bits = bits.unsigned() + 4
    elif order_type == 1:
        deltas = not bits.bit()
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned()  # max_num_ref_frames
    bits.bit()
    bits.unsigned()
    bits.unsigned()
    if number > 31 or max(frame_num_bits, order_bits) > 16:
        raise Malformed("an SPS with a number above 31, or whose pictures are counted with more than 16 bits")
    return number, _Sequence(planes, frame_num_bits, order_type, order_bits, deltas, bool(bits.bit()))


def _picture_set(unit: bytes) -> tuple[int, _PictureSet]:
    """Number and content of a picture parameter set. Raises ``IndexError`` and ``Malformed``."""
    bits = Bits(unit[1:])
    number, sequence = bits.unsigned(), bits.unsigned()
    bits.bit()
    bottom_delta = bool(bits.bit())
    groups = bits.unsigned() + 1
    if number > 255 or groups > 8:
        raise Malformed(f"a PPS of number {number} with {groups} slice groups; 255 and 8 are possible")
    if groups > 1:
        _skip_groups(bits, groups)
    bits.unsigned()
    bits.unsigned()
    bits.bits(3)
    for _ in range(3):
        bits.signed()
    bits.bits(2)
    return number, _PictureSet(sequence, bottom_delta, bool(bits.bit()))


def _skip_groups(bits: Bits, groups: int) -> None:
    kind = bits.unsigned()
    if kind == 0:
        for _ in range(groups):
            bits.unsigned()
    elif kind == 2:
        for _ in range(2 * (groups - 1)):
            bits.unsigned()
    elif kind in (3, 4, 5):
        bits.bit()
        bits.unsigned()
    elif kind == 6:
        count = bits.unsigned() + 1
        bits.bits(min(count, 1 << 17) * (groups - 1).bit_length())


def _from_avcc(record: bytes) -> list[bytes]:
    """The parameter sets of an ``avcC`` (ISO/IEC 14496-15 §5.3.3.1)."""
    units: list[bytes] = []
    at = 5
    for mask in (31, 255):
        if at >= len(record):
            return units
        count, at = record[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            if size:
                units.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return units


def _is_recovery_point(unit: bytes) -> bool:
    """Whether an SEI unit says that decoding may begin here, as cameras do that refresh without a whole key frame."""
    data, at = unit[1:].replace(b"\0\0\3", b"\0\0"), 0
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            if at >= len(data):
                return False
            numbers.append(number + data[at])
            at += 1
        if numbers[0] == _RECOVERY_POINT:
            return True
        at += numbers[1]
    return False


# ---------------------------------------------------------------------- H.265

_BEFORE_265 = frozenset({32, 33, 34, 35, 39, 41, 42, 43, 44, *range(48, 56)})
_RANDOM_ACCESS = range(16, 24)


class H265Order:
    """See :class:`Order`."""

    def judge(self, unit: bytes, *, same_time: bool) -> Unit:
        """See :meth:`Order.judge`."""
        kind = hevc.kind_of(unit)
        if kind >= hevc.FIRST_NON_SLICE:
            return _BEFORE if kind in _BEFORE_265 else _BEHIND
        key = kind in _RANDOM_ACCESS
        if len(unit) > 1 and (unit[0] & 1 or unit[1] >> 3):  # of another layer or view of the picture
            return Unit(Role.MORE, key)
        first = len(unit) > 2 and bool(unit[2] & 0x80)
        return Unit(Role.ANOTHER if first or not same_time else Role.MORE, key)
