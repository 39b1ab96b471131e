"""Alembic's entry: runs the migrations on the database named by the configuration.

In one transaction, version number included: a power cut in the middle leaves the database as it was. Neither the
sqlite3 module nor Alembic does so by itself on SQLite, hence the explicit BEGIN.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, event

from storage.sql.tables import metadata


def _prepare(dbapi: Any, _record: object) -> None:
    dbapi.execute("PRAGMA journal_mode=WAL")
    dbapi.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


url = context.config.get_main_option("sqlalchemy.url")
assert url is not None
engine = create_engine(url, connect_args={"isolation_level": None})
event.listen(engine, "connect", _prepare)
event.listen(engine, "begin", _begin)
try:
    with engine.connect() as connection, connection.begin():
        context.configure(
            connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True
        )
        context.run_migrations()
finally:
    engine.dispose()
