"""The ``http`` input: devices that are read over HTTP by a profile, each maker's login included.

What this holds to: credentials are sent only after the identity request has matched a profile, and never to another
host that an answer redirects to. One failed login and the device is left alone (makers lock the address) until its
secret's file says something else; a TCP connection then tells whether it is still there. Nothing is asked that
``profiles check`` would refuse.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from agent.http_fetch import Got, HttpError, HttpFetch
from agent.inputs.base import Poll
from agent.protocols.digest import authorize, parse_challenge
from firmware_profiles.cells import compiled
from firmware_profiles.http_answers import (
    MAX_BODY,
    Answer,
    AnswerError,
    HttpAnswers,
    find,
    is_error,
    parse_document,
    requests_read,
)
from firmware_profiles.load import Profile
from firmware_profiles.login import TemplateError, fill
from firmware_profiles.match import fits_http
from firmware_profiles.model import Request
from firmware_profiles.read import read
from firmware_profiles.read_only import switches
from telemetry.files import FileError, read_secret
from telemetry.inputs import HttpInput
from telemetry.readings import Identity, Reading

REACHABLE: Final = "device.reachable"
_SHARE: Final = 0.9
_RETRY_UNKNOWN: Final = 300.0


class LoginError(HttpError):
    """A login failed: the device is to be left alone."""


class UnknownDeviceError(HttpError):
    """No profile fits the device, or two do."""


@dataclass(slots=True)
class _Secret:
    """What opens the device, read from its file when it is needed; ``mark`` tells whether the file has changed."""

    user: str
    password: str
    mark: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.mark = hashlib.sha256(f"{self.user}\0{self.password}".encode()).digest()


class HttpDevice:
    """One device over HTTP (``agent.inputs.base.Input``)."""

    def __init__(self, config: HttpInput, profiles: Mapping[str, Profile]) -> None:
        self._config: Final = config
        self._profiles: Final = {key: profile for key, profile in profiles.items() if profile.transport == "http"}
        self._wire: Final = HttpFetch(config)
        self._profile: Profile | None = None
        self._why = ""
        self._asked_at = -_RETRY_UNKNOWN
        self._locked: tuple[str, bytes] | None = None
        self._logged_in = False
        self._token: str | None = None
        self._answers: dict[str, tuple[float, Answer]] = {}
        self._identity: Identity | None = None

    @property
    def profile(self) -> Profile | None:
        """The profile in use, or None before the first contact and for an unknown device."""
        return self._profile

    async def poll(self, now: float) -> Poll:
        """Read the device once, within the configured deadline."""
        try:
            async with asyncio.timeout(self._config.deadline * _SHARE):
                if self._locked is not None and self._still_locked():
                    return await self._left_alone()
                return await self._poll(now)
        except LoginError as error:
            self._locked = (str(error), self._mark())
            self._forget()
            return Poll([Reading(REACHABLE, True)], problem=f"login failed, left alone: {error}")
        except HttpError as error:
            if not error.reachable:
                self._forget()
            return Poll([Reading(REACHABLE, error.reachable)], problem=str(error))
        except (FileError, TemplateError) as error:
            return Poll([Reading(REACHABLE, True)], problem=str(error))
        except TimeoutError:
            self._forget()
            return Poll([Reading(REACHABLE, False)], problem="no answer over HTTP")

    async def _poll(self, now: float) -> Poll:
        if self._profile is None:
            if self._why and now - self._asked_at < _RETRY_UNKNOWN:
                await self._wire.fetch("GET", "/")
                raise UnknownDeviceError(self._why)
            await self._find(now)
        profile = self._profile
        assert profile is not None
        answers, problems = await self._ask(profile, now)
        fits, said = fits_http(profile, answers)
        if not fits:
            self._profile, self._why, self._asked_at = None, f"profile_unknown: {profile.id}: {said}", now
            raise UnknownDeviceError(self._why)
        result = read(profile, answers)
        changed = result.identity != self._identity
        self._identity = result.identity
        return Poll(
            readings=[Reading(REACHABLE, True), *result.readings],
            identity=result.identity if changed else None,
            flags=result.flags,
            problem="; ".join(problems) or None,
        )

    # finding the profile: nothing but anonymous requests

    async def _find(self, now: float) -> None:
        self._asked_at = now
        asked: dict[tuple[str, str, str | None], Got] = {}
        sure: list[Profile] = []
        likely: list[Profile] = []
        maybe: list[Profile] = []
        reasons: list[str] = []
        named = self._config.profile
        for profile in self._profiles.values():
            if named is not None and profile.id != named:
                continue
            if any(switches(one.path) or switches(one.body or "") for one in profile.requests.values()):
                reasons.append(f"{profile.id}: it would ask something that does more than read")
                continue
            if named is None and any(one.identity and one.method == "POST" for one in profile.requests.values()):
                reasons.append(f"{profile.id}: its identity request is a POST, so it must be named")
                continue
            found: dict[str, Answer] = {}
            challenged = False
            for name, request in profile.requests.items():
                if not request.identity:
                    continue
                key = (request.method, request.path, request.body)
                if key not in asked:
                    asked[key] = await self._wire.fetch(request.method, request.path, request=request)
                found[name] = answer_of(request, asked[key])
                auth = profile.file.auth
                if asked[key].status == 401 and auth.kind == "digest" and auth.challenge is not None:
                    challenges = " ".join(asked[key].challenges)
                    challenged = compiled(auth.challenge).search(challenges) is not None
                    if challenged and auth.realm is not None and compiled(auth.realm).search(challenges):
                        likely.append(profile)
            fits, said = fits_http(profile, HttpAnswers(found), firmware=False)
            if fits:
                sure.append(profile)
            elif challenged:
                maybe.append(profile)
            else:
                reasons.append(f"{profile.id}: {said}")
        chosen = sure or likely or maybe
        if len(chosen) == 1:
            self._profile, self._why, self._identity = chosen[0], "", None
            return
        if chosen:
            self._why = f"profile_unknown: ambiguous: {', '.join(profile.id for profile in chosen)} fit equally well"
        else:
            self._why = f"profile_unknown: no profile fits ({'; '.join(reasons)})"
        raise UnknownDeviceError(self._why)

    # asking

    async def _ask(self, profile: Profile, now: float) -> tuple[HttpAnswers, list[str]]:
        """Ask the profile's requests, the identity first, and check it again before anything else is asked."""
        problems: list[str] = []
        found: dict[str, Answer] = {}
        used = requests_read(profile)
        ordered = [item for item in profile.requests.items() if item[0] in used]
        ordered.sort(key=lambda item: not item[1].identity)
        checked = False
        for number, (name, request) in enumerate(ordered):
            held = self._answers.get(name)
            if held is not None and request.interval and now - held[0] < request.interval:
                found[name] = held[1]
                continue
            if not request.identity and not checked:
                fits, said = fits_http(profile, HttpAnswers(found), firmware=False)
                if not fits:
                    self._profile, self._why = None, f"profile_unknown: {profile.id}: {said}"
                    raise UnknownDeviceError(self._why)
                checked = True
            if number and profile.file.spacing:
                await asyncio.sleep(profile.file.spacing)
            got = await self._authorized(profile, request)
            if got.status == 200:
                found[name] = answer_of(request, got, problems, name)
                self._answers[name] = (now, found[name])
            elif request.identity:
                found[name] = answer_of(request, got)
                if got.status == 401 and not self._has_credentials():
                    raise HttpError(f"{request.path} needs a login, and none is configured")
            elif not request.optional:
                problems.append(f"{name}: expected status 200, found {got.status}")
        return HttpAnswers(found), problems

    async def _authorized(self, profile: Profile, request: Request) -> Got:
        """Ask one request with what the maker's devices want; raises LoginError when credentials are not taken."""
        kind = profile.file.auth.kind
        if kind == "none" or request.anonymous or not self._has_credentials():
            return await self._wire.fetch(request.method, request.path, request=request)
        if kind == "digest":
            return await self._digest(request)
        if kind in ("form", "token"):
            return await self._in_session(profile, request)
        secret = self._secret()
        header = f"Bearer {secret.password}"
        if kind == "basic":
            header = authorize(["Basic"], "", "", secret.user, secret.password, "", 1) or ""
        got = await self._wire.fetch(request.method, request.path, request=request, headers={"Authorization": header})
        if got.status == 401:
            raise LoginError(f"{request.path} answers 401 to the configured credentials")
        return got

    async def _digest(self, request: Request) -> Got:
        """Answer each challenge freshly: a nonce used again may look like a wrong password to a device."""
        got = await self._wire.fetch(request.method, request.path, request=request)
        secret = self._secret()
        for _ in range(2):
            challenges = [text for text in got.challenges if parse_challenge(text)[0] == "digest"]
            if got.status != 401:
                return got
            uri = urlsplit(got.url)
            target = uri.path + (f"?{uri.query}" if uri.query else "")
            header = authorize(
                challenges, request.method, target, secret.user, secret.password, secrets.token_hex(8), 1
            )
            if header is None:
                raise HttpError(f"{request.path} wants a login that is no digest")
            got = await self._wire.fetch(
                request.method, request.path, request=request, headers={"Authorization": header}, url=got.url
            )
            stale = any(parse_challenge(text)[1].get("stale", "").lower() == "true" for text in got.challenges)
            if got.status == 401 and not stale:
                raise LoginError(f"{request.path} answers 401 to the configured credentials")
        return got

    async def _in_session(self, profile: Profile, request: Request) -> Got:
        """Ask within a session, logging in where there is none or it has ended (once a request)."""
        if not self._logged_in:
            await self._log_in(profile)
            fresh = True
        else:
            fresh = False
        while True:
            headers = {}
            if self._token is not None:
                auth = profile.file.auth
                headers[auth.token_header] = auth.token_format.replace("{token}", self._token)
            got = await self._wire.fetch(request.method, request.path, request=request, headers=headers)
            ended = profile.file.auth.expired
            text = got.body[:2048].decode("utf-8", "replace")
            if got.status not in (401, 403) and not (ended is not None and compiled(ended).search(text)):
                return got
            if fresh:
                raise LoginError(f"{request.path} answers {got.status} right after a login")
            await self._log_in(profile)
            fresh = True

    async def _log_in(self, profile: Profile) -> None:
        auth, secret = profile.file.auth, self._secret()
        self._logged_in, self._token = False, None
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
        self._logged_in = True

    # secrets and lock-out

    def _has_credentials(self) -> bool:
        return self._config.password_file is not None or self._config.token_file is not None

    def _secret(self) -> _Secret:
        name = "token_file" if self._config.token_file else "password_file"
        return _Secret(self._config.user or "", read_secret(getattr(self._config, name) or "", f"http.{name}"))

    def _mark(self) -> bytes:
        try:
            return self._secret().mark
        except FileError:
            return b""

    def _still_locked(self) -> bool:
        assert self._locked is not None
        if self._mark() in (self._locked[1], b""):
            return True
        self._locked = None
        return False

    async def _left_alone(self) -> Poll:
        """Say whether somebody still listens there, without any request that could count as a login."""
        assert self._locked is not None
        parts = urlsplit(self._config.url)
        reachable = True
        try:
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            )
            writer.close()
        except OSError:
            reachable = False
        return Poll([Reading(REACHABLE, reachable)], problem=f"login failed, left alone: {self._locked[0]}")

    def _forget(self) -> None:
        self._profile, self._why, self._logged_in, self._token = None, "", False, None
        self._answers.clear()
        self._wire.forget()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._wire.close()


def answer_of(request: Request, got: Got, problems: list[str] | None = None, name: str = "") -> Answer:
    """Return an answer's document; one that is not in the request's format has none (said in ``problems``)."""
    document = None
    if not is_error(request, got.body):
        try:
            document = parse_document(request.format, got.body)
        except AnswerError as error:
            if problems is not None and not request.optional:
                problems.append(f"{name}: {error}")
    return Answer(document, got.status, got.headers)


def _text_at(body: bytes, path: str) -> str | None:
    """Return the text at a path of a login's JSON answer, which is looked at before secrets are dropped from it."""
    try:
        document = json.loads(body[:MAX_BODY])
    except (ValueError, RecursionError):
        return None
    value = next((value for _, value in find(document, path)), None)
    return str(value) if isinstance(value, str | int) else None
