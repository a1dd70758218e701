"""The http input against small servers with each maker's login: what is sent to whom, and what comes of the answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from agent.inputs.base import Poll
from agent.inputs.http import HttpDevice
from firmware_profiles.load import load_profiles, read_yaml, resolve_all
from kitwatch.decode import decode_http
from telemetry.inputs import HttpInput
from tests.services.process import free_port

PROFILES = load_profiles()
INFO = """<?xml version="1.0" encoding="UTF-8"?>
<DeviceInfo version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema"><model>DS-2CD1</model>
<serialNumber>EXAMPLE1</serialNumber><firmwareVersion>V5.6.2</firmwareVersion></DeviceInfo>"""
STATUS = """<DeviceStatus xmlns="http://www.isapi.org/ver20/XMLSchema"><deviceUpTime>77</deviceUpTime>
<CPUList><CPU><cpuUtilization>31</cpuUtilization></CPU></CPUList></DeviceStatus>"""
USER, PASSWORD = "watcher", 'correct "horse"'


@dataclass
class Seen:
    """What a server was asked: (method, path, Authorization header or None)."""

    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def with_credentials(self) -> list[str]:
        return [path for _, path, header in self.requests if header is not None]

    def note(self, request: web.Request) -> None:
        self.requests.append((request.method, request.path_qs, request.headers.get("Authorization")))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Site:
    """A server on a free port for the length of a test."""

    handler: Handler
    context: ssl.SSLContext | None = None
    port: int = 0
    runner: web.AppRunner | None = None

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handler)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        self.port = free_port()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=self.context).start()
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    async def __aexit__(self, *_: object) -> None:
        assert self.runner is not None
        await self.runner.cleanup()


def digest_ok(request: web.Request, nonce: str) -> bool:
    """RFC 7616 section 3.4.1, by hand: MD5, qop auth."""
    header = request.headers.get("Authorization", "")
    found = dict(re.findall(r'(\w+)="?((?:[^",\\]|\\.)*)"?', header))
    found = {key: value.replace('\\"', '"') for key, value in found.items()}
    if found.get("nonce") != nonce or found.get("uri") != request.path_qs:
        return False

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    first, second = md5(f"{USER}:kit:{PASSWORD}"), md5(f"{request.method}:{found['uri']}")
    wanted = md5(f"{first}:{nonce}:{found['nc']}:{found['cnonce']}:{found['qop']}:{second}")
    return found.get("username") == USER and found.get("response") == wanted


def digest_device(seen: Seen, pages: dict[str, str]) -> Handler:
    count = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal count
        seen.note(request)
        nonce = f"n{count}"
        if not digest_ok(request, nonce):
            count += 1
            challenge = f'Digest realm="kit", qop="auth", nonce="n{count}", algorithm=MD5'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        page = pages.get(request.path_qs)
        return web.Response(text=page) if page is not None else web.Response(status=404)

    return handle


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def config(url: str, profile: str | None, secret: Path | None, **more: object) -> HttpInput:
    return HttpInput(
        url=url,
        profile=profile,
        user=USER,
        password_file=str(secret) if secret is not None else None,
        **more,  # type: ignore[arg-type]
    )


async def polls(settings: HttpInput, times: int = 1, between: Callable[[int], None] = lambda _: None) -> list[Poll]:
    device = HttpDevice(settings, PROFILES)
    found = []
    try:
        for number in range(times):
            found.append(await device.poll(number * 10.0))
            between(number)
    finally:
        await device.close()
    return found


def values(poll: Poll) -> dict[str, object]:
    return {reading.metric: reading.value for reading in poll.readings}


def test_digest_as_hikvision_wants_it(secret: Path, tmp_path: Path) -> None:
    seen = Seen()

    async def run() -> list[Poll]:
        pages = {"/ISAPI/System/deviceInfo": INFO, "/ISAPI/System/status": STATUS}
        async with Site(digest_device(seen, pages)) as url:
            return await polls(config(url, "hikvision/isapi", secret), times=2)

    first, second = asyncio.run(run())
    expected = {
        "device.reachable": True,
        "device.firmware": "V5.6.2",
        "device.uptime_s": 77,
        "device.cpu_percent": 31.0,
    }
    assert values(first) == expected
    assert values(second) == expected
    assert first.problem is None
    assert first.identity is not None
    assert (first.identity.model, first.identity.serial) == ("DS-2CD1", "EXAMPLE1")
    assert second.identity is None
    assert seen.requests[0][2] is None, "the first request is anonymous"
    saved = tmp_path / "status.xml"
    saved.write_text(STATUS)
    decoded = decode_http(saved, "hikvision/isapi", None, [])
    assert {one["metric"]: one["value"] for one in decoded["readings"]} == {
        "device.uptime_s": 77,
        "device.cpu_percent": 31.0,
    }


def test_dahua_lines_and_a_device_found_by_itself(secret: Path) -> None:
    seen = Seen()
    cgi = "/cgi-bin/magicBox.cgi?action="

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        pages = {
            f"{cgi}getSystemInfo": "deviceType=31\r\nserialNumber=EX2\r\n",
            f"{cgi}getSoftwareVersion": "version=2.800.0000016.0.R,build:2020-06-05\r\n",
            f"{cgi}getDeviceType": "type=MNVR4104\r\n",
            f"{cgi}getCPUUsage": "Error\r\nNot Implemented!\r\n",
        }
        page = pages.get(request.path_qs)
        return web.Response(text=page) if page else web.Response(status=404)

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            return await polls(config(url, None, secret))

    (poll,) = asyncio.run(run())
    assert poll.identity is not None
    assert (poll.identity.vendor, poll.identity.model) == ("Dahua", "MNVR4104")
    assert values(poll) == {
        "device.reachable": True,
        "device.firmware": "2.800.0000016.0.R,build:2020-06-05",
    }
    assert seen.with_credentials == [], "nobody asked for a login"
    assert all(method == "GET" for method, _, _ in seen.requests)


@pytest.mark.parametrize(
    ("realm", "vendor"), [("Login to 4X7EX", "Dahua"), ("IP Camera(C1234)", "Hikvision"), ("anything", None)]
)
def test_two_makers_that_hide_behind_a_digest_are_told_apart_by_its_realm(
    realm: str, vendor: str | None, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    seen = Seen()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        challenge = f'Digest realm="{realm}", qop="auth", nonce="n"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            return await polls(config(url, None, secret))

    (poll,) = asyncio.run(run())
    assert poll.problem is not None
    tried = {"Dahua": ["/cgi-bin/magicBox.cgi?action=getSystemInfo"], "Hikvision": ["/ISAPI/System/deviceInfo"]}
    assert seen.with_credentials == (tried[vendor] if vendor else [])
    assert poll.problem.startswith("login refused: " if vendor else "profile_unknown: ambiguous")


def test_one_failed_login_and_the_device_is_left_alone(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    seen = Seen()
    asked_before_change = 0

    def between(number: int) -> None:
        nonlocal asked_before_change
        if number == 3:
            asked_before_change = len(seen.requests)
            secret.write_text(PASSWORD + "\n")

    async def run() -> list[Poll]:
        pages = {"/ISAPI/System/deviceInfo": INFO, "/ISAPI/System/status": STATUS}
        async with Site(digest_device(seen, pages)) as url:
            return await polls(config(url, "hikvision/isapi", secret), times=5, between=between)

    found = asyncio.run(run())
    wrong = [path for _, path, header in seen.requests[:asked_before_change] if header is not None]
    assert wrong == ["/ISAPI/System/deviceInfo"], "one attempt in four polls"
    for poll in found[:4]:
        assert values(poll) == {"device.reachable": True}
        assert poll.problem is not None
        assert poll.problem.startswith("login refused: ")
    assert "device.uptime_s" in values(found[4]), "a changed secret is tried"


HIKVISION = {"/ISAPI/System/deviceInfo": INFO, "/ISAPI/System/status": STATUS}


def guarded_device(seen: Seen, pages: dict[str, str], *, uses: int, stale: bool) -> tuple[Handler, list[int]]:
    """A device that takes each nonce ``uses`` times; the second value counts the challenges it gave."""
    left, challenges = [0], [0]

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        nonce = f"n{challenges[0]}"
        if left[0] and digest_ok(request, nonce):
            left[0] -= 1
            page = pages.get(request.path_qs)
            return web.Response(text=page) if page is not None else web.Response(status=404)
        challenges[0] += 1
        left[0] = uses
        more = ", stale=true" if stale and "Authorization" in request.headers else ""
        challenge = f'Digest realm="kit", qop="auth", nonce="n{challenges[0]}", algorithm=MD5{more}'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    return handle, challenges


@pytest.mark.parametrize(
    ("uses", "stale", "most"),
    [
        (10_000, False, 1),  # one login for 160 requests
        (30, True, 6),  # a nonce that ends, and says so
        (30, False, 6),  # or does not
        (1, False, 161),  # each nonce once: then a fresh one for each request, as it must be
    ],
)
def test_one_login_serves_many_requests(uses: int, stale: bool, most: int, secret: Path) -> None:
    seen = Seen()
    handler, challenges = guarded_device(seen, HIKVISION, uses=uses, stale=stale)

    async def run() -> list[Poll]:
        async with Site(handler) as url:
            return await polls(config(url, "hikvision/isapi", secret), times=40)

    for poll in asyncio.run(run()):
        assert poll.problem is None
        assert values(poll)["device.uptime_s"] == 77
    assert len(seen.with_credentials) >= 160
    anonymous_probe = 1
    assert challenges[0] <= most + anonymous_probe
    wrong = challenges[0] - sum(header is None for _, _, header in seen.requests)
    assert wrong <= (1 if uses == 1 else 5), "refused logins, as the device counts them"


def test_a_refused_login_is_tried_again_within_the_hour_and_25_times_a_day(tmp_path: Path) -> None:
    """One 401 does not end a camera's monitoring, and does not lock its address either."""
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    seen = Seen()

    async def run() -> tuple[list[Poll], int, Poll]:
        pages = dict(HIKVISION)
        async with Site(digest_device(seen, pages)) as url:
            device = HttpDevice(config(url, "hikvision/isapi", secret), PROFILES)
            found = [await device.poll(float(now)) for now in range(0, 86_400, 300)]
            tried = len(seen.with_credentials)
            secret.write_text(PASSWORD + "\n")
            later = await device.poll(86_400.0 + 3600)
            await device.close()
            return found, tried, later

    found, tried, later = asyncio.run(run())
    assert 24 <= tried <= 25
    assert {poll.problem for poll in found} == {found[0].problem}, "one text for a rule to hold on to"
    assert (found[0].problem or "").startswith(f"login refused: user {USER!r} at 127.0.0.1:")
    assert "wrong" not in (found[0].problem or "")
    assert values(later)["device.uptime_s"] == 77


