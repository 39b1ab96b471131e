"""Certificates as they lie on disk and come over the wire, made into facts."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.domain.certificate import Certificate
from gateway.domain.errors import Malformed, Unavailable

_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}
_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
}


def read_certificates(path: Path) -> list[Certificate]:
    """All certificates of a PEM file in its order. Raises ``Unavailable`` if it cannot be read, ``Malformed`` if there is
    no certificate in it."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise Unavailable(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return [_facts(found) for found in x509.load_pem_x509_certificates(data)]
    except ValueError as exc:
        raise Malformed(f"{path} holds no certificate in PEM form: {exc}") from exc


def certificate_of_der(der: bytes) -> Certificate:
    """What a peer has shown. Raises ``Malformed``."""
    try:
        return _facts(x509.load_der_x509_certificate(der))
    except ValueError as exc:
        raise Malformed(f"not a certificate: {exc}") from exc


def _facts(found: x509.Certificate) -> Certificate:
    return Certificate(
        subject=_name(found.subject),
        issuer=_name(found.issuer),
        names=_names(found),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        purposes=_purposes(found),
        authority=_authority(found),
    )


def _name(name: x509.Name) -> str:
    """A name as people write it, most general part last; what a stranger's bytes hold is shown as text."""
    shown = [f"{_SHORT[part.oid]}={part.value!s}" for part in reversed(list(name)) if part.oid in _SHORT]
    return ", ".join(shown) or name.rfc4514_string() or "(no name)"


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )


def _purposes(found: x509.Certificate) -> tuple[str, ...]:
    try:
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(_PURPOSES.get(oid, oid.dotted_string) for oid in usage)


def _authority(found: x509.Certificate) -> bool:
    try:
        return bool(found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False
