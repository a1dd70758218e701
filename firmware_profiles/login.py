"""What makers do to a password before it goes over the line, in words that a profile can use. Pure.

A field of a login is text with ``<<name|step|step>>`` in it: a name of ``user``, ``password``, ``nonce``, then steps:
``sha256``, ``md5``, ``base64``, ``upper``, ``lower``, ``json`` (escape for a JSON text), ``+name`` (append another),
``aes:KEY:IV`` (AES-128-CBC with PKCS 7, then base64, as some routers do with a fixed key).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

_PLACE: Final = re.compile(r"<<([^<>]+)>>")
NAMES: Final = ("user", "password", "nonce")
_STEPS: Final = ("sha256", "md5", "base64", "upper", "lower", "json")


class TemplateError(ValueError):
    """A field of a login that cannot be filled in; says which word is wrong."""


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the field's text. Raises TemplateError for an unknown name or step."""
    return _PLACE.sub(lambda found: _filled(found[1], values), template)


def _filled(expression: str, values: Mapping[str, str]) -> str:
    name, *steps = expression.split("|")
    text = _value(name, values)
    for step in steps:
        text = _step(text, step, values)
    return text


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in NAMES:
        raise TemplateError(f"expected one of {', '.join(NAMES)}, found {name!r}")
    return values.get(name, "")


def _step(text: str, step: str, values: Mapping[str, str]) -> str:
    if step.startswith("+"):
        return text + _value(step[1:], values)
    if step == "sha256":
        return hashlib.sha256(text.encode()).hexdigest()
    if step == "md5":
        return hashlib.md5(text.encode()).hexdigest()
    if step == "base64":
        return base64.b64encode(text.encode()).decode()
    if step == "json":
        return json.dumps(text)[1:-1]
    if step == "upper":
        return text.upper()
    if step == "lower":
        return text.lower()
    if step.startswith("aes:") and step.count(":") == 2:
        _, key, vector = step.split(":")
        return _aes(text, key.encode(), vector.encode())
    raise TemplateError(f"expected one of {', '.join(_STEPS)}, +name or aes:KEY:IV, found {step!r}")


def _aes(text: str, key: bytes, vector: bytes) -> str:
    if len(key) != 16 or len(vector) != 16:
        raise TemplateError("expected a key and a vector of 16 bytes")
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()
