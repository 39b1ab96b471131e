"""The receiving side of a 110 centre: takes the school's messages, checks all of them, answers back."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from simulators.centre import control
from simulators.centre.answers import AnswerBasket
from simulators.centre.duty import Duty
from simulators.centre.encryption import Encryption
from simulators.centre.faults import HEALTHY, Faults
from simulators.centre.ledger import AlarmFile, Attempt, Entry, Ledger, Message, SentReply
from simulators.centre.pushed import MEDIA_PATH, PushedMedia
from simulators.centre.put_faults import PutFaults, PutPlan
from simulators.centre.receiving import examine, give_answer, status_for
from simulators.centre.replies import Step
from simulators.centre.signatures import key_of

T = TypeVar("T")

PATHS = ("/campus", "/campus-backup")
"""Where messages are taken: two paths, so that the second one can be tried on one machine."""
_BODY_LIMIT_BYTES = 4 * 1024 * 1024
_CLOSE_WITHIN_S = 1.0


class SimulatedCentre:
    """A 110 centre on this machine. Use `async with`, or `start()` and `stop()`; stop may be called twice.

    `secret` and `drill_secret` are `whsec_…`; `token` is what the school expects as Bearer. `script` is the
    automatic replies (see `replies.read_script`). `media_token` is what
    PUTs must bear; without one nothing that is PUT is taken. `schools` are the addresses below which the token may be
    sent; none given means loopback only. With port 0 any free port is taken; a busy port
    moves on to a free one. With `answer_secret` it is a centre that cannot call the school: it gives its replies and requests
    in its answers, signed with that secret, and fetches nothing. Start raises OSError if `listen` is no address of this machine.
    """

    def __init__(
        self,
        *,
        secret: str,
        drill_secret: str,
        token: str,
        script: Sequence[Step] = (),
        schools: Sequence[str] = (),
        listen: str = "127.0.0.1",
        port: int = 0,
        control_listen: str = "127.0.0.1",
        control_port: int = 0,
        log: Path | None = None,
        media_dir: Path | None = None,
        fetch: bool = True,
        watch_live: bool = False,
        faults: Faults | None = None,
        answer_secret: str | None = None,
        tell: Callable[[Entry], None] | None = None,
        media_token: str | None = None,
        put_faults: PutFaults | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._keys = {"live": key_of(secret), "drill": key_of(drill_secret)}
        if self._keys["live"] == self._keys["drill"]:
            raise ValueError("the live and the drill secret are equal; a drill could pass for an alarm")
        basket = AnswerBasket(key_of(answer_secret)) if answer_secret else None
        if answer_secret and key_of(answer_secret) in self._keys.values():
            raise ValueError(
                "the answer secret is that of messages; whoever checks those could forge answers"
            )
        self._duty = Duty(
            token=token,
            script=script,
            schools=schools,
            log=log,
            media_dir=media_dir,
            fetch=fetch,
            watch_live=watch_live,
            tell=tell,
            media_token=media_token or secrets.token_urlsafe(24),
            call_tls=encryption.call if encryption else None,
            basket=basket,
        )
        if put_faults is not None:
            self.pushed.plan = PutPlan(put_faults)
        self._address = (listen, port)
        self._control_address = (control_listen, control_port)
        self._faults = self._duty.faults = faults or HEALTHY
        self._changed = asyncio.Event()
        self._overtaken: asyncio.Event | None = None
        self._tls = encryption.listen if encryption else None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None

    # --- what a test or a demo uses

    @property
    def url(self) -> str:
        """The address for the site file's `centre.webhook.url`."""
        return f"{self._scheme}://{_host(self._address[0])}:{self._address[1]}{PATHS[0]}"

    @property
    def backup_url(self) -> str:
        """The same centre by a second path, for `backup_url`."""
        return f"{self._scheme}://{_host(self._address[0])}:{self._address[1]}{PATHS[1]}"

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    @property
    def media_url(self) -> str:
        """The address for `centre.media_url`."""
        return f"{self._scheme}://{_host(self._address[0])}:{self._address[1]}{MEDIA_PATH}"

    @property
    def pushed(self) -> PushedMedia:
        """What was PUT; its `plan` holds the faults of PUTs."""
        return self._duty.pushed

    @property
    def page_url(self) -> str:
        """The operator's page; the control API lies below it. Not closed by the fault `refuse`."""
        return f"http://{_host(self._control_address[0])}:{self._control_address[1]}/"

    @property
    def ledger(self) -> Ledger:
        """Everything the centre knows."""
        return self._duty.ledger

    @property
    def messages(self) -> list[Message]:
        """Every message taken, once each, in the order of its first taking; heartbeats are kept apart."""
        return self.ledger.taken

    @property
    def alarms(self) -> dict[str, AlarmFile]:
        """Alarms and drills by their id, in the order they were opened."""
        return self.ledger.alarms

    @property
    def faults(self) -> Faults:
        """How the centre misbehaves now; change it with `misbehave`."""
        return self._faults

    async def wait_for(self, predicate: Callable[[], T], timeout_s: float) -> T:
        """Wait until `predicate()` is true and return its value; it is asked after everything that happens.

        Raises TimeoutError with what is known by then.
        """
        return await self._duty.wait_for(predicate, timeout_s)

    async def reply(
        self, alarm_id: str, word: str, *, operator: dict[str, Any] | None = None, reason: str | None = None
    ) -> SentReply:
        """Send one reply to the school.

        Raises KeyError for an unknown alarm, ValueError without a reply_url that may have the token.
        """
        return await self._duty.reply(alarm_id, word, operator=operator, reason=reason)

    async def request(self, alarm_id: str, body: dict[str, Any]) -> SentReply:
        """Send one request (clip, still, ptz) to the school. Raises as `reply`."""
        return await self._duty.request(alarm_id, body)

    async def misbehave(self, faults: Faults) -> None:
        """Change the faults. `refuse` closes the listener and resets every open connection of the school."""
        before, self._faults, self._duty.faults = self._faults, faults, faults
        self._release()
        if faults.refuse and not before.refuse:
            await self._close_listener()
        elif before.refuse and not faults.refuse:
            await self._open_listener()
        await self._duty.happened("faults-changed", faults=asdict(faults))

    # --- life

    async def __aenter__(self) -> SimulatedCentre:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the listeners."""
        await self._duty.start()
        app = web.Application(client_max_size=_BODY_LIMIT_BYTES)
        for path in PATHS:
            app.router.add_post(path, self._receive)
        self.pushed.add_routes(app)
        control.add_routes(app, self._duty, self)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_WITHIN_S)
        await self._runner.setup()
        if not self._faults.refuse:
            await self._open_listener()
        listener, self._control_address = bind(*self._control_address)
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Close everything. Raises an exception group if a background task had failed unexpectedly."""
        self._release()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = self._site = None
        await self._duty.stop()

    async def _open_listener(self) -> None:
        assert self._runner is not None
        listener, self._address = bind(*self._address)
        self._site = web.SockSite(self._runner, listener, ssl_context=self._tls)
        await self._site.start()

    async def _close_listener(self) -> None:
        assert self._runner is not None
        if self._site is not None:
            await self._site.stop()
            self._site = None
        server = self._runner.server
        for connection in list(server.connections) if server is not None else []:
            transport = connection.transport
            if transport is not None and transport.get_extra_info("sockname")[1] == self._address[1]:
                transport.abort()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        arrived_s, arrived_monotonic_s = time.time(), time.monotonic()
        body = await request.read()
        headers = request.headers
        follower = await self._in_wrong_order() if self._faults.reorder_s else None
        seen = examine(self._keys, headers, body, now_s=arrived_s + self._faults.clock_skew_s)
        kind = seen.event.type if seen.event else None
        faults = HEALTHY
        if self._faults.applies_to(kind):
            faults, self._faults = self._faults, self._faults.after_one()
            await asyncio.sleep(faults.delay_s)
        message_id = _printable(headers.get("webhook-id"))
        duplicate = message_id is not None and self.ledger.known(message_id)
        conflict = duplicate and self._faults.conflict_on_duplicate
        status = status_for(seen, faults, conflict=conflict)
        attempt = Attempt(
            message=message_id,
            type=kind,
            path=request.path,
            arrived_s=arrived_s,
            arrived_monotonic_s=arrived_monotonic_s,
            timestamp=_printable(headers.get("webhook-timestamp")),
            signed_with=seen.signed_with,
            refusal=seen.refusal,
            taken=seen.refusal is None and (200 <= status <= 299 or conflict),
            duplicate=duplicate,
            status=status,
        )
        changed = self._changed
        await self._duty.keep(seen.event, body, attempt)
        if follower is not None:
            follower.set()
        if faults.answer == "hang":
            await changed.wait()
        said: bytes | None = None
        own: dict[str, str] = {}
        if attempt.taken and seen.event is not None and faults.answer == "normal":
            said, own = await self._duty.answer_to(seen.event)
        return await give_answer(request, faults, status, seen.refusal, said=said, headers=own)

    async def _in_wrong_order(self) -> asyncio.Event | None:
        """Wait to be overtaken; or, if another message waits for that, return what lets it go on."""
        if self._overtaken is not None:
            follower, self._overtaken = self._overtaken, None
            return follower
        overtaken = self._overtaken = asyncio.Event()
        try:
            await asyncio.wait_for(overtaken.wait(), self._faults.reorder_s)
        except TimeoutError:
            if self._overtaken is overtaken:  # nobody came
                self._overtaken = None
        return None

    def _release(self) -> None:
        """Let go of everything that waits for a fault to end."""
        self._changed.set()
        self._changed = asyncio.Event()
        overtaken, self._overtaken = self._overtaken, None
        if overtaken is not None:
            overtaken.set()


def bind(host: str, port: int) -> tuple[socket.socket, tuple[str, int]]:
    """Listen on `port`, or on any free one if it is busy; the second part says which it became."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (port, 0):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, wanted))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or wanted == 0:
                raise
        else:
            listener.setblocking(False)
            return listener, (host, listener.getsockname()[1])
    raise AssertionError("unreachable: port 0 is never busy")


def _printable(header: str | None) -> str | None:
    return None if header is None else header.encode("utf-8", "replace").decode("utf-8")


def _host(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
