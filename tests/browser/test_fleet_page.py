"""The fleet in a real browser, beside the real demo: it updates itself, in both languages, and runs nobody's markup."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Route, expect

from collector.core.tickets import events as e
from collector.web.identity import COOKIE
from tests.browser.chromium import browser, demo_page, open_page, until
from tests.browser.fleets import Broken, fleet_of
from tests.browser.stories import everybody_has_one, quiet
from tests.services.api import SESSION, let_in_browser
from tests.services.mosquitto import mosquitto
from tests.services.process import Server

__all__ = ["browser"]


@pytest.mark.alone
def test_a_fault_appears_and_heals_while_one_looks(browser: Browser) -> None:
    with demo_page(browser, "240s") as (page, complaints, _):
        row = page.locator("tr[data-vehicle=amb-01]")
        expect(page.locator("#live")).to_have_text("页面已连接")
        # The scenario takes the camera's power at 8 s of each minute, and gives it back at 22 s.
        ticket = page.locator(".tickets [data-fault=camera_down]")
        expect(ticket).to_contain_text("急救01车 摄像头离线", timeout=90_000)
        expect(ticket.locator("time")).to_have_text(re.compile(r"[01]:\d\d:\d\d"))
        expect(row).to_contain_text("受限", timeout=90_000)
        page.click("#language")
        expect(ticket).to_contain_text("Camera offline", timeout=90_000)
        expect(row).to_contain_text("limited", timeout=90_000)
        expect(ticket).to_have_count(0)
        page.reload()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        assert complaints == []


@contextlib.contextmanager
def collector(directory: Path, name: str) -> Iterator[str]:
    """Run a real collector in a thread, with one vehicle of that name that nobody has heard; yield its address."""
    with collector_and_broker(directory, name) as (address, _):
        yield address


@contextlib.contextmanager
def collector_and_broker(directory: Path, name: str) -> Iterator[tuple[str, Server]]:
    """Do the same, and yield the broker too."""
    from collector.config import load_config
    from collector.main import Running, run

    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    running: list[Running] = []
    ready = threading.Event()
    (directory / "broker").mkdir()
    with mosquitto(directory / "broker") as broker:
        device = {"router": {"kind": "router", "name": name, "system": {}}}
        vehicles = {"amb-01": {"name": name, "plate": name, "agents": {"router": {"devices": device}}}}
        (directory / "fleet.yaml").write_text(yaml.safe_dump({"sites": {"c1": {"vehicles": vehicles}}}))
        content = {
            "broker": {"host": "127.0.0.1", "port": broker.port},
            "database": "sqlite:///k.sqlite",
            "fleet": "fleet.yaml",
            "web": {"port": 0},
            "timings": {"gather_ms": 0, "beat": 0.5, "retry": 0.1, "retry_most": 0.5},
        }
        (directory / "collector.yaml").write_text(yaml.safe_dump(content))
        config = load_config(directory / "collector.yaml")

        def begun(one: Running) -> None:
            running.append(one)
            ready.set()

        thread = threading.Thread(target=lambda: loop.run_until_complete(run(config, stop=stop, on_ready=begun)))
        thread.start()
        assert ready.wait(60)
        try:
            let_in_browser(running[0].store)
            yield running[0].address, broker
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            loop.close()


def test_names_are_shown_as_text_whatever_they_hold(browser: Browser, tmp_path: Path) -> None:
    """S16: what comes from kit and files is hostile."""
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    with collector(tmp_path, hostile) as address:
        page, complaints = open_page(browser, address, "en")
        expect(page.locator("tr[data-vehicle=amb-01] th a")).to_have_text(hostile)
        expect(page.locator("tr[data-vehicle=amb-01]")).to_contain_text("never heard")
        expect(page.locator(".tickets")).to_contain_text("No open tickets")
        expect(page).to_have_title("Ambulance 5G kit · kitwatch")
        assert page.locator("main img, main script").count() == 0
        assert complaints == []
        page.close()


def test_a_lost_connection_is_said_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    with collector(tmp_path, "x") as address:
        page, _ = open_page(browser, address, "en")
        expect(page.locator("#live")).to_have_text("page connected")
    expect(page.locator("#live")).to_contain_text("connection to the centre lost")
    page.close()


def test_absence_of_news_is_never_shown_as_good_news(browser: Browser, tmp_path: Path) -> None:
    """The broker was dead for 150 s, and the board said "live" with 223 green dots."""
    with collector_and_broker(tmp_path, "x") as (address, broker):
        page, _ = open_page(browser, address, "en")
        expect(page.locator("tr[data-vehicle]")).to_have_count(1)
        expect(page.locator(".warning")).to_have_count(0)
        broker.stop()
        warning = page.locator(".warning[data-site=c1][data-state=not_listening]")
        expect(warning).to_contain_text("nothing is heard of the vehicles since")
        expect(page.locator("tr[data-vehicle=amb-01]")).to_contain_text("unknown")
        expect(page).to_have_title(re.compile("^⚠"))
        broker.start()
        expect(page.locator(".warning")).to_have_count(0)
        page.close()


@pytest.mark.alone
def test_a_stale_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with collector(tmp_path, "x") as address:
        context = browser.new_context()
        context.add_cookies([{"name": COOKIE, "value": SESSION, "url": address}])
        page = context.new_page()
        page.clock.install()
        page.goto(address)
        expect(page.locator("tr[data-vehicle]")).to_have_count(1)
        expect(page.locator("#stale")).to_be_hidden()
        context.set_offline(True)
        page.clock.fast_forward(60_000)
        expect(page.locator("#stale")).to_be_visible()
        context.set_offline(False)
        page.clock.fast_forward(20_000)
        expect(page.locator("#stale")).to_be_hidden()
        context.close()


def test_the_first_screen_shows_thirty_vehicles_and_the_most_urgent_tickets(browser: Browser, tmp_path: Path) -> None:
    """The first board began its vehicles 7,732 px down, 24 times the same SIM line above them."""
    with fleet_of(tmp_path, 30) as (_, address):
        page, complaints = open_page(browser, address)
        rows = page.locator("tr[data-vehicle]")
        expect(rows).to_have_count(30)
        for last in (rows.nth(29), page.locator(".tickets li").nth(2)):
            assert last.evaluate("row => row.getBoundingClientRect().bottom") <= 900
        words = rows.all_inner_texts()
        assert ["急救01车" in words[0], "不能传" in words[0], "2026-0001" in words[0]] == [True] * 3
        suspected = page.locator("tr[data-vehicle=amb-004]")
        expect(suspected).to_contain_text("疑似失联")
        expect(page.locator("tr[data-vehicle=amb-005]")).to_contain_text("未建单")
        tickets = page.locator(".tickets li").all_inner_texts()
        assert ["2026-0002" in tickets[0], "超时" in tickets[0], "2026-0001" in tickets[2]] == [True] * 3
        expect(page).to_have_title(re.compile(r"^◆1 灾难 \(5\)"))
        expect(page.locator("header")).to_contain_text("0571 8505 0120")
        expect(page.locator("header a[href='tel:13805710001']")).to_be_visible()
        assert complaints == []
        page.context.close()


def test_many_with_one_fault_are_one_line_that_opens_and_stays_open(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 30, without_sim=20) as (house, address):
        page, complaints = open_page(browser, address)
        group = page.locator("tr.group")
        expect(group).to_contain_text("21 辆")
        expect(group).to_contain_text("不能传")
        expect(page.locator("tr[data-vehicle]")).to_have_count(9)
        expect(page.locator(".tickets [data-group]")).to_contain_text("21 张")
        group.get_by_role("button").press("Enter")
        expect(page.locator("tr[data-vehicle]")).to_have_count(30)
        expect(page).to_have_url(re.compile("open=v.sim_absent"))
        with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
            house.say(9, "amb-010", [Broken("router_dead", "router", 1)], heard_ms=house.now_ms)
        changed = page.locator("tr[data-vehicle=amb-010]")
        expect(changed).to_contain_text("路由器离线")
        expect(page.locator("tr[data-vehicle]")).to_have_count(30)
        page.get_by_label("查找").fill("急救11车")
        expect(page.locator("tr[data-vehicle]")).to_have_count(1)
        page.get_by_label("查找").fill("")
        page.locator("select[name=video]").select_option("yes")
        expect(page.locator("tr[data-vehicle=amb-007]")).to_have_count(1)
        expect(page.locator("tr[data-vehicle=amb-001]")).to_have_count(0)
        page.reload()
        expect(page.locator("tr[data-vehicle=amb-001]")).to_have_count(0)
        assert complaints == []
        page.context.close()


def test_what_one_presses_is_not_lost_while_the_page_is_made_anew(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 14, without_sim=5) as (house, address):
        page, _ = open_page(browser, address)
        expect(page.locator("#live")).to_have_class("up")
        held: list[Route] = []

        def hold(route: Route) -> None:
            if "open=" in route.request.url or "hx-request" not in route.request.headers:
                route.continue_()
            else:
                held.append(route)

        page.route("**/*", hold)
        house.say(9, "amb-010", [Broken("router_dead", "router", 1)], heard_ms=house.now_ms)
        for _ in range(600):
            if held:
                break
            page.wait_for_timeout(100)
        assert held, "the page asks anew, and gets no answer yet"
        page.locator("tr.group [role=button]").click()
        expect(page.locator("tr[data-vehicle]")).to_have_count(14)
        with page.expect_response(lambda answer: answer.request == held[0].request):
            held[0].continue_()  # asked before the group stood open, answered after
        least = 14
        for _ in range(50):
            page.wait_for_timeout(10)
            least = min(least, page.locator("tr[data-vehicle]").count())
        assert least == 14, "it never closes by itself"
        page.context.close()


def test_an_answer_that_never_comes_or_is_an_error_does_not_freeze_the_page(browser: Browser, tmp_path: Path) -> None:
    """Behind a proxy that loses one, every later change waited for it, and nothing said so."""
    with fleet_of(tmp_path, 3) as (house, address):
        page, _ = open_page(browser, address)
        expect(page.locator("#live")).to_have_class("up")
        page.evaluate("htmx.config.timeout = 1000")
        lost: list[str] = []

        def lose(route: Route) -> None:
            if len(lost) >= 2 or "hx-request" not in route.request.headers:
                route.continue_()
                return
            lost.append(route.request.url)
            if len(lost) == 2:
                route.fulfill(status=502)

        page.route("**/*", lose)
        house.say(2, "amb-003", [Broken("router_dead", "router", 1)], heard_ms=house.now_ms)
        for _ in range(600):
            if len(lost) == 2:
                break
            page.wait_for_timeout(100)
        assert len(lost) == 2
        expect(page.locator("tr[data-vehicle=amb-003]")).to_contain_text("路由器离线")
        page.context.close()


def test_a_new_disaster_is_in_the_title_and_heard(browser: Browser, tmp_path: Path) -> None:
    """Also in the place of one that was acknowledged, in a tab that is not seen."""
    with fleet_of(tmp_path, 6, tell=quiet) as (house, address):
        page, _ = open_page(browser, address)
        page.context.add_init_script(
            """window.tones = 0; const start = OscillatorNode.prototype.start;
            OscillatorNode.prototype.start = function (at) { window.tones += 1; return start.call(this, at); };"""
        )
        page.reload()
        expect(page.locator("#live")).to_have_class("up")
        page.check("#sound")
        page.context.new_page().bring_to_front()
        house.say(1, "amb-002", [Broken("sim_absent", "modem", 1)], heard_ms=house.now_ms)
        expect(page).to_have_title(re.compile(r"^◆1 灾难 \(1\)"))
        expect(page.locator("tr[data-vehicle=amb-002]")).to_contain_text("SIM卡未检测到")
        until(page, "tones === 3")
        house.say(1, "amb-002", [Broken("sim_absent", "modem", 1, ticket=False)], heard_ms=house.now_ms)
        house.act("2026-0001", "acknowledged", e.NO_WORDS)
        house.say(2, "amb-003", [Broken("router_dead", "router", 1)], heard_ms=house.now_ms)
        expect(page).to_have_title(re.compile(r"^◆1 灾难 \(2\)"))
        until(page, "tones === 6")
        page.click("tr[data-vehicle=amb-003] a:has-text('2026-0002')")
        expect(page.locator(".number")).to_have_text("2026-0002")
        page.go_back()
        expect(page.locator("#live")).to_have_class("up")
        expect(page.locator("#sound")).to_be_checked()
        page.context.close()


def test_none_of_a_thousand_open_tickets_is_hidden(browser: Browser, tmp_path: Path) -> None:
    with fleet_of(tmp_path, 100, tell=lambda house: everybody_has_one(house, 1000)) as (house, address):
        page, complaints = open_page(browser, address)
        expect(page.locator(".tickets .n")).to_have_text("1000")
        groups = page.locator(".tickets [data-group]").evaluate_all("found => found.map((one) => one.dataset.group)")
        counted = page.locator(".tickets [data-group] b:has-text('张')").all_inner_texts()
        assert sum(int(text.split()[0]) for text in counted) + page.locator(".tickets [data-ticket]").count() == 1000
        page.goto(f"{address}/?{'&'.join(f'open={one}' for one in groups)}")
        shown = page.locator(".tickets [data-ticket]").evaluate_all("found => found.map((one) => one.dataset.ticket)")
        assert (len(shown), len(set(shown)), house.count_open()) == (1000, 1000, 1000)
        page.locator(".tickets a:has-text('2026-1000')").click()
        expect(page.locator(".number")).to_have_text("2026-1000")
        assert complaints == []
        page.context.close()
