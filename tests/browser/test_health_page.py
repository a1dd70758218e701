"""The health of kitwatch itself in a real browser: a site that hears nothing, what was refused, what is in force."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from collector.store.rows import Changes, QuarantineRow
from tests.browser.chromium import browser, open_page
from tests.browser.fleets import House, fleet_of

__all__ = ["browser"]


def refuse(house: House) -> None:
    """Set a message aside, as the intake does."""
    row = QuarantineRow(
        "amb-001", "router", "aa", [(1, 1)], "undecodable", "expected JSON, found <b>", b"x", house.now_ms
    )
    house.site.commit(Changes(quarantine=[row], counters={"duplicates": 3}))


def test_it_says_what_is_in_force_and_what_was_refused(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 2) as (house, address):
        page, complaints = open_page(browser, address)
        page.click("header nav a:has-text('系统状态')")
        site = page.locator("[data-site=c1]")
        expect(site.locator("h2")).to_contain_text("正常收听")
        expect(site.locator(".facts")).to_contain_text("已连接")
        expect(site).to_contain_text("合同 · 第 1 版")
        expect(site.locator("h3", has_text="隔离区")).to_contain_text("✔ 0")
        refuse(house)
        expect(site.locator("h3", has_text="隔离区")).to_contain_text("✖ 1")
        expect(site).to_contain_text("expected JSON, found <b>")
        assert complaints == []
        page.context.close()


def test_a_site_that_hears_nothing_says_so_on_every_page(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 2, listening=False) as (_, address):
        for path in ("", "?wall", "tickets/2026-0001", "vehicles/amb-001", "health"):
            page, _ = open_page(browser, f"{address}/{path}", "en")
            expect(page.locator(".warning[data-site=c1]")).to_contain_text("nothing has been heard")
            page.context.close()
