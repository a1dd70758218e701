"""What opens a device over HTTP: each maker's login, made once and then used for as long as the device takes it."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from agent.http_fetch import Got, HttpError, HttpFetch
from agent.protocols.digest import authorize, parse_challenge
from firmware_profiles.cells import compiled
from firmware_profiles.http_answers import MAX_BODY, find
from firmware_profiles.load import Profile
from firmware_profiles.login import fill
from firmware_profiles.model import Request
from telemetry.files import FileError, read_secret
from telemetry.inputs import HttpInput


class LoginError(HttpError):
    """A login was refused: it is to rest."""


@dataclass(slots=True)
class _Secret:
    """What opens the device, read from its file when it is needed; ``mark`` tells whether the file has changed."""

    user: str
    password: str
    mark: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.mark = hashlib.sha256(f"{self.user}\0{self.password}".encode()).digest()


class HttpLogin:
    """The login of one device: a digest's nonce, a session's cookies or its token."""

    def __init__(self, config: HttpInput, wire: HttpFetch) -> None:
        self._config: Final = config
        self._wire: Final = wire
        self._in_session = False
        self._token: str | None = None
        self._challenges: list[str] = []
        self._uses = 0
        self._single_use = False
        """Whether the device takes each nonce once: it refused the first that was used again."""

    @property
    def configured(self) -> bool:
        """Whether there is anything to log in with."""
        return self._config.password_file is not None or self._config.token_file is not None

    @property
    def mark(self) -> bytes:
        """A digest of the secret, empty where it cannot be read."""
        try:
            return self._secret().mark
        except FileError:
            return b""

    def forget(self) -> None:
        """Let go of the session: the device, or its secret, may be another."""
        self._in_session, self._token = False, None
        self._challenges, self._uses = [], 0
        self._wire.forget()

    async def ask(self, profile: Profile, request: Request) -> Got:
        """Ask one request with what the maker's devices want; raises LoginError when credentials are not taken."""
        kind = profile.file.auth.kind
        if kind == "none" or request.anonymous or not self.configured:
            return await self._wire.fetch(request.method, request.path, request=request)
        if kind == "digest":
            return await self._by_digest(request)
        if kind in ("form", "token"):
            return await self._by_session(profile, request)
        secret = self._secret()
        header = f"Bearer {secret.password}"
        if kind == "basic":
            header = authorize(["Basic"], "", "", secret.user, secret.password, "", 1) or ""
        got = await self._wire.fetch(request.method, request.path, request=request, headers={"Authorization": header})
        if got.status == 401:
            raise _refused(request)
        return got

    # digest

    async def _by_digest(self, request: Request) -> Got:
        """Use the nonce again for as long as the device takes it, counted up (RFC 7616 section 3.4).

        One that is refused is replaced by the challenge that came with the refusal. A device that takes each nonce
        once would see a wrong login in every other request, so it gets a fresh one each time.
        """
        again = bool(self._challenges)
        if again:
            got = await self._answer(request, self._wire.url(request.path))
        else:
            got = await self._wire.fetch(request.method, request.path, request=request)
        if got.status != 401:
            return got
        if again and not _stale(got) and self._uses == 2:
            self._single_use = True
        for _ in range(2):
            self._challenges = [text for text in got.challenges if parse_challenge(text)[0] == "digest"]
            self._uses = 0
            got = await self._answer(request, got.url)
            if got.status != 401 or not _stale(got):
                break
        if got.status == 401:
            self._challenges = []
            raise _refused(request)
        if self._single_use or got.url != self._wire.url(request.path):
            self._challenges = []  # or the answer came from where it was redirected to
        return got

    async def _answer(self, request: Request, url: str) -> Got:
        secret, parts = self._secret(), urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._uses += 1
        header = authorize(
            self._challenges, request.method, target, secret.user, secret.password, secrets.token_hex(8), self._uses
        )
        if header is None or not header.startswith("Digest "):
            self._challenges = []
            raise HttpError(f"{request.path} wants a login that is no digest")
        return await self._wire.fetch(
            request.method, request.path, request=request, headers={"Authorization": header}, url=url
        )

    # sessions

    async def _by_session(self, profile: Profile, request: Request) -> Got:
        """Ask within a session, logging in where there is none or it has ended (once a request)."""
        fresh = not self._in_session
        if fresh:
            await self._log_in(profile)
        auth = profile.file.auth
        while True:
            headers = {}
            if self._token is not None:
                headers[auth.token_header] = auth.token_format.replace("{token}", self._token)
            got = await self._wire.fetch(request.method, request.path, request=request, headers=headers)
            text = got.body[:2048].decode("utf-8", "replace")
            if got.status not in (401, 403) and not (
                auth.expired is not None and compiled(auth.expired).search(text) is not None
            ):
                return got
            if fresh:
                raise LoginError(f"{request.path} answers {got.status} right after a login")
            await self._log_in(profile)
            fresh = True

    async def _log_in(self, profile: Profile) -> None:
        auth, secret = profile.file.auth, self._secret()
        self._in_session, self._token = False, None
        nonce = ""
        if auth.nonce_path is not None and auth.nonce_at is not None:
            got = await self._wire.fetch("GET", auth.nonce_path, headers=auth.headers)
            nonce = _text_at(got.body, auth.nonce_at) or ""
            if not nonce:
                raise HttpError(f"{auth.nonce_path} gives no nonce for the login")
        values = {"user": secret.user, "password": secret.password, "nonce": nonce}
        fields = {name: fill(template, values) for name, template in auth.fields.items()}
        data = json.dumps(fields).encode() if auth.login_format == "json" else None
        if auth.body is not None:
            data = fill(auth.body, values).encode()
        got = await self._wire.fetch(
            "POST", auth.login_path or "/", headers=auth.headers, data=data, form=fields if data is None else None
        )
        good = got.status == 200
        if good and auth.ok is not None:
            good = compiled(auth.ok).search(got.body[:4096].decode("utf-8", "replace")) is not None
        if good and auth.kind == "token" and auth.token_at is not None:
            self._token = _text_at(got.body, auth.token_at)
            good = bool(self._token)
        if not good:
            raise LoginError(f"{auth.login_path} answers {got.status} and no session")
        self._in_session = True

    def _secret(self) -> _Secret:
        name = "token_file" if self._config.token_file else "password_file"
        return _Secret(self._config.user or "", read_secret(getattr(self._config, name) or "", f"http.{name}"))


def _refused(request: Request) -> LoginError:
    return LoginError(f"{request.path} answers 401 to the configured credentials")


def _stale(got: Got) -> bool:
    return any(parse_challenge(text)[1].get("stale", "").lower() == "true" for text in got.challenges)


def _text_at(body: bytes, path: str) -> str | None:
    """Return the text at a path of a login's JSON answer, which is looked at before secrets are dropped from it."""
    try:
        document = json.loads(body[:MAX_BODY])
    except (ValueError, RecursionError):
        return None
    value = next((value for _, value in find(document, path)), None)
    return str(value) if isinstance(value, str | int) else None
