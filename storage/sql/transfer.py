"""Bringing rows from one database to another: what can still be read of a damaged one, and what was kept in memory meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gateway.domain.merkle import Frontier
from gateway.domain.register import Act, RegisterLine, Who
from storage.sql.register import SqlRegister
from storage.sql.tables import metadata

AT_ONCE = 500  # rows
_OPEN = "(SELECT id FROM alarm WHERE state != 'closed')"
#: What the way of an alarm and what is kept depend on, in the order in which it is wanted.
HOT: tuple[tuple[str, str], ...] = (
    ("alarm", "state != 'closed'"),
    ("message", "received_at IS NULL AND superseded IS 0"),
    ("inbox", "settled IS 0"),
    ("contact_memory", ""),
    ("inbox", "n > (SELECT max(n) FROM inbox) - 2000"),
    ("drill_window", ""),
    ("hold", ""),
    ("contact_seen", ""),
    ("listening", ""),
    ("trusted_time", ""),
    ("recorded", ""),
    ("fault", "cleared_at IS NULL"),
    ("request", f"alarm IN {_OPEN}"),
    ("answer_item", ""),
    ("evidence", f"alarm IN {_OPEN}"),
    ("timeline", f"alarm IN {_OPEN}"),
    ("deletion", "register_line IS NULL"),
    ("register", "n > (SELECT max(n) FROM register) - 500"),
    ("register_tree", ""),
)
#: All else, which may be long; the newest rows first.
COLD = (
    "register",
    "inbox",
    "request",
    "alarm",
    "message",
    "evidence",
    "timeline",
    "gap",
    "segment",
    "coverage",
    "deletion",
    "fault",
    "attempt",
    "quarantine",
)
#: By their indexes: a month of recordings is not sorted for this.
_NEWEST = (
    ("segment", "ORDER BY start DESC"),
    ("gap", 'AND "end" IS NULL'),
    ("gap", 'ORDER BY "end" DESC'),
)
SEEDED = "seeded"  # a table of the one in memory: up to which row each other table was copied into it
#: Tables whose rows are known by these columns; the others' only by being new.
_KEYS = {
    "alarm": "id",
    "message": "id",
    "evidence": "id",
    "fault": "id",
    "request": "id",
    "answer_item": "id",
    "drill_window": "id",
    "hold": "id",
    "gap": "id",
    "segment": "id",
    "deletion": "id",
    "contact_memory": "source",
    "contact_seen": "point",
}


@dataclass(slots=True)
class Salvaged:
    """What came over: rows by table, and the tables of which not everything could be read in time."""

    rows: dict[str, int]
    short: set[str]
    kept: int = 0  # rows that were kept ready in memory

    @property
    def text(self) -> str:
        """For a person."""
        came = ", ".join(f"{name} {count}" for name, count in self.rows.items() if count)
        short = f"; not all of {', '.join(sorted(self.short))}" if self.short else ""
        kept = f"; {self.kept} row(s) from what is kept in memory" if self.kept else ""
        return f"rows taken over from it: {came or 'none'}{short}{kept}"


def salvage(
    source: Path, target: Path, *, until_s: float, now_s: Callable[[], float], whole: bool
) -> Salvaged:
    """Copy what can be read of ``source`` into the new database ``target``, the most needed first, until ``until_s``.

    Never raises for what is wrong with the source. Raises ``sqlite3.Error`` where the target refuses. ``whole`` asks for the
    long tables as well. The access register is taken whole and proved by its tree, or not at all.
    """
    done = Salvaged({}, set())
    with closing(sqlite3.connect(target, timeout=5)) as to:
        to.execute("PRAGMA synchronous=FULL")
        try:
            read = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=1)
        except sqlite3.Error:
            done.short.add("everything")
            return done
        with closing(read):
            parts = (*HOT, *((name, "") for name in COLD)) if whole else HOT
            for name, where in parts:
                _copy(read, to, name, where, done, lambda: now_s() < until_s, indexed=not whole)
            if not whole:
                _newest_of_cameras(read, to, done)
        if whole:
            _prove_register(to, done)
        else:
            _mark_seeded(to)
        to.commit()
    return done


def give_back(source: Path, connection: Connection) -> None:
    """Put what was kept in memory meanwhile into the transaction of ``connection``; doing it again changes nothing."""
    driver: Any = connection.connection.driver_connection
    with closing(sqlite3.connect(source, timeout=5)) as read:
        read.row_factory = sqlite3.Row
        seeded: dict[str, int] = {}
        with suppress(sqlite3.OperationalError):  # it was never seeded: all of it is new
            seeded = {row[0]: row[1] for row in read.execute(f"SELECT name, n FROM {SEEDED}")}
        counted = any(
            driver.execute("SELECT 1 FROM segment WHERE id = ?", (row["id"],)).fetchone()
            for row in read.execute("SELECT id FROM segment WHERE n > ?", (seeded.get("segment", 0),))
        )
        for name, key in _KEYS.items():
            for row in read.execute(f"SELECT * FROM {name}"):
                _upsert(driver, name, key, _without_number(row))
        for name in ("inbox", "timeline", "attempt", "quarantine"):
            for row in read.execute(f"SELECT * FROM {name} WHERE n > ? ORDER BY n", (seeded.get(name, 0),)):
                _add_new(driver, name, _without_number(row))
        for row in read.execute("SELECT * FROM recorded"):
            _insert(driver, "recorded", dict(row))
        for row in () if counted else read.execute("SELECT * FROM coverage"):
            driver.execute(
                "INSERT INTO coverage (camera, hour, covered_ms, frames, bytes) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (camera, hour) DO UPDATE SET covered_ms = covered_ms + excluded.covered_ms, "
                "frames = frames + excluded.frames, bytes = bytes + excluded.bytes",
                tuple(row),
            )
        for row in read.execute(
            "SELECT * FROM register WHERE n > ? ORDER BY n", (seeded.get("register", 0),)
        ):
            _append(SqlRegister(connection), json.loads(row["body"]))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a former file to be put into the present one, where they are not there yet."""

    table: str
    rows: Sequence[Sequence[Any]]

    def put(self, driver: sqlite3.Connection) -> int:
        """How many were not there."""
        return driver.executemany(_put(self.table), self.rows).rowcount


