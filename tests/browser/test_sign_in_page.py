"""The sign-in page in a real browser, before a collector's process as it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from collector.web.identity import COOKIE
from kitwatch.main import main as kitwatch
from tests.browser.chromium import browser
from tests.integration.test_web_hostile import collector
from tests.services.mosquitto import mosquitto

__all__ = ["browser"]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port) as at:
        yield at


def told(directory: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """Give a command over the collector's database; return what it says."""
    capsys.readouterr()
    assert kitwatch([*words, "--json", "--config", str(directory / "collector.yaml")]) == 0
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


def opened(browser: Browser, where: str) -> tuple[Page, list[str]]:
    """Open a page of a browser that has signed in nowhere; what it complains of is collected."""
    page = browser.new_context(locale="en-GB").new_page()
    complaints: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and "401 (Unauthorized)" not in said.text:  # a wrong password is answered so
            complaints.append(said.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(where)
    return page, complaints


def test_by_keyboard_in_chinese_then_in_english_and_out_again(
    browser: Browser, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password = told(tmp_path, capsys, "user", "add", "wang", "--role", "viewer", "--generate")["password"]
    page, complaints = opened(browser, address)
    expect(page).to_have_url(f"{address}/sign-in")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#name")).to_be_focused()
    page.keyboard.type("wang")
    page.keyboard.press("Tab")
    page.keyboard.type("not the password")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_have_text("用户名或密码不正确。")
    expect(page.locator("#name")).to_have_value("wang")
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#sign-in button")).to_have_text("Sign in")
    page.fill("#name", "wang")
    page.fill("#password", password)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/")
    expect(page.locator("[data-vehicle=amb-3]")).to_have_count(1)
    page.goto(f"{address}/sign-in")
    expect(page.locator("#who")).to_have_text("Signed in as wang")
    page.click("#sign-out button")
    expect(page.locator("#sign-in")).to_be_visible()
    page.goto(address)
    expect(page).to_have_url(f"{address}/sign-in")
    assert complaints == []
    page.context.close()


def test_a_display_signs_in_by_its_token_alone_until_it_is_revoked(
    browser: Browser, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = told(tmp_path, capsys, "token", "create", "--wall", "north")["token"]
    page, complaints = opened(browser, f"{address}/sign-in#{token}")
    expect(page).to_have_url(f"{address}/?wall")
    expect(page.locator(".screen li")).to_have_count(2)
    (cookie,) = [one for one in page.context.cookies() if one["name"] == COOKIE]
    assert cookie["expires"] > 0, "it outlives the browser"
    told(tmp_path, capsys, "token", "revoke", "wall-north")
    page.goto(f"{address}/")
    expect(page).to_have_url(f"{address}/sign-in")
    assert complaints == []
    page.context.close()
    page, _ = opened(browser, f"{address}/sign-in#{token}")
    expect(page.locator("#problem")).to_have_text("此显示屏令牌无效或已被撤销。")
    page.context.close()
