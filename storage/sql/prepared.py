"""Statements of the hot path: compiled once by SQLAlchemy, then handed to the driver as they are.

SQLAlchemy's own way to execute costs a press as much time as the commit. These run on the same connection, inside the same
transaction, with the same column types; only what is done between the statement and the driver is left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.dml import ReturningInsert

_DIALECT = SQLiteDialect_pysqlite()


class PreparedInsert:
    """One INSERT of the named columns, and of what else it binds by name. Errors are the driver's own (``sqlite3.Error``)."""

    def __init__(self, statement: Insert | ReturningInsert[Any], columns: Iterable[str]) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns))
        self._sql = str(compiled)
        self._binds: list[tuple[str, Callable[[Any], Any] | None]] = [
            (name, compiled.binds[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
            for name in compiled.positiontup or ()
        ]

    def run(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        """Insert one row; the cursor tells ``rowcount`` and ``lastrowid``."""
        return self._driver(connection).execute(self._sql, self._row(values))

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert all rows."""
        self._driver(connection).executemany(self._sql, [self._row(values) for values in rows])

    def _row(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] if bind is None else bind(values[name]) for name, bind in self._binds]

    @staticmethod
    def _driver(connection: Connection) -> sqlite3.Connection:
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        return driver
