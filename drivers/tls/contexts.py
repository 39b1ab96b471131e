"""TLS contexts made from files, which take up renewed files without a restart.

Only :mod:`ssl` is needed here: a gateway is armed before the certificate library is imported.
"""

from __future__ import annotations

import ssl
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.domain.errors import Refused

log = structlog.get_logger(__name__)

#: Forward secrecy and authenticated encryption only, for TLS 1.2 (Mozilla's "intermediate" less its finite-field suites);
#: TLS 1.3 has no others.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of one side of a connection. Without ``ca`` a client trusts the system's, a server asks for no certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return tuple(file for file in (self.ca, self.cert, self.key) if file is not None)


class TlsContext(ssl.SSLContext):
    """A context that knows its files. New connections and a renewal exclude one another: OpenSSL does not guard a context
    against being changed by one thread while another makes a connection of it."""

    files: TlsFiles = TlsFiles()
    refused: Callable[
        [str], None
    ]  # told why a caller is refused; where it is not set, that is a line of the log
    _lock: threading.Lock

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As in :class:`ssl.SSLContext`; the handshake is the caller's (``do_handshake_on_connect=False``)."""
        with self._lock:
            return super().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        with self._lock:
            return super().wrap_bio(*args, **kwargs)

    def renew(self) -> None:
        """Read the files again; connections that stand go on. Raises ``Refused``, and nothing has changed.

        A CA that is no longer in its file goes on being trusted until the next start: OpenSSL only adds.
        """
        _load(ssl.SSLContext(self.protocol), self.files)  # half of a pair must not get into the one in use
        with self._lock:
            _load(self, self.files)


def _log_refused(cause: str) -> None:
    log.warning("tls.caller_refused", cause=cause)


class _SaysWhy(ssl.SSLObject):
    """A connection to us, whose caller is told why it is refused.

    asyncio and uvloop drop a connection whose handshake failed and OpenSSL's alert with it: the caller sees a reset and
    learns nothing. Asked to wait for more instead, they send what there is to send, the alert, and end it with
    whatever comes next, at the latest with their time limit for handshakes.
    """

    _failed: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            refused = getattr(self.context, "refused", _log_refused)
            if isinstance(exc, ssl.SSLCertVerificationError):
                refused(f"its certificate: {exc.verify_message}")
            elif exc.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                refused("it showed no certificate, and http.tls.client_ca asks for one")
            self._failed = exc
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert goes first") from None


_made: weakref.WeakSet[TlsContext] = weakref.WeakSet()


def contexts_of(files: TlsFiles) -> list[TlsContext]:
    """Every context in use that was made from these files, whoever uses it."""
    return [context for context in list(_made) if context.files == files]


def client_context(files: TlsFiles) -> TlsContext:
    """For a connection of ours: the other side is checked, host name included. Raises ``Refused`` naming the file."""
    context = _new(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca is None:
        context.load_default_certs()
    return _from(context, files)


def server_context(files: TlsFiles) -> TlsContext:
    """For connections to us; with ``ca`` nobody gets in without a certificate of it. Raises ``Refused`` naming the file."""
    context = _new(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(CIPHERS)
    context.sslobject_class = _SaysWhy
    if files.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _from(context, files)


def _new(protocol: int) -> TlsContext:
    context = TlsContext(protocol)
    context._lock = threading.Lock()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _from(context: TlsContext, files: TlsFiles) -> TlsContext:
    _load(context, files)
    context.files = files
    _made.add(context)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    for file in files.all:
        try:
            with file.open("rb") as opened:
                opened.read(1)
        except OSError as exc:
            raise Refused(f"{file} cannot be read: {exc.strerror}; correct the path or its owner") from exc
    if files.ca is not None:
        _try(
            lambda: context.load_verify_locations(files.ca), f"{files.ca} holds no CA certificate in PEM form"
        )
    if files.cert is None:
        return
    cert, key = files.cert, files.key
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _try(lambda: trial.load_verify_locations(cert), f"{cert} holds no certificate in PEM form")
    try:
        context.load_cert_chain(cert, key, password=_nobody_to_ask)
    except _Asked as exc:
        raise Refused(
            f"the key {key or cert} is protected by a passphrase, which nobody is there to type: take it off with "
            "`openssl pkey`, and close the file by its mode"
        ) from exc
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise Refused(
                f"the key {key or cert} does not belong to the certificate {cert}: they are from two different issues"
            ) from exc
        raise Refused(
            f"the key {key or cert} cannot be used with the certificate {cert}: {_reason(exc, 'it holds no key in PEM form')}"
        ) from exc


def _try(load: Callable[[], object], words: str) -> None:
    try:
        load()
    except ssl.SSLError as exc:
        raise Refused(f"{words} ({_reason(exc, 'unreadable')})") from exc


def _reason(exc: ssl.SSLError, otherwise: str) -> str:
    return exc.reason.replace("_", " ").lower() if exc.reason else otherwise


class _Asked(Exception):
    """OpenSSL wanted a passphrase; at a terminal it would have waited for one."""


def _nobody_to_ask() -> str:
    raise _Asked
