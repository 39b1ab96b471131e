"""By what right a request comes, as far as its head tells: the same tokens and links as the interface's own, judged before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway.api.keyring import Keyring
from gateway.api.parts import Caller
from gateway.app.front.protocol import Right
from gateway.domain.links import LinkSigner, LinkVerdict
from gateway.ports.clock import Clock

_OPEN = frozenset({"/healthz", "/readyz", "/recordings"})
_OPEN_BELOW = "/static/"
_LINK_BYTES = 2048  # of a query that may be a link's


class Rights:
    """The judge of a front. It lets nobody in: the interface asks again, with roles, times and revocations."""

    def __init__(self, tokens: Mapping[str, Caller], links: LinkSigner, clock: Clock) -> None:
        self._keyring = Keyring(tokens)
        self._links = links
        self._clock = clock

    def __call__(self, scope: Any) -> Right:
        query = scope["query_string"]
        if b"signature=" in query and len(query) <= _LINK_BYTES:
            found = self._link(scope["path"], query)
            if found is not Right.NONE:
                return found
        token = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if token:
            scheme, _, word = token.decode("latin-1").partition(" ")
            known = scheme.lower() == "bearer" and self._keyring.holder(word.strip()) is not None
            return Right.PROVEN if known else Right.NONE
        is_open = scope["path"] in _OPEN or scope["path"].startswith(_OPEN_BELOW)
        return Right.OPEN if is_open else Right.NONE

    def _link(self, path: str, query: bytes) -> Right:
        verdict = self._links.judge(path, dict(parse_qsl(query.decode("latin-1"))), self._clock.now())
        if verdict is LinkVerdict.GOOD:
            return Right.PROVEN
        return Right.OPEN if verdict is LinkVerdict.EXPIRED else Right.NONE
