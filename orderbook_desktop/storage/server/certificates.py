"""The certificates by which a child server and its clients know each other, if TLS is used.

They are made once for a server's files and lie beside these, in the private folder. Like the
password they admit every process that can read them. No other process can pose as the server.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orderbook_desktop.system.ports import HOST
from orderbook_desktop.system.private_files import private_file, write_private

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateBuilder

_BEGIN: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# "No end" (RFC 5280, 4.1.2.5): the private folder protects them, and clocks may be wrong.
_END: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the authority that both ends trust, and each end's certificate with its key."""

    authority: Path
    server: Path
    client: Path


def certificates_of(folder: Path) -> Certificates:
    """Return the paths of the certificates of the server whose files are in `folder`."""
    names = ("authority.pem", "server.pem", "client.pem")
    return Certificates(*(folder.with_suffix(f".{name}") for name in names))


def keep_certificates(folder: Path) -> Certificates:
    """Return the certificates of the server in `folder`; make them if any is missing or wrong.

    Raises `OSError`.
    """
    files = certificates_of(folder)
    if _belong_together(files):
        for file in (files.authority, files.server, files.client):
            private_file(file)
    else:
        _make(files)
    return files


def _belong_together(files: Certificates) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (only where TLS is used)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    try:
        authority = load_pem_x509_certificate(files.authority.read_bytes())
        for file in (files.server, files.client):
            pem = file.read_bytes()
            certificate = load_pem_x509_certificate(pem)
            certificate.verify_directly_issued_by(authority)
            if load_pem_private_key(pem, None).public_key() != certificate.public_key():
                return False
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return False
    return True


def _make(files: Certificates) -> None:
    """Make an authority and its two certificates. The authority's key is not stored."""
    from cryptography import x509  # noqa: PLC0415 (only where TLS is used)
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Orderbook Desktop")])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> CertificateBuilder:
        named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
        known = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(named)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_BEGIN)
            .not_valid_after(_END)
            .add_extension(known, critical=False)
            .add_extension(signer, critical=False)
        )

    def signed(unsigned: CertificateBuilder) -> Certificate:
        return unsigned.sign(authority_key, hashes.SHA256())

    def write_end(path: Path, subject: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address(HOST))
        # A mongod is also a client of itself, so both certificates allow both uses.
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = signed(
            builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, (certificate.public_bytes(Encoding.PEM) + secret).decode("ascii"))

    certifies = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = signed(
        builder("Orderbook Desktop", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(certifies, critical=True)
    )
    write_end(files.server, "database")
    write_end(files.client, "client of the database")
    write_private(files.authority, authority.public_bytes(Encoding.PEM).decode("ascii"))
