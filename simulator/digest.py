"""Digest authentication from the server's side (RFC 2617; MD5, as cameras and encoders have it)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

_MOST_NONCES = 64
_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass
class DigestGuard:
    """Makes challenges and checks what comes back. A nonce is good until ``_MOST_NONCES`` newer ones were given."""

    realm: str
    user: str
    password: str
    qop: bool = True
    """With RFC 2617's protection against replay, as on HTTP; RTSP servers of cameras go without."""
    _nonces: OrderedDict[str, None] = field(default_factory=OrderedDict, init=False)

    def challenge(self) -> str:
        """Return a ``WWW-Authenticate`` header with a new nonce."""
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = None
        if len(self._nonces) > _MOST_NONCES:
            self._nonces.popitem(last=False)
        qop = ', qop="auth"' if self.qop else ""
        return f'Digest realm="{self.realm}", nonce="{nonce}"{qop}, algorithm=MD5'

    def accepts(self, header: str, method: str, uri: str) -> bool:
        """Say whether an ``Authorization`` header opens ``uri`` by ``method``."""
        given = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(header)
        }
        if given.get("username") != self.user or given.get("nonce") not in self._nonces or given.get("uri") != uri:
            return False
        first = _md5(f"{self.user}:{self.realm}:{self.password}")
        middle = f":{given['nonce']}:"
        if self.qop:
            middle += f"{given.get('nc', '')}:{given.get('cnonce', '')}:{given.get('qop', '')}:"
        expected = _md5(f"{first}{middle}{_md5(f'{method}:{uri}')}")
        return hmac.compare_digest(expected, given.get("response", ""))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
