"""Rows of the register, and its tree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.merkle import Frontier, leaf_hash
from gateway.domain.register import Act, Head, RegisterLine, WrittenLine
from storage.sql.tables import register as table
from storage.sql.tables import register_tree as tree

HASH_BYTES = 32


class SqlRegister:
    """:class:`gateway.ports.service_tables.Register` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def append(self, line: RegisterLine) -> int:
        frontier = self._frontier()
        number = frontier.size + 1
        body = line.written(number)
        leaf = leaf_hash(body)
        self._c.execute(
            insert(table), {"n": number, "at": line.at, "act": line.act.value, "body": body, "leaf": leaf}
        )
        grown = frontier.append(leaf)
        values = {"size": grown.size, "hashes": b"".join(grown.hashes)}
        self._c.execute(
            upsert(tree).values(one=1, **values).on_conflict_do_update(index_elements=["one"], set_=values)
        )
        return number

    def head(self) -> Head:
        frontier = self._frontier()
        return Head(size=frontier.size, root=frontier.root)

    def lines(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        since: datetime | None = None,
        until: datetime | None = None,
        acts: Sequence[Act] | None = None,
    ) -> list[WrittenLine]:
        query = select(table).where(table.c.n > after).order_by(table.c.n).limit(limit)
        if since is not None:
            query = query.where(table.c.at >= since)
        if until is not None:
            query = query.where(table.c.at < until)
        if acts is not None:
            query = query.where(table.c.act.in_([act.value for act in acts]))
        return [_line(row) for row in self._c.execute(query)]

    def leaves(self, size: int) -> list[bytes]:
        query = select(table.c.leaf).where(table.c.n <= size).order_by(table.c.n)
        return [bytes(leaf) for (leaf,) in self._c.execute(query)]

    def last(self, act: Act) -> WrittenLine | None:
        query = select(table).where(table.c.act == act.value).order_by(table.c.n.desc()).limit(1)
        row = self._c.execute(query).first()
        return None if row is None else _line(row)

    def _frontier(self) -> Frontier:
        row = self._c.execute(select(tree).where(tree.c.one == 1)).first()
        if row is None:
            return Frontier()
        joined = bytes(row.hashes)
        return Frontier(
            row.size, tuple(joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))
        )


def _line(row: Row[Any]) -> WrittenLine:
    return WrittenLine(number=row.n, body=_bytes(row.body), leaf=_bytes(row.leaf))


def _bytes(value: bytes | str) -> bytes:
    """What a stranger's hand has put there may be text: it is shown as an altered line, not as a failure of ours."""
    return value.encode() if isinstance(value, str) else bytes(value)
