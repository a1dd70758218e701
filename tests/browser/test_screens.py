"""Every page on a telephone and on large screens, with the longest names, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import browser, open_page
from tests.browser.fleets import fleet_of
from tests.browser.stories import a_shift, long_names

__all__ = ["browser"]
PAGES = ("", "tickets/2026-0002", "vehicles/amb-002", "health")
TARGETS = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")]
    .filter((one) => one.checkVisibility() && !one.closest(".skip"))
    .map((one) => [one, (one.type === "checkbox" ? one.closest("label") : one).getBoundingClientRect()])
    .filter(([, box]) => box.width < 43.5 || box.height < 43.5)
    .map(([one, box]) => `${one.outerHTML.slice(0, 120)} ${box.width} x ${box.height}`)"""
"""Whatever can be pressed and is less than 44 px wide or high."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fleet_of(tmp_path_factory.mktemp("screens"), 30, tell=a_shift, names=long_names) as (_, found):
        yield found


def stands(page: Page) -> None:
    """Wait until a page is whole."""
    expect(page.locator("#live")).to_have_class(re.compile("up"))
    if page.locator("#charts").count():
        expect(page.locator("#charts")).to_have_attribute("data-drawn", "yes")


@pytest.mark.parametrize("path", PAGES)
def test_a_telephone_is_used_with_one_hand(browser: Browser, address: str, path: str) -> None:
    page, complaints = open_page(browser, f"{address}/{path}", "zh", size=(390, 844))
    stands(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(TARGETS) == []
    if not path:
        page.click(".filters summary")
        assert page.evaluate(TARGETS) == []
    assert complaints == []
    page.context.close()


@pytest.mark.parametrize("width", [1440, 3840])
def test_the_longest_names_push_nothing_off_a_screen(browser: Browser, address: str, width: int) -> None:
    for path in PAGES:
        page, _ = open_page(browser, f"{address}/{path}", "en", size=(width, width * 9 // 16))
        stands(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width, path
        if not path:
            worst = "document.querySelector('tr[data-vehicle=amb-002] td:nth-child(3)')"
            assert page.evaluate(f"{worst}.getBoundingClientRect().width") > 200, "the worst fault has room"
        page.context.close()


CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("path", PAGES)
def test_the_switch_changes_every_word_that_is_ours(browser: Browser, address: str, path: str) -> None:
    """Names, plates and what people wrote are as they are."""
    page, _ = open_page(browser, f"{address}/{path}", "zh")
    stands(page)
    assert "Engineer on duty" not in page.inner_text("body")
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    stands(page)
    text = page.inner_text("body")
    for own in (*re.findall(r"杭州市急救中心[^\n·]*", text), "浙A", "急", "王建国", "陈志强", "李敏", "中文"):
        text = text.replace(own, "")
    for line in (
        "我来处理",
        "出车途中，医院在等画面",
        "已远程重启编码器，仍无画面",
        "怀疑交换机供电，请随车人员查看指示灯",
    ):
        text = text.replace(line, "")
    assert CHINESE.findall(text) == []
    page.context.close()
