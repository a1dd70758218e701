"""What indicators say at a sample beyond its values: their windows, and what other sources of the vehicle last told.

Records come here in the order of their agent: live, or where a fork of the vehicle is stepped (``forks``).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from collector.core.identities import OperandKey
from collector.core.rules.expressions import AllOf, Indicator
from collector.core.rules.reducers import LONGEST_PACE_MS, Window
from collector.core.rules.verdicts import CLEAR, UNKNOWN
from collector.core.rules.watches import Operand, Watch
from collector.core.vehicle import expectation, usual
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Observed
from collector.core.vehicle.state import Reading

MOST_VALUE: Final = 2**60
"""No window takes a number beyond: a few of them would add up to what is no number."""
MOST_WINDOWS: Final = 1_000
"""Most windows of a vehicle: a device that makes up labels without end must not grow its state without end."""


def beside(draft: Draft, event: Observed, gap_ms: int) -> list[Any]:
    """Return a sample's values with the verdicts of its schema's operands behind them; windows and words are kept.

    A word counts until the next sample but one, and as long as an agent may be away (``gap_ms``). What it leaves in
    ``draft.clear_until`` says until when clear samples of this source need not come here.
    """
    compiled, time_ms = event.compiled, event.time_ms
    values: list[Any] = list(event.values)
    clear = compiled.all_clear(event.values)
    clear_until_ms: float = time_ms + LONGEST_PACE_MS if clear else 0
    source = compiled.source
    windows = [key for key in draft.windows if key.source == source]
    own = len(values)
    values += [CLEAR] * len(compiled.operands)
    for place in compiled.restless if clear and not windows else range(len(compiled.operands)):
        operand = compiled.operands[place]
        if operand.key is None:
            values[own + place] = _last_words(draft, operand, time_ms)
            continue
        sample = operand.sample(event.values)
        begins = operand.begins
        rests = begins is not None and operand.key not in windows and (sample is None or not begins(sample))
        if rests:
            verdict = UNKNOWN if sample is None else CLEAR
        else:
            verdict = _own(draft, operand, operand.key, event, sample)
        values[own + place] = verdict
        if rests and operand.rule:
            continue  # as nearly all do
        if not operand.rule:
            lasts_ms = gap_ms + round(2.5 * max(draft.sources[source].step_ms, compiled.interval_ms))
            draft.readings[operand.key] = Reading(operand.version, verdict, time_ms + lasts_ms)
            clear_until_ms = min(clear_until_ms, time_ms + lasts_ms // 2)
        if clear_until_ms and not rests and operand.indicator.reducer is not None:
            clear_until_ms = min(clear_until_ms, _clear_until_ms(operand, draft.windows.get(operand.key), event))
    if clear_until_ms > time_ms:
        draft.clear_until[compiled.source] = int(clear_until_ms)
    else:
        draft.clear_until.pop(compiled.source, None)
    return values


def begun(draft: Draft, watch: Watch, time_ms: int) -> int:
    """Return when what a watch finds bad began, as its windows know (event time)."""
    since = [
        began_ms
        for window, indicator in _windows(draft, watch)
        if indicator.reducer is not None
        and (began_ms := indicator.reducer.began_ms(window, indicator.above, indicator.below))
    ]
    if not since:
        return time_ms
    return max(since) if isinstance(watch.rule.condition, AllOf) else min(since)


def ended(draft: Draft, watch: Watch, time_ms: int) -> int:
    """Return when what a watch finds clear ended, as its windows know: after their last bad sample, no later."""
    good = [window.good_ms for window, _ in _windows(draft, watch) if window.bad_ms]
    return min(time_ms, max(good)) if good and all(good) else time_ms


def _windows(draft: Draft, watch: Watch) -> list[tuple[Window, Indicator]]:
    return [(draft.windows[key], indicator) for key, indicator in watch.windows if key in draft.windows]


def _clear_until_ms(operand: Operand, window: Window | None, event: Observed) -> float:
    """Return until when a window needs no clear sample; 0 if it needs the next one."""
    reducer = operand.indicator.reducer
    assert reducer is not None
    if window is not None:
        return 0 if reducer.begins_bad else window.taken_ms + reducer.pace_ms
    begins_by_itself = reducer.begins_bad or reducer.near(True) is not None
    return float("inf") if begins_by_itself or operand.sample(event.values) is None else 0


def _own(draft: Draft, operand: Operand, key: OperandKey, event: Observed, sample: Any) -> int:
    """Return the verdict of an indicator of this very source, of which it takes ``sample``."""
    time_ms = event.time_ms
    reducer = operand.indicator.reducer
    if reducer is None:
        return int(sample)
    if sample and draft.learnt.coverage and _is_usual_there(draft, operand, time_ms, sample):
        sample = None
    kept = draft.windows.get(key)
    window = kept if kept is not None and kept.version == operand.version else None
    takes = sample is not None and (isinstance(sample, str) or abs(sample) <= MOST_VALUE)
    near = takes and (operand.begins is None or operand.begins(sample))
    lingers = window is not None and time_ms - window.bad_ms <= reducer.lingers_ms
    if takes and not near and not reducer.begins_bad and not lingers:
        if kept is not None:
            _forget(draft, operand, key)
        return CLEAR
    bad = near and reducer.begins_bad
    if reducer.begins_bad and not bad and (window is None or not window.bad_ms):
        if kept is not None:
            draft.windows.pop(key, None)
        return CLEAR if takes else UNKNOWN
    if kept is None and takes and len(draft.windows) >= MOST_WINDOWS:
        draft.skip("windows")
        return UNKNOWN
    if window is None:
        window = Window(operand.version, from_ms=expectation.window_from_ms(draft, key))
    if takes:
        before = reducer.before(window, time_ms, sample, draft.sources[key.source].from_ms)
        if before is None:
            return CLEAR
        window = before
    if takes and (not window.taken_ms or reducer.begins_bad or time_ms - window.taken_ms >= reducer.pace_ms):
        window = draft.windows[key] = reducer.taken(window, time_ms, sample, bad=bad)
        if near and reducer.lingers_ms:
            window = draft.windows[key] = msgspec.structs.replace(window, bad_ms=time_ms, good_ms=0)
    if reducer.is_closed(window, time_ms):
        _forget(draft, operand, key)
        return CLEAR
    number = reducer.value(window, time_ms, draft.sources[key.source].step_ms)
    return UNKNOWN if number is None else operand.indicator.limit(number)


def _forget(draft: Draft, operand: Operand, key: OperandKey) -> None:
    """Drop a window that is at its end, unless a state of its rule must still know when it was last bad."""
    if not any(state.rule == operand.rule and state.source == key.source for state in draft.rule_states.values()):
        draft.windows.pop(key, None)


def _is_usual_there(draft: Draft, operand: Operand, time_ms: int, sample: Any) -> bool:
    """Say whether a bad sample is what is usual where it was taken: then no window holds it."""
    rule = draft.rules.by_id.get(operand.rule)
    if rule is None or rule.except_where is None or isinstance(sample, str):
        return False
    reducer = operand.indicator.reducer
    bad = (reducer is not None and reducer.counts_samples) or sample > rule.except_where.above
    return bad and not usual.counts(draft, rule, time_ms)


def _last_words(draft: Draft, operand: Operand, time_ms: int) -> int:
    """Return the verdict of an indicator by whoever told of it: those that are known count, any of them or all."""
    known = [
        reading.verdict
        for key, reading in draft.readings.items()
        if key.indicator == operand.name and not key.rule and reading.verdict != UNKNOWN and time_ms <= reading.until_ms
    ]
    if not known:
        return CLEAR if operand.indicator.unknown_is_clear else UNKNOWN
    return min(known) if operand.indicator.across == "all" else max(known)
