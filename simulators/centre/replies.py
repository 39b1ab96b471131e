"""The centre's words back to the school: the script of automatic replies, and the calls themselves."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from simulators.centre.ledger import SentReply

WORDS = ("accepted", "rejected", "dispatched", "arrived", "closed")
TRIGGERS = ("raised", "repeated", "evidence", "manifest", "escalated")
OPERATOR = {"name": "值班员", "unit": "110 指挥中心（模拟）"}
REASONS = {"rejected": "误报（模拟）", "closed": "处置完毕（模拟）"}

_STEP = re.compile(r"(?P<word>[a-z]+)(?:@(?P<trigger>[a-z]+))?(?:\+(?P<delay_s>\d+(?:\.\d+)?))?")
_RETRY_AFTER_S = (0.2, 1.0, 3.0)
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One automatic reply: `delay_s` after the first message of type `trigger` was received."""

    word: str
    trigger: str
    delay_s: float


class ScriptRun:
    """One alarm's way through the script: told what came and when, it gives out the words in their order."""

    def __init__(self, script: Sequence[Step]) -> None:
        self._script = script
        self._came: dict[str, asyncio.Future[float]] = {}

    def came(self, word: str, monotonic_s: float) -> None:
        """A message `alarm.{word}` was received; only the first of each kind counts."""
        future = self._future(word)
        if not future.done():
            future.set_result(monotonic_s)

    async def words(self) -> AsyncIterator[str]:
        """Each word when it is due, counted from the receipt of its trigger."""
        for step in self._script:
            due_s = await self._future(step.trigger) + step.delay_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            yield step.word

    def _future(self, word: str) -> asyncio.Future[float]:
        return self._came.setdefault(word, asyncio.get_running_loop().create_future())


def read_script(text: str, *, delay_s: float = 1.0) -> tuple[Step, ...]:
    """Read `accepted+1,dispatched,closed@manifest+0.5`.

    Each item is WORD[@TRIGGER][+SECONDS]. Without a trigger it is that of the item before, at first `raised`;
    without seconds it comes `delay_s` after the item before (or after the trigger, if it is its first).
    Raises ValueError naming the item.
    """
    steps: list[Step] = []
    trigger, due_s = "raised", 0.0
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        match = _STEP.fullmatch(item)
        if not match or match["word"] not in WORDS or match["trigger"] not in (None, *TRIGGERS):
            raise ValueError(
                f"automatic reply {item!r}: expected WORD[@TRIGGER][+SECONDS] with WORD one of "
                f"{', '.join(WORDS)} and TRIGGER one of {', '.join(TRIGGERS)}"
            )
        if match["trigger"] is not None and match["trigger"] != trigger:
            trigger, due_s = match["trigger"], 0.0
        due_s = float(match["delay_s"]) if match["delay_s"] is not None else due_s + delay_s
        steps.append(Step(word=match["word"], trigger=trigger, delay_s=due_s))
    return tuple(steps)


def reply_body(word: str, *, operator: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    """The body of a reply; rejected and closed get a reason of the simulator's own if none is given."""
    body: dict[str, Any] = {"reply": word, "operator": operator or OPERATOR}
    reason = reason if reason is not None else REASONS.get(word)
    if reason is not None:
        body["reason"] = reason
    return body


def requests_url(reply_url: str) -> str:
    """The place for requests, beside the one for replies. Raises ValueError if that has another form."""
    parts = urlsplit(reply_url)
    if not parts.path.endswith("/replies"):
        raise ValueError(f"reply_url: found path {parts.path!r}, expected it to end in /replies")
    return parts._replace(path=parts.path.removesuffix("replies") + "requests").geturl()


def may_have_token(url: str, schools: Sequence[str]) -> bool:
    """Whether the school's token may be sent to this URL.

    A message names its own reply_url; whoever could forge one would otherwise be handed the token. So it goes
    only below one of the addresses the operator named, and if none was named to loopback only.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.username is not None or ".." in parts.path:
        return False
    for school in schools:
        own = urlsplit(school)
        same_host = (parts.scheme, parts.netloc.lower()) == (own.scheme, own.netloc.lower())
        if same_host and (parts.path + "/").startswith(own.path.rstrip("/") + "/"):
            return True
    return not schools and _loopback(parts.hostname or "")


async def send(
    http: aiohttp.ClientSession, url: str, token: str, word: str, body: dict[str, Any]
) -> SentReply:
    """POST once, and again after 0.2, 1 and 3 s while the school cannot be reached or answers 5xx."""
    sent = SentReply(word=word, body=body, sent_s=time.time())
    for wait_s in (*_RETRY_AFTER_S, None):
        try:
            async with http.post(
                url,
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as answer:
                text = await answer.text()
                sent.status, sent.problem, sent.answered_s = answer.status, None, time.time()
                try:
                    sent.answer = await answer.json(content_type=None) if text else None
                except ValueError:
                    sent.answer = text[:500]
                if answer.status < 500:
                    return sent
        except (aiohttp.ClientError, TimeoutError) as error:
            sent.problem = f"{type(error).__name__}: {error}"
        if wait_s is not None:
            await asyncio.sleep(wait_s)
    return sent


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
