"""How often Python looks for objects that refer to each other in a circle and to which nothing else does."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 20)


def collect_seldom() -> None:
    """Look for them seldom from now on, and never among what stands now: a process that judges makes hardly any.

    Worth a quarter of the collector's CPU (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