def rest_of(source: Path) -> Iterator[Page]:
    """All that can be read of the long tables of a file that was set aside, the newest rows first, a page at a time: what there
    was no time for when it was. The register is not among them. Blocks; ends where the file cannot be read."""
    with (
        suppress(sqlite3.Error),
        closing(
            sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=1, check_same_thread=False)
        ) as read,
    ):
        for name in COLD:
            if name == "register":
                continue
            for way in ("DESC", "ASC"):
                try:
                    rows = read.execute(_asked(name, "", way, indexed=False))
                    while page := rows.fetchmany(AT_ONCE):
                        yield Page(name, page)
                    break
                except sqlite3.Error:
                    continue


# Reading what may be damaged.


def _copy(
    read: sqlite3.Connection,
    to: sqlite3.Connection,
    name: str,
    where: str,
    done: Salvaged,
    going: Callable[[], bool],
    *,
    indexed: bool,
) -> None:
    """The newest rows first; where a page cannot be read, from the other end as well."""
    count = 0
    for way in ("DESC", "ASC"):
        try:
            rows = read.execute(_asked(name, where, way, indexed=indexed))
            while page := rows.fetchmany(AT_ONCE):
                count += to.executemany(_put(name), page).rowcount
                if not going():
                    done.short.add(name)
                    break
            else:
                break
        except sqlite3.Error:
            done.short.add(name)
        if not going():
            break
    to.commit()
    done.rows[name] = done.rows.get(name, 0) + count


def _asked(name: str, where: str, way: str, *, indexed: bool) -> str:
    """Of a damaged file not by an index, which may be what is damaged."""
    table = metadata.tables[name]
    order = ["n"] if "n" in table.c else [column.name for column in table.primary_key]
    return (
        f"SELECT {', '.join(_columns(name))} FROM {name} {'' if indexed else 'NOT INDEXED'} "
        f"{f'WHERE {where}' if where else ''} ORDER BY {', '.join(f'{column} {way}' for column in order)}"
    )


def _put(name: str) -> str:
    columns = _columns(name)
    return f"INSERT OR IGNORE INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _columns(name: str) -> list[str]:
    return [f'"{column.name}"' for column in metadata.tables[name].c]


