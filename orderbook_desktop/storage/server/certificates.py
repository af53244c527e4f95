"""The certificates by which a child server and its clients know each other, if TLS is used.

They are made once for a server's files and lie beside these, in the private folder. Like the
password they admit every process that can read them. No other process can pose as the server.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orderbook_desktop.system.ports import HOST
from orderbook_desktop.system.private_files import private_file, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import CertificateBuilder, Name

_AUTHORITY: Final = "Orderbook Desktop"
_BEGIN: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# "No end" (RFC 5280, 4.1.2.5): the private folder protects them, and clocks may be wrong.
_END: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


class Certificates(Struct, frozen=True):
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
    authority = _Authority()
    write_private(files.server, authority.issued("database"))
    write_private(files.client, authority.issued("client of the database"))
    write_private(files.authority, authority.own())


class _Authority:
    """Makes certificates, all as PEM texts."""

    def __init__(self) -> None:
        from cryptography import x509  # noqa: PLC0415 (only where TLS is used)
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        self._key = ec.generate_private_key(ec.SECP256R1())
        self._signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def own(self) -> str:
        """Return the authority's own certificate."""
        from cryptography import x509  # noqa: PLC0415

        certifies = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return self._signed(
            self._builder(_AUTHORITY, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(certifies, critical=True)
        )

    def issued(self, subject: str) -> str:
        """Return a certificate for `subject`, followed by its new key."""
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address(HOST))
        # A mongod is also a client of itself, so both certificates allow both uses.
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = self._signed(
            self._builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return certificate + secret.decode("ascii")

    def _builder(self, subject: str, key: EllipticCurvePrivateKey) -> CertificateBuilder:
        """Return the beginning of a certificate for the holder of `key`."""
        from cryptography import x509  # noqa: PLC0415

        def named(name: str) -> Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

        known = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(_AUTHORITY))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_BEGIN)
            .not_valid_after(_END)
            .add_extension(known, critical=False)
            .add_extension(self._signer, critical=False)
        )

    def _signed(self, unsigned: CertificateBuilder) -> str:
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

        return unsigned.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode("ascii")
