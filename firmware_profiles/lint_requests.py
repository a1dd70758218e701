"""The lint of a profile's HTTP requests and login. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from firmware_profiles.load import Profile
from firmware_profiles.login import TemplateError, fill
from firmware_profiles.model import Auth
from firmware_profiles.read_only import switches

Problem = tuple[str, str]
"""Key in the profile, and what is wrong there."""


def lint_requests(profile: Profile) -> Iterator[Problem]:
    """Yield what is wrong with the requests; nothing for a profile of another transport."""
    if profile.transport != "http":
        return
    if not any(request.identity for request in profile.requests.values()):
        yield "requests", "expected one request marked identity, asked before any credentials are sent, found none"
    if not (profile.match.probes or profile.match.any):
        yield "match.probes", "expected probes of the identity request's answer, found none"
    for name, request in profile.requests.items():
        key = f"requests.{name}"
        if not request.path.startswith("/") or request.path.startswith("//") or ".." in request.path:
            yield key, f"expected a path that begins with /, found {request.path!r}"
        if request.method == "POST" and not request.why_post:
            yield key, "expected why_post, because a read is a GET unless the maker's needs POST, found none"
        if request.method == "GET" and request.body is not None:
            yield key, "expected no body in a GET"
        for text in (request.path, request.body or ""):
            if word := switches(text):
                yield key, f"expected a request that only reads, found {word!r} in {text[:80]!r}"
        if request.error is not None and (error := bad_pattern(request.error)):
            yield f"{key}.error", error
    yield from _lint_auth(profile.file.auth)


def _lint_auth(auth: Auth) -> Iterator[Problem]:
    for pattern in (auth.ok, auth.expired, auth.challenge, auth.realm):
        if pattern is not None and (error := bad_pattern(pattern)):
            yield "auth", error
    if auth.challenge is not None and auth.kind != "digest":
        yield "auth.challenge", "expected only with digest: other kinds show the password to whoever asks"
    if auth.kind in ("form", "token") and auth.login_path is None:
        yield "auth.login_path", "expected the path of the login, found none"
    if auth.kind == "token" and auth.token_at is None:
        yield "auth.token_at", "expected where the token stands in the login's answer, found none"
    if auth.nonce_path is not None and (word := switches(auth.nonce_path)):
        yield "auth.nonce_path", f"expected a request that only reads, found {word!r}"
    try:
        for template in (*auth.fields.values(), auth.body or ""):
            fill(template, {"user": "u", "password": "p", "nonce": "n"})
    except TemplateError as error:
        yield "auth.fields", str(error)


def bad_pattern(pattern: str) -> str | None:
    """Return what is wrong with a regular expression, or None."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"expected a regular expression, found {pattern!r} ({error})"
    return None
