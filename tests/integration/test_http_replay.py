"""Saved answers served over HTTP behind each maker's login give through the agent's input what their files give.

The answers are those of the profiles' examples, whose readings were written by hand; the logins are written here, each
as its maker has it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from agent.inputs.base import Poll
from agent.inputs.http import HttpDevice
from firmware_profiles.examples import written
from firmware_profiles.load import Profile, load_profiles
from firmware_profiles.model import Example
from kitwatch.decode import decode_http
from simulator.digest import DigestGuard
from telemetry.inputs import HttpInput
from tests.integration.test_http_input import Site
from tests.services.stopwatch import Stopwatch

PROFILES = {key: profile for key, profile in load_profiles().items() if profile.transport == "http"}
USER, PASSWORD = "watcher", 'correct "horse"'
SAVED = [
    pytest.param(key, example, id=f"{key}: {example.title}")
    for key, profile in PROFILES.items()
    for example in profile.file.examples
    if example.refused is None
]


class Login:
    """A maker's login: says whether a request is let in, or answers it. This one lets everybody in."""

    attempts = 0

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        return None


class Digest(Login):
    """RFC 2617 with the maker's realm; ONVIF's clock is told to everybody."""

    def __init__(self, realm: str, public: str = "") -> None:
        self._guard = DigestGuard(realm, USER, PASSWORD)
        self._public = public

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if self._public and self._public in await request.text():
            return None
        header = request.headers.get("Authorization")
        self.attempts += header is not None
        if header is not None and self._guard.accepts(header, request.method, request.path_qs):
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": self._guard.challenge()})


class Bearer(Login):
    """InHand FlexAPI: a token in each request, an error in JSON without it."""

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        header = request.headers.get("Authorization")
        self.attempts += header is not None
        if header == f"Bearer {PASSWORD}":
            return None
        return web.json_response({"error": 401, "error_desc": "Unauthorized"}, status=401)


class Milesight(Login):
    """A session in a cookie, for a password under AES with the key and vector that the maker's page has."""

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if request.path == "/islogin":
            return None
        asked = json.loads(await request.text())
        if asked["function"] != "login":
            return None if request.cookies.get("td") == "open" else web.Response(status=401)
        self.attempts += 1
        given = asked["values"][0]
        decryptor = Cipher(algorithms.AES(b"1" * 16), modes.CBC(b"2" * 16)).decryptor()
        plain = decryptor.update(base64.b64decode(given["password"])) + decryptor.finalize()
        if (given["username"], plain[: -plain[-1]].decode()) != (USER, PASSWORD):
            return web.json_response({"status": 1}, status=401)
        response = web.json_response({"status": 0})
        response.set_cookie("td", "open")
        return response


class Referer(Login):
    """ZTE goform answers an empty object to whom its own page did not send."""

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        return None if request.headers.get("Referer", "").endswith("/index.html") else web.json_response({})


LOGINS: Mapping[str, Callable[[], Login]] = {
    "hikvision/isapi": lambda: Digest("IP Camera(C1234)"),
    "dahua/cgi": lambda: Digest("Login to 4X7EX0123456789"),
    "onvif/device": lambda: Digest("IPC", public="GetSystemDateAndTime"),
    "inhand/flexapi": Bearer,
    "milesight/ur": Milesight,
    "zte/goform": Referer,
    "huawei/hilink": Login,
    "usr/g805": Login,
}
GUARDED = ["hikvision/isapi", "dahua/cgi", "onvif/device", "inhand/flexapi", "milesight/ur"]


@dataclass
class Device:
    """Serves the saved answers of one device behind its maker's login."""

    profile: Profile
    saved: Mapping[str, Path]
    login: Login
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        refused = await self.login.answer(request)
        if refused is not None:
            return refused
        body = await request.text()
        for name, wanted in self.profile.requests.items():
            if (request.method, request.path_qs, body) == (wanted.method, wanted.path, wanted.body or ""):
                return (
                    web.Response(body=self.saved[name].read_bytes()) if name in self.saved else web.Response(status=404)
                )
        return web.Response(status=404)


def save(example: Example, folder: Path) -> dict[str, Path]:
    assert isinstance(example.answers, dict)
    saved = {}
    for name, body in example.answers.items():
        saved[name] = folder / f"{name}.saved"
        saved[name].write_text(body, encoding="utf-8")
    return saved


