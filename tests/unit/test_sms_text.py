"""The words of a short message, the file of a gateway, and the signatures of two clouds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collector.channels.cloud_signatures import Request, signed
from collector.channels.sms import number_of
from collector.channels.sms_gateway import SmsGateway, load_gateway
from collector.channels.sms_text import TooLongError, cut, fill, length, parameters, words_of
from collector.core.notifications import Body, Text
from telemetry.files import FileError

EXAMPLES = Path(__file__).parents[2] / "systemd" / "examples"


def body(**more: Any) -> Body:
    given: dict[str, Any] = {
        "id": "k", "what": "opened", "site": "north", "vehicle": "amb-3", "device": "modem-1", "ticket": "2026-0153",
        "fault": "sim_absent", "severity": "critical", "sla_class": "disaster", "event_ms": 1, "detected_ms": 1,
        "resolved_event_ms": None, "text": Text("急救03车 SIM卡未检测到", "amb-3 no SIM card"),
        "where": "急救03车 5G模组",
        **more,
    }  # fmt: skip
    return Body(**given)


def example(
    tmp_path: Path, name: str = "sms-aliyun.yaml", change: Callable[[dict[str, Any]], None] | None = None
) -> Path:
    """Write one of the shipped files beside its secrets, changed."""
    data = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    if change is not None:
        change(data)
    for secret, text in (("sms-key-id", "KEYID"), ("sms-key", "s3cret")):
        (tmp_path / secret).write_text(text)
        (tmp_path / secret).chmod(0o600)
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def message(gateway: SmsGateway, **more: Any) -> str:
    templates = {name: (one.value, one.longest) for name, one in gateway.parameters.items()}
    found = parameters(templates, words_of(body(**more), gateway.link), gateway.room)
    return f"【{gateway.signature}】{fill(gateway.text, found)}"


def test_a_message_says_where_what_ticket_and_link(tmp_path: Path) -> None:
    text = message(load_gateway(example(tmp_path)))
    assert text == "【急救中心】急救03车 5G模组新故障SIM卡未检测到，工单 https://desk.example/t/2026-0153"
    assert length(text) <= 70


@pytest.mark.parametrize("name", ["sms-aliyun.yaml", "sms-tencent.yaml"])
@given(
    where=st.text(max_size=60),
    fault=st.text(max_size=60),
    ticket=st.text("0123456789abcdefghij-", min_size=1, max_size=12),
)
def test_whatever_is_said_it_fits_and_keeps_ticket_and_link(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: str, fault: str, ticket: str
) -> None:
    where, fault = (text.encode("utf-8", "replace").decode() for text in (where, fault))
    gateway = _LOADED.get(name) or _LOADED.setdefault(name, load_gateway(example(tmp_path_factory.mktemp("x"), name)))
    text = message(gateway, where=where, fault=fault, ticket=ticket)
    assert length(text) <= 70
    assert text.endswith(f"，工单 https://desk.example/t/{ticket}")
    assert text.count("【") == 1
    assert text.isprintable()


_LOADED: dict[str, SmsGateway] = {}


def test_a_text_is_cut_at_a_whole_character_and_says_so() -> None:
    assert cut("急救03车", 5) == "急救03车"
    assert cut("急救03车", 4) == "急救0…"
    assert cut("🚑🚑🚑", 6) == "🚑🚑🚑"
    assert cut("🚑🚑🚑", 5) == "🚑🚑…"
    assert cut("🚑🚑🚑", 4) == "🚑…", "an emoji takes two, and is never halved"
    assert cut("急救", 1) == "…"


def test_a_ticket_or_link_that_does_not_fit_is_said_and_never_cut(tmp_path: Path) -> None:
    gateway = load_gateway(example(tmp_path))
    with pytest.raises(TooLongError, match="parameter ticket: expected at most 12 characters, found 13"):
        message(gateway, ticket="2026-00000153")


def test_a_link_of_its_own_holds_the_tickets_number_quoted(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data |= {"text": "{where}，{link} {ticket}", "link": "https://d.example/t/{ticket}"}
        data["parameters"] = {
            "where": {"value": "{where}", "longest": 10},
            "link": {"value": "{link}", "longest": 35},
            "ticket": {"value": "{ticket}", "longest": 9},
        }

    gateway = load_gateway(example(tmp_path, change=change))
    assert message(gateway, ticket="20/6?&").endswith("，https://d.example/t/20%2F6%3F%26 20/6?&")


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(url="ftp://x/"), "url: expected http"),
        (lambda d: d.update(url="https://{to}.example/"), "url: expected .* with a fixed host"),
        (lambda d: d.update(headers={"x-a": "b\r\nX-Evil: 1"}), "headers.x-a: expected printable ASCII"),
        (lambda d: d.update(headers={"x a": "b"}), "headers"),
        (lambda d: d.update(headers={"x-a": "{message}"}), "headers.x-a: expected one of .*; found {message}"),
        (lambda d: d["form"].update(OutId="{kee}"), "form.OutId: expected one of .*found {kee}"),
        (lambda d: d["form"].update(OutId="{secret.token}"), "form.OutId: .*found {secret.token}"),
        (lambda d: d.update(json={}), "form: expected either json or form"),
        (lambda d: d.update(method="GET"), "method: expected POST"),
        (lambda d: d["parameters"]["ticket"].update(value="nr {ticket}"), "ticket.value: expected {ticket} or"),
        (lambda d: d["parameters"]["ticket"].update(value="{first}"), "expected one whose value is {ticket}"),
        (lambda d: d.update(text=d["text"].replace("https://", "")), "expected one whose value is {link}"),
        (lambda d: d.update(text=d["text"].replace("{where}", "")), "text: expected every parameter in it, {where}"),
        (lambda d: d.update(text="{ticket}" + d["text"]), "text: expected every parameter once, found {ticket} twice"),
        (lambda d: d.update(text="祝您工作顺利" * 5 + d["text"]), "text: expected room for ticket and link"),
        (lambda d: d["busy"].update(X="soon"), "busy.X: expected a duration"),
        (lambda d: d.update(signing={**d["signing"], "key_file": "none"}), "expected a secret's file"),
        (lambda d: d.update(acepted={}), "acepted"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_says_where(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(FileError, match=words):
        load_gateway(example(tmp_path, change=change))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("13800000000", "+8613800000000"),
        ("138 0000-0000", "+8613800000000"),
        ("+8613800000000", "+8613800000000"),
        ("008613800000000", "+8613800000000"),
        ("+85291234567", "+85291234567"),
        ("", None),
        ("138\r\n00000000", None),
        ("１３８００００００００", None),
        ("13800000000,13900000000", None),
    ],
)
def test_a_number_is_one_number(text: str, found: str | None) -> None:
    assert number_of(text, "86") == found


def test_alibabas_signature_is_that_of_its_own_example() -> None:
    """The worked example of "V3 request structure and signature"."""
    query = "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai"
    request = Request(
        "POST",
        f"https://ecs.cn-shanghai.aliyuncs.com/?{query}",
        {"x-acs-action": "RunInstances", "x-acs-version": "2014-05-26"},
        b"",
    )
    found = signed(
        "aliyun", request, "YourAccessKeyId", "YourAccessKeySecret", 1_698_315_752, "3156853299f313e23d1673dc12e1703d"
    )
    assert re.search("Signature=(.*)", found.headers["authorization"])[1] == (  # type: ignore[index]
        "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_tencents_signature_is_that_of_its_own_library() -> None:
    """What ``tencentcloud-sdk-python-common`` 3.0 makes of the same request and key."""
    sent = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
    headers = {"content-type": "application/json; charset=utf-8"}
    request = Request("POST", "https://cvm.tencentcloudapi.com/", headers, sent)
    found = signed("tencent", request, "ID", "KEY", 1_551_113_065, "")
    assert found.headers["authorization"] == (
        "TC3-HMAC-SHA256 Credential=ID/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host, "
        "Signature=84e1e5d03a366b9e40b9571563e4d3e4a17fd2954df745ea9fcb975c7bce1767"
    )
    assert found.headers["x-tc-timestamp"] == "1551113065"


def test_a_body_of_before_says_its_ids() -> None:
    """Rows that were written before ``where`` was there."""
    old = msgspec.json.decode(msgspec.json.encode(body(where="")), type=Body)
    assert words_of(old, "")["where"] == "amb-3 modem-1"
