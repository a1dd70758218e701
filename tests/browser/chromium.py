"""Debian's Chromium for tests of pages: the browser, pages opened, axe-core run over them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from collector.web import identity
from collector.web.pages import COOKIE
from tests.services.api import SESSION
from tests.services.process import free_port, need

QUIET_CHROMIUM: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE: Final = Path(__file__).parent / "vendor" / "axe.min.js"
PATIENCE_S: Final = 60.0
"""How long a test waits for what must come: ``expect`` and ``until`` end as soon as it is there."""
expect.set_options(timeout=PATIENCE_S * 1000)
Language = Literal["zh", "en"]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = need("chromium", "chromium")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=program, args=QUIET_CHROMIUM)
        yield one
        one.close()


def open_page(
    browser: Browser,
    address: str,
    language: Language = "zh",
    *,
    scheme: Scheme = "light",
    size: tuple[int, int] = (1440, 900),
    signed_in: bool = True,
) -> tuple[Page, list[str]]:
    """Open a page; what the browser complains of is collected."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    cookies = {COOKIE: language, **({identity.COOKIE: SESSION} if signed_in else {})}
    root = urljoin(address, "/")  # a cookie without a path is for the folder of its page alone
    context.add_cookies([{"name": name, "value": value, "url": root} for name, value in cookies.items()])
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(address)
    return page, complaints


def until(page: Page, expression: str, seconds: float = PATIENCE_S) -> None:
    """Wait until an expression is true. Playwright's own wait has the page evaluate text, which its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def findings(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page, of whatever grade."""
    page.evaluate(AXE.read_text() + "\n;void 0")
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']} {one['id']}: {node['html'][:150]}" for one in found["violations"] for node in one["nodes"][:3]
    ]


@contextlib.contextmanager
def demo_page(browser: Browser, lasts: str, path: str = "") -> Iterator[tuple[Page, list[str], str]]:
    """Run the demo for so long and sign in there; yield its page, what that complained of, and its address."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "kitwatch"), "demo", "--for", lasts, "--port", str(port)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert demo.stdout is not None
        line = demo.stdout.readline()
        assert line.startswith(f"page: http://127.0.0.1:{port}")
        address = f"http://127.0.0.1:{port}/{path}"
        page, complaints = open_page(browser, address)
        page.fill("#name", "demo")
        page.fill("#password", line.partition("password ")[2].split()[0])
        page.click("#sign-in button")
        expect(page).to_have_url(address)  # who goes elsewhere before is not signed in
        yield page, complaints, address
        page.context.close()
    finally:
        demo.kill()
        demo.wait(10)
