"""Bringing a database to this program's schema: nothing to do, create, or migrate."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.domain.errors import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """The newest migration's number: migrations are named ``NNNN_what.py`` and follow one another."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def bring_up_to_date(path: Path) -> None:
    """Make the database at ``path`` the newest schema.

    A new one is made from ``tables.py``, which a test holds to what the migrations lead to. Alembic is only imported when
    there is something to migrate, since a gateway that starts again must be armed within a second.
    Raises :class:`Unavailable` if the file is not ours, or was written by a newer program.
    """
    _make(path)
    # Before anybody else opens it: two connections that both turn a database to WAL lock each other out, without waiting.
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as exc:
        raise Unavailable(f"{path}: cannot be opened for writing: {exc}") from exc


def must_be_newest(path: Path) -> None:
    """Look whether the database has the schema of this program, and change nothing. Raises :class:`Unavailable` if not."""
    version, _ = _version(path)
    if version != head():
        raise Unavailable(
            f"{path}: has schema {version}, this program reads {head()}: use the version of the gateway that runs on it, or "
            "start this one first"
        )


def _make(path: Path) -> None:
    version, foreign = _version(path)
    if version == head():
        return
    if version is not None and version > head():
        raise Unavailable(
            f"{path}: written by a newer gateway (schema {version}, this one knows {head()}); install that version again"
        )
    if version is None and not foreign:
        _create(path)
        return
    _migrate(path)


def _version(path: Path) -> tuple[str | None, bool]:
    """The schema that was written last, and whether anything is in there at all."""
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            known = database.execute("SELECT name FROM sqlite_master WHERE name='alembic_version'").fetchone()
            row = database.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
            version = row[0] if row else None
            foreign = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    except sqlite3.Error as exc:
        raise Unavailable(f"{path}: not a database this program can open: {exc}") from exc
    return version, foreign


def _migrate(path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as exc:
        raise Unavailable(f"{path}: cannot be brought to schema {head()}: {exc}") from exc


def _create(path: Path) -> None:
    from sqlalchemy import create_engine, event

    from storage.sql.tables import metadata

    engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    version = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    try:
        # All or nothing: a crash leaves an empty file, and the next start begins anew.
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.exec_driver_sql(version)
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (head(),))
    finally:
        engine.dispose()
