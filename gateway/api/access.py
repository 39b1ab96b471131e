"""Who may do what: bearer tokens with roles, and signed links (API.md)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.keyring import Keyring
from gateway.api.parts import ApiParts, Caller
from gateway.api.problems import Problem
from gateway.domain.links import LinkVerdict
from gateway.domain.register import NO_NAME, Who

CENTRE = frozenset({"centre"})
SCHOOL = frozenset({"guard", "technician"})
TECHNICIAN = frozenset({"technician"})
INSPECTOR = frozenset({"inspector"})
UPKEEP = frozenset({"technician", "inspector"})
EVERYONE = CENTRE | SCHOOL | UPKEEP

_LINK_NAMES = frozenset({"expires", "alarm", "signature"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="campus-gateway"'}


def parts_of(request: Request) -> ApiParts:
    """The parts the application was built from."""
    parts: ApiParts = request.app.state.parts
    return parts


def caller_of(request: Request) -> Caller:
    """Who calls; only on a :class:`RoledRoute`, which has let them in."""
    caller: Caller = request.state.caller
    return caller


def holder_of(request: Request) -> Caller | None:
    """Whose token the request carries, if it carries one that is on the list."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    keyring: Keyring = request.app.state.keyring
    return keyring.holder(token.strip()) if scheme.lower() == "bearer" else None


def admit(request: Request, roles: frozenset[str]) -> Caller:
    """The caller by their token. Raises :class:`Problem`: 401 without a known one, 403 if their role is not among ``roles``."""
    caller = holder_of(request)
    if caller is None:
        raise Problem("no-token", headers=_CHALLENGE)
    if caller.role not in roles:
        wanted = " or ".join(sorted(roles))
        raise Problem("wrong-role", f"This is for {wanted}; the token presented is of role {caller.role}.")
    return caller


class RoledRoute(APIRoute):
    """A route for the roles that its ``x-roles`` names in the OpenAPI document: what is documented is what is enforced.

    They are checked before a byte of the body is read, so a stranger learns nothing from the way bodies are judged.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        roles = frozenset((self.openapi_extra or {})["x-roles"])
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            request.state.caller = admit(request, roles)
            return await inner(request)

        return handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """By what right somebody sees media: a signed link (``expires_at`` and ``alarm`` as signed) or a role (``caller``)."""

    caller: Caller | None = None
    alarm: str = ""
    expires_at: datetime | None = None

    def who(self, parts: ApiParts) -> Who:
        """Who looks, for the register: the caller's own name and unit; by a link whoever it was given to, by no name."""
        if self.caller is not None:
            return Who(name=self.caller.name, unit=self.caller.unit, right=self.caller.role)
        # A link for an alarm went to the centre in its messages; one without was made for somebody of the school.
        unit = parts.centre_name if self.alarm else parts.site.name
        return Who(name=NO_NAME, unit=unit, right="link")


def link_or_role(request: Request, roles: frozenset[str]) -> Entry:
    """Let in by a signed link to exactly this path, or else by role.

    Raises :class:`Problem`: 403 for a link that is not as it was given out (a parameter too few, twice or too many included),
    410 for one that has expired, and what :func:`admit` raises where there is no link.
    """
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    names = [name for name, _ in pairs]
    if not _LINK_NAMES.intersection(names):
        return Entry(caller=admit(request, roles))
    parts = parts_of(request)
    if sorted(names) != sorted(_LINK_NAMES):
        raise Problem("altered-link")
    link = dict(pairs)
    verdict = parts.links.judge(request.scope["path"], link, parts.clock.now())
    if verdict is LinkVerdict.ALTERED:
        raise Problem("altered-link")
    if verdict is LinkVerdict.EXPIRED:
        raise Problem("link-expired")
    return Entry(alarm=link["alarm"], expires_at=datetime.fromtimestamp(int(link["expires"]), UTC))


def by_link(request: Request) -> Entry:
    """Let in by a signed link to exactly this path and by nothing else. Raises as :func:`link_or_role`; 401 without a link."""
    names = {name for name, _ in parse_qsl(request.scope["query_string"].decode("latin-1"))}
    if not _LINK_NAMES.intersection(names):
        raise Problem("no-token", "This opens by the signed link that the gateway gave out for it.")
    return link_or_role(request, frozenset())


async def live_entry(request: Request, roles: frozenset[str]) -> Entry:
    """As :func:`link_or_role`, for live pictures: a link is revoked 10 minutes after its alarm closed, and if there is no such
    alarm. A link without an alarm is one that a playlist gave to somebody let in by role."""
    entry = link_or_role(request, roles)
    if entry.alarm:
        parts = parts_of(request)
        alarm = await parts.store.read(lambda tx: tx.alarms.get(entry.alarm))
        revoked_at = alarm.live_revoked_at if alarm is not None else parts.clock.now()
        if revoked_at is not None and parts.clock.now() >= revoked_at:
            raise Problem("link-revoked")
    return entry
