"""The gateway's session at its broker: the client id it has there, and whether the broker kept what it promised.

Whoever connects under the same client id takes the session and every press with it, so the id that is not given by the site file
has a secret part, made once and kept in the data folder. It never changes by itself: the session, and what waits in it, is found
again by it. Where the id did change (an upgrade from one without a secret part, a change of the site file), the former one is
remembered until the feed has taken what waits under it (:mod:`drivers.contacts.former`).

None of it may stand between a press and the centre: a file that cannot be read or written has its way round, and a fault.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.box.durable import write_durably
from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

FILE = "broker-session.json"
#: 80 bits: not to be guessed over a network in the life of a school. Within the 64 characters that brokers commonly take.
SECRET_BYTES = 10
WRITE_AGAIN_S = 30.0
LAST_WRITE_S = 2.0
#: A fault that presses may be lost stands for a day, so that each shift sees it; nothing can tell that none was.
FORGOTTEN_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Record:
    """What is kept. ``broker`` and ``client_id`` are those of the session that was last confirmed; ``former`` are ids under which
    something may still wait there."""

    secret: str
    broker: str = ""
    client_id: str = ""
    former: tuple[str, ...] = ()
    forgotten_at: str = ""


class BrokerSession:
    """Which client id to use, and what the broker's answers say of the session. On the event loop; ``run`` writes beside it."""

    def __init__(
        self, path: Path, clock: Clock, *, where: str, given: str | None, plain: str, upgraded: bool
    ) -> None:
        """``where`` is the broker's host and port, ``given`` the site file's client id, ``plain`` the id without a secret part,
        which was used before there was one: ``upgraded`` says that the data folder is of that time or may be."""
        self._path = path
        self._clock = clock
        self._where = where
        self._trouble = ""  # with the file
        self._lost = ""
        self._changed = asyncio.Event()
        self._writing = threading.Lock()  # a write that was cancelled goes on in its thread
        record, fresh = self._read()
        self._written = None if fresh else record
        former = set(record.former)
        if fresh and upgraded and given is None and not self._lost:
            former.add(plain)
        self.client_id = given or f"{plain}-{record.secret}"
        if record.broker == where and record.client_id:
            former.add(record.client_id)
        if fresh and not self._write(record):
            # An id that is another one at each start would leave a session behind at each.
            self.client_id = given or plain
        former.discard(self.client_id)
        self._record = replace(record, former=tuple(sorted(former)))

    @property
    def former(self) -> tuple[str, ...]:
        """Client ids of sessions in which something may wait for this gateway."""
        return self._record.former

    def connected(self, present: bool) -> None:
        """The broker has taken the connection, and says whether it had the session."""
        known = (self._record.broker, self._record.client_id) == (self._where, self.client_id)
        if known and not present:
            self._keep(replace(self._record, forgotten_at=self._clock.now().isoformat()))
            log.warning("mqtt.session_forgotten")

    def confirmed(self) -> None:
        """The session exists: every subscription is answered."""
        self._keep(replace(self._record, broker=self._where, client_id=self.client_id))

    def taken(self, client_id: str) -> None:
        """Nothing waits under a former client id any more."""
        self._keep(replace(self._record, former=tuple(i for i in self._record.former if i != client_id)))

    def forgotten_at(self) -> datetime | None:
        """When it was last seen that the broker had forgotten the session, if that was within a day."""
        if not self._record.forgotten_at:
            return None
        at = datetime.fromisoformat(self._record.forgotten_at)
        return at if timedelta() <= self._clock.now() - at < FORGOTTEN_FOR else None

    def found(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the file, as (subject, cause)."""
        if self._lost:
            yield "client-id-file", self._lost
        elif self._trouble:
            yield "client-id-file", self._trouble

    async def run(self) -> None:
        """Write what changed, until cancelled; what changed last is written then."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not await asyncio.to_thread(self._write, self._record):
                    await self._clock.sleep(WRITE_AGAIN_S)
                    self._changed.set()
        finally:
            if self._record != self._written:
                with suppress(TimeoutError):  # a disk that hangs holds up no end
                    await asyncio.wait_for(asyncio.to_thread(self._write, self._record), LAST_WRITE_S)

    def _keep(self, record: _Record) -> None:
        if record != self._record:
            self._record = record
            self._changed.set()

    def _read(self) -> tuple[_Record, bool]:
        """What is kept, and whether it is new."""
        try:
            return _parsed(self._path.read_bytes()), False
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            self._lost = (
                f"{self._path} cannot be used ({exc!r:.120}), so that the gateway has a new client id at the broker: presses "
                "that waited under the former one may be lost; ask the school whether somebody pressed; gone with the next start"
            )
        return _Record(secret=secrets.token_hex(SECRET_BYTES)), True

    def _write(self, record: _Record) -> bool:
        try:
            with self._writing:
                write_durably(self._path, json.dumps(asdict(record), indent=1).encode())
        except OSError as exc:
            self._trouble = (
                f"{self._path} cannot be written ({exc.strerror or exc}): whether the broker forgets the gateway's session is "
                "not remembered over a restart; make the data folder writable"
            )
            return False
        self._trouble = ""
        self._written = record
        return True


def _parsed(data: bytes) -> _Record:
    """Raises ``ValueError``, ``TypeError``, ``LookupError`` or ``RecursionError`` for what no gateway wrote."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    record = _Record(
        **{name: found[name] for name in ("secret", "broker", "client_id", "forgotten_at")},
        former=tuple(str(id_) for id_ in found["former"]),
    )
    texts = (record.secret, record.broker, record.client_id, record.forgotten_at)
    if not all(isinstance(text, str) for text in texts) or len(record.secret) != 2 * SECRET_BYTES:
        raise ValueError("not what a gateway writes")
    int(record.secret, 16)
    if record.forgotten_at and datetime.fromisoformat(record.forgotten_at).tzinfo is None:
        raise ValueError("a time without an offset")
    return record
