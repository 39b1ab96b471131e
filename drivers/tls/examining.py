"""Why a TLS connection fails, in words that say which certificate, on which side, and what to do.

A failed attempt tells little: paho says that it failed, an HTTP client names OpenSSL's reason, and under TLS 1.3 the other side's
refusal of our certificate comes only with the first reading after a handshake that went well. So the handshake is made
once more here, by itself: as it is done in earnest, then reading for a moment; and if the other side's certificate was
refused, again without checking, only to see that certificate. Nothing but handshakes is sent, and in that last one not
even our certificate.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime

from drivers.tls.contexts import TlsContext
from drivers.tls.reading import certificate_of_der, read_certificates
from gateway.domain.certificate import Certificate, day
from gateway.domain.errors import Malformed, Unavailable
from gateway.ports.clock import Clock

CONNECT_S = 3.0
REFUSAL_S = 1.0  # the other side's alert comes within one round trip of the handshake
WAITED_FOR_S = 5.0
HOLDS_S = 10.0  # a hundred attempts that fail at once are explained by one look

# openssl/include/openssl/x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_FOREIGN = frozenset(
    {7, 18, 19, 20, 21, 24, 30, 31}
)  # of an issuer we do not have, or not signed by the one it names
_OTHER_NAME = frozenset({62, 64})
_OTHER_PURPOSE = 26

#: OpenSSL's names of the alerts by which the other side refuses our certificate (RFC 8446, 6.2), and what each means.
_REFUSALS = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that it has expired; renew it, and compare both clocks",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the CA that issued it; give it that CA, or get a certificate of one it knows",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it says that it was revoked; get a new one",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not take this kind; is it one for clients?",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it says that it is bad; is it one for clients, of its CA, and valid already?",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it gives no reason; is it one for clients, of its CA, and valid?",
    "TLSV1_ALERT_ACCESS_DENIED": "it is good, and may not come in; ask the other side",
    "TLSV1_ALERT_DECRYPT_ERROR": "its signature does not verify there; is it of a CA that only bears the right name?",
}
_MISSING = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_CERTIFICATE_REQUIRED"})
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a handshake showed. ``problem`` is empty if TLS is well; ``peer`` is the other side's certificate, if it was seen."""

    problem: str = ""
    peer: Certificate | None = None


def examine(host: str, port: int, context: ssl.SSLContext, now: datetime) -> Examination:
    """Make the handshake and say what is wrong with it. Blocks for at most about 10 s; raises ``OSError`` if nobody
    answers there at all, which is no matter of certificates."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        peer, hung_up = _handshake(host, port, context)
        return Examination(problem=f"TLS: {_hung_up(where, context)}" if hung_up else "", peer=peer)
    except ssl.SSLCertVerificationError as exc:
        peer = _shown(host, port)
        return Examination(problem=f"TLS: {_not_taken(exc, peer, host, where, context, now)}", peer=peer)
    except ssl.SSLError as exc:
        return Examination(problem=f"TLS: {_refused(exc, where, context)}")


class Examiner:
    """Examines one address for many who ask at once, at most every 10 s."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, clock: Clock) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._clock = clock
        self._one = asyncio.Lock()
        self._at_s: float | None = None
        self._problem = ""

    async def problem(self) -> str:
        """What is wrong with TLS there; nothing if it is well, nobody answers, or it takes too long."""
        async with self._one:
            if self._at_s is not None and self._clock.monotonic() - self._at_s < HOLDS_S:
                return self._problem
            self._problem = ""
            try:
                async with asyncio.timeout(WAITED_FOR_S):
                    found = await asyncio.to_thread(
                        examine, self._host, self._port, self._context, self._clock.now()
                    )
                self._problem = found.problem
            except OSError:  # TimeoutError is one
                pass
            self._at_s = self._clock.monotonic()
            return self._problem


def refused_over_http(host: str, port: int, context: ssl.SSLContext, page: bytes) -> str:
    """nginx lets a connection in whose certificate it does not take, and answers 400 with one of two pages
    (ngx_http_special_response.c); what they mean, or nothing for any other page."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    ours, _ = _ours(context)
    if b"No required SSL certificate was sent" in page:
        return f"TLS: {where} demands a certificate of ours: {ours}; set cert and key in the site file"
    if b"The SSL certificate error" in page:
        return f"TLS: {where} refuses our certificate {ours}: is it valid, one for clients, and of a CA that is known there?"
    return ""


def of_tls(exc: BaseException | None) -> bool:
    """Whether a failure may be one of certificates, so that a closer look is worth it: its chain names TLS, or the other
    side hung up, as one does that did not like our certificate."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        if isinstance(exc, ssl.SSLError | ConnectionResetError | BrokenPipeError):
            return True
        if type(exc).__name__ in ("ServerDisconnectedError", "ClientOSError"):
            return True
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__ or getattr(exc, "os_error", None)
    return False


