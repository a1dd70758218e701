"""Answers to HTTP-style login challenges: digest (RFC 2617, RFC 7616) and basic (RFC 7617). Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

_PARAMETER: Final = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_HASHES: Final[dict[str, tuple[int, Callable[[bytes], Any]]]] = {
    "md5": (1, hashlib.md5),
    "sha-256": (2, hashlib.sha256),
}
"""Algorithms by name, with how much they are preferred."""


def parse_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Return the scheme and the parameters, names in lower case, of one ``WWW-Authenticate`` header."""
    scheme, _, rest = text.strip().partition(" ")
    found = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted or not plain else plain
        for name, quoted, plain in _PARAMETER.findall(rest)
    }
    return scheme.lower(), found


def authorize(
    challenges: Sequence[str], method: str, uri: str, user: str, password: str, cnonce: str, uses: int
) -> str | None:
    """Return the ``Authorization`` header for the strongest challenge that we know, None if there is none.

    Digest goes before basic, which shows the password to anyone on the line. ``uses`` counts the requests with this
    nonce, from 1; ``cnonce`` is random text.
    """
    parsed = [parse_challenge(text) for text in challenges]
    digests = [
        (_HASHES[name][0], name, values)
        for scheme, values in parsed
        if scheme == "digest" and (name := values.get("algorithm", "MD5").lower()) in _HASHES and "nonce" in values
    ]
    if digests:
        _, name, values = max(digests, key=lambda item: item[0])
        return _digest(name, values, method, uri, user, password, cnonce, uses)
    if any(scheme == "basic" for scheme, _ in parsed):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _digest(
    name: str, values: dict[str, str], method: str, uri: str, user: str, password: str, cnonce: str, uses: int
) -> str | None:
    def hashed(text: str) -> str:
        return str(_HASHES[name][1](text.encode()).hexdigest())

    realm, nonce = values.get("realm", ""), values["nonce"]
    first, second = hashed(f"{user}:{realm}:{password}"), hashed(f"{method}:{uri}")
    made = [f'username="{_quoted(user)}"', f'realm="{_quoted(realm)}"', f'nonce="{_quoted(nonce)}"', f'uri="{uri}"']
    if "qop" in values:
        if "auth" not in [word.strip().lower() for word in values["qop"].split(",")]:
            return None
        count = f"{uses:08x}"
        response = hashed(f"{first}:{nonce}:{count}:{cnonce}:auth:{second}")
        made += [f'response="{response}"', "qop=auth", f"nc={count}", f'cnonce="{cnonce}"']
    else:
        made.append(f'response="{hashed(f"{first}:{nonce}:{second}")}"')
    if "algorithm" in values:
        made.append(f"algorithm={values['algorithm']}")
    if "opaque" in values:
        made.append(f'opaque="{_quoted(values["opaque"])}"')
    return "Digest " + ", ".join(made)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
