"""Ways in which a database's file comes to harm: each takes the file's path and leaves it as such an accident does."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

PAGE = 4096


def header_zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def first_page_random(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(7).randbytes(PAGE))


def every_table_page_random(path: Path) -> None:
    """All but the first page: the file opens, and nothing in it can be read."""
    chance = random.Random(8)
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // PAGE):
            file.seek(page * PAGE)
            file.write(chance.randbytes(PAGE))


def index_of_open_alarms_random(path: Path) -> None:
    _damage_root_of(path, "alarm_open")


def table_of_messages_random(path: Path) -> None:
    _damage_root_of(path, "message")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // PAGE * PAGE)


def cut_within_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3 + 17)


def a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("file", "utf-8")


def a_text_in_its_place(path: Path) -> None:
    path.write_text("this is a text, and it is longer than a header of SQLite is\n" * 200, "utf-8")


def a_newer_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


def a_table_missing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE inbox")
        database.commit()


def removed(path: Path) -> None:
    path.unlink()


AT_A_START: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        header_zeroed,
        first_page_random,
        every_table_page_random,
        index_of_open_alarms_random,
        table_of_messages_random,
        emptied,
        cut_in_half,
        cut_within_a_page,
        a_folder_in_its_place,
        a_text_in_its_place,
        a_newer_schema,
        a_table_missing,
        removed,
    )
}


def _damage_root_of(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(random.Random(page).randbytes(PAGE))
