"""The wall in a real browser: read from three metres, nothing to press, screen after screen, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import Language, browser, open_page
from tests.browser.fleets import fleet_of
from tests.browser.stories import a_shift, everybody_has_one, long_names

__all__ = ["browser"]
LEAST: Final = 0.0145
"""Size of a letter in parts of the picture's width: 18 mm on a screen of 55 inches."""
SEEN: Final = """() => {
    const texts = [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
        && !one.closest(".unseen") && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    const cells = [...document.querySelectorAll(".screen:not([hidden]) li")];
    return {
        smallest: Math.min(...texts.map((one) => parseFloat(getComputedStyle(one).fontSize))),
        page: [document.documentElement.scrollWidth, document.documentElement.scrollHeight],
        screens: document.querySelectorAll(".screen:not([hidden])").length,
        bottom: Math.max(...cells.map((one) => one.getBoundingClientRect().bottom)),
        marks: Math.min(...cells.map((one) => one.getBoundingClientRect().right
            - one.querySelector(".state b").getBoundingClientRect().right)),
        pressed: document.querySelectorAll("a, button, input, select, summary").length,
        vehicles: document.querySelectorAll("li[data-vehicle]").length,
    };
}"""


@pytest.fixture(scope="module", params=[4, 30, 120])
def wall(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A fleet of so many vehicles with names of sixty characters."""
    vehicles: int = request.param
    tell = a_shift if vehicles == 30 else lambda house: everybody_has_one(house, vehicles // 2)
    with fleet_of(tmp_path_factory.mktemp("wall"), vehicles, tell=tell, names=long_names) as (_, address):
        yield f"{address}/?wall", vehicles


@pytest.mark.parametrize(("language", "width", "height"), [("zh", 1920, 1080), ("en", 3840, 2160)])
def test_it_is_read_from_three_metres_and_fills_its_screen(
    browser: Browser, wall: tuple[str, int], language: Language, width: int, height: int
) -> None:
    address, vehicles = wall
    page, complaints = open_page(browser, address, language, size=(width, height))
    expect(page.locator("#live")).to_have_class("unseen up")
    seen = page.evaluate(SEEN)
    assert seen["smallest"] >= LEAST * width
    assert seen["page"] == [width, height]
    assert 0.85 * height < seen["bottom"] <= height, "no third of it is empty, and nothing is cut off"
    assert seen["marks"] > 0, "whether it can send video is seen beside the longest name"
    assert (seen["screens"], seen["pressed"], seen["vehicles"]) == (1, 0, vehicles)
    assert complaints == []
    page.context.close()


def test_it_turns_its_screens_by_itself(browser: Browser, wall: tuple[str, int]) -> None:
    address, vehicles = wall
    page, _ = open_page(browser, address, size=(1920, 1080))
    page.clock.install()
    page.reload()
    screens = page.locator(".screen")
    seen: set[str] = set()
    for _ in range(3 * screens.count()):  # on a slow machine one may turn that nobody has read: it comes again
        shown = page.locator(".screen:not([hidden])")
        expect(shown).to_have_count(1)
        before = shown.get_attribute("aria-label")
        seen |= set(shown.locator("li").evaluate_all("found => found.map((one) => one.dataset.vehicle)"))
        page.clock.run_for(10_000)
        if screens.count() > 1:
            expect(shown).not_to_have_attribute("aria-label", before or "")
        if len(seen) == vehicles:
            break
    assert len(seen) == vehicles, "one screen after the other shows every vehicle"
    page.context.close()
