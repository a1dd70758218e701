"""The pages behind the shipped nginx example: below a path, with default buffering, over TLS, signed in."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from collector.store import queries
from collector.store.store import Store
from collector.web.identity import COOKIE
from kitwatch.main import main as kitwatch
from tests.browser.chromium import browser
from tests.browser.fleets import Broken, House, served, short_names
from tests.browser.stories import quiet
from tests.browser.test_fleet_page import collector
from tests.services.api import SESSION
from tests.services.process import Server, free_port, need, running

__all__ = ["browser"]
SHIPPED = Path(__file__).parents[2] / "systemd" / "nginx-kitwatch.conf"


@contextlib.contextmanager
def nginx(directory: Path, collector_address: str) -> Iterator[str]:
    """Run nginx with the shipped file, other places and ports; yield the proxy's address."""
    with nginx_server(directory, collector_address) as (address, _):
        yield address


@contextlib.contextmanager
def nginx_server(directory: Path, collector_address: str) -> Iterator[tuple[str, Server]]:
    """Do the same, and yield the server too."""
    program = need("nginx", "nginx-light")
    port = free_port()
    for words in (["ca", "--name", "tests"], ["server", "127.0.0.1", "--owner", "root", "--to", str(directory)]):
        assert kitwatch(["setup", *words, "--ca", str(directory / "ca")]) == 0
    text = SHIPPED.read_text()
    for shipped, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/kitwatch/", f"{directory}/"),
        ("http://127.0.0.1:8080/", f"{collector_address}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    temporary = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    owner = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"""{owner}
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; gzip on; client_body_temp_path {directory}/body; {temporary}
{text}
}}
"""
    )
    server = Server([program, "-p", str(directory), "-c", str(directory / "nginx.conf")], port, directory / "nginx.log")
    with running(server):
        yield f"https://127.0.0.1:{port}", server


def put_state(store: Store, state: str) -> None:
    """Keep what a person wants, as the socket does."""
    body = json.dumps({"state": state})
    with store.transaction() as connection:
        queries.add_action(
            connection, site="c1", vehicle="amb-01", kind="state", body=body, who="wang", created_ms=1
        )  # fmt: skip


def ask_for_state(address: str, directory: Path) -> int:
    """Want a vehicle's state as a page would, through the proxy; return the status."""
    request = urllib.request.Request(
        f"{address}/kitwatch/api/vehicles/amb-01/state",
        json.dumps({"state": "workshop"}).encode(),
        {"Content-Type": "application/json", "Cookie": f"{COOKIE}={SESSION}", "Origin": address},
    )
    trust = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.timeout(600)
def test_the_pages_live_below_a_path_behind_a_proxy_that_buffers(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    with collector(tmp_path, "x") as inside, nginx(tmp_path / "proxy", inside) as address:
        context = browser.new_context(locale="en-GB", ignore_https_errors=True)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/kitwatch")
        assert page.url == f"{address}/kitwatch/sign-in"
        page.fill("#name", "tests")
        page.fill("#password", "tested-4711")
        page.click("#sign-in button")
        expect(page).to_have_url(f"{address}/kitwatch/")
        (cookie,) = [one for one in context.cookies() if one["name"] == COOKIE]
        assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/kitwatch", True, True)
        expect(page.locator("#live")).to_have_text("页面已连接")
        expect(page.locator("[data-vehicle=amb-01]")).to_have_count(1)
        page.click("#language")
        expect(page.locator("#live")).to_have_text("page connected")
        assert page.url == f"{address}/kitwatch/"
        store = Store.open(f"sqlite:///{tmp_path}/k.sqlite")
        for state in ("workshop", "on_duty"):
            page.wait_for_timeout(2_000)
            # the page asks anew only when the stream tells it to
            with page.expect_response(lambda one: "hx-request" in one.request.headers) as answer:
                put_state(store, state)
            assert answer.value.status == 200
        assert ask_for_state(address, tmp_path / "proxy") == 403, "a cookie alone, without the token of the page"
        store.close()
        assert complaints == []
        context.close()


@pytest.mark.timeout(600)
def test_an_event_arrives_after_a_restart_of_collector_or_proxy_without_a_reload(
    browser: Browser, tmp_path: Path
) -> None:
    """The browser's own EventSource gives up at the first 502."""
    (tmp_path / "proxy").mkdir()
    port = free_port()
    house = House(tmp_path, {f"amb-{number:03}": short_names(number) for number in range(1, 4)})
    quiet(house)
    with nginx_server(tmp_path / "proxy", f"http://127.0.0.1:{port}") as (address, proxy):
        context = browser.new_context(ignore_https_errors=True)
        context.add_cookies([{"name": COOKIE, "value": SESSION, "url": address}])
        page = context.new_page()
        with served(house, port=port):
            page.goto(f"{address}/kitwatch/")
            expect(page.locator("#live")).to_have_class("up")
            page.evaluate("window.isTheSame = true")
        expect(page.locator("#live")).to_have_class("down")
        house.now_ms = time.time_ns() // 1_000_000
        with served(house, port=port):
            house.say(0, "amb-001", [Broken("router_dead", "router", 1)], heard_ms=house.now_ms)
            expect(page.locator("tr[data-vehicle=amb-001]")).to_contain_text("路由器离线", timeout=90_000)
            expect(page.locator("#live")).to_have_class("up")
            proxy.stop()
            expect(page.locator("#live")).to_have_class("down")
            proxy.start()
            house.say(1, "amb-002", [Broken("camera_down", "camera-1", 1)], heard_ms=house.now_ms)
            expect(page.locator("tr[data-vehicle=amb-002]")).to_contain_text("摄像头离线", timeout=90_000)
        assert page.evaluate("window.isTheSame")
        context.close()
    house.close()


@pytest.mark.timeout(600)
def test_the_stream_goes_on_without_loss_after_the_proxy_was_away(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    store_url = f"sqlite:///{tmp_path}/k.sqlite"
    with collector(tmp_path, "x") as inside:
        store = Store.open(store_url)
        with nginx(tmp_path / "first", inside) as address:
            stream = following(address, tmp_path / "first", "")
            id, told = next(stream)
            assert told["reset"], "nobody has said from where on"
            put_state(store, "workshop")
            while "amb-01" not in told["vehicles"]:
                id, told = next(stream)
                assert not told["reset"]
        id = [id, *(later for later, _ in stream)][-1]  # it ends with the proxy
        put_state(store, "on_duty")
        while queries.waiting_actions(store.engine, "c1"):
            time.sleep(0.1)
        with nginx(tmp_path / "second", inside) as address:
            id, told = next(following(address, tmp_path / "second", id))
            assert (told["reset"], told["vehicles"]) == (False, ["amb-01"])
        store.close()


def following(address: str, directory: Path, last: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Follow the stream as a browser does; yield the id and the data of each event."""
    headers = {"Cookie": f"{COOKIE}={SESSION}", "Accept": "text/event-stream"} | (
        {"Last-Event-ID": last} if last else {}
    )
    request = urllib.request.Request(f"{address}/kitwatch/api/changes", headers=headers)
    trust = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    id = ""
    answer = urllib.request.urlopen(request, timeout=60, context=trust)
    with answer, contextlib.suppress(OSError, http.client.HTTPException):
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                id = value
            elif name == "data":
                yield id, json.loads(value)
