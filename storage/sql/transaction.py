"""All tables on one connection, for the length of one transaction."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection

from storage.sql.alarms import SqlAlarms
from storage.sql.answers import SqlAnswerItems
from storage.sql.contacts import SqlContacts
from storage.sql.deletions import SqlDeletions, SqlTrustedTime
from storage.sql.drills import SqlDrillWindows
from storage.sql.evidence import SqlEvidence, SqlRequests
from storage.sql.faults import SqlFaults
from storage.sql.holds import SqlHolds
from storage.sql.inbox import SqlInbox
from storage.sql.messages import SqlMessages
from storage.sql.recordings import SqlRecordings
from storage.sql.register import SqlRegister


class SqlTransaction:
    """:class:`gateway.ports.store.Transaction` on a connection."""

    def __init__(self, connection: Connection, *, durable: bool = True) -> None:
        self.durable = durable
        self._connection = connection
        self.inbox = SqlInbox(connection)
        self.contacts = SqlContacts(connection)
        self.alarms = SqlAlarms(connection)
        self.evidence = SqlEvidence(connection)
        self.messages = SqlMessages(connection)
        self.faults = SqlFaults(connection)
        self.requests = SqlRequests(connection)
        self.windows = SqlDrillWindows(connection)
        self.register = SqlRegister(connection)
        self.answer_items = SqlAnswerItems(connection)
        self.recordings = SqlRecordings(connection)
        self.holds = SqlHolds(connection)
        self.deletions = SqlDeletions(connection)
        self.trusted = SqlTrustedTime(connection)

    def marks(self) -> dict[str, int]:
        found = {}
        for name in ("message", "timeline", "hold", "fault", "gap"):
            (found[name],) = self.driver.execute(f"SELECT coalesce(max(n), 0) FROM {name}").fetchone()
        (until,) = self.driver.execute('SELECT coalesce(max("end"), 0) FROM segment').fetchone()
        found["recorded_until"] = until // 1_000_000
        return found

    @property
    def driver(self) -> sqlite3.Connection:
        """The connection itself, for what concerns the file and no row."""
        connection: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]
        return connection
