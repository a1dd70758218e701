"""The end of a certificate as our own reading finds it, against ``cryptography``."""

from __future__ import annotations

import base64
import datetime
from datetime import UTC

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from telemetry import certificates

HOUR = datetime.timedelta(hours=1)
KEY = ec.generate_private_key(ec.SECP256R1())


def made(ends: datetime.datetime, name: str = "collector", serial: int = 1) -> str:
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.datetime(1999, 1, 1, tzinfo=UTC))
        .not_valid_after(ends)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@given(
    st.integers(2_000, 80_000).map(
        lambda hours: datetime.datetime(2000, 1, 1, 0, 0, 59, tzinfo=UTC) + 30 * hours * HOUR
    ),
    st.text("ab急", min_size=1, max_size=40),
    st.integers(1, 2**150),
)
def test_the_end_is_the_one_that_stands_in_it(ends: datetime.datetime, name: str, serial: int) -> None:
    assert certificates.ends(made(ends, name, serial)) == ends


def test_the_first_of_a_chain_counts_and_words_around_it_do_not() -> None:
    near = datetime.datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    far = datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificates.ends(f"subject=x\n{made(near)}{made(far)}") == near
    assert certificates.ends(made(far)) == far


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA", "-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a certificate in PEM form"):
        certificates.ends(text)


SOUND = made(datetime.datetime(2027, 1, 1, tzinfo=UTC)).splitlines()


@given(st.binary(max_size=600), st.integers(0, 600))
def test_a_damaged_one_is_a_value_error_or_a_date(damage: bytes, at: int) -> None:
    der = bytearray(base64.b64decode("".join(SOUND[1:-1])))
    der[at : at + len(damage)] = damage
    try:
        found = certificates.ends("\n".join([SOUND[0], base64.b64encode(der).decode(), SOUND[-1]]))
    except ValueError:
        return
    assert found.tzinfo is UTC
