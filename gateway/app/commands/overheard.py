"""Which words of the contacts on a site file were heard and raise nothing: for whoever checks the file beside a gateway."""

from __future__ import annotations

import asyncio

from config.settings import Settings
from drivers.contacts.formats import CODECS
from gateway.app.siteplan import compile_plan
from gateway.domain.errors import Unavailable
from gateway.watch.doubts import by_topic, remembered_of, words_of
from storage.sql.store import SqlStore


def words_left_out(settings: Settings) -> list[str]:
    """One line for each point that said such words; none where no gateway has run on this data yet, or an older one."""
    database = settings.database_file
    if database is None or not database.exists():
        return []
    return asyncio.run(_read(settings, SqlStore(database, only_reading=True)))


async def _read(settings: Settings, store: SqlStore) -> list[str]:
    try:
        await store.start()
        memories = await store.read(lambda tx: tx.inbox.memories())
    except Unavailable:
        return []
    finally:
        await store.stop()
    lines = []
    points = compile_plan(settings.site, CODECS).points.values()
    on_topics = by_topic(points)
    for point in points:
        if point.source is None:
            continue
        words = words_of(remembered_of(point.source, memories), point, on_topics[point.source.topic])
        if words:
            lines.append(
                f"{point.id}: heard {', '.join(words)}: no press, and no alarm is raised by it (mqtt.press says which words are)"
            )
    return lines