def secret(folder: Path, text: str = PASSWORD) -> Path:
    path = folder / "secret"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def config(url: str, profile: str, file: Path) -> HttpInput:
    name = "token_file" if profile == "inhand/flexapi" else "password_file"
    return HttpInput(url=url, profile=profile, user=USER, **{name: str(file)})  # type: ignore[arg-type]


async def polled(device: Device, file: Path, times: int = 1) -> list[Poll]:
    async with Site(device.handle) as url:
        source = HttpDevice(config(url, device.profile.id, file), PROFILES)
        try:
            return [await source.poll(number * 60.0) for number in range(times)]
        finally:
            await source.close()


def test_every_shipped_profile_has_a_login_here() -> None:
    assert set(LOGINS) == set(PROFILES)
    assert {id for id in PROFILES if PROFILES[id].file.auth.kind != "none"} <= set(GUARDED)


@pytest.mark.parametrize(("name", "example"), SAVED)
def test_live_is_as_the_files(name: str, example: Example, tmp_path: Path) -> None:
    profile, saved = PROFILES[name], save(example, tmp_path)
    device = Device(profile, saved, LOGINS[name]())
    for poll in asyncio.run(polled(device, secret(tmp_path), times=2)):
        found = {written(one.metric, one.labels): one.value for one in poll.readings}
        assert found.pop("device.reachable") is True
        assert found == pytest.approx(example.readings, abs=1e-4)
        assert [flag.split()[:2] for flag in poll.flags] == [flag.split()[:2] for flag in example.flags]
    decoded: dict[str, object] = {}
    for request, file in saved.items():
        told = decode_http(file, name, request, [])
        decoded |= {written(one["metric"], one["labels"]): one["value"] for one in told["readings"]}
    assert decoded == found
    if name in GUARDED:
        assert device.login.attempts >= 1


@pytest.mark.parametrize("name", GUARDED)
def test_one_wrong_login_and_the_device_is_left_alone(name: str, tmp_path: Path) -> None:
    profile = PROFILES[name]
    example = next(one for one in profile.file.examples if one.refused is None)
    device = Device(profile, save(example, tmp_path), LOGINS[name]())
    for poll in asyncio.run(polled(device, secret(tmp_path, "wrong"), times=4)):
        assert [(one.metric, one.value) for one in poll.readings] == [("device.reachable", True)]
        assert poll.problem is not None
        assert poll.problem.startswith("login refused: ")
    assert device.login.attempts == 1


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_nothing_follows_a_redirect_to_another_host(name: str, tmp_path: Path) -> None:
    """Every answer but the first points elsewhere, where the very answers wait."""
    profile = PROFILES[name]
    example = next(one for one in profile.file.examples if one.refused is None)
    device, elsewhere = (Device(profile, save(example, tmp_path), Login()) for _ in range(2))

    async def run() -> list[Poll]:
        async with Site(elsewhere.handle) as foreign:

            async def handle(request: web.Request) -> web.StreamResponse:
                if not device.asked and len(profile.requests) > 1:
                    return await device.handle(request)
                return web.Response(status=307, headers={"Location": f"{foreign}{request.path_qs}"})

            async with Site(handle) as url:
                source = HttpDevice(config(url, name, secret(tmp_path)), PROFILES)
                try:
                    return [await source.poll(0.0), await source.poll(400.0)]
                finally:
                    await source.close()

    for poll in asyncio.run(run()):
        assert [(one.metric, one.value) for one in poll.readings] == [("device.reachable", True)]
        assert poll.problem is not None
        assert "another host" in poll.problem
    assert elsewhere.asked == []


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_device_that_hangs_costs_its_deadline_and_no_more(name: str, tmp_path: Path) -> None:
    async def run() -> tuple[Poll, float]:
        over = asyncio.Event()

        async def hang(request: web.Request) -> web.StreamResponse:
            await over.wait()
            return web.Response()

        async with Site(hang) as url:
            settings = config(url, name, secret(tmp_path))
            source = HttpDevice(
                HttpInput(
                    url=url,
                    profile=name,
                    user=USER,
                    password_file=settings.password_file,
                    token_file=settings.token_file,
                    interval=1,
                    deadline=1,
                ),
                PROFILES,
            )
            watch = Stopwatch()
            poll = await source.poll(0.0)
            took = watch.seconds
            over.set()
            await source.close()
            return poll, took

    poll, took = asyncio.run(asyncio.wait_for(run(), 60))
    assert [(one.metric, one.value) for one in poll.readings] == [("device.reachable", False)]
    assert took < 1.9, "it hangs in each request, and a second one would have as long again"
