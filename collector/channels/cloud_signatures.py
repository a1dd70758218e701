"""How two mainland clouds want their requests signed. Pure: time and nonce are given.

Sources: Alibaba Cloud, "V3 request structure and signature" (ACS3-HMAC-SHA256); Tencent Cloud, "Signature v3"
(TC3-HMAC-SHA256). Both sign method, path, query, some headers and the hash of the body.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from msgspec.structs import replace

Scheme = Literal["aliyun", "tencent"]


class Request(msgspec.Struct, frozen=True):
    """A request as it goes out; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


def signed(scheme: Scheme, request: Request, key_id: str, key: str, at_s: int, nonce: str) -> Request:
    """Return the request with the headers that sign it. ``at_s`` is in seconds since 1970, ``nonce`` never the same."""
    return _SIGNERS[scheme](request, key_id, key, at_s, nonce)


def _aliyun(request: Request, key_id: str, key: str, at_s: int, nonce: str) -> Request:
    headers = {
        **request.headers,
        "host": urlsplit(request.url).netloc,
        "x-acs-content-sha256": _sha256(request.body),
        "x-acs-date": f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "x-acs-signature-nonce": nonce,
    }
    names = sorted(name for name in headers if name in ("host", "content-type") or name.startswith("x-acs-"))
    canonical = _canonical(request, headers, names, headers["x-acs-content-sha256"])
    words = f"ACS3-HMAC-SHA256\n{_sha256(canonical.encode())}"
    mac = hmac.new(key.encode(), words.encode(), hashlib.sha256).hexdigest()
    how = f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={';'.join(names)},Signature={mac}"
    return replace(request, headers={**headers, "authorization": how})


def _tencent(request: Request, key_id: str, key: str, at_s: int, nonce: str) -> Request:
    host = urlsplit(request.url).netloc
    headers = {**request.headers, "host": host, "x-tc-timestamp": str(at_s)}
    names = [name for name in ("content-type", "host") if name in headers]
    canonical = _canonical(request, headers, names, _sha256(request.body))
    day, service = f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}", host.partition(".")[0]
    scope = f"{day}/{service}/tc3_request"
    words = f"TC3-HMAC-SHA256\n{at_s}\n{scope}\n{_sha256(canonical.encode())}"
    secret = f"TC3{key}".encode()
    for part in (day, service, "tc3_request"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    mac = hmac.new(secret, words.encode(), hashlib.sha256).hexdigest()
    how = f"TC3-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={mac}"
    return replace(request, headers={**headers, "authorization": how})


def _canonical(request: Request, headers: Mapping[str, str], names: Sequence[str], body_hash: str) -> str:
    parts = urlsplit(request.url)
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)), quote_via=quote, safe="-_.~")
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    return "\n".join([request.method, parts.path or "/", query, lines, ";".join(names), body_hash])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_SIGNERS: Final = {"aliyun": _aliyun, "tencent": _tencent}
