"""Back after signing in: to pages of ours and to no other place."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from collector.web.return_to import own

BASE = "https://centre.example/kitwatch/sign-in"


@pytest.mark.parametrize("to", ["tickets/2026-0001?site=north", "?wall", "call", "vehicles/amb-1?hours=6&x=%E6%80%A5"])
def test_own_pages(to: str) -> None:
    assert own(to) == f"./{to}"
    assert urljoin(BASE, own(to)).startswith("https://centre.example/kitwatch/")


@pytest.mark.parametrize(
    "to",
    ["", "/x", "//evil.example", "https://evil.example", "\\\\evil.example", "../x", "x/../../y", "%2e%2e/x",
     "a/%2E./b", "%252e%252e/x", "javascript:alert(1)", "a//b", "a\nb", " x", "x" * 501],
)  # fmt: skip
def test_anything_else_is_the_first_page(to: str) -> None:
    assert own(to) == "./"
