"""A failing test of a page leaves a picture of it in ``test-pictures/``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, Error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, pytest.TestReport, Any]:
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and isinstance(browser, Browser):
        folder = item.config.rootpath / "test-pictures"
        folder.mkdir(exist_ok=True)
        name = re.sub(r"\W+", "-", item.name)
        for number, page in enumerate(page for context in browser.contexts for page in context.pages):
            with contextlib.suppress(Error):
                page.screenshot(path=folder / f"{name}-{number}.png", timeout=5_000)
    return report
