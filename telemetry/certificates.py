"""When a certificate ends, read from its file without a library: ``cryptography`` would cost a process eight megabytes.

Only the two dates are looked at; whether the certificate is good is the TLS library's matter.
"""

from __future__ import annotations

import datetime
import ssl
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


def ends(pem: str) -> datetime.datetime:
    """Return until when the first certificate in a PEM text is valid, UTC (RFC 5280 section 4.1.2.5).

    Raises ValueError for text in which there is none that can be read.
    """
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if not 0 <= begin < end:
        raise ValueError("expected a certificate in PEM form, found none")
    tag, certificate, _ = _value(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]), 0)
    _expect(_SEQUENCE, tag)
    tag, signed, _ = _value(certificate, 0)
    _expect(_SEQUENCE, tag)
    tag, _, at = _value(signed, 0)
    for _skipped in range(4 if tag == _VERSION else 3):  # up to the validity: serial, algorithm, issuer
        tag, validity, at = _value(signed, at)
    _expect(_SEQUENCE, tag)
    _, _, at = _value(validity, 0)
    tag, moment, _ = _value(validity, at)
    return _moment(tag, moment.decode("ascii"))


def _value(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return (tag, content, where the next value begins) of the DER value at ``at`` (X.690 section 8.1)."""
    if at + 2 > len(data):
        raise ValueError("expected a certificate, found one that is cut off")
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size]), at + size
    if at + length > len(data):
        raise ValueError("expected a certificate, found one that is cut off")
    return tag, data[at : at + length], at + length


def _expect(tag: int, found: int) -> None:
    if found != tag:
        raise ValueError(f"expected the tag 0x{tag:02x} of a certificate, found 0x{found:02x}")


def _moment(tag: int, text: str) -> datetime.datetime:
    if tag == _UTC_TIME:  # years from 50 on are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"expected a time, found the tag 0x{tag:02x}")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
