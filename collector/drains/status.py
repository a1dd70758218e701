"""What is told about a drain, whatever it drains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class DrainStatus:
    """``position`` is the last batch dealt with. ``error`` is empty while the drain gets on; times are UTC ms."""

    position: int = 0
    error: str = ""
    failing_since_ms: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
