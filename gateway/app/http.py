"""The HTTP interface of a running gateway: its address, what serves on it, and what it reports of the whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from config.site import Access, Http
from drivers.tls.contexts import TlsContext
from gateway.alarm.intake import Intake
from gateway.api.first_answers import Opening
from gateway.api.parts import ApiParts, Caller
from gateway.app.front.limits import Descriptors
from gateway.domain.errors import Refused
from gateway.domain.fault import FaultKind
from gateway.watch.contacts import Watching
from gateway.watch.doubts import Doubting

if TYPE_CHECKING:
    from gateway.app.front.serving import Serving


def bind(http: Http) -> tuple[socket.socket, str]:
    """Take the HTTP address now, so that links can be made before anybody listens on it: the bound socket and its URL. Raises
    ``Refused`` if the address cannot be had."""
    host, port = host_port(http.listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as exc:
        listening.close()
        raise Refused(f"http.listen: {host}:{port} cannot be had: {exc.strerror}; choose another") from exc
    taken = listening.getsockname()
    scheme = "https" if http.tls else "http"
    shown = f"[{taken[0]}]" if ":" in taken[0] else taken[0]
    return listening, f"{scheme}://{shown}:{taken[1]}"


def host_port(listen: str) -> tuple[str, int]:
    """``host:port`` of the site file, IPv6 in brackets, in two."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def callers(access: Iterable[Access]) -> dict[str, Caller]:
    """Who may call, by bearer token."""
    return {a.token.reveal(): Caller(name=a.name, unit=a.unit or a.name, role=a.role) for a in access}


def contact_health(watching: Watching, doubting: Doubting, intake: Intake) -> dict[str, Mapping[str, object]]:
    """Per point what is known of it, doubts about it included."""
    flood = {subject.partition(" ")[0]: cause for (_, subject), cause in intake.found()}
    return {
        id_: {
            **known,
            "causes": [
                *cast("list[str]", known.get("causes", [])),
                *doubting.causes(id_),
                *([flood[id_]] if id_ in flood else []),
            ],
            "other_words": doubting.words(id_),
            "copied_at": doubting.copied_at(id_),
        }
        for id_, known in watching.health().items()
    }


class HttpInterface:
    """The stage. ``run`` serves until cancelled, and can be run again; ``up`` is set once it has accepted connections."""

    def __init__(
        self,
        parts: ApiParts,
        listening: socket.socket,
        tls: TlsContext | None,
        descriptors: Descriptors,
    ) -> None:
        """The socket is bound, and stays the caller's."""
        self._parts = parts
        self._listening = listening
        self._tls = tls
        self._descriptors = descriptors
        self._front: Serving | None = None
        self.up = asyncio.Event()

    async def run(self) -> None:
        # Brings the HTTP server: not before the contacts are armed.
        from gateway.app.front.rights import Rights
        from gateway.app.front.serving import Serving

        parts = self._parts
        opening = Opening(parts)
        self._front = Serving(
            opening,
            self._listening,
            tls=self._tls,
            judge=Rights(parts.tokens, parts.links, parts.clock),
            clock=parts.clock,
            descriptors=self._descriptors,
            opened=self.up.set,
        )
        if self._tls is not None:
            self._tls.refused = self._front.tls_refused
        async with asyncio.TaskGroup() as group:
            group.create_task(self._front.run(), name="http front")
            await opening.load()

    def found(self) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """What is wrong, as faults."""
        if self._front is not None:
            yield from self._front.found()
