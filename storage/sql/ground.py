"""Where the database is: in its file, in a new file where that one cannot be used, in memory where the disk takes none.

All of it blocks, and nothing of it raises for the state of a disk as long as there is memory: no state on disk may stand between
a press and the centre. A file that cannot be used is set aside whole and never removed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.domain.errors import Unavailable
from gateway.domain.loss import Loss, LossKind
from gateway.ports.clock import Clock
from storage.sql.aside import PARTS, losses_file, read_losses, set_aside, sync_folder, write_losses
from storage.sql.engines import engine_for
from storage.sql.harm import Harm, Harmed, harm_of
from storage.sql.schema import bring_up_to_date
from storage.sql.transfer import Page, Salvaged, give_back, rest_of, salvage

log = structlog.get_logger(__name__)

#: For reading what can be read of a damaged file, out of the 10 s within which presses have to be taken again.
SALVAGE_S = 4.0
SEED_S = 2.0  # for copying into memory what presses depend on
IN_MEMORY = "campus-gateway-"  # what folders in memory are called, and then the user's number
OWNER = "database"  # in the folder in memory: the path of the file that it stands in for
LOCKED_S = 3.0  # so long another process's lock is waited for at a start
#: Read at a start: one look at each index and table that a press needs.
_LOOKS = (
    "SELECT count(*) FROM sqlite_master",
    "SELECT count(*) FROM alarm WHERE state != 'closed' AND drill IS NULL",
    "SELECT n FROM message WHERE received_at IS NULL AND superseded IS 0 ORDER BY n LIMIT 100",
    "SELECT n FROM message ORDER BY n DESC LIMIT 1",
    "SELECT mid FROM inbox WHERE settled IS 0",
    "SELECT n FROM inbox ORDER BY n DESC LIMIT 1",
    "SELECT identity FROM inbox ORDER BY identity DESC LIMIT 1",
    "SELECT source FROM contact_memory",
    "SELECT n FROM timeline ORDER BY n DESC LIMIT 1",
    "SELECT n FROM evidence ORDER BY n DESC LIMIT 1",
    "SELECT id FROM fault WHERE cleared_at IS NULL",
    "SELECT size FROM register_tree",
)


class Ground:
    """The file of one database and what stands in for it."""

    def __init__(self, path: Path, clock: Clock, known_by: Callable[[], str]) -> None:
        """``known_by`` says by what it is known that there was a database before; empty at a true first start."""
        self.path = path
        self._clock = clock
        self._known_by = known_by
        self.losses: list[Loss] = []
        self._empty: bytes | None = None
        #: Why the database is in memory; empty while it is in its file.
        self.in_memory_since = ""

    def open(self) -> Path:
        """Make the database ready and return where it is."""
        self._remember_losses()
        for left in self.memory().parent.glob(f"{self.path.name}.new-*"):
            left.unlink(missing_ok=True)
        try:
            try:
                self._open_file()
            except (Unavailable, OSError, sqlite3.Error, SQLAlchemyError) as exc:
                if harm_of(exc, self.path.parent) is not Harm.FULL:
                    raise
                ballast_of(self.path).unlink(missing_ok=True)
                self._open_file()
        except (Unavailable, OSError, sqlite3.Error, SQLAlchemyError) as exc:
            harm = harm_of(exc, self.path.parent)
            if harm in (Harm.LOCKED, Harm.FULL):
                return self.to_memory(f"{harm.value}: {_text(exc)}")
            kind = LossKind.FOREIGN if harm is None else LossKind.DAMAGED
            return self.begin_again(kind, _text(exc))
        return self.path

    def begin_again(self, kind: LossKind, cause: str) -> Path:
        """Set the file aside and begin a new one with what can be read of it; in memory where the disk does not let it."""
        cause += self._forbidden()
        log.error("database.set_aside", kind=kind.value, cause=cause)
        began_s = self._clock.monotonic()
        try:
            folder = set_aside(self.path, self._clock.now())
            bring_up_to_date(self.path)
            taken = self._take_over(folder / self.path.name, began_s + SALVAGE_S)
            self._look()
            self._give_back()
        except (Unavailable, OSError, sqlite3.Error, SQLAlchemyError) as exc:
            return self.to_memory(f"{cause}; and no new file can be begun: {_text(exc)}")
        self.in_memory_since = ""
        self.add_loss(
            Loss(at=self._clock.now(), kind=kind, cause=f"{cause}; {taken.text}", aside=str(folder))
        )
        log.error(
            "database.begun_again", took_s=round(self._clock.monotonic() - began_s, 3), taken=taken.text
        )
        return self.path

    def _take_over(self, former: Path, until_s: float) -> Salvaged:
        """What can be read of the former file, and of what presses need the rest from the standby, a few seconds old."""
        taken = salvage(former, self.path, until_s=until_s, now_s=self._clock.monotonic, whole=True)
        if (standby := self.standby()).exists():
            more = salvage(standby, self.path, until_s=until_s, now_s=self._clock.monotonic, whole=True)
            taken.kept = sum(more.rows.values())
        return taken

    def write_back(self, live: sqlite3.Connection) -> Path:
        """The file was taken away while ``live`` has it open: write all of it to a new file in its place."""
        fresh = self.path.with_name(f"{self.path.name}.back")
        for part in PARTS:
            Path(f"{fresh}{part}").unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as to:
            live.backup(to)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        aside = ""
        if any(Path(f"{self.path}{part}").exists() for part in PARTS):
            aside = str(set_aside(self.path, self._clock.now()))
        fresh.replace(self.path)
        sync_folder(self.path.parent)
        bring_up_to_date(self.path)
        cause = f"{self.path} was taken away while the gateway ran, and was written back"
        self.add_loss(Loss(at=self._clock.now(), kind=LossKind.REMOVED, cause=cause, aside=aside))
        return self.path

    def seed(self, place: Path) -> None:
        """Make ``place`` a database with what presses depend on, as far as it can be read from the file."""
        fresh = place.with_name(
            f"{place.name}.new-{secrets.token_hex(4)}"
        )  # an earlier one may hang in its reading
        if self._empty is None:  # made once: a schema takes longer than what is put into it
            bring_up_to_date(fresh)
            self._empty = fresh.read_bytes()
        fresh.write_bytes(self._empty)
        until_s = self._clock.monotonic() + SEED_S
        with suppress(sqlite3.Error):
            salvage(self.path, fresh, until_s=until_s, now_s=self._clock.monotonic, whole=False)
        fresh.replace(place)

    def keep_standby(self) -> None:
        """Keep beside the place in memory what it would be seeded with: a disk that hangs may not be read any more either."""
        self.seed(self.standby())

    def to_memory(self, cause: str) -> Path:
        """A database in memory, with what presses depend on as it was last known. Raises ``Unavailable`` without any memory."""
        log.critical("database.in_memory", cause=cause)
        self.in_memory_since = cause
        path, standby = self.memory(), self.standby()
        if not path.exists() and standby.exists():
            shutil.copyfile(standby, path)
        bring_up_to_date(path)
        return path

    def answers(self) -> bool:
        """Whether the disk takes a file and gives it back."""
        probe = self.path.with_name(f"{self.path.name}.probe")
        try:
            with probe.open("wb") as file:
                file.write(b"campus-gateway")
                file.flush()
                os.fsync(file.fileno())
            probe.unlink()
        except OSError:
            return False
        return True

    def come_back(self) -> Path | None:
        """Put what was kept in memory into the file, where that can be used again; ``None`` where not. Nobody may write
        meanwhile."""
        before = self.in_memory_since
        try:
            self._open_file()
        except (Unavailable, OSError, sqlite3.Error, SQLAlchemyError) as exc:
            harm = harm_of(exc, self.path.parent)
            kind = LossKind.FOREIGN if harm is None else LossKind.DAMAGED
            if harm in (Harm.LOCKED, Harm.FULL) or self.begin_again(kind, _text(exc)) != self.path:
                self.in_memory_since = before
                return None
        return self.path

    def rest(self) -> Iterator[Page]:
        """What the files that were set aside have besides, and there was no time for. Blocks."""
        for loss in self.losses:
            if loss.aside and loss.forgets:
                yield from rest_of(Path(loss.aside) / self.path.name)

    def acknowledge(self) -> list[Loss]:
        """A person knows of the losses: they are told no more. Returns them. Raises ``OSError``."""
        write_losses(self.path, [])
        known, self.losses = self.losses, []
        return known

    def add_loss(self, loss: Loss) -> None:
        """Told from now on, after a restart too, until somebody acknowledges it."""
        self.losses.append(loss)
        try:
            write_losses(self.path, self.losses)
        except OSError as exc:
            log.error("database.loss_not_kept", cause=str(exc))

    # Within.

    def _remember_losses(self) -> None:
        try:
            self.losses = read_losses(self.path)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            cause = f"the list of losses cannot be read ({losses_file(self.path)}: {exc})"
            self.losses = [Loss(at=self._clock.now(), kind=LossKind.DAMAGED, cause=cause)]

    def _open_file(self) -> None:
        """Open what is there, begin what is not, and give back what an earlier run kept in memory."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lost = self._missing()
        if lost and any(Path(f"{self.path}{part}").exists() for part in PARTS):
            aside = str(set_aside(self.path, self._clock.now()))
        else:
            aside = ""
        bring_up_to_date(self.path)
        self._look()
        if lost:
            taken = self._take_over(self.path, self._clock.monotonic() + SALVAGE_S)
            cause = f"{lost}; {taken.text}"
            self.add_loss(Loss(at=self._clock.now(), kind=LossKind.MISSING, cause=cause, aside=aside))
        self._give_back()
        self.in_memory_since = ""

    def _missing(self) -> str:
        """Why an absent or empty file is no first start; empty if it is one, or if there is a file."""
        if self.path.is_file() and self.path.stat().st_size > 0:
            return ""
        if self.path.exists() and not self.path.is_file():
            return ""  # opening it will say what is wrong
        known = self._known_by()
        if not known:
            return ""
        there = f"{self.path} is {'empty' if self.path.exists() else 'not there'}"
        return f"{there}, although this gateway has run here before ({known}); a new one was begun"

    def _look(self) -> None:
        """Read what a press reads, and write. Raises what SQLite does."""
        with closing(sqlite3.connect(self.path, timeout=LOCKED_S, isolation_level=None)) as database:
            for look in _LOOKS:
                database.execute(look).fetchall()
            database.execute("PRAGMA synchronous=FULL")
            database.execute("BEGIN IMMEDIATE")
            pulse(database)
            database.execute("COMMIT")

    def _give_back(self) -> None:
        memory = self.memory()
        if not memory.exists():
            return
        engine = engine_for(self.path, writing=True)
        try:
            bring_up_to_date(memory)
            with engine.connect() as connection, connection.begin():
                give_back(memory, connection)
        except (Unavailable, ValueError, KeyError) as exc:
            # What stands in memory is no database of ours: it must not stand between a press and the centre either.
            log.critical("database.memory_unusable", cause=_text(exc))
        finally:
            engine.dispose()
        for part in PARTS:
            Path(f"{memory}{part}").unlink(missing_ok=True)
        log.warning("database.given_back", path=str(self.path))

    def _forbidden(self) -> str:
        """Who may write the file, where this process may not: the file itself may be sound."""
        with suppress(OSError):
            state = self.path.stat()
            if not os.access(self.path, os.W_OK):
                return (
                    f" (the file belongs to user {state.st_uid}, mode {state.st_mode & 0o777:o}, and the gateway, user "
                    f"{os.geteuid()}, may not write it: give it to that user, also when a backup is put back)"
                )
        return ""

    def standby(self) -> Path:
        """What is kept ready, while the file is in use, for when it cannot be."""
        memory = self.memory()
        return memory.with_name(f"{memory.name}.standby")

    def memory(self) -> Path:
        """Where it is while the disk takes none: the same over restarts of the process, gone with the box's power."""
        name = hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:16]
        for root in (Path("/dev/shm"), Path(tempfile.gettempdir())):
            folder = root / f"{IN_MEMORY}{os.getuid()}-{name}"
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                    continue
                if os.access(folder, os.W_OK):
                    note = folder / OWNER
                    if not note.exists():
                        note.write_text(str(self.path.absolute()), "utf-8")
                    return folder / self.path.name
            except OSError:
                continue
        raise Unavailable(f"{self.path}: cannot be used, and there is no memory to keep it in (/dev/shm)")


