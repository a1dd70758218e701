"""The chat robots against a server that answers as their platforms do: status 200, and a code in the body."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.channels.channel import Delivered, Notification, Outcome, Refused, Retry
from collector.channels.dingtalk import DingTalk, DingTalkChannel
from collector.channels.feishu import Feishu
from collector.channels.robot import Robot
from collector.channels.wecom import MOST_BYTES, WeCom, WeComChannel
from telemetry.files import FileError
from tests.integration.test_notifications import BODY

TEXT = "急救03车 SIM卡未检测到\namb-3 no SIM card"
KINDS: dict[str, type[Robot]] = {"feishu": Feishu, "dingtalk": DingTalk, "wecom": WeCom}
SENT = {"feishu": '{"code":0,"msg":"success"}', "dingtalk": '{"errcode":0,"errmsg":"ok"}', "wecom": '{"errcode":0}'}


def send(
    tmp_path: Path, kind: str, answer: tuple[int, str], key: str | None = None
) -> tuple[Outcome, dict[str, Any], Mapping[str, str]]:
    """Return what became of a notification, and what the server was sent: the body and the address's parameters."""
    asked: list[tuple[dict[str, Any], Mapping[str, str]]] = []

    async def hook(request: web.Request) -> web.Response:
        asked.append((await request.json(), request.query))
        return web.Response(status=answer[0], text=answer[1])

    async def scene() -> Outcome:
        app = web.Application()
        app.router.add_post("/hook", hook)
        async with TestServer(app) as server:
            secret(tmp_path, "url", str(server.make_url("/hook?access_token=s3cret")))
            signing = None if key is None else secret(tmp_path, "key", key)
            settings = KINDS[kind](url_file="url", signing_key_file=signing)
            channel = settings.checked(tmp_path / "c.yaml", "notifications.0").open()
            return await channel.send(Notification("k", "t", BODY))

    return asyncio.run(scene()), *asked[0]


def secret(tmp_path: Path, name: str, text: str) -> str:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o600)
    return name


def test_feishu_is_both_languages_and_signed_if_asked_for(tmp_path: Path) -> None:
    outcome, sent, _ = send(tmp_path, "feishu", (200, SENT["feishu"]), "a-key")
    assert outcome == Delivered()
    assert sent["content"]["text"] == TEXT
    mac = hmac.new(f"{sent['timestamp']}\na-key".encode(), b"", hashlib.sha256).digest()
    assert sent["sign"] == base64.b64encode(mac).decode()
    assert "sign" not in send(tmp_path, "feishu", (200, SENT["feishu"]))[1]


def test_dingtalk_is_signed_in_its_address(tmp_path: Path) -> None:
    outcome, sent, query = send(tmp_path, "dingtalk", (200, SENT["dingtalk"]), "SECa-key")
    assert outcome == Delivered()
    assert sent == {"msgtype": "text", "text": {"content": TEXT}}
    mac = hmac.new(b"SECa-key", f"{query['timestamp']}\nSECa-key".encode(), hashlib.sha256).digest()
    assert query["sign"] == base64.b64encode(mac).decode()
    assert (query["access_token"], len(query["timestamp"])) == ("s3cret", 13)
    assert "sign" not in send(tmp_path, "dingtalk", (200, SENT["dingtalk"]))[2]


def test_wecom_is_cut_to_what_it_takes_and_knows_no_signature(tmp_path: Path) -> None:
    outcome, sent, _ = send(tmp_path, "wecom", (200, SENT["wecom"]))
    assert outcome == Delivered()
    assert sent == {"msgtype": "text", "text": {"content": TEXT}}
    long = WeComChannel(WeCom(url_file="x")).message("病" * 1000)["text"]["content"]
    assert long == "病" * (MOST_BYTES // 3)
    with pytest.raises(FileError, match="know no signature"):
        WeCom(url_file="url", signing_key_file="key").checked(tmp_path / "c.yaml", "notifications.0")


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        ("feishu", (200, '{"code":19024,"msg":"Key Words Not Found"}'), Refused),
        ("feishu", (200, '{"code":9499,"msg":"Bad Request"}'), Refused),
        ("feishu", (200, '{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}'), Retry),
        ("feishu", (200, '{"code":11232,"msg":"frequency limited"}'), Retry),
        ("dingtalk", (200, '{"errcode":310000,"errmsg":"keywords not in content"}'), Retry),
        ("dingtalk", (200, '{"errcode":430102,"errmsg":"不合适的文本"}'), Refused),
        ("dingtalk", (200, '{"errcode":130101,"errmsg":"send too fast"}'), Retry),
        ("wecom", (200, '{"errcode":93000,"errmsg":"invalid webhook url"}'), Retry),
        ("wecom", (200, '{"errcode":45009,"errmsg":"api freq out of limit"}'), Retry),
        ("wecom", (200, '{"errcode":44004,"errmsg":"content is empty"}'), Refused),
        *((kind, answer, Retry) for kind in KINDS for answer in ((200, "ok"), (200, "[0]"), (502, "<html>"))),
        *((kind, (500, text), Retry) for kind, text in SENT.items()),
    ],
)
def test_its_code_says_what_became_of_it(
    tmp_path: Path, kind: str, answer: tuple[int, str], outcome: type[Outcome]
) -> None:
    assert isinstance(send(tmp_path, kind, answer)[0], outcome)


