"""What earlier versions may have done to the pictures of a file that is kept: found again without decoding anything.

Two faults. Two pictures in one sample: cameras that send messages behind their pictures had each key frame and the picture after
it joined. That is told from the slices for certain. And bytes of a picture at the beginning of a recording that spelled ``hev1``
were written as ``hvc1`` before the file was hashed: what stands there now may be the camera's own or not, which nothing can tell
any more. Files written since bear :data:`~drivers.cameras.worker.frames.mp4.MARK` and are not suspected of it.
"""

from __future__ import annotations

from typing import BinaryIO

from drivers.cameras.codec.slices import Role, order_of
from drivers.cameras.worker.frames.mp4 import MARK
from gateway.domain.boxes import OpenFile, Track, boxes, find, tracks
from gateway.domain.errors import Malformed

CODECS = {b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc"}

ALTERED_BELOW = 4096
"""Bytes: what was written in one piece that began below this place may have been altered."""


def complaints(file: BinaryIO) -> list[str]:
    """What is wrong with the pictures of an MP4, in words; nothing for a file that cannot be read as one. Raises ``OSError``."""
    data = OpenFile(file)
    try:
        films = [track for track in tracks(data) if track.handler == b"vide" and track.entry in CODECS]
        found = [_doubled(data, track) for track in films]
        found += [_spelled(data, track) for track in films]
    except (Malformed, IndexError):
        return []
    return [each for each in found if each]


def _doubled(data: OpenFile, track: Track) -> str:
    """How many of the samples have more than one picture."""
    codec = CODECS[track.entry]
    order = order_of(codec, track.configuration)
    width = 1 + (track.configuration[4 if codec == "h264" else 21] & 3)
    count, first = 0, -1
    for number, sample in enumerate(track.samples):
        whole, at, begun, pictures = data[sample.place : sample.place + sample.size], 0, False, 0
        while at + width < len(whole):
            size = int.from_bytes(whole[at : at + width], "big")
            unit = whole[at + width : at + width + size]
            at += width + size
            if not unit:
                continue
            role = order.judge(unit, same_time=begun).role
            if role in (Role.ANOTHER, Role.FIELD, Role.MORE):
                pictures += role is Role.ANOTHER or not begun
                begun = True
        if pictures > 1:
            count, first = count + 1, number if first < 0 else first
    if not count:
        return ""
    return (
        f"{count} of {len(track.samples)} samples have two pictures or more, the first is number {first + 1}: players lose "
        "pictures there; all bytes are the camera's"
    )


def _spelled(data: OpenFile, track: Track) -> str:
    """Where the first pictures of a recording have bytes that an earlier version may have put there."""
    moov = find(data, None, b"moov")
    if moov is None or find(data, moov, b"mvex") is None or _marked(data):
        return ""
    suspected = [
        (moof.begin, moof.end)
        for moof in boxes(data, partial=True)
        if moof.kind == b"moof" and moof.begin < ALTERED_BELOW
    ]
    if not suspected:
        return ""
    ends = next(
        (box.end for box in boxes(data, suspected[-1][1], partial=True) if box.kind == b"mdat"),
        suspected[-1][1],
    )
    for number, sample in enumerate(track.samples):
        if sample.place < ends and b"hvc1" in data[sample.place : sample.place + sample.size]:
            return (
                f"picture {number + 1} has the bytes hvc1, which an earlier version may have written in place of hev1: nothing "
                "can tell any more which the camera sent"
            )
    return ""


def _marked(data: OpenFile) -> bool:
    """Whether the file says that it was written since."""
    meta = find(data, None, b"moov", b"udta", b"meta")
    if meta is None:
        return False
    ilst = next((box for box in boxes(data, meta.content + 4, meta.end) if box.kind == b"ilst"), None)
    told = find(data, ilst, b"\xa9cmt", b"data") if ilst is not None else None
    return told is not None and data[told.content + 8 : told.end] == MARK.encode()
