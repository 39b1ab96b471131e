"""Recordings: what exists of a span, minute by minute, and the span itself as one archive with a signed manifest (API.md,
"Recordings" and "Exports")."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.api.access import SCHOOL, UPKEEP, RoledRoute, caller_of, parts_of
from gateway.api.bodies import Instant
from gateway.api.descriptions import roled
from gateway.api.problems import Problem, invalid
from gateway.api.schemas import RecordingsOut
from gateway.domain.recording import minutes
from gateway.domain.register import Act, Who

router = APIRouter(prefix="/api/v1/cameras", tags=["recordings"], route_class=RoledRoute)

PIECE_BYTES = 1 << 20
LONGEST = timedelta(hours=25)  # a day, also where summer time ends
MOST_MEASURED_BYTES = (
    2**31 - 2**20
)  # a ZIP archive's own bytes grow beyond: its length is not said in advance then

Name = Annotated[
    str | None, Query(min_length=1, max_length=200, description="Who looks, if the token is shared.")
]
Unit = Annotated[
    str | None, Query(min_length=1, max_length=200, description="Whose unit, if not the token's.")
]


@router.get(
    "/{camera}/recordings",
    summary="What is recorded of a span, minute by minute",
    response_model=RecordingsOut,
    **roled(SCHOOL | UPKEEP, 404, 422),
)
async def recordings(
    request: Request,
    camera: str,
    since: Annotated[Instant, Query(alias="from", description="The beginning of the span.")],
    until: Annotated[Instant, Query(alias="to", description="Its end; at most 25 h later.")],
    reason: Annotated[
        str | None, Query(min_length=2, max_length=500, description="Why; the guard has to say.")
    ] = None,
    name: Name = None,
    unit: Unit = None,
) -> dict[str, Any]:
    """Every minute of the span since the camera is recorded, with what of it is kept, in which objects, and every gap with its
    cause. What is being written now is not in it yet: that takes a minute."""
    parts = parts_of(request)
    caller = caller_of(request)
    if caller.role == "guard" and reason is None:
        raise invalid("query.reason", None, "why the recordings are looked at; it stands in the register")
    if not since < until <= since + LONGEST:
        raise invalid("query.to", until.isoformat(), "after from, and at most 25 h later")
    bounds, segments, gaps = await parts.store.read(
        lambda tx: (
            tx.recordings.bounds().get(camera),
            tx.recordings.segments(camera, since, until),
            tx.recordings.gaps(camera, since, until),
        )
    )
    if bounds is None:
        raise Problem("not-found", f"Nothing was ever recorded of a camera {camera}.")
    await parts.registering.opened(
        Act.VIEWED,
        Who(name=name or caller.name, unit=unit or caller.unit, right=caller.role),
        f"recordings of {camera}",
        reason=reason or "",
    )
    now, stamp = parts.clock.now(), parts.envelopes.stamp
    begin, end = max(since, bounds[0]), min(until, bounds[1] or now, now)
    listed = list(minutes(segments, gaps, begin, end)) if begin < end else []
    return {
        "camera": camera,
        "from": stamp(since),
        "to": stamp(until),
        "recorded_since": stamp(bounds[0]),
        "recorded_until": stamp(bounds[1]) if bounds[1] else None,
        "minutes": [
            {
                "minute": stamp(line.minute),
                "covered_ms": line.covered_ms,
                "frames": line.frames,
                "bytes": line.bytes,
                "segments": [segment.id for segment in line.segments],
                "gaps": [gap.id for gap in line.gaps],
            }
            for line in listed
        ],
        "segments": [
            {
                "id": one.id,
                "from": stamp(one.start),
                "to": stamp(one.end),
                "frames": one.frames,
                "bytes": one.bytes,
                "key": one.key,
                "sha256": one.sha256,
                "version": one.version,
                "locked_until": stamp(one.locked_until) if one.locked_until else None,
                "quality": one.quality.value,
                "stream": one.quality.stream,
            }
            for one in segments
        ],
        "gaps": [
            {
                "id": gap.id,
                "from": stamp(gap.start),
                "to": stamp(gap.end) if gap.end else None,
                "cause": gap.cause.value,
                "detail": gap.detail,
            }
            for gap in gaps
        ],
    }


@router.get(
    "/{camera}/export",
    summary="Recordings of a span, with a signed manifest",
    response_class=Response,
    **roled(UPKEEP, 404, 422),
)
async def export(
    request: Request,
    camera: str,
    since: Annotated[Instant, Query(alias="from", description="The beginning of the span.")],
    until: Annotated[Instant, Query(alias="to", description="Its end; at most 6 h later.")],
    reason: Annotated[
        str, Query(min_length=2, max_length=500, description="Why it is taken: it stands in the register.")
    ],
    name: Name = None,
    unit: Unit = None,
) -> Response:
    """A ZIP archive of MP4 files (one, unless the camera changed its kind of picture meanwhile), ``manifest.json``,
    ``manifest.sig`` and ``README.txt``. The answer begins when the films are made: for an hour that takes a while. Up to 2 GB its
    ``Content-Length`` is said in advance."""
    parts = parts_of(request)
    caller = caller_of(request)
    who = Who(name=name or caller.name, unit=unit or caller.unit, right=caller.role)
    bundle = await parts.exporting.export(camera, since, until, who, reason)
    length = archive_bytes(bundle.folder, bundle.files)
    stem = f"{camera}_{since:%Y%m%dT%H%M%S}_{until:%Y%m%dT%H%M%S}"
    return StreamingResponse(
        archived(bundle.folder, bundle.files),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="{stem}.zip"',
            "Cache-Control": "private, no-store",
            **({"Content-Length": str(length)} if length is not None else {}),
        },
        background=BackgroundTask(parts.exporting.remove, bundle),
    )


class _Pieces:
    """What a ZIP archive is written to, to be given out as it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        """What came since the last time."""
        data, self._pieces = b"".join(self._pieces), []
        return data


def archived(folder: Path, files: tuple[str, ...]) -> Iterator[bytes]:
    """The files as a ZIP archive, stored as they are, piece by piece; nothing of it is ever whole in memory or on disk."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for name in files:
            with (
                (folder / name).open("rb") as source,
                archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target,
            ):
                while data := source.read(PIECE_BYTES):
                    target.write(data)
                    yield pieces.taken()
    yield pieces.taken()


def archive_bytes(folder: Path, files: tuple[str, ...]) -> int | None:
    """How long :func:`archived` will be, as far as that is known: its own bytes are those of an archive of empty files."""
    content = sum((folder / name).stat().st_size for name in files)
    if content > MOST_MEASURED_BYTES:
        return None
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for name in files:
            archive.open(zipfile.ZipInfo(name), "w", force_zip64=True).close()
    return content + len(pieces.taken())
