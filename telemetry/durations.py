"""Durations as people write them in files: ``30s``, ``10m``, ``2h``, ``3d`` or a number of seconds. Pure."""

from __future__ import annotations

import functools
import re
from typing import Final

Span = str | float
"""A duration in a file."""
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MOST_S: Final = 1e12
"""Beyond all that anything lasts, and what is no number."""
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@functools.lru_cache(4096)
def milliseconds(span: Span) -> int:
    """Return a duration in milliseconds. Raises ValueError, whose text says what was expected and found."""
    if not isinstance(span, str):
        if 0 <= span < _MOST_S:
            return round(span * 1000)
    else:
        match = _SPAN.fullmatch(span)
        if match:
            return round(float(match[1]) * _UNIT_MS[match[2]])
    raise ValueError(f"expected a duration such as 30s, 10m, 2h or 3d, found {span!r}")
