"""Why a broker does not take us, in one line that says what to do about it.

What arrives when a connection is refused says little ("connection reset", an alert by its number), and often it says
nothing: a broker that wants a certificate simply closes. So the line goes by the alert where there is one, and by what
our own configuration leaves out where there is none. Nothing is read until something was refused.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection
from typing import Final

from telemetry.fleet import Broker

NOT_AUTHORIZED: Final = 0x87
"""MQTT 5.0, 2.4: the access list does not let us."""
_BROKERS_LOG: Final = "the broker's own log says why (/var/log/mosquitto/mosquitto.log)"
_ALERTS: Final = {
    "ALERT_CERTIFICATE_REVOKED": "{ours} is revoked (kitwatch setup vehicle makes another)",
    "ALERT_CERTIFICATE_EXPIRED": "{ours} has ended (kitwatch setup vehicle makes another)",
    "ALERT_UNKNOWN_CA": "{ours} is not from the authority that the broker trusts on this port",
    "ALERT_BAD_CERTIFICATE": "the broker does not take {ours}: " + _BROKERS_LOG,
    "ALERT_CERTIFICATE_UNKNOWN": "the broker does not take {ours}: " + _BROKERS_LOG,
    "ALERT_PROTOCOL_VERSION": "the broker has no version of TLS in common with us, which is 1.2 or 1.3",
}
"""By the alert's name in OpenSSL (RFC 8446, 6.2), which newer versions spell with another beginning."""
_NO_CERTIFICATE: Final = (
    "the broker asks for a client certificate and we have none: broker.tls.certificate and broker.tls.key are not set"
)


def explain(error: OSError, broker: Broker, *, spoken: bool) -> str | None:
    """Return why a connection did not come about, ``None`` where the error says so itself.

    ``spoken``: TCP and TLS stood, and it ended before the broker said a word of MQTT.
    """
    port, tls = f"{broker.host}:{broker.port}", broker.tls
    text = str(error).upper()
    if isinstance(error, ssl.SSLCertVerificationError):
        return _their_certificate(error, broker)
    if isinstance(error, socket.gaierror):
        return f"the name {broker.host} is not known here: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {port}"
    if tls is None:
        if spoken:
            return f"closed without a word: {port} seems to expect TLS, and broker.tls is not set"
        return None
    for alert, words in _ALERTS.items():
        if alert in text:
            return words.format(ours=f"our certificate {tls.certificate}")
    if tls.certificate is None and (spoken or "ALERT_CERTIFICATE_REQUIRED" in text or "ALERT_HANDSHAKE" in text):
        return _NO_CERTIFICATE
    if spoken:
        return f"closed without a word: {_BROKERS_LOG}"
    if isinstance(error, ssl.SSLError | ConnectionError):
        return f"{port} does not seem to speak TLS, and broker.tls is set: {_reason(error)}"
    return None


def not_allowed(topic: str, broker: Broker, names: Collection[str] = ()) -> str:
    """Return why the broker does not let us write a topic; ``names`` are those that our certificate may bear.

    The shipped access list goes by the certificate's common name, so that another vehicle's certificate is refused too.
    """
    certificate = broker.tls.certificate if broker.tls is not None else None
    ours = None if certificate is None else common_name(certificate)
    if ours is not None and names and ours not in names:
        wanted = " or ".join(repr(name) for name in names)
        return f"our certificate {certificate} is for {ours!r}, expected {wanted}: the broker refuses {topic}"
    who = broker.user if ours is None else ours
    return f"the broker's access list does not let {who or 'anonymous'!r} write {topic} (acl_file of Mosquitto)"


def common_name(certificate: str) -> str | None:
    """Return the common name of a PEM file's first certificate, ``None`` where it cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        with open(certificate, "rb") as file:
            subject = x509.load_pem_x509_certificate(file.read()).subject
    except (OSError, ValueError):
        return None
    return next((str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)), None)


def _their_certificate(error: ssl.SSLCertVerificationError, broker: Broker) -> str:
    assert broker.tls is not None
    why = error.verify_message
    if error.verify_code in (_HOSTNAME, _ADDRESS):
        return f"the broker's certificate is not for {broker.host!r} (kitwatch setup server {broker.host}): {why}"
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return f"the broker's certificate is not good now: {why}"
    return f"the broker's certificate is not from the authority in {broker.tls.ca}: {why}"


_NOT_YET: Final = 9
_EXPIRED: Final = 10
_HOSTNAME: Final = 62
_ADDRESS: Final = 64
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH."""


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)