@pytest.mark.parametrize(("kind", "code"), [("feishu", 11232), ("dingtalk", 410100), ("wecom", 45009)])
def test_one_that_says_too_many_is_left_alone_for_a_minute(tmp_path: Path, kind: str, code: int) -> None:
    name = "code" if kind == "feishu" else "errcode"
    outcome = send(tmp_path, kind, (200, json.dumps({name: code})))[0]
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 60


def test_a_robot_of_two_sites_is_given_no_more_than_one(tmp_path: Path) -> None:
    """Each site has a channel of its own, the robot does not care."""

    async def hook(request: web.Request) -> web.Response:
        return web.json_response({"errcode": 0})

    async def scene() -> list[Outcome]:
        app = web.Application()
        app.router.add_post("/hook", hook)
        async with TestServer(app) as server:
            secret(tmp_path, "url", str(server.make_url("/hook")))
            settings = WeCom(url_file="url").checked(tmp_path / "c.yaml", "notifications.0")
            north, south = (WeComChannel(settings, monotonic_s=lambda: 1000.0) for _ in range(2))
            return [await site.send(Notification("k", "t", BODY)) for _ in range(15) for site in (north, south)]

    outcomes = asyncio.run(scene())
    assert outcomes[:20] == [Delivered()] * 20
    assert outcomes[20:] == [Retry("kept to 20 messages a minute", 60.0, busy=True)] * 10


def test_of_sixty_at_once_it_is_given_twenty_a_minute_and_none_is_thrown_away(tmp_path: Path) -> None:
    """A robot that is told more says so for the rest, and for ten minutes more."""
    taken: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        taken.append((await request.json())["text"]["content"])
        return web.json_response({"errcode": 0})

    async def scene() -> list[float]:
        app = web.Application()
        app.router.add_post("/hook", hook)
        async with TestServer(app) as server:
            secret(tmp_path, "url", str(server.make_url("/hook")))
            settings = DingTalk(url_file="url").checked(tmp_path / "c.yaml", "notifications.0")
            clock = [1000.0]
            channel = DingTalkChannel(settings, monotonic_s=lambda: clock[0])
            times: list[float] = []
            while len(times) < 60:
                outcome = await channel.send(Notification("k", "t", BODY))
                if outcome == Delivered():
                    times.append(clock[0])
                    clock[0] += 0.1
                else:
                    assert isinstance(outcome, Retry)
                    assert outcome.after_s is not None
                    clock[0] += outcome.after_s
            return times

    times = asyncio.run(scene())
    assert len(taken) == 60
    assert all(later - earlier >= 60 - 1e-6 for earlier, later in zip(times, times[20:], strict=False))
    assert times[-1] - times[0] < 125


@pytest.mark.parametrize("kind", KINDS)
def test_its_address_is_a_secret_and_is_checked(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileError, match=r"notifications\.0\.url_file"):
        KINDS[kind](url_file="none").checked(tmp_path / "c.yaml", "notifications.0")
    secret(tmp_path, "url", "not an address")
    with pytest.raises(FileError, match="expected the address of a robot") as found:
        KINDS[kind](url_file="url").checked(tmp_path / "c.yaml", "notifications.0")
    assert "not an address" not in str(found.value)
    secret(tmp_path, "url", "http://127.0.0.1:1/hook/s3cret")
    channel = KINDS[kind](url_file="url").checked(tmp_path / "c.yaml", "notifications.0").open()
    outcome = asyncio.run(channel.send(Notification("k", "t", BODY)))
    assert isinstance(outcome, Retry)
    assert "s3cret" not in outcome.words