def test_credentials_never_follow_a_redirect_to_another_host(secret: Path) -> None:
    seen, other = Seen(), Seen()
    real = digest_device(seen, {"/ISAPI/System/deviceInfo": INFO})

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        other.note(request)
        return web.Response(text=STATUS)

    async def run() -> list[Poll]:
        async with Site(elsewhere) as foreign:

            async def handle(request: web.Request) -> web.StreamResponse:
                if request.path == "/ISAPI/System/status":
                    seen.note(request)
                    return web.Response(status=302, headers={"Location": f"{foreign}/ISAPI/System/status"})
                return await real(request)

            async with Site(handle) as url:
                return await polls(config(url, "hikvision/isapi", secret), times=2)

    for poll in asyncio.run(run()):
        assert values(poll) == {"device.reachable": True}
        assert poll.problem is not None
        assert "another host" in poll.problem
    assert other.requests == []


def test_no_credentials_before_the_identity_has_matched(secret: Path) -> None:
    """A web server that is none of the maker's, and one that asks for the password itself (Basic)."""
    seen = Seen()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        if request.path.startswith("/v1"):
            return web.Response(text='{"hello":"world"}')
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="router"'})

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            found = await polls(config(url, "hikvision/isapi", secret))
            found += await polls(config(url, "inhand/flexapi", secret))
            found += await polls(config(url, None, secret))
            return found

    for poll in asyncio.run(run()):
        assert values(poll) == {"device.reachable": True}
        assert poll.problem is not None
        assert poll.problem.startswith("profile_unknown")
    assert seen.requests
    assert seen.with_credentials == []