def ballast_of(path: Path) -> Path:
    """The reserve beside a database, given up when its disk is full."""
    return path.with_name(f"{path.name}.ballast")


def pulse(database: sqlite3.Connection) -> None:
    """A change that a commit has to bring to the disk, and that nothing reads: the number applications may count versions by."""
    (count,) = database.execute("PRAGMA user_version").fetchone()
    database.execute(f"PRAGMA user_version = {(count + 1) % (1 << 31)}")


def unreadable(path: Path) -> str:
    """Why the database cannot be read, without changing anything; empty if it can be, or only is locked or of another version."""
    if not path.exists():
        return "it is not there"
    if path.is_file() and path.stat().st_size == 0:
        return "it is empty"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            for look in _LOOKS:
                database.execute(look).fetchall()
    except sqlite3.Error as exc:
        version_only = "no such" in str(exc)  # the start of the check says it better
        return str(exc) if harm_of(exc, path.parent) in (Harm.DAMAGED, Harm.DISK) and not version_only else ""
    return ""


def check_whole(path: Path) -> str:
    """Look through the whole file, in a connection of its own; what is wrong with it, empty if nothing is."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            said = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
    except sqlite3.Error as exc:
        harm = harm_of(exc, path.parent)
        return str(exc) if harm in (Harm.DAMAGED, Harm.DISK) else ""
    return "" if said == ["ok"] else "; ".join(said)


def _text(exc: BaseException) -> str:
    if isinstance(exc, Harmed | Unavailable):
        return exc.reason
    orig = getattr(exc, "orig", None)
    return str(orig or exc)
