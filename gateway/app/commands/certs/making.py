"""The certificates themselves: a small CA and what it signs. Bytes in, bytes out; no files.

RFC 5280 to the letter, so that OpenSSL's strict mode (``VERIFY_X509_STRICT``, the default of Python 3.13's contexts) takes
them: version 3, key identifiers, critical constraints, purposes and alternative names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: EasyRSA 3's defaults (EASYRSA_CERT_EXPIRE, EASYRSA_CA_EXPIRE). 825 days is also the longest that Apple's systems take for
#: a server certificate of a private CA (support.apple.com/103769), and such a system may open the school's page.
LEAF_DAYS = 825.0
CA_DAYS = 3650.0
#: Clocks of boxes in one school differ, and a certificate of this minute must not be one of tomorrow.
BACKDATED = timedelta(minutes=5)
LONGEST_COMMON_NAME = 64  # RFC 5280, appendix A: ub-common-name


class Purpose(StrEnum):
    """Which end of a connection a certificate is for (extended key usage)."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as objects of the library."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def read_pair(certificate_pem: bytes, key_pem: bytes) -> Pair:
    """The pair of these bytes. Raises ``ValueError`` if they are not one."""
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except TypeError as exc:
        raise ValueError("the key is protected by a passphrase") from exc
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is none of the kind made here (ECDSA)")
    if certificate.public_key() != key.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Pair(certificate=certificate, key=key)


def make_authority(common_name: str, organization: str, now: datetime, days: float) -> Pair:
    """A new CA, which signs servers and clients and no further CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, organization)
    certificate = (
        _builder(name, name, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def make_leaf(
    authority: Pair,
    common_name: str,
    hosts: Sequence[str],
    purposes: Sequence[Purpose],
    now: datetime,
    days: float,
) -> Pair:
    """A certificate signed by ``authority``, never valid longer than it."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca = authority.certificate
    until = min(now + timedelta(days=days), ca.not_valid_after_utc)
    ca_key_identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    oids = {
        Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
        Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    certificate = (
        _builder(_name(common_name, None), ca.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([oids[purpose] for purpose in purposes]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([alternative_name(host) for host in hosts]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_key_identifier), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def alternative_name(host: str) -> x509.GeneralName:
    """A host as certificates name it: an address, or a DNS name. Raises ``ValueError`` for what is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        ascii_name = host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise ValueError(f"{host!r} is no host name: {exc}") from exc
    wild = ascii_name.removeprefix("*.")
    labels = wild.split(".")
    good = all(
        label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )
    if not good or len(ascii_name) > 253 or labels[-1].isdigit():
        raise ValueError(f"{host!r} is neither a host name nor an IP address (no scheme, no port)")
    return x509.DNSName(ascii_name)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The names of a certificate, as :func:`make_leaf` takes them."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def signed_by(pair: Pair, authority: Pair) -> bool:
    """Whether that CA issued it: by the signature, since another school's CA may bear the same name."""
    try:
        pair.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def purposes_of(certificate: x509.Certificate) -> list[Purpose]:
    """What a certificate made here is for."""
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    known = {
        ExtendedKeyUsageOID.SERVER_AUTH: Purpose.SERVER,
        ExtendedKeyUsageOID.CLIENT_AUTH: Purpose.CLIENT,
    }
    return [known[oid] for oid in usage if oid in known]


def common_name_of(certificate: x509.Certificate) -> str:
    """Its subject's common name."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
    )


def _name(common_name: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name[:LONGEST_COMMON_NAME])]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:LONGEST_COMMON_NAME]))
    return x509.Name(parts)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
