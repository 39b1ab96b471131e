"""What a camera asks for before it lets somebody in (``WWW-Authenticate``), and the answer to the best of it.

Pure: header values in, a header value out. All headers and all challenges in them count, in any order and any case. Sources:
RFC 9110 section 11 (challenges), RFC 7616 and RFC 2617 (digest), RFC 7617 (Basic, UTF-8).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MOST_CHARACTERS = 16_384
"""Of all challenges together; what stands behind is not read."""

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = re.compile(
    rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)(?:"|$)|([^\s,"=]+)(?=\s|,|$)|(?=,|$))', re.DOTALL
)
_SCHEME = re.compile(rf"\s*({_TOKEN})(?=\s|,|$)")
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")

_HASHES: dict[str, tuple[int, Callable[[bytes], str]]] = {
    "SHA-512-256": (1, lambda data: hashlib.new("sha512_256", data).hexdigest()),
    "SHA-256": (0, lambda data: hashlib.sha256(data).hexdigest()),
    "MD5": (2, lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest()),
}
"""By name, each with its rank: SHA-256 before the two others, which fewer cameras do right or fewer people should use."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: its scheme as it was written, and its parameters by their names in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a technician may look it up: ``Digest MD5-sess (auth-int)``."""
        named = [self.parameters[name] for name in ("algorithm",) if self.parameters.get(name)]
        qop = self.parameters.get("qop")
        return " ".join([self.scheme, *named]) + (f" ({qop})" if qop else "")


class Unanswerable(Exception):
    """Nothing that is asked for can be given from here: no password was tried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all headers; what cannot be read is passed over."""
    found: list[Challenge] = []
    for header in headers:
        text, at = header[:MOST_CHARACTERS], 0
        while at < len(text):
            parameter = _PARAMETER.match(text, at)
            if parameter is not None and found:
                name, quoted, bare = parameter.groups()
                value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else bare or ""
                found[-1].parameters.setdefault(name.lower(), value)
                at = parameter.end()
            elif (scheme := _SCHEME.match(text, at)) is not None:
                found.append(Challenge(scheme[1]))
                at = scheme.end()
                token = _TOKEN68.match(text, at)
                at = token.end() if token is not None else at
            else:
                at += 1
    return found


class Login:
    """One account at one place. Remembers the challenge it answered, so that the next request takes one exchange."""

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._challenge: Challenge | None = None
        self._count = 0

    def take(self, headers: Sequence[str], *, basic_allowed: bool) -> None:
        """Answer the best of these from now on. Raises :class:`Unanswerable` saying what is asked for."""
        asked = challenges(headers)
        able = [each for each in asked if _rank(each, basic_allowed) is not None]
        if not asked:
            raise Unanswerable("it does not say which log-in it asks for (no WWW-Authenticate)")
        if not able:
            named = ", ".join(dict.fromkeys(str(each)[:60] for each in asked[:8]))
            plain = any(each.scheme.lower() == "basic" for each in asked)
            hint = (
                "Basic would send the password readable, so it is answered over https or on this machine only"
                if plain and not basic_allowed
                else "none of that can be answered from here"
            )
            raise Unanswerable(f"it asks for {named}: {hint}; set its log-in to Digest (MD5 or SHA-256)")
        if not self._username:
            raise Unanswerable("it asks for a user name and password: the site file gives none for it")
        best = min(able, key=lambda each: _rank(each, basic_allowed) or (9,))
        self._challenge, self._count = best, 0

    def forget(self) -> None:
        """Answer nothing until something is asked for again."""
        self._challenge = None

    def header(self, method: str, target: str, body: bytes) -> str | None:
        """The value of ``Authorization`` for a request; ``None`` while nothing has been asked for."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme.lower() == "basic":
            return "Basic " + base64.b64encode(f"{self._username}:{self._password}".encode()).decode()
        self._count += 1
        return self._digest(challenge, method, target, body)

    def _digest(self, challenge: Challenge, method: str, target: str, body: bytes) -> str:
        given = challenge.parameters
        name, sess = _algorithm(challenge)
        hashed = _HASHES[name][1]
        realm, nonce, cnonce, nc = (
            given.get("realm", ""),
            given["nonce"],
            secrets.token_hex(8),
            f"{self._count:08x}",
        )
        qop = _qop(challenge)
        account = hashed(f"{self._username}:{realm}:{self._password}".encode())
        if sess:
            account = hashed(f"{account}:{nonce}:{cnonce}".encode())
        request = f"{method}:{target}" + (f":{hashed(body)}" if qop == "auth-int" else "")
        middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
        username = self._username
        if (hidden := given.get("userhash", "").lower() == "true") and name != "MD5":
            username = hashed(f"{username}:{realm}".encode())
        parts = [
            f"username={_quoted(username)}",
            f"realm={_quoted(realm)}",
            f"nonce={_quoted(nonce)}",
            f"uri={_quoted(target)}",
            f'response="{hashed(f"{account}:{middle}:{hashed(request.encode())}".encode())}"',
        ]
        if "algorithm" in given:
            parts.append(f"algorithm={given['algorithm']}")
        if "opaque" in given:
            parts.append(f"opaque={_quoted(given['opaque'])}")
        if qop:
            parts += [f"qop={qop}", f"nc={nc}"]
        if qop or sess:
            parts.append(f'cnonce="{cnonce}"')
        if hidden:
            parts.append("userhash=true")
        return "Digest " + ", ".join(parts)


def _rank(challenge: Challenge, basic_allowed: bool) -> tuple[int, ...] | None:
    """The lower the better; ``None`` for what cannot be answered."""
    scheme = challenge.scheme.lower()
    if scheme == "basic":
        return (5, 0, 0) if basic_allowed else None
    if scheme != "digest" or "nonce" not in challenge.parameters:
        return None
    name, sess = _algorithm(challenge)
    qop = _qop(challenge)
    if name not in _HASHES or qop is None:
        return None
    return (_HASHES[name][0], int(qop == "auth-int"), int(sess))


def _algorithm(challenge: Challenge) -> tuple[str, bool]:
    name = challenge.parameters.get("algorithm", "").strip().upper().replace("_", "-") or "MD5"
    sess = name.endswith("-SESS")
    name = name.removesuffix("-SESS")
    return {"SHA256": "SHA-256", "SHA-512/256": "SHA-512-256"}.get(name, name), sess


def _qop(challenge: Challenge) -> str | None:
    """``auth``, ``auth-int``, empty for the old form without, ``None`` where only unknown ones are asked for."""
    offered = re.split(r"[\s,]+", challenge.parameters.get("qop", "").strip().lower())
    for known in ("auth", "auth-int"):
        if known in offered:
            return known
    return "" if offered == [""] else None


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
