"""Every page under axe-core, of whatever grade: both languages, both schemes, on a telephone and a desk's screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.centre import Centre, centre
from tests.browser.chromium import Language, Scheme, browser, findings, open_page
from tests.browser.fleets import fleet_of
from tests.browser.test_ticket_page import tell
from tests.browser.test_vehicle_page import know

__all__ = ["browser"]
LOOKS: list[tuple[Language, Scheme, int]] = [("zh", "light", 390), ("en", "dark", 1440), ("zh", "dark", 390)]
SEEN = {
    "": "#fleet table",
    "?wall": ".screen li",
    "health": "section[data-site]",
    "tickets/2026-0001": ".number",
    "vehicles/amb-002": "#charts[data-drawn=yes]",
}
"""Pages to look at, and what is there once they stand."""
ACTED = ("ticket", "refused", "resolved", "call", "call-refused", "call-backs", "vehicles/amb-3", "silences")
"""Pages with forms."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fleet_of(tmp_path_factory.mktemp("fleet"), 10) as (house, at):
        tell(house, "2026-0001")
        know(house, "amb-002")
        yield at


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    with centre(tmp_path_factory.mktemp("centre")) as one:
        yield one


@pytest.fixture(scope="module")
def tickets(place: Centre, browser: Browser) -> tuple[str, str]:
    """An open ticket of a rule, and a resolved one of a call that waits for its call-back."""
    broken = place.break_sim()
    page = place.page(browser, "wang", "call")
    page.fill("#call-vehicle", "2")
    page.fill("#call-text", "画面卡顿")
    page.fill("#call-caller_name", "李护士")
    page.fill("#call-caller_phone", "0571 8001 2233")
    page.click("form.call button")
    page.click(".number.big")
    page.click(".others > summary")
    page.click("summary[data-act=resolved]")
    page.fill("form[data-act=resolved] [name=done]", "重启编码器")
    page.click("form[data-act=resolved] button")
    expect(page.locator(".result")).to_be_visible()
    resolved = page.locator(".number").inner_text()
    page.context.close()
    return broken, resolved


def is_well(page: Page, width: int) -> None:
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


@pytest.mark.parametrize("path", SEEN)
@pytest.mark.parametrize(("language", "scheme", "width"), LOOKS)
def test_axe_finds_nothing(
    browser: Browser, address: str, path: str, language: Language, scheme: Scheme, width: int
) -> None:
    page, _ = open_page(browser, f"{address}/{path}", language, scheme=scheme, size=(width, 900))
    expect(page.locator(SEEN[path]).first).to_be_visible()
    is_well(page, width)


@pytest.mark.parametrize("path", ACTED)
@pytest.mark.parametrize(("language", "scheme", "width"), LOOKS[:2])
def test_axe_finds_nothing_in_forms(
    browser: Browser, place: Centre, tickets: tuple[str, str], path: str, language: Language, scheme: Scheme, width: int
) -> None:
    broken, resolved = tickets
    where = {"ticket": f"tickets/{broken}", "refused": f"tickets/{broken}", "resolved": f"tickets/{resolved}"}
    page = place.page(
        browser, "zhao", where.get(path, path.removesuffix("-refused")), language=language, scheme=scheme,
        size=(width, 900),
    )  # fmt: skip
    if path == "ticket":
        page.evaluate("for (const one of document.querySelectorAll('details')) { one.name = ''; one.open = true; }")
    elif path == "refused":
        page.click("form[data-act=responded] button")
        expect(page.locator(".bad")).to_be_visible()
    elif path == "call":
        page.fill("#call-vehicle", "3")
        expect(page.locator("[name=goes_to]").first).to_be_visible()
    elif path == "call-refused":
        page.click("form.call button")
        expect(page.locator(".bad").first).to_be_visible()
    elif path == "vehicles/amb-3":
        page.click("summary[data-act=duty]")
    elif path == "silences":
        expect(page.locator("h2").first).to_be_visible()
    else:
        expect(page.locator("form[data-act=call_back]").first).to_be_attached()
    is_well(page, width)
