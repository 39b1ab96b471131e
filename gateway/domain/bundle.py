"""What an export says of itself: the manifest that is signed, and the words beside it. ``verifier/verify_export.py`` reads it.

The manifest's bytes are what is signed, with a line of their own before them so that nothing else the box signs can pass for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.domain.plan import Camera, Site
from gateway.domain.recording import Gap, Segment, holes
from gateway.domain.register import Who

FORMAT = "campus-gateway export v1"
MANIFEST, SIGNATURE, README = "manifest.json", "manifest.sig", "README.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Of one track of a film: ``count`` samples from number ``first`` (from 0), whose bytes one after the other have this
    SHA-256."""

    first: int
    count: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What of one recording is in which film. ``start`` is its first picture, ``end`` where its last one ends."""

    file: str
    start: datetime
    end: datetime
    video: Samples
    sound: Samples | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One MP4 of an export."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A part of the span of which there is no picture, and why."""

    start: datetime
    end: datetime
    cause: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOf:
    """What was asked for, by whom and why. ``clock_offset_s`` is how far the camera's own clock was off, ``None`` if unknown."""

    site: Site
    camera: Camera
    start: datetime
    end: datetime
    who: Who
    reason: str
    at: datetime
    clock_offset_s: float | None
    software: str


def missing_of(
    gaps: Sequence[Gap],
    lost: Sequence[Missing],
    taken: Sequence[Taken],
    start: datetime,
    end: datetime,
    now: datetime,
) -> list[Missing]:
    """Everything of the span that is not in a film: the ledger's gaps, what could not be read, and what is in neither."""
    told = [
        Missing(
            start=max(gap.start, start),
            end=min(gap.end or now, end),
            cause=gap.cause.value,
            detail=gap.detail,
        )
        for gap in gaps
        if gap.start < end and (gap.end or now) > start
    ]
    told += lost
    spans = [(m.start, m.end) for m in told] + [(t.start, t.end) for t in taken]
    told += [
        Missing(
            start=begins,
            end=ends,
            cause="unaccounted",
            detail="neither a recording nor a gap is in the ledger; if it is of the last two minutes, export again in a while",
        )
        for begins, ends in holes(spans, start, end)
    ]
    return sorted(told, key=lambda each: each.start)


def manifest(
    of: ExportOf,
    parts: Sequence[tuple[Segment, Taken]],
    missing: Sequence[Missing],
    films: Sequence[Film],
    public_key: str,
) -> bytes:
    """The manifest's bytes. ``public_key`` is the box's Ed25519 key in base64."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "site": {"id": of.site.id, "name": of.site.name},
        "camera": {"id": of.camera.id, "name": of.camera.name, "zone": of.camera.zone},
        "from": _instant(of.start),
        "to": _instant(of.end),
        "exported_at": _instant(of.at),
        "by": {"name": of.who.name, "unit": of.who.unit, "right": of.who.right},
        "reason": of.reason,
        "clock": {"offset_s": of.clock_offset_s},
        "software": of.software,
        "key": public_key,
        "files": [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in films],
        "parts": [_part(segment, taken) for segment, taken in parts],
        "gaps": [
            {"from": _instant(m.start), "to": _instant(m.end), "cause": m.cause, "detail": m.detail}
            for m in missing
        ],
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def signed_bytes(manifest_bytes: bytes) -> bytes:
    """What the box's key signs."""
    return FORMAT.encode() + b"\n" + manifest_bytes


def readme(of: ExportOf, public_key: bytes) -> str:
    """What somebody who opens the archive should know, in both languages."""
    fingerprint = hashlib.sha256(public_key).hexdigest()
    return f"""{of.site.name} · {of.camera.name} · {_instant(of.start)} – {_instant(of.end)}

本压缩包内为摄像机原始码流（未经转码）及签名清单。请勿修改任何文件。
核验：python3 verify_export.py 本文件.zip --key {fingerprint}
密钥指纹须与 110 中心保存的（心跳消息 register.key）一致。缺失的时间段及原因见 manifest.json 的 gaps。

The camera's own pictures, never re-encoded, and a signed manifest. Change nothing.
To check: python3 verify_export.py THIS.zip --key {fingerprint}
The key's fingerprint has to be that of the key the 110 centre has from the heartbeats (register.key). What is missing, and why,
stands in manifest.json under gaps.
"""


def _part(segment: Segment, taken: Taken) -> dict[str, Any]:
    part: dict[str, Any] = {
        "file": taken.file,
        "from": _instant(taken.start),
        "to": _instant(taken.end),
        "object": segment.key,
        "object_sha256": segment.sha256,
        "version": segment.version,
        "quality": segment.quality.value,
        "video": _samples(taken.video),
    }
    if taken.sound is not None:
        part["sound"] = _samples(taken.sound)
    return part


def _samples(samples: Samples) -> dict[str, Any]:
    return {"first": samples.first, "count": samples.count, "sha256": samples.sha256}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
