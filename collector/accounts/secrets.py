"""What proves who asks: random words of 256 bits. Their hash alone is kept: a copy of the database signs in nobody.

A password is guessed, so its hash is slow; these cannot be, so theirs is SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

SESSION: Final = "kws_"
TOKEN: Final = "kwt_"


def new_secret(kind: str) -> str:
    """Return a new one that begins with ``SESSION`` or ``TOKEN``."""
    return kind + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return what is kept of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def form_token(secret: str) -> str:
    """Return what a form or a header must hold to be ours: only who knows the cookie can make it."""
    made = hmac.digest(secret.encode(), b"kitwatch form", "sha256")
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def is_form_token(given: str, secret: str) -> bool:
    """Say whether it is the one that belongs to this cookie."""
    return hmac.compare_digest(given.encode(), form_token(secret).encode())
