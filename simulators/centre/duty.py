"""The operator on duty: keeps the ledger, fetches what is offered, looks at live pictures, replies."""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

import aiohttp

from simulators.centre.answers import AnswerBasket
from simulators.centre.events import Event
from simulators.centre.faults import HEALTHY
from simulators.centre.ledger import AlarmFile, Attempt, Entry, Evidence, Ledger, LiveLook, SentReply
from simulators.centre.media import Kept, MediaShelf, look_live
from simulators.centre.pushed import PushedMedia
from simulators.centre.replies import ScriptRun, Step, may_have_token, reply_body, requests_url, send

T = TypeVar("T")

_TEMPORARY_MEDIA_BYTES = 512 * 1024 * 1024
_LIVE_WITHIN_S = 10.0
_OUTCOME_WITHIN_S = 120.0


class Duty:
    """Everything the centre does besides answering a POST. Belongs to one event loop, from start to stop."""

    def __init__(
        self,
        *,
        token: str,
        script: Sequence[Step],
        schools: Sequence[str],
        log: Path | None,
        media_dir: Path | None,
        fetch: bool,
        watch_live: bool,
        tell: Callable[[Entry], None] | None,
        media_token: str = "",
        call_tls: ssl.SSLContext | None = None,
        basket: AnswerBasket | None = None,
    ) -> None:
        """With a `basket` the school is never called: replies and requests wait in it, and nothing is fetched."""
        self._basket = basket
        self._token = token
        self._script = tuple(script)
        self._schools = tuple(schools)
        self._log_file = log
        self._media_dir = media_dir
        self._fetch = fetch and basket is None
        self._watch_live = watch_live and basket is None
        self._tell = tell
        self._call_tls = call_tls
        self.faults = HEALTHY
        self.ledger = Ledger()
        self.pushed = PushedMedia(media_token, self.happened)
        self.changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, ScriptRun] = {}
        self._errors: list[BaseException] = []
        self._log: IO[str] | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._shelf: MediaShelf | None = None
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the log and the place for media. Raises OSError if the log cannot be written."""
        if self._log_file is not None:
            self._log = self._log_file.open(
                "a",
                encoding="utf-8",
                errors="backslashreplace",  # half a surrogate pair is valid JSON, but no UTF-8
                buffering=1,
            )
        if self._media_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="simulated-centre-")
            self._shelf = MediaShelf(Path(self._temporary.name), keep_bytes=_TEMPORARY_MEDIA_BYTES)
        else:
            self._shelf = MediaShelf(self._media_dir, keep_bytes=None)
        self.pushed.begin(self._shelf.directory)
        connector = None if self._call_tls is None else aiohttp.TCPConnector(ssl=self._call_tls)
        self._http = aiohttp.ClientSession(connector=connector)

    async def stop(self) -> None:
        """End all that goes on beside. Raises an exception group if any of it had failed unexpectedly."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if self._log is not None:
            self._log.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        self._http = self._log = self._temporary = None
        errors, self._errors = self._errors, []
        if errors:
            raise BaseExceptionGroup("the simulated centre itself failed", errors)

    async def keep(self, event: Event | None, body: bytes, attempt: Attempt) -> None:
        """File one attempt and set to work on what it brought, without waiting for that work."""
        if event is None or attempt.refusal is not None:
            self.ledger.refused(attempt)
            await self.happened("refused", attempt=attempt.as_json())
            return
        alarm = self.ledger.came(event, body, attempt)
        what = "not-taken" if not attempt.taken else "duplicate" if attempt.duplicate else "received"
        about: dict[str, Any] = {"type": event.type, "subject": event.subject, "sequence": event.sequence}
        if what == "received":
            about |= {"time": event.time, "data": event.data}
            if message := self.ledger.messages.get(event.id):
                about["problems"] = list(message.problems)
        if alarm is not None:
            self._follow(alarm, event, attempt)
        if self._basket is not None and attempt.taken:
            self._basket.outcomes(event)
        await self.happened(what, at=attempt, **about, attempt=attempt.as_json())

    async def answer_to(self, event: Event) -> tuple[bytes | None, dict[str, str]]:
        """What the answer to a message just taken says, and the headers that sign it; None if it says nothing."""
        said = self._basket.take(event) if self._basket is not None else None
        if self._basket is None or said is None:
            return None, {}
        given = json.loads(said)
        items = [item["id"] for item in (*given["replies"], *given["requests"])]
        await self.happened("given", type=event.type, message=event.id, items=items)
        return said, self._basket.headers(event.id, said, now_s=time.time() + self.faults.clock_skew_s)

    @property
    def waiting(self) -> list[dict[str, Any]] | None:
        """Items whose outcome is not known yet; None for a centre that calls."""
        if self._basket is None:
            return None
        return [{**waiting.item, "given": waiting.given} for waiting in self._basket.waiting]

    def kept(self, evidence_id: str) -> Kept | None:
        """The fetched file of one item, or None."""
        return self._shelf.kept(evidence_id) if self._shelf is not None else None

    async def wait_for(self, predicate: Callable[[], T], timeout_s: float) -> T:
        """Wait until `predicate()` is true and return its value; it is asked after everything that happens.

        Raises TimeoutError with what is known by then.
        """
        try:
            async with asyncio.timeout(timeout_s), self.changed:
                while True:
                    if value := predicate():
                        return value
                    await self.changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"not seen within {timeout_s} s; the centre knows: {self._summary()}"
            ) from None

    async def reply(
        self, alarm_id: str, word: str, *, operator: dict[str, Any] | None = None, reason: str | None = None
    ) -> SentReply:
        """Send one reply to the school and wait for its answer, or for the outcome of what went into ours.

        Raises KeyError for an unknown alarm, ValueError without a reply_url that may have the token.
        """
        alarm = self.ledger.alarms[alarm_id]
        sent = await self._send(alarm, "reply", word, reply_body(word, operator=operator, reason=reason))
        alarm.replies.append(sent)
        if sent.status == 200:
            alarm.state = word
        elif (
            sent.status == 409 and isinstance(sent.answer, dict) and isinstance(sent.answer.get("state"), str)
        ):
            alarm.state = sent.answer["state"]
        await self.happened("reply", alarm=alarm_id, reply=word, status=sent.status, problem=sent.problem)
        return sent

    async def request(self, alarm_id: str, body: dict[str, Any]) -> SentReply:
        """Send one request (clip, still, ptz) to the school. Raises as `reply`."""
        alarm = self.ledger.alarms[alarm_id]
        word = str(body.get("request"))
        sent = await self._send(alarm, "request", word, body)
        alarm.requests.append(sent)
        await self.happened("request", alarm=alarm_id, request=word, status=sent.status, problem=sent.problem)
        return sent

    def _follow(self, alarm: AlarmFile, event: Event, attempt: Attempt) -> None:
        word = event.type.rpartition(".")[2]
        if word == "raised" and alarm.raised is not None and alarm.raised.id == event.id:
            if self._script:
                run = self._runs[alarm.id] = ScriptRun(self._script)
                self._start(self._run_script(alarm, run))
            if self._watch_live:
                cameras = alarm.raised.data.get("cameras")
                for camera in cameras if isinstance(cameras, list) else []:
                    self._start(self._look(alarm, camera))
        elif word == "evidence":
            announced = event.data.get("evidence")
            item = alarm.evidence.get(str(announced.get("id"))) if isinstance(announced, dict) else None
            if item is not None and item.announced is announced:
                if self.pushed.names(str(announced.get("url")), alarm.id, str(announced.get("id"))):
                    self._start(self._judge_pushed(alarm, item))
                elif self._fetch:
                    self._start(self._fetch_item(alarm, item))
        elif word == "manifest":
            message = self.ledger.messages.get(event.id)
            if message is not None:
                message.problems += self.pushed.false_claims(alarm.id, event.data)
        if going := self._runs.get(alarm.id):
            going.came(word, attempt.arrived_monotonic_s)

    # --- what goes on beside it

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
            self._write("internal-error", None, {"error": f"{type(error).__name__}: {error}"})

    async def _run_script(self, alarm: AlarmFile, run: ScriptRun) -> None:
        async for word in run.words():
            try:
                await self.reply(alarm.id, word)
            except ValueError as error:
                await self.happened("reply-not-sent", alarm=alarm.id, reply=word, problem=str(error))
                return

    async def _fetch_item(self, alarm: AlarmFile, item: Evidence) -> None:
        assert self._http is not None
        assert self._shelf is not None
        await self._shelf.fetch(self._http, alarm.id, item)
        await self.happened("fetched", alarm=alarm.id, evidence=asdict(item))

    async def _judge_pushed(self, alarm: AlarmFile, item: Evidence) -> None:
        assert self._shelf is not None
        put = self.pushed.whole(str(item.announced.get("id")))
        if put is None:
            item.problem = "announced before it was PUT"
        else:
            item.tries, item.pushed_s = put.puts, put.whole_s
            await self._shelf.take_pushed(alarm.id, item, put.file)
        await self.happened("fetched", alarm=alarm.id, evidence=asdict(item))

    async def _look(self, alarm: AlarmFile, camera: Any) -> None:
        assert self._http is not None
        camera = camera if isinstance(camera, dict) else {}
        look = LiveLook(camera=str(camera.get("id")), started_s=time.time())
        alarm.live.append(look)
        live = camera.get("live")
        url = live.get("hls") if isinstance(live, dict) else None
        if isinstance(url, str):
            await look_live(self._http, url, look, within_s=_LIVE_WITHIN_S)
        else:
            look.problem = "the message has no live.hls for this camera"
        await self.happened("live", alarm=alarm.id, look=asdict(look))

    async def _send(self, alarm: AlarmFile, kind: str, word: str, body: dict[str, Any]) -> SentReply:
        assert self._http is not None
        if self._basket is not None:
            again = self.faults.repeat_replies
            waiting = self._basket.put(kind, alarm.id, word, body, drill=alarm.drill, again=again)
            try:
                async with asyncio.timeout(_OUTCOME_WITHIN_S):
                    await waiting.done.wait()
            except TimeoutError:
                waiting.sent.problem = f"no outcome within {_OUTCOME_WITHIN_S:.0f} s; it waits on"
            return waiting.sent
        url = alarm.reply_url
        if url is None:
            raise ValueError(f"{alarm.id} has no reply_url (its raised message has not come)")
        if not may_have_token(url, self._schools):
            allowed = ", ".join(self._schools) or "loopback"
            raise ValueError(f"{url} may not have the school's token; allowed is {allowed}")
        url = url if kind == "reply" else requests_url(url)
        sent = await send(self._http, url, self._token, word, body)
        for _ in range(self.faults.repeat_replies):
            repeated = await send(self._http, url, self._token, word, body)
            about: dict[str, Any] = {kind: word, "status": repeated.status, "problem": repeated.problem}
            await self.happened(f"{kind}-repeated", alarm=alarm.id, **about)
        return sent

    async def happened(self, what: str, at: Attempt | None = None, **about: Any) -> None:
        """Write a line into the journal and wake everybody who waits."""
        self._write(what, at, about)
        async with self.changed:
            self.changed.notify_all()

    def _write(self, what: str, at: Attempt | None, about: dict[str, Any]) -> None:
        at_s, monotonic_s = (at.arrived_s, at.arrived_monotonic_s) if at else (time.time(), time.monotonic())
        entry = self.ledger.note(what, at_s, monotonic_s, **about)
        if self._log is not None:
            self._log.write(json.dumps(entry.as_json(), ensure_ascii=False) + "\n")
        if self._tell is not None:
            self._tell(entry)

    def _summary(self) -> str:
        recent = [f"{e.what} {e.about.get('type', '')}".strip() for e in self.ledger.entries_after(0)[-8:]]
        return (
            f"{len(self.ledger.taken)} messages, {len(self.ledger.refusals)} refused, "
            f"alarms {[(a.id, a.state) for a in self.ledger.alarms.values()][-4:]}, last {recent}"
        )
