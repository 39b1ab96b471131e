"""Talking to one camera's web services: logging in by what it asks for, following it within its own host, and no further than
a number of exchanges.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Mapping

from drivers.cameras.http.challenges import Login, Unanswerable, challenges
from drivers.cameras.http.door import Place, redirected
from drivers.cameras.http.exchange import Reply, exchange, no_end
from gateway.domain.errors import Refused, Unavailable

MOST_REDIRECTS = 2


class Unlogged(Unavailable):
    """It asks for a log-in that cannot be given: no password was tried."""


class Conversation:
    """One account at one host, over any number of its ports. ``most`` bounds the exchanges of its whole life, if given."""

    def __init__(self, username: str, password: str, *, most: int | None = None) -> None:
        self._username, self._password = username, password
        self._left = most
        self._logins: dict[tuple[str, str, int], Login] = {}

    async def ask(
        self,
        place: Place,
        method: str,
        *,
        head: Mapping[str, str] | None = None,
        body: Callable[[], bytes] = bytes,
        largest: int,
        within_s: float,
        whole: Callable[[bytearray], bool] = no_end,
    ) -> Reply:
        """One answer, logged in where that is asked for. ``body`` is made anew for each exchange (log-in tokens are good once);
        ``within_s`` is for each.

        Raises ``Refused`` where user name and password were tried and refused, :class:`Unlogged` where they could not be tried,
        ``Unavailable`` in words for all else. A 401 that asks for nothing is returned like any answer.
        """
        for _ in range(MOST_REDIRECTS + 1):
            reply = await self._logged_in(place, method, head or {}, body, largest, within_s, whole)
            if not 300 <= reply.status < 400:
                return reply
            place = redirected(place, reply.first("location"))
        raise Unavailable("it redirects again and again")

    async def _logged_in(
        self,
        place: Place,
        method: str,
        head: Mapping[str, str],
        body: Callable[[], bytes],
        largest: int,
        within_s: float,
        whole: Callable[[bytearray], bool],
    ) -> Reply:
        login = self._logins.setdefault(
            (place.scheme, place.host, place.port), Login(self._username, self._password)
        )
        asked_now = False
        for _ in range(4):
            sent = body()
            answer = login.header(method, place.target, sent)
            reply = await self._once(place, method, head, answer, sent, largest, within_s, whole)
            asked = reply.head.get("www-authenticate", [])
            if reply.status != 401 or not asked:
                return reply
            if answer is not None and asked_now and not _stale(asked):
                login.forget()
                raise Refused("it refuses user name or password (401)")
            try:
                login.take(asked, basic_allowed=readable_by_nobody(place))
            except Unanswerable as exc:
                raise Unlogged(exc.reason) from None
            asked_now = True
        raise Unavailable("it calls each of our log-ins out of date (stale): its log-in does not work")

    async def _once(
        self,
        place: Place,
        method: str,
        head: Mapping[str, str],
        answer: str | None,
        body: bytes,
        largest: int,
        within_s: float,
        whole: Callable[[bytearray], bool],
    ) -> Reply:
        if self._left is not None:
            if self._left <= 0:
                raise Unavailable("it was asked too many questions without coming to an end")
            self._left -= 1
        full = dict(head) if answer is None else {**head, "Authorization": answer}
        try:
            async with asyncio.timeout(within_s):
                return await exchange(place, method, head=full, body=body, largest=largest, whole=whole)
        except TimeoutError:
            raise Unavailable(f"it does not finish its answer within {within_s:.0f} s") from None


def _stale(asked: list[str]) -> bool:
    return any(each.parameters.get("stale", "").lower() == "true" for each in challenges(asked))


def readable_by_nobody(place: Place) -> bool:
    """Whether a password may go there as it is: over https, or within this machine."""
    if place.scheme == "https" or place.host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(place.host).is_loopback
    return False
