"""TLS of the simulated centre: what it shows to a school, what it asks of one, and what it trusts when it calls back."""

from __future__ import annotations

import argparse
import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """`listen` is None for plain HTTP; `call` is None for the system's CAs and no certificate of the centre's own."""

    listen: ssl.SSLContext | None = None
    call: ssl.SSLContext | None = None


class _Told(ssl.SSLObject):
    """A connection that tells the school by TLS's own alert what is wrong with its certificate, as servers outside of asyncio
    do: asyncio drops the alert with the connection, unless it believes that more is to come."""

    _wrong: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._wrong is not None:
            raise self._wrong
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as wrong:
            self._wrong = wrong
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert goes out first") from None


def add_encryption(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("TLS (PEM files)")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="the centre's certificate: take https")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key")
    group.add_argument(
        "--client-ca", type=Path, metavar="FILE", help="take no message without a certificate of this CA"
    )
    group.add_argument("--school-ca", type=Path, metavar="FILE", help="the CA the school's own https is of")
    group.add_argument("--school-cert", type=Path, metavar="FILE", help="shown to a school that asks for one")
    group.add_argument("--school-key", type=Path, metavar="FILE", help="its key")


def encryption_from(args: argparse.Namespace) -> Encryption:
    """The contexts that the arguments describe. Raises ValueError or OSError saying which is wrong."""
    for one, other in (("tls_cert", "tls_key"), ("school_cert", "school_key")):
        if (getattr(args, one) is None) != (getattr(args, other) is None):
            raise ValueError(f"--{one.replace('_', '-')} and --{other.replace('_', '-')} belong together")
    if args.client_ca is not None and args.tls_cert is None:
        raise ValueError("--client-ca needs --tls-cert")
    listen = call = None
    if args.tls_cert is not None:
        listen = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        listen.sslobject_class = _Told
        listen.load_cert_chain(args.tls_cert, args.tls_key)
        if args.client_ca is not None:
            listen.load_verify_locations(args.client_ca)
            listen.verify_mode = ssl.CERT_REQUIRED
    if args.school_ca is not None or args.school_cert is not None:
        call = ssl.create_default_context(cafile=args.school_ca)
        if args.school_cert is not None:
            call.load_cert_chain(args.school_cert, args.school_key)
    return Encryption(listen=listen, call=call)
