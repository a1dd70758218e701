"""What a server asks for with Retry-After (RFC 9110, 10.2.3). Pure."""

from __future__ import annotations

import datetime
import email.utils


def retry_after_s(text: str, now_ms: int) -> float | None:
    """Return the seconds to wait from now on, be it said as a number or as a date; ``None`` for anything else.

    ``now_ms`` is UTC.
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, when.timestamp() - now_ms / 1000)
