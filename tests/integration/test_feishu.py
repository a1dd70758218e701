"""The Feishu channel against a server that answers as the platform does: status 200, and a code in the body."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.channels.channel import Delivered, Notification, Outcome, Refused, Retry
from collector.channels.feishu import Feishu, sign
from telemetry.files import FileError
from tests.integration.test_notifications import BODY


def send(tmp_path: Path, answer: web.Response, key: str | None = None) -> tuple[Outcome, dict[str, Any]]:
    """Return what became of a notification, and what the server was sent."""
    asked: list[dict[str, Any]] = []

    async def hook(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return answer

    async def scene() -> Outcome:
        app = web.Application()
        app.router.add_post("/hook", hook)
        async with TestServer(app) as server:
            secret(tmp_path, "url", str(server.make_url("/hook")))
            signing = None if key is None else secret(tmp_path, "key", key)
            settings = Feishu(url_file="url", signing_key_file=signing).checked(tmp_path / "c.yaml", "notifications.0")
            return await settings.open().send(Notification("k", "t", BODY))

    return asyncio.run(scene()), asked[0]


def secret(tmp_path: Path, name: str, text: str) -> str:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o600)
    return name


def test_a_message_is_both_languages_and_signed_if_asked_for(tmp_path: Path) -> None:
    outcome, sent = send(tmp_path, web.json_response({"code": 0, "msg": "success"}), "a-key")
    assert outcome == Delivered()
    assert sent["content"]["text"] == "急救03车 SIM卡未检测到\namb-3 no SIM card"
    mac = hmac.new(f"{sent['timestamp']}\na-key".encode(), b"", hashlib.sha256).digest()
    assert sent["sign"] == base64.b64encode(mac).decode()
    assert sign("a-key", int(sent["timestamp"])) == {name: sent[name] for name in ("timestamp", "sign")}
    assert "sign" not in send(tmp_path, web.json_response({"code": 0}))[1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, '{"code":19024,"msg":"Key Words Not Found"}'), Refused),
        ((200, '{"code":9499,"msg":"Bad Request"}'), Refused),
        ((200, '{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}'), Retry),
        ((200, '{"code":11232,"msg":"frequency limited"}'), Retry),
        ((200, "ok"), Retry),
        ((200, "[0]"), Retry),
        ((502, "<html>"), Retry),
    ],
)
def test_its_code_says_what_became_of_it(tmp_path: Path, answer: tuple[int, str], kind: type[Outcome]) -> None:
    status, text = answer
    outcome, _ = send(tmp_path, web.Response(status=status, text=text))
    assert isinstance(outcome, kind)


def test_its_address_is_a_secret_and_is_checked(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"notifications\.0\.url_file"):
        Feishu(url_file="none").checked(tmp_path / "c.yaml", "notifications.0")
    secret(tmp_path, "url", "not an address")
    with pytest.raises(FileError, match="expected the address of a robot") as found:
        Feishu(url_file="url").checked(tmp_path / "c.yaml", "notifications.0")
    assert "not an address" not in str(found.value)
    secret(tmp_path, "url", "http://127.0.0.1:1/hook/s3cret")
    channel = Feishu(url_file="url").checked(tmp_path / "c.yaml", "notifications.0").open()
    outcome = asyncio.run(channel.send(Notification("k", "t", BODY)))
    assert isinstance(outcome, Retry)
    assert "s3cret" not in outcome.words
