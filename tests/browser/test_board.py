"""The board in a real browser, beside the real demo: it updates itself, in both languages, and runs nobody's markup."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port, need

QUIET_CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = need("chromium", "chromium")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=program, args=QUIET_CHROMIUM)
        yield one
        one.close()


def open_page(browser: Browser, address: str, locale: str) -> tuple[Page, list[str]]:
    """Open the board; what the browser complains of is collected."""
    page = browser.new_page(locale=locale)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(address)
    return page, complaints


@pytest.mark.alone
def test_a_fault_appears_and_heals_while_one_looks(browser: Browser) -> None:
    port = free_port()
    command = [str(Path(sys.executable).parent / "kitwatch"), "demo", "--for", "60s", "--port", str(port)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith(f"page: http://127.0.0.1:{port}")
        page, complaints = open_page(browser, f"http://127.0.0.1:{port}/", "zh-CN")
        expect(page.locator("#vehicles > li")).to_have_count(3)
        expect(page.locator("#live")).to_have_text("实时更新")
        expect(page.locator("[data-vehicle=amb-01] [data-device=router]")).to_have_class("good", timeout=15_000)
        # The scenario takes the camera's power at 8 s, and gives it back at 22 s.
        ticket = page.locator("#open [data-fault=camera_down]")
        expect(ticket).to_contain_text("急救01车 摄像头 摄像头离线", timeout=30_000)
        expect(ticket).to_contain_text("检查")
        expect(page.locator("[data-vehicle=amb-01] [data-device=camera-1]")).to_have_class("bad")
        page.click("#language")
        expect(ticket).to_contain_text("check camera power")
        expect(page.locator("h1")).to_have_text("Ambulance 5G kit")
        expect(page.locator("#resolved [data-fault=camera_down]")).to_have_count(1, timeout=40_000)
        expect(ticket).to_have_count(0)
        page.reload()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        assert complaints == []
        page.close()
    finally:
        demo.kill()
        demo.wait(10)


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
            yield running[0].address, broker
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            loop.close()


def test_names_are_shown_as_text_whatever_they_hold(browser: Browser, tmp_path: Path) -> None:
    """S16: what comes from kit and files is hostile."""
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    with collector(tmp_path, hostile) as address:
        page, complaints = open_page(browser, address, "en-GB")
        expect(page.locator("#vehicles b")).to_have_text(hostile)
        expect(page.locator("#vehicles li[data-vehicle] .state")).to_have_text("never heard")
        expect(page.locator("#open-none")).to_be_visible()
        assert page.locator("main img, main script").count() == 0
        assert page.title() == "Ambulance 5G kit · kitwatch"
        assert complaints == []
        page.close()


def test_a_lost_connection_is_said_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    with collector(tmp_path, "x") as address:
        page, _ = open_page(browser, address, "en-GB")
        expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#live")).to_contain_text("connection to the centre lost", timeout=10_000)
    page.close()


def test_absence_of_news_is_never_shown_as_good_news(browser: Browser, tmp_path: Path) -> None:
    """The broker was dead for 150 s, and the board said "live" with 223 green dots."""
    with collector_and_broker(tmp_path, "x") as (address, broker):
        page, _ = open_page(browser, address, "en-GB")
        expect(page.locator("#vehicles li[data-vehicle]")).to_have_count(1)
        expect(page.locator("#warnings li")).to_have_count(0, timeout=20_000)
        broker.stop()
        warning = page.locator("#warnings [data-site=c1][data-state=not_listening]")
        expect(warning).to_contain_text("nothing is heard of the vehicles since", timeout=20_000)
        broker.start()
        expect(page.locator("#warnings li")).to_have_count(0, timeout=20_000)
        page.close()


@pytest.mark.alone
def test_a_stale_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with collector(tmp_path, "x") as address:
        page = browser.new_page(locale="en-GB")
        page.clock.install()
        page.goto(address)
        expect(page.locator("#vehicles li[data-vehicle]")).to_have_count(1)
        page.context.set_offline(True)
        page.clock.fast_forward(36_000)
        expect(page.locator("#warnings [data-state=stale]")).to_contain_text(
            "no answer from the centre", timeout=20_000
        )
        page.context.set_offline(False)
        page.clock.fast_forward(10_000)
        expect(page.locator("#warnings [data-state=stale]")).to_have_count(0, timeout=20_000)
        page.close()
