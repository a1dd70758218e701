"""What a value, an indicator or a condition can prove: three values, and the band of a hysteresis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

CLEAR: Final = 0
"""It proves that nothing is wrong."""
BAND: Final = 1
"""It lies between the limits: it proves neither, and breaks a row of proofs of either."""
UNKNOWN: Final = 2
"""Nothing is known: no evidence of anything (docs/field-notes.md 44)."""
BAD: Final = 3
"""It proves the fault.

In this order *all of these* is the least and *any of these* the greatest of the verdicts.
"""
VerdictOf = Callable[[Sequence[Any]], int]
"""From the values of a sample, verdicts of operands behind them, to a verdict."""


def inverted(verdict: int) -> int:
    """Return *not this*: what is unknown stays so."""
    return CLEAR if verdict == BAD else BAD if verdict == CLEAR else verdict
