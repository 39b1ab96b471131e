"""HTTP digest authentication as cameras do it (RFC 2617 and RFC 7616 with MD5), for RTSP and HTTP alike."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class DigestGate:
    """Knows one account; basic authentication and anything malformed is refused like a wrong password."""

    def __init__(self, *, realm: str, username: str, password: str) -> None:
        self._realm = realm
        self._username = username
        self._account = _md5(f"{username}:{realm}:{password}")
        # One nonce for the gate's lifetime: a simulated camera has no replay to fear.
        self._nonce = secrets.token_hex(16)

    def challenge(self, *, with_qop: bool) -> str:
        """Return the value of WWW-Authenticate; RTSP cameras usually leave `qop` out, HTTP ones send it."""
        qop = ', qop="auth"' if with_qop else ""
        return f'Digest realm="{self._realm}", nonce="{self._nonce}"{qop}, algorithm=MD5'

    def admits(self, authorization: str | None, *, method: str) -> bool:
        """Tell whether the Authorization header proves that the sender knows the password.

        The digest's own `uri` is taken as it stands, because some clients put the session's URL there for every request.
        """
        if authorization is None or not authorization.lower().startswith("digest "):
            return False
        fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(authorization[7:])}
        if fields.get("username") != self._username or fields.get("nonce") != self._nonce:
            return False
        request = _md5(f"{method}:{fields.get('uri', '')}")
        if fields.get("qop") == "auth":
            middle = f"{self._nonce}:{fields.get('nc', '')}:{fields.get('cnonce', '')}:auth"
        else:
            middle = self._nonce
        expected = _md5(f"{self._account}:{middle}:{request}")
        return hmac.compare_digest(expected.encode(), fields.get("response", "").encode())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
