"""What is told about a sink or a channel, whatever it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """``position`` is the last batch dealt with. ``error`` is empty while it gets on; times are UTC ms."""

    position: int = 0
    error: str = ""
    failing_since_ms: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