def _handshake(host: str, port: int, context: ssl.SSLContext) -> tuple[Certificate | None, bool]:
    """The other side's certificate, and whether it hung up where it should have waited for us to speak."""
    with socket.create_connection((host, port), CONNECT_S) as plain:
        plain.settimeout(CONNECT_S)
        with context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as secure:
            secure.do_handshake()
            der = secure.getpeercert(binary_form=True)
            secure.settimeout(REFUSAL_S)
            try:
                hung_up = secure.recv(1) == b""
            except TimeoutError:
                hung_up = False
            except ConnectionError:
                hung_up = True
            return _parsed(der), hung_up


def _shown(host: str, port: int) -> Certificate | None:
    """The certificate the other side shows, unchecked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), CONNECT_S) as plain:
            plain.settimeout(CONNECT_S)
            with context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as secure:
                try:
                    secure.do_handshake()
                except ssl.SSLError:
                    # Under TLS 1.2 it ends there if a certificate of ours is demanded, but theirs has come.
                    # `get_unverified_chain` is public from Python 3.13 on; before, the object within has it.
                    chain = getattr(secure, "_sslobj", None)
                    found = chain.get_unverified_chain() if chain is not None else None
                    return _parsed(ssl.PEM_cert_to_DER_cert(found[0].public_bytes())) if found else None
                return _parsed(secure.getpeercert(binary_form=True))
    except OSError:
        return None


def _parsed(der: bytes | None) -> Certificate | None:
    try:
        return certificate_of_der(der) if der else None
    except Malformed:
        return None


def _not_taken(
    exc: ssl.SSLCertVerificationError,
    peer: Certificate | None,
    host: str,
    where: str,
    context: ssl.SSLContext,
    now: datetime,
) -> str:
    code = exc.verify_code
    theirs = f"the certificate of {where}"
    shown = f" ({peer})" if peer else ""
    if code in (_EXPIRED, _NOT_YET_VALID):
        itself = peer is None or now > peer.not_after or now < peer.not_before
        what = theirs if itself else f"the CA above {theirs}"
        if code == _EXPIRED:
            at = f" on {day(peer.not_after)}" if peer and itself else ""
            advice = "its owner has to renew it" if itself else f"get the new CA file for {_trust(context)}"
            return f"{what} has expired{at}{shown}: {advice}; is this machine's clock right?"
        at = f" before {day(peer.not_before)}" if peer and itself else ""
        return f"{what} is not yet valid{at}{shown}: is this machine's clock right?"
    if code in _OTHER_NAME:
        names = ", ".join(peer.names) if peer and peer.names else "no name at all"
        return (
            f"{theirs} is not for {host} but for {names}{shown}: correct the url, "
            "or have the certificate issued for this name"
        )
    if code in _FOREIGN:
        return (
            f"{theirs} is of a foreign CA{shown}; taken is only what {_trust(context)} signed: if the other side has a new "
            "CA, get its file from them by a safe way; if not, somebody stands between"
        )
    if code == _OTHER_PURPOSE:
        return f"{theirs} is not one for servers{shown}: its owner has to have it issued for that purpose"
    return f"{theirs} is refused: {exc.verify_message}{shown}"


def _trust(context: ssl.SSLContext) -> str:
    ca = context.files.ca if isinstance(context, TlsContext) else None
    if ca is None:
        return "the CAs of this system"
    try:
        held = "; ".join(certificate.subject for certificate in read_certificates(ca)[:3])
    except (Unavailable, Malformed) as exc:
        held = str(exc)
    return f"{ca} ({held})"


def _refused(exc: ssl.SSLError, where: str, context: ssl.SSLContext) -> str:
    reason = exc.reason or ""
    ours, given = _ours(context)
    if reason in _MISSING or (reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and not given):
        return f"{where} demands a certificate of ours, and {ours}: set cert and key in the site file"
    if reason in _REFUSALS and given:
        return f"{where} refuses our certificate {ours}: {_REFUSALS[reason]}"
    if reason in _NO_TLS:
        return f"{where} does not speak TLS: is the port right?"
    if "PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return f"{where} speaks no TLS 1.2 or newer: its owner has to bring it up to date"
    if "EOF" in reason or "EOF" in str(exc):
        return f"{where} hung up in the handshake: it may not take our certificate: {ours}"
    return f"{where}: {reason.replace('_', ' ').lower() or exc}; our certificate: {ours}"


def _hung_up(where: str, context: ssl.SSLContext) -> str:
    """Servers on Python's asyncio are of this kind: what they do not like about a certificate they do not say."""
    ours, given = _ours(context)
    if given:
        return (
            f"{where} hung up right after the handshake, as one does that does not take our certificate {ours}: is it "
            "valid, one for clients, and of a CA that is known there?"
        )
    return f"{where} hung up right after the handshake: it may demand a certificate of ours, and {ours}"


def _ours(context: ssl.SSLContext) -> tuple[str, bool]:
    cert = context.files.cert if isinstance(context, TlsContext) else None
    if cert is None:
        return "none is set", False
    try:
        return f"{cert} ({read_certificates(cert)[0]})", True
    except (Unavailable, Malformed) as exc:
        return f"{cert} ({exc})", True
