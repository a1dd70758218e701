"""Keys of SNMP v3 users, and the ciphers they are for.

Passwords to keys and keys to an engine: RFC 3414 sections 2.6 and A.2, RFC 7860 section 9.3. Encryption: DES-CBC (RFC
3414 section 8), AES-128-CFB (RFC 3826), AES-256-CFB with the longer key made as draft-reeder-snmpv3-usm-3desede has it
(``aes256``, what most makers did) or as draft-blumenthal-aes-usm has it (``aes256-blumenthal``).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from agent.snmp.port import Auth, Priv

HASHES: Final[dict[Auth, tuple[str, int]]] = {
    "md5": ("md5", 12),
    "sha": ("sha1", 12),
    "sha224": ("sha224", 16),
    "sha256": ("sha256", 24),
    "sha384": ("sha384", 32),
    "sha512": ("sha512", 48),
}
"""The hash behind a protocol, and how many octets of its HMAC a message carries (RFC 3414, RFC 7860 section 4)."""
_MEGABYTE: Final = 1 << 20


class PrivacyError(ValueError):
    """An encrypted message that cannot be one."""


def master_key(password: str, auth: Auth) -> bytes:
    """Return the digest of a megabyte of the password: milliseconds of work, once for each password."""
    octets = password.encode()
    return hashlib.new(HASHES[auth][0], (octets * (_MEGABYTE // len(octets) + 1))[:_MEGABYTE]).digest()


def localized(master: bytes, engine: bytes, auth: Auth) -> bytes:
    """Return the key that holds for one engine."""
    return hashlib.new(HASHES[auth][0], master + engine + master).digest()


def privacy_key(master: bytes, engine: bytes, auth: Auth, priv: Priv) -> bytes:
    """Return the key of the cipher for one engine, lengthened where the hash is too short for it."""
    key = localized(master, engine, auth)
    while priv == "aes256-blumenthal" and len(key) < 32:
        key += hashlib.new(HASHES[auth][0], key).digest()
    while priv == "aes256" and len(key) < 32:
        # draft-reeder: the key so far is the password of the next part
        key += localized(_hashed_again(key, auth), engine, auth)
    return key[: 32 if priv.startswith("aes256") else 16]


def _hashed_again(key: bytes, auth: Auth) -> bytes:
    return hashlib.new(HASHES[auth][0], (key * (_MEGABYTE // len(key) + 1))[:_MEGABYTE]).digest()


def digest(key: bytes, message: bytes, auth: Auth) -> bytes:
    """Return the octets that authenticate a message."""
    name, length = HASHES[auth]
    return hmac.digest(key, message, name)[:length]


def encrypt(key: bytes, plain: bytes, priv: Priv, boots: int, engine_time: int, salt: int) -> tuple[bytes, bytes]:
    """Return (what is sent, the privacy parameters with it). ``salt`` must never come again under the same key."""
    if priv == "des":
        sent_salt = (boots & 0xFFFFFFFF).to_bytes(4, "big") + (salt & 0xFFFFFFFF).to_bytes(4, "big")
        plain += bytes(-len(plain) % 8)
    else:
        sent_salt = salt.to_bytes(8, "big")
    encryptor = _cipher(key, priv, boots, engine_time, sent_salt).encryptor()
    return encryptor.update(plain) + encryptor.finalize(), sent_salt


def decrypt(key: bytes, sent: bytes, priv: Priv, boots: int, engine_time: int, salt: bytes) -> bytes:
    """Return what was encrypted, with the padding of DES still behind it. Raises PrivacyError."""
    if len(salt) != 8 or (priv == "des" and len(sent) % 8):
        raise PrivacyError(f"expected 8 octets of privacy parameters and whole blocks, found {len(salt)}, {len(sent)}")
    decryptor = _cipher(key, priv, boots, engine_time, salt).decryptor()
    return decryptor.update(sent) + decryptor.finalize()


def _cipher(key: bytes, priv: Priv, boots: int, engine_time: int, salt: bytes) -> Cipher[Any]:
    if priv == "des":
        vector = bytes(one ^ other for one, other in zip(key[8:16], salt, strict=True))
        return Cipher(TripleDES(key[:8] * 3), CBC(vector))  # three times the same key is DES
    return Cipher(AES(key), CFB(boots.to_bytes(4, "big") + engine_time.to_bytes(4, "big") + salt))
