"""SOAP as ONVIF uses it: questions with their log-in, and answers of either version of SOAP, however they name their namespaces.

Pure: fields in, bytes out, and back. Answers are read by the local names of their elements: firmware gets namespaces wrong more
often than names. Sources: SOAP 1.2 and 1.1, ONVIF Core Specification 5, WS-Security UsernameToken Profile 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree  # type: ignore[import-untyped]

SCHEMA = "http://www.onvif.org/ver10/schema"
VERSIONS = {
    "1.2": "http://www.w3.org/2003/05/soap-envelope",
    "1.1": "http://schemas.xmlsoap.org/soap/envelope/",
}
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_SECURITY, _UTILITY = f"{_WSS}-wssecurity-secext-1.0.xsd", f"{_WSS}-wssecurity-utility-1.0.xsd"
_DIGEST = f"{_WSS}-username-token-profile-1.0#PasswordDigest"
_BASE64 = f"{_WSS}-soap-message-security-1.0#Base64Binary"

MOST_TAGS = 50_000
"""Beginnings and ends of elements in an answer that is parsed; a camera with thirty-two profiles has some ten thousand."""

_END = re.compile(rb"</(?:[\w.-]+:)?Envelope\s*>\s*\Z")
_LAST = re.compile(rb".*</(?:[\w.-]+:)?Envelope\s*>", re.DOTALL)
_REFUSALS = re.compile(
    r"NotAuthorized|FailedAuthentication|FailedCheck|InvalidSecurity(?:Token)?|Unauthorized", re.IGNORECASE
)
_BARE = {"Sender", "Receiver", "Client", "Server"}
_REFUSING_WORDS = re.compile(
    r"not\s+authori|unauthori|authenticat|authority failure|access denied", re.IGNORECASE
)


class Unreadable(Exception):
    """It is no SOAP."""


class Fault(Exception):
    """The camera says no: ``codes`` are the local names of its code and subcodes, ``text`` its own words."""

    def __init__(self, codes: list[str], text: str) -> None:
        super().__init__(text)
        self.codes, self.text = codes, text

    @property
    def refuses_login(self) -> bool:
        """By its codes, and by its words where no code says more than whose fault it is."""
        if set(self.codes) <= _BARE:
            return _REFUSING_WORDS.search(self.text) is not None
        return any(_REFUSALS.search(code) for code in self.codes)

    @property
    def wants_other_version(self) -> bool:
        return "VersionMismatch" in self.codes

    def __str__(self) -> str:
        return (
            ", ".join([*self.codes[-1:], *([self.text] if self.text else [])]) or "a fault without a reason"
        )


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks."""

    username: str
    password: str = field(repr=False)

    def token(self, now: datetime) -> str:
        """A security header, good once, and around ``now`` of the camera's clock."""
        nonce, created = secrets.token_bytes(16), now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = hashlib.sha1(
            nonce + created.encode() + self.password.encode(), usedforsecurity=False
        ).digest()
        return (
            f'<w:Security xmlns:w="{_SECURITY}" xmlns:u="{_UTILITY}" s:mustUnderstand="1"><w:UsernameToken>'
            f"<w:Username>{escape(self.username)}</w:Username>"
            f'<w:Password Type="{_DIGEST}">{base64.b64encode(digest).decode()}</w:Password>'
            f'<w:Nonce EncodingType="{_BASE64}">{base64.b64encode(nonce).decode()}</w:Nonce>'
            f"<u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
        )


def question(namespace: str, name: str, inside: str, *, security: str, version: str) -> bytes:
    """The envelope. ``inside`` may use the prefixes ``q`` (the service) and ``tt`` (ONVIF's schema)."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{VERSIONS[version]}" xmlns:q="{namespace}" '
        f'xmlns:tt="{SCHEMA}"><s:Header>{security}</s:Header><s:Body><q:{name}>{inside}</q:{name}></s:Body></s:Envelope>'
    ).encode()


def head(namespace: str, name: str, *, version: str) -> dict[str, str]:
    """The head lines that go with a question."""
    if version == "1.1":
        return {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{namespace}/{name}"'}
    return {"Content-Type": f'application/soap+xml; charset=utf-8; action="{namespace}/{name}"'}


def is_whole(body: bytearray) -> bool:
    """Whether the envelope's end has come, whatever length was named."""
    return _END.search(body, max(0, len(body) - 200)) is not None


def answer(body: bytes | bytearray) -> Any:
    """What stands in the body of the answer. Raises :class:`Fault`, :class:`Unreadable`."""
    text = bytes(body).strip(b"\0 \t\r\n")
    if text.count(b"<") > MOST_TAGS:
        raise Unreadable
    last = _LAST.match(text)
    for recovering in (False, True):  # a name that was not escaped must not cost the rest
        parser = etree.XMLParser(
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
            recover=recovering,
        )
        try:
            root = etree.fromstring(last[0] if last else text, parser)
        except (etree.LxmlError, ValueError):
            continue
        if root is None or local(root) != "Envelope":
            continue
        inside = child(root, "Body")
        if inside is None or len(inside) == 0:
            continue
        first = inside[0]
        if local(first) == "Fault":
            raise _fault(first)
        return first
    raise Unreadable


def _fault(fault: Any) -> Fault:
    codes = [
        (each.text or "").strip().rpartition(":")[2]
        for each in descendants(fault)
        if local(each) in ("Value", "faultcode")
    ]
    text = next(
        (each.text for each in descendants(fault) if local(each) in ("Text", "faultstring") and each.text), ""
    )
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return Fault([code[:60] for code in codes if code], shown[:200])


def local(element: Any) -> str:
    """The element's name without its namespace; empty for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def child(element: Any, *names: str) -> Any | None:
    """The first element on this path of local names; ``None`` if there is none."""
    for name in names:
        element = next((each for each in element if local(each) == name), None)
        if element is None:
            return None
    return element


def text_at(element: Any, *names: str) -> str:
    """The text on this path, empty if there is none."""
    found = child(element, *names)
    return "" if found is None else (found.text or "").strip()


def descendants(element: Any, name: str | None = None) -> Iterator[Any]:
    """Everything below, of this local name if one is given."""
    for each in element.iter():
        if each is not element and (name is None or local(each) == name):
            yield each
