"""Tokens and whose they are. Imports no web framework: the front asks it before that is there."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from gateway.api.parts import Caller


class Keyring:
    """Finds the caller of a token. Every entry is compared, by digest and in constant time: the time taken tells nothing."""

    def __init__(self, tokens: Mapping[str, Caller]) -> None:
        self._entries = [(_digest(token), caller) for token, caller in tokens.items()]

    def holder(self, token: str) -> Caller | None:
        presented = _digest(token)
        found = None
        for digest, caller in self._entries:
            if hmac.compare_digest(digest, presented):
                found = caller
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
