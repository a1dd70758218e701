"""TLS towards the broker: what we check, also on a box that does not know the time."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final

from telemetry.earliest import EARLIEST_S
from telemetry.files import FileError, check_secret_mode
from telemetry.fleet import Tls

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class CertificateEnded(ConnectionError):  # noqa: N818 - says what is wrong
    """The broker's certificate ended before this program was made."""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that checks chain and host name. Raises FileError for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:
        raise FileError(tls.ca, "broker.tls.ca", f"expected certificates in PEM, found: {_why(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        check_secret_mode(tls.key or tls.certificate, "broker.tls.key" if tls.key else "broker.tls.certificate")
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            wanted = "expected a certificate and its key in PEM"
            raise FileError(tls.certificate, "broker.tls.certificate", f"{wanted}, found: {_why(error)}") from None
    if time.time() < EARLIEST_S:
        # A box without a clock would otherwise never reach the centre that could tell it the time;
        # the certificate's end is then judged by the date of this program (check_not_expired).
        context.verify_flags |= _NO_CHECK_TIME
    return context


def _why(error: OSError) -> str:
    """Return what OpenSSL or the system says, without the place in Python's source."""
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error.strerror or error)


def check_not_expired(certificate: Mapping[str, Any] | None) -> int | None:
    """Return when a certificate (``ssl.SSLSocket.getpeercert``) ends, UTC ms; ``None`` if it does not say.

    Raises CertificateEnded for one that ended before this program was made.
    """
    ends = (certificate or {}).get("notAfter")
    if not isinstance(ends, str):
        return None
    seconds = _seconds(ends)
    if seconds < EARLIEST_S:
        raise CertificateEnded(f"the broker's certificate ended on {ends}")
    return round(seconds * 1000)


def _seconds(text: str) -> float:
    """Return the UTC seconds of OpenSSL's ``Jan  5 09:34:43 2018 GMT``; ``ssl.cert_time_to_seconds`` draws 0.2 MB."""
    month, day, clock, year, _ = text.split()
    hour, minute, second = map(int, clock.split(":"))
    moment = datetime.datetime(int(year), 1 + _MONTHS.index(month), int(day), hour, minute, second, tzinfo=datetime.UTC)
    return moment.timestamp()