def test_what_stands_behind_a_login_is_looked_at_before_more_is_asked(secret: Path) -> None:
    seen = Seen()

    async def run() -> list[Poll]:
        pages = {"/ISAPI/System/deviceInfo": "<html>another box</html>", "/ISAPI/System/status": STATUS}
        async with Site(digest_device(seen, pages)) as url:
            return await polls(config(url, "hikvision/isapi", secret))

    (poll,) = asyncio.run(run())
    assert poll.problem is not None
    assert poll.problem.startswith("profile_unknown")
    assert seen.with_credentials == ["/ISAPI/System/deviceInfo"]


def test_bearer_token_of_an_inhand_gateway(secret: Path) -> None:
    seen = Seen()
    bodies = {
        "/v1/sysinfo/refresh": {"sysinfo.model_name": "VG814", "sysinfo.firmware_version": "V1.0.0"},
        "/v1/cellular1/refresh": {"modem1.network": 4, "modem1.submode": "SA", "modem1.rsrp": -91},
        "/v1/io/refresh": {"io.igt_status": 0, "io.power_input": 12.4},
    }

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        if request.headers.get("Authorization") != f"Bearer {PASSWORD}":
            return web.json_response({"error": 401, "error_desc": "Unauthorized"}, status=401)
        body = bodies.get(request.path)
        if body is None:
            return web.json_response({"error": 404, "error_desc": "none"}, status=404)
        return web.json_response({"result": body})

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            return await polls(HttpInput(url=url, profile="inhand/flexapi", token_file=str(secret)))

    (poll,) = asyncio.run(run())
    found = {(r.metric, r.labels.get("leg")): r.value for r in poll.readings}
    assert found == {
        ("device.reachable", None): True,
        ("device.firmware", None): "V1.0.0",
        ("modem.technology", None): "5g_sa",
        ("modem.rsrp_dbm", "nr"): -91.0,
        ("power.ignition", None): False,
        ("power.supply_v", None): 12.4,
    }
    assert seen.requests[0][2] is None


