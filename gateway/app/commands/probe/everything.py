"""``check --probe``: talks to everything the site file names and prints what works, and what to do where it does not.

Safe beside a running gateway: another client id at the broker, a camera process of its own, and neither the lock nor the
database is opened. What it cannot see from outside it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TextIO

from config.settings import Settings
from gateway.app.commands.probe.broker import probe_broker
from gateway.app.commands.probe.cameras import probe_cameras
from gateway.app.commands.probe.centre import probe_centre
from gateway.app.commands.probe.certificates import probe_certificates
from gateway.app.commands.probe.machine import probe_clock, probe_database, probe_http, probe_objects
from gateway.app.commands.probe.room import probe_room
from gateway.app.commands.probe.table import Line, Result, Table, Tell
from gateway.domain.errors import Refused, Unavailable

WHOLE_WITHIN_S = 28.0  # of one probe; the whole command within 30 s


async def probe(settings: Settings, out: TextIO) -> int:
    """Probe everything at once, printing each line as it is known, within 30 s.

    Returns 1 if anything an alarm needs does not work (a camera or topic of a point, the broker, the centre, the object
    store, the database's place, the address of the HTTP face), else 0.
    """
    table = Table(settings, out)
    rates: dict[str, float] = {}
    probes: list[tuple[str, bool, Awaitable[None]]] = [
        ("cameras 摄像机", True, probe_cameras(settings, table.tell, rates)),
        ("broker 消息代理", True, probe_broker(settings, table.tell)),
        ("centre 110 中心", True, probe_centre(settings, table.tell)),
        ("objects 证据存储", True, probe_objects(settings, table.tell)),
        ("database 数据库", True, probe_database(settings, table.tell)),
        ("http", True, probe_http(settings, table.tell)),
        ("certificates 证书", True, probe_certificates(settings, table.tell)),
        ("clock 时钟", False, probe_clock(table.tell)),
    ]
    await asyncio.gather(*(_bounded(*each, table.tell) for each in probes))
    await _bounded("room 容量", False, probe_room(settings, rates, table.tell), table.tell)
    return table.finish()


async def _bounded(what: str, needed: bool, work: Awaitable[None], tell: Tell) -> None:
    """One probe's end is not the others': whatever it raises is its own line."""
    try:
        async with asyncio.timeout(WHOLE_WITHIN_S):
            await work
    except TimeoutError:
        tell(Line(what, Result.FAIL, "no result in time; is the machine overloaded?", needed))
    except (Refused, Unavailable) as exc:
        tell(Line(what, Result.FAIL, exc.reason, needed))
    except OSError as exc:
        tell(Line(what, Result.FAIL, f"{exc.strerror or exc}", needed))
