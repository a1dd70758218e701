"""Retry-After in both of its forms (RFC 9110, 10.2.3)."""

from __future__ import annotations

import pytest

from telemetry.retry_after import retry_after_s

NOW_MS = 784_111_777_000
"""Sun, 06 Nov 1994 08:49:37 GMT, the standard's example (5.6.7)."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120.0),
        ("Sunday, 06-Nov-94 08:51:37 GMT", 120.0),
        ("Sun Nov  6 08:51:37 1994", 120.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
    ],
)
def test_seconds_and_dates(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, NOW_MS) == seconds