def test_a_milesight_session_is_opened_once_and_again_when_it_ends(secret: Path) -> None:
    logins = 0
    valid: set[str] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal logins
        if request.path == "/islogin":
            return web.json_response({"model": "UR75", "rtver": "76.2.0.8-r2"})
        body = await request.json()
        if body["function"] == "login":
            logins += 1
            given = body["values"][0]
            decryptor = Cipher(algorithms.AES(b"1" * 16), modes.CBC(b"2" * 16)).decryptor()
            plain = decryptor.update(base64.b64decode(given["password"])) + decryptor.finalize()
            if (given["username"], plain[: -plain[-1]].decode()) != (USER, PASSWORD):
                return web.json_response({"status": 1}, status=401)
            valid.add(f"s{logins}")
            response = web.json_response({"status": 0})
            response.set_cookie("td", f"s{logins}")
            return response
        if request.cookies.get("td") not in valid:
            return web.json_response({}, status=401)
        value = {"modem": {"signal": "31asu (-51dBm)", "net_type": "LTE"}, "more": {"rsrp": "-77dBm"}}
        return web.json_response({"model": "UR75", "result": [{"get": [{"value": value}]}]})

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            return await polls(
                config(url, "milesight/ur", secret), times=4, between=lambda n: valid.clear() if n == 1 else None
            )

    for poll in asyncio.run(run()):
        assert values(poll)["modem.rssi_dbm"] == -51.0
        assert values(poll)["modem.rsrp_dbm"] == -77.0
        assert poll.problem is None
    assert logins == 2


TOKEN_PROFILE = """
id: maker/token
vendor: Maker
transport: http
match: {probes: [{at: "info:model"}]}
auth:
  kind: token
  nonce_path: /nonce
  nonce_at: LD
  login_path: /login
  login_format: json
  fields: {user: <<user>>, hash: <<password|sha256|upper|+nonce|sha256|upper>>}
  ok: '"result":\\s*0'
  token_at: data.token
  token_header: X-Token
requests:
  info: {path: /info, identity: true, anonymous: true}
  load: {path: /load}
metrics: [{metric: device.cpu_percent, from: ["load:cpu"]}]
"""


