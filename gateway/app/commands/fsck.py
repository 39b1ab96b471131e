"""``campus-gateway fsck``: holds ledger, objects, versions, locks, register and record of deletions against each other, repairs
what is safe, and says the worst it found.

It reads, beside a running gateway too. What may be repaired is, where none runs and unless it is told not to, each thing under a
claim of its own (:mod:`gateway.box.claim`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from config.settings import Settings
from drivers.cameras.export.soundness import complaints
from drivers.cameras.parent.recorded import SpooledRecordings
from gateway.app.data_folder import known_by, witnesses
from gateway.app.neighbours import object_store
from gateway.box.claim import is_claimed
from gateway.box.clock import SystemClock
from gateway.box.durable import write_durably
from gateway.box.film import film_of
from gateway.domain.errors import Malformed, Refused, Unavailable
from gateway.domain.finding import Discard, Finding, Grade
from gateway.domain.recording import segment_key
from gateway.fsck import ledger_audit, object_audit
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.repairs import Repairing
from gateway.watch.witness import older
from storage.objects.local import LocalObjects
from storage.sql.aside import read_losses
from storage.sql.ground import unreadable
from storage.sql.store import SqlStore

EXIT_CANNOT = 3
SAME_SECOND_LIKELY = 4  # files of a camera that begin within one second, of which the store may have any

#: In the data folder: when the bytes of all that is kept were last read, and how many.
READING = "fsck-hashes.json"
SAID = {0: "all is well 全部一致", 1: "SUSPICIOUS 有疑点", 2: "LOST OR ALTERED 有缺失或被改动"}
REPAIRED = "REPAIRED 已修复"


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Check, repair, print, return the exit code."""
    try:
        if (finding := _without_database(settings)) is not None:
            return _lost(finding, args)
        return asyncio.run(_Check(settings, args).run())
    except (Unavailable, Refused) as exc:
        print(f"campus-gateway fsck: cannot be checked: {exc.reason}", file=sys.stderr)
        return EXIT_CANNOT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A run of ``--hashes`` that read every object to its end."""

    at: datetime
    bytes: int
    altered: int

    def text(self, zone: ZoneInfo) -> str:
        """One line for people, in the school's time."""
        altered = f", {self.altered} altered or unreadable" if self.altered else ""
        return f"{self.at.astimezone(zone):%Y-%m-%d %H:%M} ({self.bytes / 1e9:.1f} GB{altered})"


