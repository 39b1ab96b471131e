"""Pictures as JPEG: snapshots, and RTP/JPEG for a camera that serves the wrong codec (RFC 2435)."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from simulators.camera.picture import Image

_QUALITY = 90
_PAYLOAD_BYTES = 1400
# RFC 2435: type 1 is 4:2:0 without restart markers, Q 255 announces quantization tables with every frame.
_TYPE_420, _Q_IN_BAND = 1, 255
_SOF0, _DQT, _SOS = 0xC0, 0xDB, 0xDA


def encode_jpeg(luma: Image) -> bytes:
    """Return a baseline 4:2:0 JPEG of a luma plane in video range, in colour as cameras send it."""
    full = cv2.convertScaleAbs(luma, alpha=255 / 219, beta=-16 * 255 / 219)
    settings = [
        cv2.IMWRITE_JPEG_QUALITY,
        _QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(full, cv2.COLOR_GRAY2BGR), settings)
    return np.asarray(encoded).tobytes()


def packetize_jpeg(jpeg: bytes) -> list[bytes]:
    """Return the RTP payloads of a baseline 4:2:0 JPEG; raises ValueError for any other."""
    tables, width, height, scan = _parts(jpeg)
    quantization = struct.pack(">BBH", 0, 0, len(tables)) + tables
    payloads = []
    at = 0
    while at < len(scan):
        head = struct.pack(">II", at, _TYPE_420 << 24 | _Q_IN_BAND << 16 | width // 8 << 8 | height // 8)
        if at == 0:
            head += quantization
        part = scan[at : at + _PAYLOAD_BYTES - len(head)]
        payloads.append(head + part)
        at += len(part)
    return payloads


def _parts(jpeg: bytes) -> tuple[bytes, int, int, bytes]:
    """Return quantization tables, width, height and the entropy-coded data."""
    tables = b""
    width = height = 0
    at = 2
    while at + 4 <= len(jpeg):
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        segment = jpeg[at + 4 : at + 2 + length]
        if marker == _DQT:
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        elif marker == _SOF0:
            height, width = struct.unpack(">HH", segment[1:5])
            if segment[7] != 0x22:
                raise ValueError(f"JPEG sampling {segment[7]:#x}: expected 4:2:0 (0x22)")
        elif marker == _SOS:
            if not width or len(tables) != 128:
                raise ValueError(
                    "JPEG without SOF0 or without two quantization tables: expected a baseline one"
                )
            return tables, width, height, jpeg[at + 2 + length :].removesuffix(b"\xff\xd9")
        at += 2 + length
    raise ValueError("JPEG without a scan")