def _newest_of_cameras(read: sqlite3.Connection, to: sqlite3.Connection, done: Salvaged) -> None:
    """Up to where the ledger of each camera reaches, or the next recording would begin with a gap since its first day."""
    for (camera,) in to.execute("SELECT camera FROM recorded").fetchall():
        for name, newest in _NEWEST:
            columns = ", ".join(f'"{column.name}"' for column in metadata.tables[name].c)
            asked = f"SELECT {columns} FROM {name} WHERE camera = ? {newest} LIMIT 1"
            try:
                rows = read.execute(asked, (camera,)).fetchall()
            except sqlite3.Error:
                done.short.add(name)
                continue
            marks = ", ".join("?" * len(metadata.tables[name].c))
            to.executemany(f"INSERT OR IGNORE INTO {name} ({columns}) VALUES ({marks})", rows)


def _prove_register(to: sqlite3.Connection, done: Salvaged) -> None:
    """A register with a line missing or changed is none: it stays where it is, whole, and a new one begins."""
    frontier = Frontier()
    row = to.execute("SELECT size, hashes FROM register_tree").fetchone()
    size, hashes = (row[0], bytes(row[1])) if row else (0, b"")
    try:
        for number, leaf in to.execute("SELECT n, leaf FROM register ORDER BY n"):
            frontier = frontier.append(bytes(leaf))
            if number != frontier.size:
                break
        proved = frontier.size == size and b"".join(frontier.hashes) == hashes
    except (TypeError, ValueError):
        proved = False
    if not proved:
        to.execute("DELETE FROM register")
        to.execute("DELETE FROM register_tree")
        done.rows["register"] = done.rows["register_tree"] = 0
        done.short.add("register")


def _mark_seeded(to: sqlite3.Connection) -> None:
    to.execute(f"CREATE TABLE IF NOT EXISTS {SEEDED} (name TEXT PRIMARY KEY, n INTEGER NOT NULL)")
    for name, table in metadata.tables.items():
        if "n" in table.c:
            to.execute(
                f"INSERT OR REPLACE INTO {SEEDED} VALUES (?, (SELECT coalesce(max(n), 0) FROM {name}))",
                (name,),
            )
    # Of the register the tree came along and the newest lines: it goes on from there.
    to.execute(
        f"UPDATE {SEEDED} SET n = coalesce((SELECT size FROM register_tree), 0) WHERE name = 'register'"
    )


# Giving back.


def _without_number(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name != "n"}  # noqa: SIM118 - a Row iterates over values


def _upsert(driver: sqlite3.Connection, name: str, key: str, values: Mapping[str, Any]) -> None:
    others = ", ".join(f'"{column}" = excluded."{column}"' for column in values if column != key)
    try:
        driver.execute(
            f"{_into(name, values)} ON CONFLICT ({key}) DO UPDATE SET {others}", list(values.values())
        )
    except sqlite3.IntegrityError:
        # What may be open only once is open there under another id. What was told of this one must be on record all the same.
        ended: dict[str, dict[str, Any]] = {
            "alarm": {"state": "closed"},
            "fault": {"cleared_at": values.get("since")},
        }
        if name in ended:
            _insert(driver, name, {**values, **ended[name]})


def _add_new(driver: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> None:
    same = " AND ".join(f'"{column}" IS ?' for column in values)
    held = list(values.values())
    if driver.execute(f"SELECT 1 FROM {name} WHERE {same} LIMIT 1", held).fetchone() is None:
        _insert(driver, name, values)


def _insert(driver: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> None:
    driver.execute(_into(name, values).replace("INSERT", "INSERT OR IGNORE", 1), list(values.values()))


def _into(name: str, values: Mapping[str, Any]) -> str:
    quoted = ", ".join(f'"{column}"' for column in values)
    return f'INSERT INTO "{name}" ({quoted}) VALUES ({", ".join("?" * len(values))})'


def _append(register: SqlRegister, line: dict[str, Any]) -> None:
    """The same line, numbered anew; one that the last lines have already was committed before its caller could be answered."""
    written = RegisterLine(
        at=datetime.fromisoformat(line["at"]),
        act=Act(line["act"]),
        who=Who(name=line["name"], unit=line["unit"], right=line["right"]),
        content=line["content"],
        reason=line["reason"],
        alarm=line["alarm"],
        detail=line["detail"],
    )
    size = register.head().size
    if not any(_same(known, line) for known in _last(register, size)):
        register.append(written)


def _last(register: SqlRegister, size: int) -> Iterator[dict[str, Any]]:
    for known in register.lines(after=max(0, size - AT_ONCE), limit=AT_ONCE):
        yield json.loads(known.body)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {**one, "n": 0} == {**other, "n": 0}
