"""Exports: recordings of a span as one archive with a signed manifest (API.md, "Exports")."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.api.access import UPKEEP, RoledRoute, caller_of, parts_of
from gateway.api.bodies import Instant
from gateway.api.describing import roled
from gateway.domain.register import Who

router = APIRouter(prefix="/api/v1/cameras", tags=["recordings"], route_class=RoledRoute)

PIECE_BYTES = 1 << 20


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
    name: Annotated[
        str | None, Query(min_length=1, max_length=100, description="Who takes it, if the token is shared.")
    ] = None,
) -> Response:
    """A ZIP archive of MP4 files (one, unless the camera changed its kind of picture meanwhile), ``manifest.json``,
    ``manifest.sig`` and ``README.txt``. The answer begins when the films are made: for an hour that takes a while."""
    parts = parts_of(request)
    caller = caller_of(request)
    who = Who(name=name or caller.name, unit=caller.unit, right=caller.role)
    bundle = await parts.exporting.export(camera, since, until, who, reason)
    stem = f"{camera}_{since:%Y%m%dT%H%M%S}_{until:%Y%m%dT%H%M%S}"
    return StreamingResponse(
        archived(bundle.folder, bundle.files),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="{stem}.zip"',
            "Cache-Control": "private, no-store",
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

    def taken(self) -> bytes:
        """What came since the last time."""
        data, self._pieces = b"".join(self._pieces), []
        return data


def archived(folder: Path, files: tuple[str, ...]) -> Iterator[bytes]:
    """The files as a ZIP archive, stored as they are, piece by piece; nothing of it is ever whole in memory or on disk."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name in files:
            with (
                (folder / name).open("rb") as source,
                archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target,
            ):
                while data := source.read(PIECE_BYTES):
                    target.write(data)
                    yield pieces.taken()
    yield pieces.taken()
