"""A centre's two certificate authorities, as files: one for the broker and the collectors, one for the vehicles.

Two, so that the broker's collector listener takes no vehicle's certificate at all. Keys are ECDSA P-256 (FIPS 186-5),
certificates and the list of revoked ones X.509 as RFC 5280 profiles them. Only this module imports ``cryptography``.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from telemetry.files import FileError

Which = Literal["centre", "vehicles"]
Purpose = Literal["server", "client"]
DAY: Final = datetime.timedelta(days=1)
AUTHORITY_DAYS: Final = 20 * 365
ISSUED: Final = "issued"
"""Folder of all certificates given out: whoever revokes needs their serial numbers."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """One authority in ``directory``: ``WHICH.crt``, ``WHICH.key``, ``WHICH.crl`` and ``issued/``."""

    def __init__(
        self, directory: Path, which: Which, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.directory = directory
        self.which = which
        self._certificate = certificate
        self._key = key

    @classmethod
    def new(cls, directory: Path, which: Which, name: str, now: datetime.datetime) -> Authority:
        """Return a new authority called ``name``; nothing is written (``pair``)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {which}"[:64]),
            ]
        )
        builder = _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        return cls(directory, which, builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, directory: Path, which: Which) -> Authority:
        """Return the authority that is kept in ``directory``. Raises FileError where there is none."""
        path = directory / f"{which}.crt"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            path = directory / f"{which}.key"
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            raise FileError(path, "", "expected an authority's file, found none: kitwatch setup ca") from None
        except OSError as error:
            raise FileError(path, "", f"expected an authority's file, found: {error.strerror}") from None
        except ValueError:
            raise FileError(path, "", "expected PEM, found something else") from None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(directory, which, certificate, key)

    @property
    def pair(self) -> Pair:
        """The authority's own certificate and key."""
        return Pair(self._certificate.public_bytes(serialization.Encoding.PEM), _pem(self._key))

    def issue(self, name: str, purpose: Purpose, days: int, now: datetime.datetime, hosts: Sequence[str] = ()) -> Pair:
        """Return a certificate with the common name ``name``; a server's is good for ``hosts`` (names, addresses)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._certificate.subject, key.public_key(), now, days)
        extended = ExtendedKeyUsageOID.SERVER_AUTH if purpose == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
        builder = builder.add_extension(identifier, critical=False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def given_out(self, name: str | None = None) -> Iterator[x509.Certificate]:
        """Yield the certificates that this authority gave out, with one common name or all."""
        for path in sorted((self.directory / ISSUED).glob("*.crt")):
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            if certificate.issuer == self._certificate.subject and name in (None, common_name(certificate)):
                yield certificate

    def revoked(self) -> dict[int, datetime.datetime]:
        """Return serial numbers of what is revoked, and since when."""
        path = self.directory / f"{self.which}.crl"
        if not path.exists():
            return {}
        return {one.serial_number: one.revocation_date_utc for one in x509.load_pem_x509_crl(path.read_bytes())}

    def revocation_list(self, revoked: dict[int, datetime.datetime], now: datetime.datetime) -> bytes:
        """Return the list of the revoked, PEM. It ends with the authority: by an ended one OpenSSL refuses all."""
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - DAY)
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(identifier, critical=False)
        )
        for serial, since in sorted(revoked.items()):
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
            builder = builder.add_revoked_certificate(one)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def common_name(certificate: x509.Certificate) -> str:
    """Return what the broker takes for the user's name."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def serial_of(pair: Pair) -> int:
    """Return a certificate's serial number."""
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    """Begin a certificate. It is good from yesterday on: clocks of vehicles are not ours."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
