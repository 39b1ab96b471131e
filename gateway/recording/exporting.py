"""Exporting: a span of one camera's recordings as films with a signed manifest, registered before a byte of it is given out.

One export at a time: it reads and writes the disk that evidence needs. It works on copies in a folder of its own, which is
emptied at a start.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.domain.bundle import (
    MANIFEST,
    README,
    SIGNATURE,
    ExportOf,
    Missing,
    Taken,
    manifest,
    missing_of,
    readme,
    signed_bytes,
)
from gateway.domain.errors import Malformed, NotFound, Refused, Unavailable
from gateway.domain.ids import new_id
from gateway.domain.plan import Camera, Site
from gateway.domain.recording import Gap, Segment
from gateway.domain.register import Act, RegisterLine, Who
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.recordings import FilmJoiner, Signer
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

LONGEST = timedelta(hours=6)  # at 4 Mbit/s some 11 GB
# Beside the reserve and what the export needs: with less, recording would stop for it.
LEFT_FREE_BYTES = 2_000_000_000
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A finished export: ``files`` in ``folder``, to be removed with :meth:`Exporting.remove` once it is given out."""

    id: str
    folder: Path
    files: tuple[str, ...]


class Exporting:
    """The stage."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        cameras: CameraBank,
        site: Site,
        signer: Signer,
        joiner: FilmJoiner,
        folder: Path,
        software: str,
        reserve_bytes: int = 0,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """``reserve_bytes`` of the disk are kept for alarm evidence; no export takes of them."""
        self._store, self._clock, self._objects, self._cameras = store, clock, objects, cameras
        self._site, self._signer, self._joiner, self._folder = site, signer, joiner, folder
        self._software, self._free_bytes = software, free_bytes
        self._left_free_bytes = reserve_bytes + LEFT_FREE_BYTES
        self._one = asyncio.Lock()
        self._made: set[str] = set()  # by this run

    async def clear(self) -> None:
        """Remove what a run that ended left behind."""

        def remove() -> None:
            left = self._folder.iterdir() if self._folder.is_dir() else ()
            for folder in [each for each in left if each.name not in self._made]:
                shutil.rmtree(folder, ignore_errors=True)

        await asyncio.to_thread(remove)

    async def remove(self, bundle: Bundle) -> None:
        """The export was given out, or nobody wants it any more."""
        await asyncio.to_thread(shutil.rmtree, bundle.folder, True)
        self._made.discard(bundle.id)

    async def export(self, camera: str, start: datetime, end: datetime, who: Who, reason: str) -> Bundle:
        """Make an export and register it.

        Raises ``NotFound`` where nothing is kept of the span, ``Refused`` for one that is too long, lies in the future or has no
        room on the disk, ``Unavailable`` if store, disk or database cannot be used now.
        """
        now = self._clock.now()
        if not start < end <= now:
            raise Refused("from has to lie before to, and to not in the future")
        if end - start > LONGEST:
            raise Refused(f"at most {LONGEST.total_seconds() / 3600:.0f} h at once; ask for several spans")
        async with self._one:
            segments, gaps = await self._store.read(
                lambda tx: (
                    tx.recordings.segments(camera, start, end),
                    tx.recordings.gaps(camera, start, end),
                )
            )
            if not segments:
                raise NotFound(f"nothing of camera {camera} is kept of that span")
            return await self._make(camera, (start, end), segments, gaps, who, reason)

    async def _make(
        self,
        camera: str,
        span: tuple[datetime, datetime],
        segments: list[Segment],
        gaps: list[Gap],
        who: Who,
        reason: str,
    ) -> Bundle:
        bundle = new_id("exp", self._clock.now())
        self._made.add(bundle)
        folder = self._folder / bundle
        try:
            await asyncio.to_thread(self._make_room, folder, segments)
            known = self._cameras.health().get(camera)
            of = ExportOf(
                site=self._site,
                # One that is no longer in the plan keeps what was recorded of it.
                camera=self._site.cameras.get(camera) or Camera(id=camera, name=camera, zone=""),
                start=span[0],
                end=span[1],
                who=who,
                reason=reason,
                at=self._clock.now(),
                clock_offset_s=known.clock_offset_s if known is not None else None,
                software=self._software,
            )
            files = await self._fill(of, folder, segments, gaps)
            await self._register(of, folder)
            log.info("export.made", export_id=bundle, camera=camera, files=len(files))
            return Bundle(id=bundle, folder=folder, files=files)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, True)
            raise

    def _make_room(self, folder: Path, segments: list[Segment]) -> None:
        try:
            folder.mkdir(parents=True)
            free = self._free_bytes(folder)
        except OSError as exc:
            raise Unavailable(f"the disk of exports cannot be used: {exc.strerror or exc}") from exc
        needed = (
            sum(one.bytes for one in segments) + max(one.bytes for one in segments) + self._left_free_bytes
        )
        if free < needed:
            raise Refused(
                f"the disk has {free / 1e9:.1f} GB free, and this span needs {needed / 1e9:.1f} GB with what is left alone; "
                "ask for a shorter span"
            )

    async def _fill(
        self, of: ExportOf, folder: Path, segments: list[Segment], gaps: list[Gap]
    ) -> tuple[str, ...]:
        parts: list[tuple[Segment, Taken]] = []
        lost: list[Missing] = []
        marks = [(gap.start, gap.end or of.at, gap.cause.value) for gap in gaps]
        async with self._joiner.joining(folder, of.start, of.end, marks) as joining:
            for one in segments:
                copy = folder / "part.mp4"
                try:
                    await self._fetch(one, copy)
                    taken = await joining.take(copy, one.start)
                except Malformed as exc:
                    log.error("export.part_unusable", key=one.key, cause=str(exc))
                    lost.append(
                        Missing(
                            start=max(one.start, of.start),
                            end=min(one.end, of.end),
                            cause="store",
                            detail=str(exc),
                        )
                    )
                    continue
                finally:
                    await asyncio.to_thread(copy.unlink, True)
                if taken is not None:
                    parts.append((one, taken))
            films = await joining.finish()
        missing = missing_of(gaps, lost, [taken for _, taken in parts], of.start, of.end, of.at)
        key = base64.b64encode(self._signer.public).decode()
        body = manifest(of, parts, missing, films, key)
        written: Mapping[str, bytes] = {
            MANIFEST: body,
            SIGNATURE: base64.b64encode(self._signer.sign(signed_bytes(body))) + b"\n",
            README: readme(of, self._signer.public).encode(),
        }
        for name, data in written.items():
            await asyncio.to_thread((folder / name).write_bytes, data)
        return (*written, *(film.name for film in films))

    async def _fetch(self, one: Segment, copy: Path) -> None:
        """Bring a recording here. ``Malformed`` if it is not what the ledger has, ``Unavailable`` if the store is away."""
        digest = hashlib.sha256()
        try:
            if await self._objects.size(one.key, one.version) is None:
                raise Malformed(f"{one.key} is not in the store")
            with copy.open("wb") as file:
                async with self._objects.read(one.key, version=one.version) as piece:
                    while data := await piece(PIECE_BYTES):
                        digest.update(data)
                        await asyncio.to_thread(file.write, data)
        except Refused as exc:  # the store lets nobody in: its trouble, not the caller's
            raise Unavailable("the store of recordings cannot be read now") from exc
        if digest.hexdigest() != one.sha256:
            raise Malformed(f"{one.key} is not what was recorded: its SHA-256 is {digest.hexdigest()}")

    async def _register(self, of: ExportOf, folder: Path) -> None:
        """Not given out unregistered, unlike a picture a life may hang on."""
        sha256 = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        line = RegisterLine(
            at=of.at,
            act=Act.EXPORTED,
            who=of.who,
            content=of.camera.id,
            reason=of.reason,
            detail={"from": of.start.isoformat(), "to": of.end.isoformat(), "manifest_sha256": sha256},
        )

        def work(tx: Transaction) -> None:
            tx.register.append(line)

        await self._store.write(work)
