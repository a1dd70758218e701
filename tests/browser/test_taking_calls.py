"""Taking a call in a real browser: in under 20 seconds of typing, and what is about an open ticket goes there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from collector.core.tickets import events as e
from collector.read import tickets as read
from collector.store import queries
from tests.browser.centre import SITE, Centre, centre
from tests.browser.chromium import browser

__all__ = ["browser"]
KEY_MS = 150
"""A key by somebody who types with one hand (Card, Moran and Newell: 0.12 to 0.28 s)."""
PINYIN = {"李护士": "lihushi ", "画面时有时无": "huamianshiyoushiwu "}
"""What is typed for words that an input method makes."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path) as one:
        yield one


class Typist:
    """Somebody at the keyboard; every key is counted, those of an input method too."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.keys = 0

    def types(self, text: str) -> None:
        self.keys += len(PINYIN.get(text, text))
        if text in PINYIN:
            self.page.keyboard.insert_text(text)
        else:
            self.page.keyboard.type(text)

    def presses(self, *keys: str) -> None:
        for key in keys:
            self.keys += key.count("+") + 1
            self.page.keyboard.press(key)

    def tabs_to(self, name: str) -> None:
        while self.page.evaluate("document.activeElement.name") != name:
            assert self.keys < 200, f"{name} is out of reach"
            self.presses("Tab")


def opening(place: Centre, ticket: str) -> tuple[Any, list[str]]:
    found = read.ticket(place.store.engine, ticket, SITE)
    assert found is not None
    return found[1][0].body, [event.what for event in found[1]]


def test_a_call_is_taken_in_under_20_seconds_of_typing(browser: Browser, place: Centre) -> None:
    page = place.page(browser, "zhao", "health")
    typist = Typist(page)
    typist.presses("Alt+c")
    page.wait_for_url("**/call")
    expect(page.locator("#call-vehicle")).to_be_focused()
    typist.types("3")
    expect(page.locator(".meant")).to_contain_text("急救03车 浙A·12003")
    typist.tabs_to("symptom")
    typist.presses("Space")
    typist.tabs_to("text")
    typist.types("画面时有时无")
    typist.presses("Tab")
    typist.types("李护士")
    typist.presses("Tab")
    typist.types("13805710009")
    typist.presses("Enter")
    page.wait_for_url("**/call?done=*")
    number = page.locator(".number.big")
    expect(number).to_have_text(place.number(1))
    place.until(lambda: number.evaluate("one => parseFloat(getComputedStyle(one).fontSize)") >= 40)  # at arm's length
    assert typist.keys * KEY_MS < 20_000, typist.keys
    body, _ = opening(place, place.number(1))
    assert (body.source, body.vehicle, body.fault, body.text) == ("call", "amb-3", "video_all_down", "画面时有时无")
    assert (body.caller, body.sla_class) == (e.Caller("李护士", "13805710009"), "disaster")
    # the next one is about the same vehicle: the ticket is offered, and the call goes there
    page.fill("#call-vehicle", "12003")
    page.get_by_label(f"{place.number(1)} 全部视频中断").check()
    page.check("[name=symptom][value=no_sound]")
    page.fill("#call-caller_name", "周医生")
    with page.expect_navigation():  # the number already stands there, of the call before
        page.click("form.call button")
    expect(number).to_have_text(place.number(1))
    place.until(lambda: opening(place, place.number(1))[1] == ["opened", "call_attached"])
    number.click()
    expect(page.locator("#ticket")).to_contain_text("周医生")
    page.close()


def test_the_number_stays_to_be_read_out_whatever_else_happens(browser: Browser, place: Centre) -> None:
    """Found on a busy machine: the next news of any vehicle took it away."""
    page = place.page(browser, "zhao", "call?vehicle=2")
    page.fill("#call-text", "画面卡")
    page.fill("#call-caller_name", "李护士")
    page.click("form.call button")
    expect(page.locator(".number.big")).to_have_text(place.number(1))
    expect(page.locator("#live")).to_have_class("up")
    with page.expect_response(lambda answer: "call?done=" in answer.url):
        place.break_sim()
    page.wait_for_timeout(500)  # it is drawn
    expect(page.locator(".number.big")).to_have_text(place.number(1))
    page.click(".number.big")
    expect(page.locator("#ticket")).to_contain_text("李护士")
    page.close()


def test_a_number_that_is_late_comes_by_itself(
    browser: Browser, place: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, waiting = threading.Event(), queries.waiting_actions
    monkeypatch.setattr(queries, "waiting_actions", lambda *which: waiting(*which) if taking.is_set() else [])
    page = place.page(browser, "zhao", "call?vehicle=2")
    page.fill("#call-text", "画面卡")
    page.fill("#call-caller_name", "李护士")
    page.click("form.call button")
    expect(page.locator(".said-number .waiting")).to_be_visible(timeout=30_000)  # the page waits 5 s for the owner
    assert read.list_tickets(place.store.engine, state="open") == []
    taking.set()
    expect(page.locator(".number.big")).to_have_text(place.number(1), timeout=30_000)
    page.close()


def test_what_lacks_is_said_and_nothing_is_lost_without_scripts(browser: Browser, place: Centre) -> None:
    ticket = place.break_sim()
    page = place.page(browser, "zhao", "call", scripts=False, language="en", size=(390, 844))
    page.fill("#call-vehicle", "急救")
    page.fill("#call-text", "no picture at all since noon")
    page.click("form.call button")
    expect(page.locator("form.call")).to_contain_text("several fit: a few letters more")
    expect(page.locator("form.call")).to_contain_text("please say who calls")
    expect(page.locator("#call-text")).to_have_value("no picture at all since noon")
    page.fill("#call-vehicle", "amb-3")
    page.fill("#call-caller_phone", "8001")
    page.click("form.call button")
    page.get_by_label("a new ticket").check()
    expect(page.locator("form.call")).to_contain_text(ticket)
    page.click("form.call button")
    expect(page.locator(".number.big")).to_have_text(place.number(2))
    body, _ = opening(place, place.number(2))
    assert (body.caller, body.sla_class, body.vehicle) == (e.Caller("8001", "8001"), "general", "amb-3")
    page.close()
    guest = place.page(browser, "guest", role="viewer")
    assert guest.locator("a[href$=call]").count() == 0
    assert guest.request.get(f"{place.address}/call").status == 403
    guest.close()


def test_call_backs_are_made_where_they_stand_mine_first(browser: Browser, place: Centre) -> None:
    wang = place.page(browser, "wang")
    for vehicle, caller in (("1", "李护士"), ("2", "周医生")):
        wang.goto(f"{place.address}/call")
        wang.fill("#call-vehicle", vehicle)
        wang.fill("#call-text", "画面卡")
        wang.fill("#call-caller_name", caller)
        wang.fill("#call-caller_phone", "0571 8001")
        wang.click("form.call button")
        wang.click(".number.big")
        wang.locator(".others > summary").click()
        wang.locator("summary[data-act=resolved]").click()
        wang.fill("form[data-act=resolved] [name=done]", f"重启编码器{vehicle}")
        wang.click("form[data-act=resolved] button")
        expect(wang.locator(".result")).to_contain_text("解决：已完成")
    wang.goto(f"{place.address}/call-backs")
    expect(wang.locator(".call-back")).to_have_count(2)
    assert wang.locator("form[data-act=call_back]").count() == 0, "who worked on it asks nobody"
    draws = {ticket: _drawn(place, ticket) for ticket in (place.number(1), place.number(2))}
    mine, who = next(iter(draws.items()))  # of two that fall to one person the first number stands first
    page = place.page(browser, who, "call-backs")
    first = page.locator(".call-back").first
    expect(first).to_have_attribute("data-ticket", mine)
    expect(first).to_contain_text("重启编码器")
    expect(first.locator("a[href='tel:05718001']")).to_be_visible()
    first.locator("[name=reached][value=no]").check()
    first.locator("button").click()
    expect(page.locator(".result")).to_contain_text("回访未联系上：已完成")
    expect(page.locator(f"[data-ticket='{mine}']")).to_contain_text("未接通")
    other = page.locator(".call-back").last
    bad = other.get_attribute("data-ticket") or ""
    other.locator("summary").first.click()
    other.locator("[name=reached][value=yes]").check()
    other.locator("[name=solved][value=no]").check()
    other.locator("[name=answer][value=bad]").check()
    other.locator("button").click()
    expect(page.locator(".result")).to_contain_text("回访未解决（差）：已完成")
    expect(page.locator(".call-back")).to_have_count(1)
    assert place.state(bad) == ("new", 2)
    page.close()
    wang.close()


def _drawn(place: Centre, ticket: str) -> str:
    found = read.ticket(place.store.engine, ticket, SITE)
    assert found is not None
    return next(event.body.to for event in found[1] if isinstance(event.body, e.Draw))
