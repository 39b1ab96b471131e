"""Registering: no viewing without a line in the register, and a signed head of it for the centre.

A line is written before the bytes are given out. If the database refuses, the picture is given all the same, since a life may
hang on it: the line waits in memory, is written as soon as that is possible, and a fault says that it waits. Memory is bounded:
where it is full, whoever looks waits for room for a while; a line that then finds none is counted, and the register itself says
how many are missing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from gateway.domain.errors import Unavailable
from gateway.domain.register import GATEWAY, Act, Head, RegisterLine, Who
from gateway.ports.clock import Clock
from gateway.ports.recordings import Signer
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

#: An opening that goes on is registered once; after so long without a request the next one is another opening.
IDLE_S = {Act.VIEWED: 600.0, Act.WATCHED: 60.0, Act.NAMED: 600.0}
RETRY_S = 1.0
MOST_WAITING = 10_000
AT_ONCE = 100  # lines in one commit: a press waits for no more than that
ROOM_WITHIN_S = (
    10.0  # for a line while memory is full: longer than a lock or a slow disk holds the database up
)


class Registering:
    """The stage. ``run`` writes what could not be written at once, until cancelled."""

    def __init__(
        self, *, store: Store, clock: Clock, site: str, signer: Signer, tell: Callable[[str], None]
    ) -> None:
        """``tell`` is given what is wrong, or an empty text when all is well again."""
        self._store = store
        self._clock = clock
        self._site = site
        self._signer = signer
        self._tell = tell
        self._seen_s: dict[tuple[object, ...], float] = {}
        self._waiting: list[RegisterLine] = []
        self._room = asyncio.Event()
        self._room.set()
        self._dropped: list[datetime] = []  # first and last
        self._dropped_count = 0
        self._missing = ""  # what stays to be told of them
        self._writing: set[asyncio.Task[None]] = set()

    async def opened(
        self, act: Act, who: Who, content: str, *, alarm: str | None = None, reason: str = ""
    ) -> None:
        """Register that somebody looks at ``content``, once for an opening that goes on; for another reason it is another one."""
        key = (act, who, content, alarm, reason)
        now_s = self._clock.monotonic()
        last_s = self._seen_s.get(key)
        self._seen_s[key] = now_s
        if last_s is not None and now_s - last_s < IDLE_S[act]:
            return
        self._forget(now_s)
        await self.write(
            RegisterLine(at=self._clock.now(), act=act, who=who, content=content, alarm=alarm, reason=reason)
        )

    async def write(self, line: RegisterLine) -> None:
        """Append a line; kept in memory, with a fault, while the database refuses. Whoever asked may go: it is written."""
        writing = asyncio.create_task(self._write(line), name="register")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await asyncio.shield(writing)

    async def _write(self, line: RegisterLine) -> None:
        try:
            if self._waiting:
                raise Unavailable("earlier lines wait")
            await self._store.write(lambda tx: tx.register.append(line))
        except Unavailable as exc:
            await self._wait_in_memory(line, exc.reason)

    async def _wait_in_memory(self, line: RegisterLine, cause: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(ROOM_WITHIN_S):
                while len(self._waiting) >= MOST_WAITING:
                    self._room.clear()
                    await self._room.wait()
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(line)
        else:
            self._dropped_count += 1
            self._dropped = [*self._dropped[:1], line.at]
            log.error("register.dropped", lines=self._dropped_count, act=line.act.value, content=line.content)
        dropped = f"; {self._dropped_count} more found no room and are lost" if self._dropped_count else ""
        self._tell(
            f"{len(self._waiting)} line(s) of the access register wait in memory and would be lost by a restart{dropped}: {cause}"
        )
        log.error("register.waits", lines=len(self._waiting), cause=cause)

    async def configured(self, sha256: str) -> str:
        """Register the site file the gateway starts with, and the key it signs with, if either is another one than the last time.

        Returns what has to be told: the key is not the one whose heads the centre has, so nothing signed before can be held
        against it."""
        key = hashlib.sha256(self._signer.public).hexdigest()

        def work(tx: Transaction) -> str:
            last = tx.register.last(Act.CONFIGURED)
            before = json.loads(last.body) if last is not None else {"content": None, "detail": {}}
            signed_by = before["detail"].get("key", key)
            if before["content"] != sha256 or signed_by != key:
                detail = {"before": before["content"], "key": key}
                if signed_by != key:
                    detail["key_before"] = signed_by
                line = RegisterLine(
                    at=self._clock.now(),
                    act=Act.CONFIGURED,
                    who=GATEWAY,
                    content=sha256,
                    reason="start",
                    detail=detail,
                )
                tx.register.append(line)
            return "" if signed_by == key else signed_by

        other = await self._store.write(work)
        if not other:
            return ""
        log.error("register.other_key", key=key, before=other)
        return (
            f"the register and exports are signed by another key ({key}) than before ({other}); if register.key was lost, tell "
            "the centre the new one, if not, put the old one back"
        )

    async def run(self) -> None:
        while True:
            if len(self._waiting) <= AT_ONCE:
                await self._clock.sleep(RETRY_S)
            else:
                await self._clock.sleep(RETRY_S / 10)  # presses go in between
            with suppress(Unavailable):
                await self._write_waiting()

    async def _write_waiting(self) -> None:
        """The next of those that wait; after the last of them, how many are missing. Raises ``Unavailable``."""
        if self._waiting:
            lines = self._waiting[:AT_ONCE]

            def work(tx: Transaction) -> None:
                for line in lines:
                    tx.register.append(line)

            await self._store.write(work)
            del self._waiting[: len(lines)]
            self._room.set()
            if not self._waiting and not self._dropped_count:
                self._tell(self._missing)
        elif self._dropped_count:
            await self._write_of_dropped()

    async def _write_of_dropped(self) -> None:
        """All that waited is written: well again, but for what is lost, and the register says that itself."""
        count, span = self._dropped_count, [at.isoformat() for at in self._dropped]
        line = RegisterLine(
            at=self._clock.now(),
            act=Act.DROPPED,
            who=GATEWAY,
            content=f"{count} line(s)",
            reason="the database took none and memory was full",
            detail={"lines": count, "from": span[0], "to": span[-1]},
        )
        await self._store.write(lambda tx: tx.register.append(line))
        self._dropped_count, self._dropped = self._dropped_count - count, []
        self._missing = (
            f"{count} line(s) of the access register are lost ({span[0]} to {span[-1]}): the database took none and memory was "
            "full; the register says so itself, and this stays until the next start"
        )
        self._tell(self._missing)

    def signed(self, head: Head) -> dict[str, Any]:
        """The head as it goes to the centre and to the inspector: whoever kept an older one can ask for a proof that nothing of
        it was changed since."""
        now = self._clock.now()
        signature = self._signer.sign(head.signed_bytes(self._site, now))
        return {
            "size": head.size,
            "root": head.root.hex(),
            "at": now.isoformat(),
            "key": base64.b64encode(self._signer.public).decode(),
            "signature": base64.b64encode(signature).decode(),
        }

    def _forget(self, now_s: float) -> None:
        longest_s = max(IDLE_S.values())
        for key in [k for k, at_s in self._seen_s.items() if now_s - at_s >= longest_s]:
            del self._seen_s[key]
