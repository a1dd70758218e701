"""What indicators say at a sample beyond its values: their windows, and what other sources of the vehicle last told.

Only live records come here; what a window held at the time of a late record is not known.
"""

from __future__ import annotations

from typing import Any, Final

from collector.core.identities import OperandKey
from collector.core.rules.reducers import Window
from collector.core.rules.verdicts import UNKNOWN
from collector.core.rules.watches import Operand
from collector.core.vehicle import expectation
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Observed
from collector.core.vehicle.state import Reading

MOST_VALUE: Final = 2**60
"""No window takes a number beyond: a few of them would add up to what is no number."""
MOST_WINDOWS: Final = 1_000
"""Most windows of a vehicle: a device that makes up labels without end must not grow its state without end."""


def beside(draft: Draft, event: Observed, gap_ms: int) -> list[Any]:
    """Return a sample's values with the verdicts of its schema's operands behind them; windows and words are kept.

    A word counts until the next sample but one, and as long as an agent may be away (``gap_ms``).
    """
    compiled = event.compiled
    values: list[Any] = list(event.values)
    until_ms = event.time_ms + gap_ms + round(2.5 * max(draft.sources[compiled.source].step_ms, compiled.interval_ms))
    for operand in compiled.operands:
        if operand.key is None:
            values.append(_last_words(draft, operand, event.time_ms))
            continue
        verdict = _own(draft, operand, operand.key, event)
        values.append(verdict)
        if operand.told:
            draft.readings[operand.key] = Reading(operand.version, verdict, until_ms)
    return values


def _own(draft: Draft, operand: Operand, key: OperandKey, event: Observed) -> int:
    """Return the verdict of an indicator of this very source."""
    sample = operand.sample(event.values)
    reducer = operand.indicator.reducer
    if reducer is None:
        return int(sample)
    window = draft.windows.get(key)
    if window is None and len(draft.windows) >= MOST_WINDOWS:
        draft.skip("windows")
        return UNKNOWN
    if window is None or window.version != operand.version:
        window = Window(operand.version, from_ms=expectation.window_from_ms(draft, key))
    if sample is not None and (isinstance(sample, str) or abs(sample) <= MOST_VALUE):
        window = draft.windows[key] = reducer.taken(window, event.time_ms, sample)
    number = reducer.value(window, event.time_ms)
    return UNKNOWN if number is None else operand.indicator.limit(number)


def _last_words(draft: Draft, operand: Operand, time_ms: int) -> int:
    """Return the verdict of an indicator by whoever told of it: those that are known count, any of them or all."""
    known = [
        reading.verdict
        for key, reading in draft.readings.items()
        if (key.rule, key.indicator, reading.version) == (operand.rule, operand.indicator.name, operand.version)
        and reading.verdict != UNKNOWN
        and time_ms <= reading.until_ms
    ]
    if not known:
        return UNKNOWN
    return min(known) if operand.indicator.across == "all" else max(known)
