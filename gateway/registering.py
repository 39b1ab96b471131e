"""Registering: no viewing without a line in the register, and a signed head of it for the centre.

A line is written before the bytes are given out. If the database refuses, the picture is given all the same, since a life may
hang on it: the line waits in memory, is written as soon as that is possible, and a fault says that it waits.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import structlog

from gateway.domain.errors import Unavailable
from gateway.domain.register import GATEWAY, Act, Head, RegisterLine, Who
from gateway.ports import Clock, Signer, Store, Transaction

log = structlog.get_logger(__name__)

#: An opening that goes on is registered once; after so long without a request the next one is another opening.
IDLE_S = {Act.VIEWED: 600.0, Act.WATCHED: 60.0, Act.NAMED: 600.0}
RETRY_S = 1.0
MOST_WAITING = 10_000


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
        """Append a line; kept in memory, with a fault, while the database refuses."""
        try:
            if self._waiting:
                raise Unavailable("earlier lines wait")
            await self._store.write(lambda tx: tx.register.append(line))
        except Unavailable as exc:
            self._waiting.append(line)
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[0]
            self._tell(
                f"{len(self._waiting)} line(s) of the access register wait in memory and would be lost by a restart: {exc.reason}"
            )
            log.error("register.waits", lines=len(self._waiting), cause=exc.reason)

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
            await self._clock.sleep(RETRY_S)
            if not self._waiting:
                continue
            lines = list(self._waiting)

            def work(tx: Transaction, lines: list[RegisterLine] = lines) -> None:
                for line in lines:
                    tx.register.append(line)

            try:
                await self._store.write(work)
            except Unavailable:
                continue
            del self._waiting[: len(lines)]
            if not self._waiting:
                self._tell("")

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