def _last_reading(data_dir: Path) -> _Reading | None:
    """The last one on record; ``None`` where there is none, or none that can be read."""
    try:
        told = json.loads((data_dir / READING).read_text("utf-8"))
        return _Reading(
            at=datetime.fromisoformat(told["at"]).astimezone(UTC),
            bytes=int(told["bytes"]),
            altered=int(told["altered"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without_database(settings: Settings) -> Finding | None:
    """What there is to say where the database cannot be read: nothing can be held against it, and that is the finding."""
    database = settings.database_file
    assert database is not None
    harm = unreadable(database)
    if not harm:
        return None
    if not database.exists() and not known_by(settings):
        raise Refused(f"there is no database at {database}; is --data-dir the gateway's?")
    folders = sorted(str(folder) for folder in database.parent.glob("damaged-*"))
    aside = f"; former ones lie in {', '.join(folders)}" if folders else ""
    return Finding(
        grade=Grade.LOST,
        what="the database cannot be read",
        about=str(database),
        detail=f"{harm}{aside}. Put a backup in its place while no gateway runs, or start the gateway: it goes on with a new one "
        "and deletes nothing until that is acknowledged",
    )


def _lost(finding: Finding, args: argparse.Namespace) -> int:
    code = finding.grade.exit_code
    if args.json:
        print(json.dumps(_said("database", finding), ensure_ascii=False))
        print(json.dumps({"findings": 1, "exit": code}))
    else:
        print(f"{finding.grade.name:<10} {finding.what}: {finding.about} {finding.detail}")
        print(SAID[code])
    return code


def _said(check: str, finding: Finding) -> dict[str, str]:
    return {
        "check": check,
        "grade": finding.grade.value,
        "what": finding.what,
        "about": finding.about,
        "detail": finding.detail,
    }


@dataclass(slots=True)
class _Waiting:
    """Finished recordings that the spool has and the ledger may not have yet."""

    keys: set[str] = field(default_factory=set)
    spans: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)


class _Check:
    """One run of the command."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        database = settings.database_file
        assert database is not None
        self._settings, self._args = settings, args
        self._clock = SystemClock()
        self._store = SqlStore(database, only_reading=True)
        self._for_writing: SqlStore | None = None
        self._database = database
        # Not started: a store of files clears at its start what puts have left, and the puts may be a running gateway's.
        self._objects = object_store(settings, self._clock)
        self._grades: Counter[Grade] = Counter()
        self._bytes_read = 0

    async def run(self) -> int:
        """The exit code."""
        repairing = Repairing(
            data_dir=self._settings.data_dir,
            store=self._writable,
            objects=self._objects,
            discard=self._discard,
        )
        await self._store.start()
        try:
            await self._is_the_store()
            async for name, found in self._findings():
                finding = found if self._args.read_only else await repairing.repair(found)
                self._grades[finding.grade] += 1
                self._tell(name, finding)
        finally:
            await self._objects.stop()
            await self._store.stop()
            if self._for_writing is not None:
                await self._for_writing.stop()
        code = max((grade.exit_code for grade in self._grades), default=0)
        last = _last_reading(self._settings.data_dir)
        if self._args.json:
            end = {
                "findings": self._grades.total(),
                "bytes_read": bool(self._args.hashes),
                "all_bytes_read_at": last.at.isoformat() if last else None,
                "exit": code,
            }
            print(json.dumps(end))
        else:
            if not self._args.hashes:
                zone = ZoneInfo(self._settings.site.site.timezone)
                when = f"all were last read {last.text(zone)}" if last else "they have never all been read"
                print(f"no bytes were read 未读取内容: {when}; --hashes reads them", flush=True)
            print(REPAIRED if set(self._grades) == {Grade.REPAIRED} else SAID[code])
        return code

    async def _findings(self) -> AsyncIterator[tuple[str, Finding]]:
        settings, store, objects = self._settings, self._store, self._objects
        site, days, now = settings.site.site.id, settings.site.storage.retention_days, self._clock.now()
        running = self._running()
        # Before the ledger is read: what is registered meanwhile is found in both.
        waiting = await self._waiting()
        self._note(
            "beside a running gateway: nothing is repaired" if running else "no gateway runs here",
            *(
                [f"{len(waiting.keys) // SAME_SECOND_LIKELY} finished recording(s) wait in the spool"]
                if waiting.keys
                else []
            ),
        )
        checks = {
            "database": self._database_itself(),
            "register": ledger_audit.register(store),
            "deletions": ledger_audit.deletions(store, days),
            "minutes": ledger_audit.unexplained(store, now, days, waiting=waiting.spans, running=running),
            "recordings": object_audit.objects(
                OnRecord.RECORDINGS, store, objects, site, awaited=waiting.keys, running_at=self._running_at
            ),
            "evidence": object_audit.objects(
                OnRecord.EVIDENCE, store, objects, site, running_at=self._running_at
            ),
            "locks": self._locks(days),
            "ceiling": ledger_audit.ceiling(store, now, days),
            "sums": ledger_audit.sums(store),
            "clocks": ledger_audit.clocks(store),
            "spool": self._spooled(),
            "leftovers": self._leftovers(),
            **({"hashes": self._hashes()} if self._args.hashes else {}),
        }
        for name, check in checks.items():
            self._note(name)
            async for finding in check:
                yield name, finding

    async def _database_itself(self) -> AsyncIterator[Finding]:
        """Whether it is the one that was here, and knows what it knew."""
        for loss in await asyncio.to_thread(read_losses, self._database):
            grade = Grade.LOST if loss.forgets else Grade.SUSPICIOUS
            yield Finding(
                grade=grade,
                what=f"the database is {loss.kind.value}",
                about=str(self._database),
                detail=loss.text,
            )
        for noted in await asyncio.to_thread(witnesses(self._settings).read):
            cause = await self._store.read(lambda tx, noted=noted: older(tx, noted, self._clock.now()))  # type: ignore[misc]
            if cause:
                yield Finding(
                    grade=Grade.LOST,
                    what="the database is older than it was",
                    about=str(self._database),
                    detail=f"{cause}. Put the right one in its place while no gateway runs",
                )
                return

    def _running(self) -> bool:
        """Whether a gateway runs on the data now: one may be started, or end, in the hours that a run can take."""
        return is_claimed(self._settings.data_dir)

    def _running_at(self) -> datetime | None:
        return self._clock.now() if self._running() else None

    async def _locks(self, days: int) -> AsyncIterator[Finding]:
        now = self._clock.now()
        for kind in OnRecord:
            async for finding in object_audit.locks(
                kind, self._store, self._objects, now, days, ask=self._args.locks
            ):
                yield finding

    async def _hashes(self) -> AsyncIterator[Finding]:
        """Every object's bytes; then when that was goes on record, for the runs that read none."""
        altered = 0
        async for finding in object_audit.hashes(self._store, self._objects, self._count_read, complaints):
            altered += finding.grade is Grade.LOST
            yield finding
        reading = _Reading(at=self._clock.now(), bytes=self._bytes_read, altered=altered)
        told = {"at": reading.at.isoformat(), "bytes": reading.bytes, "altered": reading.altered}
        try:
            write_durably(self._settings.data_dir / READING, json.dumps(told).encode(), mode=0o640)
        except OSError as exc:
            self._note(f"that all bytes were read now cannot be kept in {READING}: {exc.strerror or exc}")

    def _count_read(self, done: int, whole: int) -> None:
        self._bytes_read = done
        if sys.stderr.isatty():
            print(f"\r{done / 1e9:.1f} of {whole / 1e9:.1f} GB read", end="", file=sys.stderr)

    async def _is_the_store(self) -> None:
        """Raises ``Refused`` where objects are on record and their folder is an empty one that no store has been in: its disk
        is not mounted, or ``--config`` names another place. Else each of them would be told as lost."""
        if isinstance(self._objects, LocalObjects) and await self._objects.is_bare():
            on_record = await self._store.read(
                lambda tx: bool(tx.recordings.by_key("", 1) or tx.evidence.by_key("", 1))
            )
            if on_record:
                raise Refused(
                    f"{self._objects.root} is empty and was never marked as this gateway's store, and objects are on record: "
                    "is its disk mounted, and is storage.objects of the site file the gateway's?"
                )

    async def _leftovers(self) -> AsyncIterator[Finding]:
        """What puts that died left in a store of files. (A store in S3 forgets unfinished uploads after the gateway's next put.)
        While a gateway runs they may be what it is putting, and what died its next start removes."""
        if not isinstance(self._objects, LocalObjects) or self._running():
            return
        for leftover in await self._objects.leftovers():
            if self._running():  # started since, and the list may have its puts
                return
            yield Finding(
                grade=Grade.SUSPICIOUS,
                what="a rest of a put that died",
                about=leftover,
                repair=Discard(leftover=leftover),
            )

    async def _spooled(self) -> AsyncIterator[Finding]:
        """Finished recordings that wait, whose facts are not what their files hold."""
        for file in await SpooledRecordings(self._settings.data_dir / "recording", set_aside=False).closed():
            try:
                film = await asyncio.to_thread(film_of, file.path)
            except (Malformed, OSError):
                continue  # taken meanwhile, lost or unreadable: whoever takes it will tell
            detail = object_audit.disagreement(file.start, file.end, file.quality, film)
            if detail:
                yield Finding(
                    grade=Grade.SUSPICIOUS, what=object_audit.NOT_AS_LONG, about=str(file.path), detail=detail
                )

    async def _waiting(self) -> _Waiting:
        found = _Waiting()
        spool = SpooledRecordings(self._settings.data_dir / "recording", set_aside=False)
        for file in await spool.closed():
            found.spans.setdefault(file.camera, []).append((file.start, file.end))
            for number in range(SAME_SECOND_LIKELY):
                found.keys.add(segment_key(self._settings.site.site.id, file.camera, file.start, number))
        return found

    async def _writable(self) -> SqlStore:
        if self._for_writing is None:
            store = SqlStore(self._database)
            await store.start()
            self._for_writing = store
        return self._for_writing

    async def _discard(self, leftover: str) -> None:
        assert isinstance(self._objects, LocalObjects)
        await self._objects.discard(leftover)

    def _tell(self, name: str, finding: Finding) -> None:
        if self._args.json:
            print(json.dumps(_said(name, finding), ensure_ascii=False), flush=True)
        else:
            grade = finding.grade.name
            print(f"{grade:<10} {finding.what}: {finding.about} {finding.detail}".rstrip(), flush=True)

    @staticmethod
    def _note(*lines: str) -> None:
        for line in lines:
            print(f"… {line}", file=sys.stderr)
