"""A vehicle's page in a real browser: cause and symptoms, kit, and charts of what was really read."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from collector.core.vehicle.state import InventoryEntry
from collector.store.rows import Changes
from tests.browser.chromium import browser, demo_page, findings, open_page
from tests.browser.fleets import SITE, Broken, House, fleet_of

__all__ = ["browser"]

VEHICLE = "vehicles/amb-01"


def know(house: House, vehicle: str) -> None:
    """Let the modem say who it is."""
    identity: dict[str, str | None] = {
        "vendor": "Quectel", "model": "RM500Q", "firmware": "R11A06", "imei": "864394040012345",
    }  # fmt: skip
    entry = InventoryEntry(site=SITE, vehicle=vehicle, device="modem", seen_ms=house.now_ms, identity=identity)
    house.site.commit(Changes(inventory=[entry]))


def test_cause_and_symptoms_stand_in_the_picture_of_what_needs_what(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 10) as (house, address):
        know(house, "amb-002")
        page, complaints = open_page(browser, address)
        page.click("tr[data-vehicle=amb-002] th a")
        expect(page.locator("h1")).to_contain_text("急救02车 浙A·12002")
        expect(page.locator("[data-device=encoder]")).to_have_class("s cause")
        camera = page.locator("[data-device=camera-1]")
        expect(camera).to_have_class("s symptom")
        expect(camera).to_contain_text("因“全部视频中断”")
        expect(page.locator("[data-device=router] [data-device=camera-1]")).to_have_count(1)
        expect(page.locator("[data-device=modem]")).to_have_class("s well")
        expect(page.locator("a[href='tel:13905710002']")).to_be_visible()
        inventory = page.locator("tr", has_text="RM500Q")
        expect(inventory).to_contain_text("R11A06")
        expect(inventory).to_contain_text("imei 864394040012345")
        expect(page.locator("#charts")).to_have_attribute("data-drawn", "yes")
        expect(page.locator("figure[data-chart=signal]")).to_contain_text("没有读数")
        house.say(1, "amb-002", [Broken("modem_hot", "modem", 1)], heard_ms=house.now_ms)
        expect(page.locator("[data-device=modem]")).to_contain_text("模组过热")
        page.click("text=2026-0002")
        expect(page.locator(".number")).to_have_text("2026-0002")
        assert complaints == []
        page.context.close()


def test_who_is_not_heard_is_unknown(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 10) as (_, address):
        page, _ = open_page(browser, f"{address}/vehicles/amb-004", "en")
        expect(page.locator("[data-device=router]")).to_have_class("s unknown")
        expect(page.locator(".first")).to_contain_text("suspected")
        page.context.close()


@pytest.mark.alone
def test_charts_draw_what_was_read_and_leave_gaps(browser: Browser) -> None:
    with demo_page(browser, "180s", VEHICLE) as (page, complaints, address):
        signal, delay = (page.locator(f"figure[data-chart={name}]") for name in ("signal", "delay"))
        for _ in range(20):
            expect(page.locator("#charts")).to_have_attribute("data-drawn", "yes")
            if signal.locator("canvas").count() and delay.locator("canvas").count():
                break
            page.wait_for_timeout(1000)
            page.reload()
        expect(signal).to_contain_text("RSRP")
        expect(delay.locator("canvas")).to_have_count(1)
        told = page.request.get(f"{address}/history?hours=1").json()
        (rsrp, *_) = [one for one in told["charts"]["signal"] if one["metric"] == "modem.rsrp_dbm"]
        assert len(rsrp["values"]) == len(told["times"])
        assert rsrp["values"][0] is None, "an hour ago there was no demo"
        assert any(-140 < value < -40 for value in rsrp["values"] if value is not None)
        assert findings(page) == []
        assert complaints == []
