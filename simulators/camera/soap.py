"""SOAP 1.2 as ONVIF uses it: envelopes, faults, and WS-Security UsernameToken Profile 1.0."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA1 = "http://www.onvif.org/ver10/media/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
PREFIXES = {DEVICE: "tds", MEDIA1: "trt", MEDIA2: "tr2"}

_ENVELOPE = "http://www.w3.org/2003/05/soap-envelope"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_ERRORS = "http://www.onvif.org/ver10/error"
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_DIGEST_TYPE = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)

# Real cameras differ (seconds to minutes); a strict one finds every client that does not correct for the skew.
_TOKEN_WINDOW_S = 5.0

Operation = Callable[[ElementTree.Element, str], str]
"""From the request's element and the host the client asked for to what stands inside the response's element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """HTTP status and body; 401 has no body and asks for HTTP digest."""

    status: int
    body: bytes = b""


class Refused(Exception):
    """Becomes a SOAP fault; `subcodes` are separated by slashes."""

    def __init__(self, code: str, subcodes: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.code, self.subcodes, self.reason, self.status = code, subcodes.split("/"), reason, status


class TokenGate:
    """Checks UsernameToken digests against the camera's clock and remembers their nonces."""

    def __init__(self, *, username: str, password: str) -> None:
        self._username, self._password = username, password
        # Nonces of the tokens inside the window, each with the camera time at which it may be forgotten.
        self._nonces: dict[bytes, float] = {}

    def check(self, header: ElementTree.Element, *, now_s: float) -> bool:
        """Tell whether there is a token; raises `Refused` if it is not good at this moment."""
        token = header.find(f"{{{_SECURITY}}}Security/{{{_SECURITY}}}UsernameToken")
        if token is None:
            return False
        refused = Refused("Sender", "NotAuthorized", "Sender not authorized")
        password = token.find(f"{{{_SECURITY}}}Password")
        created_text = token.findtext(f"{{{_UTILITY}}}Created", "").strip()
        if password is None or password.get("Type") != _DIGEST_TYPE:
            raise refused
        try:
            nonce = base64.b64decode(token.findtext(f"{{{_SECURITY}}}Nonce", "").strip(), validate=True)
            created = datetime.fromisoformat(created_text)
        except (binascii.Error, ValueError) as error:
            raise refused from error
        if created.tzinfo is None:
            created = created.replace(tzinfo=UTC)
        self._nonces = {known: until for known, until in self._nonces.items() if until > now_s}
        digest = hashlib.sha1(nonce + created_text.encode() + self._password.encode(), usedforsecurity=False)
        if (
            token.findtext(f"{{{_SECURITY}}}Username", "") != self._username
            or abs(created.timestamp() - now_s) > _TOKEN_WINDOW_S
            or nonce in self._nonces
            or not hmac.compare_digest(
                base64.b64encode(digest.digest()), (password.text or "").strip().encode()
            )
        ):
            raise refused
        self._nonces[nonce] = now_s + 2 * _TOKEN_WINDOW_S
        return True


def read_envelope(body: bytes) -> tuple[ElementTree.Element, ElementTree.Element]:
    """Return the operation's element and the header; raises `Refused`."""
    try:
        envelope = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Refused("Sender", "WellFormed", f"not well-formed XML: {error}") from error
    found = envelope.find(f"{{{_ENVELOPE}}}Body")
    if found is None or len(found) != 1:
        raise Refused("Sender", "WellFormed", "expected a SOAP 1.2 envelope with one element in its body")
    header = envelope.find(f"{{{_ENVELOPE}}}Header")
    return found[0], ElementTree.Element("none") if header is None else header


def fault(refused: Refused) -> Answer:
    """Return the answer that says why not."""
    subcodes = ""
    for subcode in reversed(refused.subcodes):
        subcodes = f"<env:Subcode><env:Value>ter:{subcode}</env:Value>{subcodes}</env:Subcode>"
    inside = (
        f"<env:Fault><env:Code><env:Value>env:{refused.code}</env:Value>{subcodes}</env:Code>"
        f'<env:Reason><env:Text xml:lang="en">{escape(refused.reason)}</env:Text></env:Reason></env:Fault>'
    )
    return Answer(status=refused.status, body=envelope(inside))


def envelope(inside: str) -> bytes:
    """Return a SOAP envelope in which the prefixes tds, trt, tr2 and tt are known."""
    namespaces = {"env": _ENVELOPE, "tt": _SCHEMA, "ter": _ERRORS} | {
        prefix: namespace for namespace, prefix in PREFIXES.items()
    }
    declared = " ".join(f'xmlns:{prefix}="{namespace}"' for prefix, namespace in namespaces.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<env:Envelope {declared}><env:Body>{inside}</env:Body></env:Envelope>"
    ).encode()
