"""Connections to a SQLite file, as the store uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event


def engine_for(path: Path, *, writing: bool) -> Engine:
    """An engine whose commits are on disk when they return, and whose transactions begin when they are asked to."""
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"isolation_level": None, "check_same_thread": False}
    )

    def prepare(dbapi: Any, _record: object) -> None:
        for pragma in (
            "synchronous=FULL",
            "busy_timeout=4000",  # less than SLOW_S of the safe store: a lock is told as one
            "wal_autocheckpoint=1000",
            f"query_only={'OFF' if writing else 'ON'}",
        ):
            dbapi.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # pysqlite would begin too late and without the write lock.
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine
