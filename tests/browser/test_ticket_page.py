"""A ticket's page in a real browser: what happened, what first, how clocks were counted, whether anybody was told."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from collector.channels import deliveries
from collector.channels.deliveries import Lane
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.read import tickets as read
from collector.store.rows import Changes, NotificationRow
from tests.browser.chromium import browser, open_page
from tests.browser.fleets import SITE, House, fleet_of

__all__ = ["browser"]
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


def say(house: House, ticket: str, what: str, body: e.Body, who: str = "wang") -> None:
    """Commit what a person does, as the site's owner would."""
    found = read.ticket(house.store.engine, ticket, SITE)
    assert found is not None
    _, events = found
    last = events[-1]
    at_ms = last.recorded_ms + 1000
    event = TicketEvent(number=last.number + 1, what=what, at_ms=at_ms, recorded_ms=at_ms, who=who, body=body)
    house.site.commit(Changes(recorded=[Recorded(fold(SITE, ticket, [*events, event]), event)]))


def tell(house: House, ticket: str) -> None:
    """Make two deliveries: one that has arrived, one that was refused."""
    body = '{"text": "x"}'
    told = NotificationRow("k1", ticket, body, house.now_ms, (("wang", "webhook"), ("chen", "sms")))
    house.site.commit(Changes(notifications=[told]))
    for receiver, channel, state, error in (("wang", "webhook", "sent", ""), ("chen", "sms", "failed", "no credit")):
        (waiting,) = deliveries.next_of_each_ticket(house.store, Lane(SITE, receiver, channel))
        deliveries.settle(
            house.store, SITE, waiting, state, attempts=3, next_ms=house.now_ms, error=error  # type: ignore[arg-type]
        )  # fmt: skip


def test_a_ticket_says_what_first_and_follows_what_people_do(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 10) as (house, address):
        tell(house, "2026-0002")
        page, complaints = open_page(browser, address)
        page.click(".tickets a:has-text('2026-0002')")
        expect(page.locator("h1")).to_contain_text("急救02车 · 全部视频中断")
        expect(page.locator(".number")).to_have_text("2026-0002")
        expect(page.locator(".first")).to_contain_text("检查交换机供电")
        expect(page.locator(".facts .due")).to_contain_text("超时")
        expect(page.locator(".clock")).to_contain_text("1 小时，昼夜连续计算")
        expect(page.locator("a[href='tel:13905710002']")).to_be_visible()
        told = page.locator(".log").nth(1)
        expect(told.locator("tr", has_text="王建国")).to_contain_text("已送达")
        expect(told.locator("tr", has_text="陈志强")).to_contain_text("未送达 · 3 次尝试 no credit")
        say(house, "2026-0002", "commented", e.Remark(HOSTILE))
        expect(page.locator(".log").first).to_contain_text(HOSTILE)
        say(house, "2026-0002", "responded", e.Response(how="remote"))
        expect(page.locator(".facts")).to_contain_text("已响应")
        assert page.locator("main img").count() == 0
        page.click("#language")
        expect(page.locator(".first")).to_contain_text("check switch power")
        expect(page.locator(".facts")).to_contain_text("responded")
        assert page.url.endswith("/tickets/2026-0002?site=c1")
        assert complaints == []
        page.context.close()
