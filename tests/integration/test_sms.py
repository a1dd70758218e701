"""Short messages through servers that behave as two mainland gateways do: HTTP 200, and a code in the body."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.channels.channel import Delivered, Notification, Outcome, Refused, Retry
from collector.channels.sms import Sms, SmsChannel
from collector.channels.sms_gateway import load_gateway
from collector.channels.sms_text import WHAT
from collector.core.recipients import Kind
from telemetry.files import FileError
from tests.integration.test_centre_health import collector_of, configured, speaking, ticket
from tests.integration.test_notifications import BODY
from tests.integration.test_site import until
from tests.services.mosquitto import mosquitto
from tests.unit.test_sms_text import EXAMPLES, example

EVIL = '急救"},"x":"【银行】\\u0000\r\nX-Evil: 1&to=1 {secret.key}${jndi}'
"""A vehicle's name that would break out of JSON, forms, headers and templates."""


class Gateway:
    """What the two have in common: one message a minute to a number, signatures checked, all that came kept."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock_s = 1_000.0
        self.asked: list[tuple[Mapping[str, str], dict[str, Any]]] = []
        self.taken: list[dict[str, Any]] = []
        self.told_s: dict[str, float] = {}
        self.always: tuple[int, str] | None = None

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self.aliyun if self.kind == "aliyun" else self.tencent)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))

    async def aliyun(self, request: web.Request) -> web.Response:
        body = await request.read()
        form = dict(await request.post())
        self.asked.append((request.headers, dict(form)))
        if self.always is not None:
            return web.Response(status=self.always[0], text=self.always[1])
        signed = [
            f"{name}:{request.headers[name]}\n"
            for name in request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        ]
        names = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
        canonical = f"POST\n/\n\n{''.join(signed)}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        words = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        mac = hmac.new(b"s3cret", words.encode(), hashlib.sha256).hexdigest()
        if f"Signature={mac}" not in request.headers["authorization"]:
            return web.json_response({"Code": "SignatureDoesNotMatch"}, status=400)
        parameters = json.loads(str(form["TemplateParam"]))
        if any(len(text) > 20 for text in parameters.values()):
            return web.json_response({"Code": "isv.PARAM_LENGTH_LIMIT", "Message": "参数超出长度限制"})
        return web.json_response(self._limited(str(form["PhoneNumbers"]), {**form, "TemplateParam": parameters}))

    def _limited(self, number: str, message: dict[str, Any]) -> dict[str, Any]:
        if not (number.isdecimal() and len(number) == 11):
            return {"Code": "isv.MOBILE_NUMBER_ILLEGAL", "Message": "手机号码格式错误"}
        if self.clock_s - self.told_s.get(number, 0) < 60:
            return {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发分钟级流控Permits:1"}
        self.told_s[number] = self.clock_s
        self.taken.append(message)
        return {"Code": "OK", "Message": "OK", "RequestId": "1", "BizId": "1"}

    async def tencent(self, request: web.Request) -> web.Response:
        sent = json.loads(await request.text())
        self.asked.append((request.headers, sent))
        if self.always is not None:
            return web.Response(status=self.always[0], text=self.always[1])
        if not request.headers["authorization"].startswith("TC3-HMAC-SHA256 Credential=KEYID/"):
            return web.json_response({"Response": {"Error": {"Code": "AuthFailure.SignatureFailure"}}})
        if any(len(text) > 12 for text in sent["TemplateParamSet"]):
            code = "InvalidParameterValue.TemplateParameterLengthLimit"
            return web.json_response({"Response": {"SendStatusSet": [{"Code": code}]}})
        self.taken.append(sent)
        status = {
            "SerialNo": "1",
            "PhoneNumber": sent["PhoneNumberSet"][0],
            "Fee": 1,
            "Code": "Ok",
            "Message": "send success",
        }
        return web.json_response({"Response": {"SendStatusSet": [status], "RequestId": "1"}})


def channel_of(tmp_path: Path, kind: str, url: str, clock: Callable[[], float], **more: Any) -> SmsChannel:
    """Return the channel of a shipped file that asks ``url``."""
    path = example(tmp_path, f"sms-{kind}.yaml", lambda data: data.update(url=url, **more))
    settings = Sms(gateway=path.name, to="13800000000").checked(tmp_path / "collector.yaml", "notifications.0")
    return SmsChannel(settings, load_gateway(path), monotonic_s=clock)


def notice(key: str = "k", to: str = "", **more: Any) -> Notification:
    return Notification(key, "t", json.dumps({**json.loads(BODY), "ticket": "2026-0153", **more}), to)


def scene(kind: str, run: Callable[[Gateway, str], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        gateway = Gateway(kind)
        async with gateway.up() as url:
            return await run(gateway, url)

    return asyncio.run(main())


def test_aliyun_takes_it_signed_and_by_its_template(tmp_path: Path) -> None:
    async def run(gateway: Gateway, url: str) -> None:
        channel = channel_of(tmp_path, "aliyun", url, lambda: gateway.clock_s)
        assert await channel.send(notice(where="急救03车")) == Delivered()
        (sent,) = gateway.taken
        assert sent["PhoneNumbers"] == "13800000000"
        assert (sent["SignName"], sent["TemplateCode"], sent["OutId"]) == ("急救中心", "SMS_000000000", "k")
        assert sent["TemplateParam"] == {
            "where": "急救03车",
            "fault": "新故障SIM卡未检测到",
            "ticket": "2026-0153",
        }

    scene("aliyun", run)


def test_tencent_takes_it_as_json_with_the_parameters_in_order(tmp_path: Path) -> None:
    async def run(gateway: Gateway, url: str) -> None:
        channel = channel_of(tmp_path, "tencent", url, lambda: gateway.clock_s)
        assert await channel.send(notice(where="急救03车 第二块5G模组的天线", to="+8613911112222")) == Delivered()
        (sent,) = gateway.taken
        assert sent["PhoneNumberSet"] == ["+8613911112222"], "the notification's number goes before the receiver's"
        assert sent["TemplateParamSet"] == ["急救03车 第二块5G…", "新故障SIM卡未检测到", "2026-0153"]

    scene("tencent", run)


def test_sixty_to_one_number_wait_here_and_none_is_refused_there(tmp_path: Path) -> None:
    async def run(gateway: Gateway, url: str) -> None:
        limits = [{"messages": 1, "within": "1m"}, {"messages": 5, "within": "1h"}]
        channel = channel_of(tmp_path, "aliyun", url, lambda: gateway.clock_s, limits=limits)
        begin_s, sent = gateway.clock_s, 0
        while sent < 12:
            outcome = await channel.send(notice(f"k-{sent}"))
            if outcome == Delivered():
                sent += 1
            else:
                assert isinstance(outcome, Retry)
                assert outcome.after_s is not None
                gateway.clock_s += outcome.after_s
        assert len(gateway.asked) == len(gateway.taken) == 12, "it was never asked in vain"
        assert 7_200 <= gateway.clock_s - begin_s <= 7_500, "five an hour"
        assert await channel.send(notice("other", to="13911112222")) == Delivered(), "each number has its own"

    scene("aliyun", run)


@pytest.mark.parametrize(
    ("kind", "status", "answer", "outcome"),
    [
        ("aliyun", 200, {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发天级流控"}, Retry("", 600)),
        ("aliyun", 200, {"Code": "isv.MOBILE_NUMBER_ILLEGAL"}, Refused("")),
        ("aliyun", 200, {"Code": "isv.AMOUNT_NOT_ENOUGH"}, Retry("")),
        ("aliyun", 400, {"Code": "SignatureDoesNotMatch"}, Retry("")),
        ("aliyun", 503, "<html>", Retry("")),
        ("aliyun", 200, "<html>welcome to the hotel's wireless network", Refused("")),
        ("aliyun", 200, {"Code": True}, Retry("")),
        ("tencent", 200, {"Response": {"Error": {"Code": "AuthFailure.SecretIdNotFound"}}}, Retry("")),
        ("tencent", 200, {"Response": {"SendStatusSet": [{"Code": "LimitExceeded.PhoneNumberThirtySecondLimit"}]}},
         Retry("", 30)),
        ("tencent", 200, {"Response": {"SendStatusSet": [{"Code": "FailedOperation.ContainSensitiveWord"}]}},
         Refused("")),
        ("tencent", 200, {"Response": {"SendStatusSet": [{"Code": "Ok"}]}}, Delivered()),
        ("tencent", 202, {"Response": {"SendStatusSet": [{"Code": "Ok"}]}}, Retry("")),
        ("tencent", 200, {"Response": {"SendStatusSet": []}}, Refused("")),
    ],
)  # fmt: skip
def test_its_answer_says_what_became_of_it_and_http_200_nothing(
    tmp_path: Path, kind: str, status: int, answer: object, outcome: Outcome
) -> None:
    async def run(gateway: Gateway, url: str) -> Outcome:
        gateway.always = status, answer if isinstance(answer, str) else json.dumps(answer)
        return await channel_of(tmp_path, kind, url, lambda: 0.0).send(notice())

    found = scene(kind, run)
    assert type(found) is type(outcome), found
    if isinstance(outcome, Retry):
        assert isinstance(found, Retry)
        assert found.after_s == outcome.after_s


@pytest.mark.parametrize("kind", ["aliyun", "tencent"])
def test_no_name_from_outside_becomes_part_of_the_request(tmp_path: Path, kind: str) -> None:
    async def run(gateway: Gateway, url: str) -> dict[str, Any]:
        channel = channel_of(tmp_path, kind, url, lambda: 0.0)
        assert await channel.send(notice('k"&x=1', where=EVIL, fault=EVIL)) == Delivered()
        headers, sent = gateway.asked[0]
        assert "X-Evil" not in headers
        assert set(sent) == set(
            load_gateway(tmp_path / "gateway.yaml").form or load_gateway(tmp_path / "gateway.yaml").json or {}
        )
        assert (sent.get("OutId") or sent["SessionContext"]) == 'k"&x=1'
        assert "s3cret" not in json.dumps(sent)
        return gateway.taken[0]

    sent = scene(kind, run)
    values = [*sent["TemplateParam"].values()] if kind == "aliyun" else sent["TemplateParamSet"]
    assert len(values) == 3
    assert values[0].startswith('急救"},"x":"')
    assert values[2] == "2026-0153"
    assert not any("【" in value or "\n" in value for value in values)


def test_a_plain_gateway_takes_address_header_and_whole_message_quoted(tmp_path: Path) -> None:
    """The older kind: GET, everything in the address, a token in a header, ``"code":"0"``."""
    asked: list[web.Request] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text='{"code":"0","msg":""}')

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/send/{number}", take)
        async with TestServer(app) as server:
            url = str(server.make_url("/"))

            def plain(data: dict[str, Any]) -> None:
                for name in ("form", "signing"):
                    del data[name]
                data |= {
                    "url": url + "send/{to_digits}?msg={message}&account=a",
                    "method": "GET",
                    "headers": {"Authorization": "Bearer {secret.token}"},
                    "secret_files": {"token": "sms-key"},
                    "accepted": {"path": "code", "value": "0"},
                }

            path = example(tmp_path, change=plain)
            settings = Sms(gateway=path.name, to="13800000000").checked(tmp_path / "collector.yaml", "notifications.0")
            assert await settings.open().send(notice(where="a&b=c#d 急救 {secret.token}")) == Delivered()

    asyncio.run(main())
    (request,) = asked
    assert request.match_info["number"] == "8613800000000"
    assert set(request.query) == {"msg", "account"}
    assert request.query["msg"].startswith("【急救中心】a&b=c#d 急救 {secr…")
    assert request.query["msg"].endswith("，工单 https://desk.example/t/2026-0153")
    assert request.headers["Authorization"] == "Bearer s3cret"


def test_an_engineer_of_the_roster_is_told_at_their_own_number(tmp_path: Path) -> None:
    """Through a running collector: the ticket is about an InfluxDB that is away."""
    (tmp_path / "contract.yaml").write_text(
        "roster: {wang: {name: 王工, role: engineer, channels: [{by: sms, address: '139 1111 2222'}]}}\n"
        "notifications: {group_wait: 1s}\n"
    )

    async def run(gateway: Gateway, url: str) -> None:
        example(tmp_path, "sms-aliyun.yaml", lambda data: data.update(url=url))
        told = [{"channel": "sms", "receiver": "sms", "gateway": "gateway.yaml"}]
        with mosquitto(tmp_path / "mosquitto") as broker:
            away = "http://127.0.0.1:9"
            path = configured(tmp_path, broker, away, notifications=told, contract="contract.yaml")
            async with collector_of(path) as running, speaking(broker.port):
                found = await ticket(running, "influx_unreachable")
                await until(lambda: bool(gateway.taken))
                sent = gateway.taken[0]
                assert sent["PhoneNumbers"] == "13911112222"
                assert sent["TemplateParam"]["ticket"] == found["id"]
                assert sent["TemplateParam"]["fault"] == "新故障时序库不可用"

    scene("aliyun", run)


def test_every_kind_of_notification_has_its_word() -> None:
    assert set(get_args(Kind)) == set(WHAT)


def test_what_is_wrong_here_is_said_without_secrets(tmp_path: Path) -> None:
    async def run(gateway: Gateway, url: str) -> None:
        channel = channel_of(tmp_path, "aliyun", url, lambda: 0.0)
        assert isinstance(await channel.send(notice(to="nobody")), Refused)
        assert isinstance(await channel.send(notice(ticket="2026-0000000153")), Refused)
        (tmp_path / "sms-key").write_text("new\nline")
        outcome = await channel.send(notice())
        assert isinstance(outcome, Retry)
        assert "expected printable ASCII" in outcome.words
        assert "new" not in outcome.words
        assert gateway.asked == []
        away = channel_of(
            tmp_path, "aliyun", "http://127.0.0.1:1/?key={secret.k}", lambda: 0.0, secret_files={"k": "sms-key"}
        )
        outcome = await away.send(notice())
        assert isinstance(outcome, Retry)
        assert "s3cret" not in outcome.words

    scene("aliyun", run)
    with pytest.raises(FileError, match=r"notifications\.0\.to: expected a telephone number"):
        Sms(gateway="gateway.yaml", to="x").checked(tmp_path / "collector.yaml", "notifications.0")


def test_the_shipped_files_are_those_of_the_two(tmp_path: Path) -> None:
    for kind in ("aliyun", "tencent"):
        assert load_gateway(example(tmp_path, f"sms-{kind}.yaml")).longest == 70
    assert sorted(path.name for path in EXAMPLES.glob("sms-*")) == ["sms-aliyun.yaml", "sms-tencent.yaml"]
