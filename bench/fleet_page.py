"""What the fleet's page costs at 500 vehicles and 200 open tickets: bytes, time, time to the screen, traffic at rest.

The real server over HTTP, a real Chromium for what is seen; the site's owner is a thread that commits what a collector
would: each 30 s the summaries of all vehicles, as while nothing but readings change (decision 77).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from playwright.sync_api import expect, sync_playwright

from bench.row import Row, percentile, row
from collector.core.vehicle.summary import SHOWN_MS
from collector.web.identity import COOKIE
from tests.browser.chromium import QUIET_CHROMIUM, open_page
from tests.browser.fleets import Broken, House, fleet_of
from tests.browser.stories import everybody_has_one
from tests.services.api import SESSION
from tests.services.process import free_port, need

VEHICLES: Final = 500
TICKETS: Final = 200
SMALL: Final = 10
REQUESTS: Final = 60
EVENTS: Final = 20
REST_S: Final = 90.0


def rows() -> list[Row]:
    """Return what a page weighs and takes, how late an event is on screen, and what a viewer costs at rest."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        small.mkdir()
        large.mkdir()
        with (
            fleet_of(small, SMALL, tell=lambda house: everybody_has_one(house, 4)) as (_, little),
            fleet_of(large, VEHICLES, tell=lambda house: everybody_has_one(house, TICKETS)) as (house, address),
        ):
            faults = sorted(set(_groups(address)))
            opened = "?" + "&".join(f"open={group}" for group in faults)
            found = [_weight(address, "", "as it opens"), _weight(address, opened, "all groups open")]
            found += [_time(address, "", little, "as it opens"), _time(address, opened, little, "all groups open")]
            found += _on_screen(house, address)
    return found


def _get(address: str) -> tuple[float, bytes]:
    """Return the seconds until a page is there, and its bytes as sent."""
    headers = {"Cookie": f"{COOKIE}={SESSION}", "Accept-Encoding": "gzip"}
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
        body: bytes = answer.read()
    return time.perf_counter() - began, body


def _groups(address: str) -> Iterator[str]:
    page = gzip.decompress(_get(f"{address}/")[1]).decode()
    for part in page.split('data-group="')[1:]:
        yield part.partition('"')[0]


def _weight(address: str, query: str, how: str) -> Row:
    sent = _get(f"{address}/{query}")[1]
    return row(
        f"fleet page, {VEHICLES} vehicles, {TICKETS} tickets, {how}, kB as sent", len(sent) / 1000,
        "before gzip", len(gzip.decompress(sent)) / 1000, target="ours <= 300",
    )  # fmt: skip


def _time(address: str, query: str, little: str, how: str) -> Row:
    taken, beside = [], []
    for _ in range(REQUESTS):
        taken.append(_get(f"{address}/{query}")[0] * 1000)
        beside.append(_get(f"{little}/")[0] * 1000)
    return row(
        f"fleet page, {how}, ms over HTTP, 95th percentile of {REQUESTS}", percentile(taken, 0.95),
        f"{SMALL} vehicles, 4 tickets", percentile(beside, 0.95), target="ours <= 150",
        note=f"medians {percentile(taken, 0.5):.0f} and {percentile(beside, 0.5):.0f} ms",
    )  # fmt: skip


def _on_screen(house: House, address: str) -> list[Row]:
    """Watch the page in Chromium, through a relay that counts: first at rest, then while tickets are opened."""
    with sync_playwright() as playwright, _relay(address) as (through, counted):
        browser = playwright.chromium.launch(executable_path=need("chromium", "chromium"), args=QUIET_CHROMIUM)
        page, _ = open_page(browser, through)
        page.wait_for_selector("#live.up", state="attached")
        page.wait_for_timeout(3000)
        opened = sum(counted.values())
        began, done = time.monotonic(), threading.Event()
        owner = threading.Thread(target=_stay_at_rest, args=(house, done))
        owner.start()
        page.wait_for_timeout(REST_S * 1000)
        minutes = (time.monotonic() - began) / 60
        at_rest = (sum(counted.values()) - opened) / 1000 / minutes
        done.set()
        owner.join()
        delays, answers = [], []
        for number in range(EVENTS):
            name = f"amb-{VEHICLES - number:03}"
            ticket = f"2026-{house.tickets + 1:04}"
            house.say(number, name, [Broken("router_reboot_loop", "router", 1)], heard_ms=_now_ms())
            committed = time.perf_counter()
            seen = f"""tr[data-vehicle="{name}"] a[href^="tickets/{ticket}"], [data-group="v.router_reboot_loop"]"""
            page.wait_for_selector(seen, state="attached", timeout=30_000)
            expect(page.locator(".tickets .n")).to_have_text(f"{TICKETS + number + 1}", timeout=30_000)
            delays.append(time.perf_counter() - committed)
            answers.append(_get(f"{address}/")[0])
        browser.close()
    return [
        row(
            f"an event on screen, s after its commit, 95th percentile of {EVENTS}", percentile(delays, 0.95),
            "the page alone", percentile(answers, 0.95), target="ours <= 2",
            note=f"median {percentile(delays, 0.5):.2f} s; the stream looks once a second",
        ),
        row(
            "a viewer at rest, kB a minute, both ways", at_rest, "opening the page, with scripts and styles",
            opened / 1000, target="ours <= 100",
        ),
    ]  # fmt: skip


def _stay_at_rest(house: House, done: threading.Event) -> None:
    """Commit what an owner does while nothing but readings change, until told."""
    turn = 0
    while not done.is_set():
        began, turn = time.monotonic(), turn + 1
        house.refresh(heard_ms=_now_ms(), turn=turn)
        done.wait(max(0.0, SHOWN_MS / 1000 - (time.monotonic() - began)))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def _relay(address: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Pass connections on to a server; yield where, and the bytes in each direction."""
    counted = {"up": 0, "down": 0}
    host, port = address.removeprefix("http://").split(":")
    loop, own = asyncio.new_event_loop(), free_port()
    ready = threading.Event()

    async def pump(way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                counted[way] += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def pair(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump("up", reader, inner_writer), pump("down", inner_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(pair, "127.0.0.1", own)
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(task))
    thread.start()
    ready.wait(10)
    try:
        yield f"http://127.0.0.1:{own}", counted
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