@pytest.mark.parametrize("right", [True, False])
def test_a_token_login_with_its_nonce(secret: Path, right: bool) -> None:
    file = read_yaml(TOKEN_PROFILE, "token.yaml")
    made = resolve_all({file.id: ("token.yaml", file)})
    logins = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal logins
        if request.path == "/info":
            return web.json_response({"model": "x"})
        if request.path == "/nonce":
            return web.json_response({"LD": "N1"})
        if request.path == "/login":
            logins += 1
            given = await request.json()
            inner = hashlib.sha256(PASSWORD.encode()).hexdigest().upper()
            wanted = hashlib.sha256((inner + "N1").encode()).hexdigest().upper()
            good = right and given == {"user": USER, "hash": wanted}
            return web.json_response({"result": 0 if good else 3, "data": {"token": "T1"}})
        if request.headers.get("X-Token") != "T1":
            return web.Response(status=401)
        return web.json_response({"cpu": 12})

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            device = HttpDevice(config(url, "maker/token", secret), made)
            found = [await device.poll(0.0), await device.poll(10.0)]
            await device.close()
            return found

    for poll in asyncio.run(run()):
        assert values(poll) == (
            {"device.reachable": True, "device.cpu_percent": 12.0} if right else {"device.reachable": True}
        )
        assert (poll.problem is None) is right
    assert logins == 1


def test_a_profile_that_would_switch_something_is_not_used(secret: Path) -> None:
    file = read_yaml(TOKEN_PROFILE.replace("path: /load", "path: /system/reboot"), "token.yaml")
    made = resolve_all({file.id: ("token.yaml", file)})
    seen = Seen()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        return web.json_response({"model": "x"})

    async def run() -> Poll:
        async with Site(handle) as url:
            device = HttpDevice(config(url, "maker/token", secret), made)
            poll = await device.poll(0.0)
            await device.close()
            return poll

    poll = asyncio.run(run())
    assert poll.problem is not None
    assert "more than read" in poll.problem
    assert seen.requests == []


def test_zte_gets_its_referer_and_asks_for_no_login(secret: Path) -> None:
    seen = Seen()
    referers = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.note(request)
        referers.add(request.headers.get("Referer"))
        answer = {"network_type": "SA", "lte_rsrp": "-104", "Z5g_rsrp": "-88", "wa_inner_version": "B05"}
        return web.Response(text=json.dumps(answer))

    async def run() -> tuple[str, list[Poll]]:
        async with Site(handle) as url:
            return url, await polls(config(url, "zte/goform", secret))

    url, (poll,) = asyncio.run(run())
    assert [(r.metric, r.value, dict(r.labels)) for r in poll.readings if r.metric.startswith("modem.rsrp")] == [
        ("modem.rsrp_dbm", -88.0, {"leg": "nr"})
    ]
    assert poll.flags[0].startswith("stale modem.rsrp_dbm")
    assert referers == {f"{url}/index.html"}
    assert seen.with_credentials == []


def test_a_dead_device(secret: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    (poll,) = asyncio.run(polls(config(url, "hikvision/isapi", secret)))
    assert values(poll) == {"device.reachable": False}


def test_a_device_that_never_ends_its_answer_is_given_up(secret: Path) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async def run() -> list[Poll]:
        async with Site(handle) as url:
            return await polls(config(url, "hikvision/isapi", secret, deadline=0.5, interval=1.0))

    (poll,) = asyncio.run(run())
    assert values(poll) == {"device.reachable": False}


def test_a_self_signed_device_by_its_pin(secret: Path, tmp_path: Path) -> None:
    key, certificate, fingerprint = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen = Seen()

    async def run() -> list[Poll]:
        pages = {"/ISAPI/System/deviceInfo": INFO, "/ISAPI/System/status": STATUS}
        async with Site(digest_device(seen, pages), context) as url:
            good = await polls(config(url, "hikvision/isapi", secret, fingerprint=fingerprint))
            asked = len(seen.requests)
            wrong = await polls(config(url, "hikvision/isapi", secret, fingerprint="00" * 32))
            unpinned = await polls(config(url, "hikvision/isapi", secret))
            assert len(seen.requests) == asked, "nothing is asked of a stranger"
            return [*good, *wrong, *unpinned]

    good, wrong, unpinned = asyncio.run(run())
    assert values(good)["device.uptime_s"] == 77
    assert values(wrong) == {"device.reachable": False}
    assert wrong.problem is not None
    assert "pinned" in wrong.problem
    assert values(unpinned) == {"device.reachable": False}


def self_signed(folder: Path) -> tuple[Path, Path, str]:
    """Return key, certificate and SHA-256 fingerprint of a certificate that nobody has signed."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=20000))
        .sign(private, hashes.SHA256())
    )
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return key, certificate, made.fingerprint(hashes.SHA256()).hex()
