"""Alembic's entry: runs the migrations on the database named by the configuration."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from storage.sql.tables import metadata

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None
engine = create_engine(url)
with engine.connect() as connection:
    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
