"""Passwords: argon2id (RFC 9106), and what a new one must be."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST: Final = 10
"""Characters of a new password; no rules of composition (NIST SP 800-63B, 5.1.1.2)."""
MOST: Final = 256


class BadPassword(ValueError):  # noqa: N818 - told to whoever chose it
    """A password that is no good, in words."""


def hashed(password: str, name: str) -> str:
    """Return what is kept of a new password of an account. Raises BadPassword. Takes tens of milliseconds."""
    if not LEAST <= len(password) <= MOST:
        raise BadPassword(f"password: expected {LEAST} to {MOST} characters, found {len(password)}")
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise BadPassword("password: expected one without the account's name and with five different characters")
    return _hasher().hash(password)


def is_right(password: str, kept: str | None) -> bool:
    """Say whether a password is that of an account; ``None``: there is none, which takes as long."""
    from argon2.exceptions import InvalidHashError, VerificationError

    nobodys = _nobodys()  # whoever is the first waits for it, known or not
    try:
        return _hasher().verify(kept or nobodys, password[: MOST + 1]) and bool(kept)
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _hasher() -> PasswordHasher:
    """Return what hashes: 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet), for a small machine.

    Argon2 is loaded when the first one signs in: 0.9 MB.
    """
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@functools.cache
def _nobodys() -> str:
    """Return the hash of a password that nobody has."""
    return _hasher().hash("the password of no account")
