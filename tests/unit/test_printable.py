"""Nothing that others wrote speaks to a terminal, and no password of a URL is shown."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kitwatch.logs import PlainFormatter
from kitwatch.main import main
from telemetry.printable import plain, without_password

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\u001b]0;owned\\u0007"),
        ("\x9b2J", "\\u009b2J"),  # C1: some terminals take it for ESC [
        ("a\rb\bc\x7f", "a\\u000db\\u0008c\\u007f"),
        ("exe.\u202egnp", "exe.\\u202egnp"),
        ("Straße\t北京\n", "Straße\t北京\n"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_json_that_is_made_plain_still_says_the_same(text: str) -> None:
    assert json.loads(plain(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://me:{SECRET}@10.0.0.1:80/a@b", "http://***@10.0.0.1:80/a@b"),
        (f"expected http://..., found 'htp://{SECRET}@host'", "expected http://..., found 'htp://***@host'"),
        ("rtsp://10.0.0.1/x mail me@there http://a/?q=b@c", "rtsp://10.0.0.1/x mail me@there http://a/?q=b@c"),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_a_log_line_shows_none_either() -> None:
    told = logging.LogRecord("x", logging.WARNING, "", 0, "no answer from %s", (f"http://me:{SECRET}@h/",), None)
    assert PlainFormatter("%(message)s").format(told) == "no answer from http://***@h/"


AGENT = {
    "site": "north", "vehicle": "amb-1", "agent": "router", "broker": {"host": "127.0.0.1", "port": 1},
    "devices": {
        "camera": {"kind": "camera", "http": {"url": f"http://me:{SECRET}@127.0.0.1:1/"}},
        "encoder": {"kind": "encoder", "stream": {"url": f"rtsp://me:{SECRET}@127.0.0.1:1/s"}},
        "link": {"kind": "link", "probe": {"targets": {"a": {"kind": "http", "url": f"https://me:{SECRET}@[::1]:1/"}}}},
    },
}  # fmt: skip
COLLECTOR = {
    "broker": {"host": "127.0.0.1", "port": 1},
    "database": f"postgresql://me:{SECRET}@127.0.0.1:1/x",
    "fleet": "fleet.yaml",
    "influxdb": {"url": f"http://me:{SECRET}@127.0.0.1:1", "bucket": "kit"},
    "notifications": [{"receiver": "a", "channel": "webhook", "url": f"http://me:{SECRET}@127.0.0.1:1/x"}],
}
FLEET: dict[str, Any] = {"sites": {"north": {"vehicles": {"amb-1": {"agents": {"router": {"devices": {}}}}}}}}


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("broken", ["", "influxdb", "notifications", "database"])
def test_no_check_prints_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: list[str], broken: str
) -> None:
    wrong = f"htp://me:{SECRET}@127.0.0.1:1"
    collector = {
        **COLLECTOR,
        **({"influxdb": {"url": wrong, "bucket": "kit"}} if broken == "influxdb" else {}),
        **({"notifications": [{"channel": "webhook", "url": wrong}]} if broken == "notifications" else {}),
        **({"database": wrong} if broken == "database" else {}),
    }
    state = {**AGENT, "state_directory": str(tmp_path)}
    for name, content in (("agent", state), ("fleet", FLEET), ("collector", collector)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    assert main(["agent", "--config", str(tmp_path / "agent.yaml"), "--check", *form]) == 0
    found = main(["collector", "--config", str(tmp_path / "collector.yaml"), "--check", *form])
    said = capsys.readouterr()
    assert found == (2 if broken else 0), said
    assert SECRET not in said.out + said.err
    assert "***@127.0.0.1:1" in said.out + said.err
