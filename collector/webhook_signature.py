"""Signing webhooks, those that we send and those that we take: the Standard Webhooks specification 1.0. Pure.

HMAC-SHA-256 over ``id.timestamp.body`` in ``webhook-signature``; the id is the idempotency key, and the timestamp keeps
what was once signed from being played again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

TOLERANCE_S: Final = 300
"""So far a timestamp may be from our own clock."""
MOST_ID: Final = 128
MOST_SIGNATURES: Final = 8
"""Several are given while a key is replaced by another."""


class BadSignature(Exception):  # noqa: N818 - says what is wrong
    """A request that is not signed as it should be; the text says what was expected and found, and no secret."""


def sign(key: str, id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign ``body`` (Standard Webhooks 1.0). ``at_s`` is in seconds since 1970."""
    secret = key.encode()
    if key.startswith("whsec_"):
        try:
            secret = base64.b64decode(key.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass  # a key that only looks like one
    mac = hmac.new(secret, f"{id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def verify(key: str, headers: Mapping[str, str], body: bytes, now_s: int) -> str:
    """Return the id of a signed request. Raises BadSignature."""
    id = headers.get("webhook-id", "")
    if not (0 < len(id) <= MOST_ID and id.isascii() and id.isprintable()):
        raise BadSignature(f"webhook-id: expected 1 to {MOST_ID} printable characters, found {len(id)}")
    at = headers.get("webhook-timestamp", "")
    if not (at.isascii() and at.isdecimal() and len(at) <= 12):
        raise BadSignature(f"webhook-timestamp: expected seconds since 1970, found {at[:20]!r}")
    if abs(now_s - int(at)) > TOLERANCE_S:
        raise BadSignature(f"webhook-timestamp: expected within {TOLERANCE_S} s of {now_s}, found {at}")
    expected = sign(key, id, int(at), body)["webhook-signature"].encode()
    given = headers.get("webhook-signature", "").encode("utf-8", "replace").split(b" ")[:MOST_SIGNATURES]
    if not any(hmac.compare_digest(one, expected) for one in given):
        raise BadSignature("webhook-signature: expected v1, and the HMAC-SHA-256 of id.timestamp.body, found another")
    return id
