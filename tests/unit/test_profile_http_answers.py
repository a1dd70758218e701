"""Documents over HTTP: paths, namespaces, secrets, hostile bodies; logins' fields against known values."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.answers import Wire
from firmware_profiles.http_answers import AnswerError, HttpAnswers, find, parse_document, requests_of
from firmware_profiles.load import load_profiles
from firmware_profiles.login import TemplateError, fill
from firmware_profiles.model import Request
from tests.unit.bounds import quick

PROFILES = load_profiles()
DISKS = (
    "list.info[0].Name=sda\r\nlist.info[0].Detail[0].Path=/a\r\nlist.info[0].Detail[1].Path=/b\r\nlist.info[2].Name=sdb"
)


def values(form: str, body: str, path: str) -> list[tuple[str, Any]]:
    return list(find(parse_document(form, body.encode()), path))


@pytest.mark.parametrize(
    ("form", "body", "path", "expected"),
    [
        ("json", '{"result":{"modem1.rssi":-61}}', "result.modem1.rssi", [("", -61)]),
        ("json", '{"a":{"b":[{"c":1},{"c":2}]}}', "a.b[].c", [("0", 1), ("1", 2)]),
        ("json", '{"a":[{"c":1},{"c":2}]}', "a[1].c", [("", 2)]),
        ("json", '[{"c":1}]', "[0].c", [("", 1)]),
        ("json", '{"a":1}', "b", []),
        ("json", '{"a":1}', "a.b", []),
        ("xml", '<r xmlns="urn:one"><a x="5">7</a></r>', "r.a", [("", {"@x": "5", "#text": "7"})]),
        ("xml", '<p:r xmlns:p="urn:two"><p:a>7</p:a></p:r>', "r.a", [("", "7")]),
        ("xml", "<r><c><u>1</u></c><c><u>2</u></c></r>", "r.c[].u", [("0", "1"), ("1", "2")]),
        ("xml", "<r><c><u>1</u></c></r>", "r.c[].u", [("0", "1")]),
        ("xml", "<r><c><u>1</u></c><c><u>2</u></c></r>", "r.c.u", [("", "1")]),
        ("xml", "<E><Body><X><T>NTP</T></X></Body></E>", "*.Body.X.T", [("", "NTP")]),
        ("keyvalue", "version=2.8.R,build:2020\r\n", "version", [("", "2.8.R,build:2020")]),
        ("keyvalue", DISKS, "list.info[].Name", [("0", "sda"), ("2", "sdb")]),
        ("keyvalue", DISKS, "list.info[].Detail[].Path", [("0.0", "/a"), ("0.1", "/b")]),
        ("keyvalue", "table.Network[0].Domain=a=b", "table.Network[0].Domain", [("", "a=b")]),
    ],
)
def test_paths(form: str, body: str, path: str, expected: list[tuple[str, Any]]) -> None:
    assert values(form, body, path) == expected


def test_types_on_the_wire() -> None:
    requests = {"a": Request(path="/", format="json")}
    answers = HttpAnswers.parse(requests, {"a": '{"n":1,"t":"x","b":true,"z":null,"o":{}}'})
    assert answers.scalar("a:n") == Wire("number", 1)
    assert answers.scalar("a:t") == Wire("text", "x")
    assert answers.scalar("a:b") == Wire("boolean", True)
    assert answers.scalar("a:z") == Wire("null", None)
    assert answers.scalar("a:o") is None
    assert answers.scalar("a:@status") == Wire("number", 200)
    assert answers.scalar("other:n") is None


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("json", '{"user":"u","password":"hunter2","deep":[{"wifi_psk":"hunter2","ok":1}],"token":"hunter2"}'),
        ("xml", "<r><LoginName>hunter2</LoginName><Password>hunter2</Password><a>1</a></r>"),
        ("keyvalue", "table.WLan.Password=hunter2\ntable.ok=1"),
    ],
)
def test_secrets_are_dropped(form: str, body: str) -> None:
    assert "hunter2" not in str(parse_document(form, body.encode()))


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("json", b"{"),
        ("json", b"7"),
        ("json", b"[" * 100_000),
        ("json", b'{"a":' * 5000 + b"1" + b"}" * 5000),
        ("xml", b"<a>"),
        ("xml", b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><r>&b;</r>'),
        ("xml", b"<a>" * 5000 + b"</a>" * 5000),
        ("keyvalue", b"Error: No Events"),
        ("json", b" " * 2_000_000),
    ],
)
def test_hostile_bodies_are_refused_quickly(form: str, body: bytes) -> None:
    def refused() -> None:
        with pytest.raises(AnswerError):
            parse_document(form, body)

    quick(refused, seconds=0.5)


bodies = st.one_of(st.binary(max_size=400), st.text(max_size=400).map(str.encode), st.sampled_from([b"<a><b/></a>"]))
paths = st.from_regex(r"\A[a-c*]?(\[\d?\])?(\.[a-c*](\[\])?){0,4}\Z")


@given(st.sampled_from(["json", "xml", "keyvalue", "text"]), bodies, paths)
def test_any_body_is_a_document_or_an_error(form: str, body: bytes, path: str) -> None:
    try:
        document = parse_document(form, body)
    except AnswerError:
        return
    assert all(isinstance(index, str) for index, _ in find(document, path))


@pytest.mark.parametrize(
    ("profile", "body", "request_name"),
    [
        ("hikvision/isapi", b"<DeviceStatus><deviceUpTime>1</deviceUpTime></DeviceStatus>", "status"),
        ("hikvision/isapi", b"<DeviceInfo><model>x</model></DeviceInfo>", "info"),
        ("dahua/cgi", b"version=2.8,build:2020\n", "software"),
        ("dahua/cgi", b"serialNumber=1\ndeviceType=2", "system"),
        ("inhand/flexapi", b'{"result":{"io.igt_status":1}}', "io"),
        ("huawei/hilink", b"<response><rsrp>-90dBm</rsrp></response>", "signal"),
    ],
)
def test_a_saved_answer_tells_its_request_by_its_shape(profile: str, body: bytes, request_name: str) -> None:
    assert requests_of(PROFILES[profile], body) == [request_name]


def test_a_summary_answers_several_requests() -> None:
    body = b'{"result":{"sysinfo.model_name":"VG814","modem1.network":3,"io.igt_status":1}}'
    assert requests_of(PROFILES["inhand/flexapi"], body) == ["sysinfo", "cellular", "io"]


def test_an_answer_of_nobody_is_refused() -> None:
    with pytest.raises(AnswerError, match="--request"):
        requests_of(PROFILES["hikvision/isapi"], b"<html><p>hello</p></html>")


def test_login_fields() -> None:
    given_values = {"user": 'a"b', "password": "secret", "nonce": "N1"}
    inner = hashlib.sha256(b"secret").hexdigest().upper()
    assert (
        fill("<<password|sha256|upper|+nonce|sha256|upper>>", given_values)
        == hashlib.sha256((inner + "N1").encode()).hexdigest().upper()
    )
    assert fill('{"u":"<<user|json>>"}', given_values) == '{"u":"a\\"b"}'
    assert fill("<<password|base64>>", given_values) == "c2VjcmV0"
    # printf secret | openssl enc -aes-128-cbc -K 3131... -iv 3232... -a
    assert fill("<<password|aes:1111111111111111:2222222222222222>>", given_values) == "uAnm9CbV4HNquBOSohVHKQ=="
    with pytest.raises(TemplateError):
        fill("<<token>>", given_values)
    with pytest.raises(TemplateError):
        fill("<<password|rot13>>", given_values)
