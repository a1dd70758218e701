"""The ``http`` input: devices that are read over HTTP by a profile, each maker's login included.

What this holds to: credentials are sent only after the identity request has matched a profile, and never to another
host that an answer redirects to. A login that the device took serves as long as it lasts; one that it refused rests for
most of an hour, or until its secret's file says something else (makers lock the address), and a TCP connection then
tells whether the device is still there. Nothing is asked that ``profiles check`` would refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from agent.http_fetch import Got, HttpError, HttpFetch
from agent.http_login import HttpLogin, LoginError
from agent.inputs.base import Poll
from agent.refused_login import RefusedLogin
from firmware_profiles.cells import compiled
from firmware_profiles.http_answers import (
    Answer,
    AnswerError,
    HttpAnswers,
    is_error,
    parse_document,
    requests_read,
)
from firmware_profiles.load import Profile
from firmware_profiles.login import TemplateError
from firmware_profiles.match import fits_http
from firmware_profiles.model import Request
from firmware_profiles.read import read
from firmware_profiles.read_only import switches
from telemetry.files import FileError
from telemetry.inputs import HttpInput
from telemetry.readings import Identity, Reading

REACHABLE: Final = "device.reachable"
_SHARE: Final = 0.9
_RETRY_UNKNOWN: Final = 300.0


class UnknownDeviceError(HttpError):
    """No profile fits the device, or two do."""


class HttpDevice:
    """One device over HTTP (``agent.inputs.base.Input``)."""

    def __init__(self, config: HttpInput, profiles: Mapping[str, Profile]) -> None:
        self._config: Final = config
        self._profiles: Final = {key: profile for key, profile in profiles.items() if profile.transport == "http"}
        self._wire: Final = HttpFetch(config)
        self._profile: Profile | None = None
        self._why = ""
        self._asked_at = -_RETRY_UNKNOWN
        self._login: Final = HttpLogin(config, self._wire)
        who = f"user {config.user!r}" if config.user else "the token"
        self._refused: Final = RefusedLogin(f"{who} at {urlsplit(config.url).netloc.rpartition('@')[2]}")
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
                if self._refused.rests(now, self._login.mark):
                    return await self._left_alone()
                return await self._poll(now)
        except LoginError as error:
            self._refused.refuse(now, str(error), self._login.mark)
            self._forget()
            return Poll([Reading(REACHABLE, True)], problem=self._refused.told)
        except HttpError as error:
            if not error.reachable:
                self._forget()
            return Poll([Reading(REACHABLE, error.reachable)], problem=str(error))
        except (FileError, TemplateError) as error:
            return Poll([Reading(REACHABLE, True)], problem=str(error))
        except TimeoutError:
            self._forget_profile()  # slow is not another device: its login still stands
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
        self._refused.accept()
        result = read(profile, answers)
        changed = result.identity != self._identity
        self._identity = result.identity
        return Poll(
            readings=[Reading(REACHABLE, True), *result.readings],
            identity=result.identity if changed else None,
            flags=result.flags,
            problem="; ".join(problems) or None,
            profile=profile.id,
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
            got = await self._login.ask(profile, request)
            if got.status == 200:
                found[name] = answer_of(request, got, problems, name)
                self._answers[name] = (now, found[name])
            elif request.identity:
                found[name] = answer_of(request, got)
                if got.status == 401 and not self._login.configured:
                    raise HttpError(f"{request.path} needs a login, and none is configured")
            elif not request.optional:
                problems.append(f"{name}: expected status 200, found {got.status}")
        return HttpAnswers(found), problems

    # a refused login

    async def _left_alone(self) -> Poll:
        """Say whether somebody still listens there, without any request that could count as a login."""
        parts = urlsplit(self._config.url)
        reachable = True
        try:
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            )
            writer.close()
        except OSError:
            reachable = False
        return Poll([Reading(REACHABLE, reachable)], problem=self._refused.told)

    def _forget(self) -> None:
        self._forget_profile()
        self._login.forget()

    def _forget_profile(self) -> None:
        self._profile, self._why = None, ""
        self._answers.clear()

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
