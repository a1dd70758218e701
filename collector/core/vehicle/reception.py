"""Judging signal against what is usual in the same places: a bad antenna is weaker everywhere, a weak place is not.

Only where the vehicle moves, and there is record: standing ten hours in one place is one observation. The window is the
rule's `for` in six parts; parts without an observation do not count, and all six lie within four times that. A part is
weaker if the mean of its observations is; that keeps a hole of 18 min out of it, however deep. When it began and ended
is where the sum of what is beyond ``clear_db`` last was nothing (Page, Continuous inspection schemes, 1954).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collector.core.identities import ProblemKey
from collector.core.places import cell_of
from collector.core.rules.reception import PARTS, Reception, ReceptionRule
from collector.core.rules.rule_state import EvidenceSample
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Observed
from collector.core.vehicle.state import LegState, Part, Position, ReceptionState

FIX_MS: Final = 15_000
"""An older fix does not say where a sample was taken."""
SAME_MS: Final = 5_000
"""A fix so much later does."""
MOVED_DEGREES: Final = 0.0005
"""Within this, some 50 m, it stands where it was observed last."""
_MOST_SUM: Final = 60.0
"""A sum grows no further: what lasted for hours is forgotten in minutes."""
_UNKNOWN: Final = None, None, None
_NEW: Final = LegState()
_MOST_CELLS: Final = 12
"""Of a part that are told apart."""


def observe(draft: Draft, event: Observed) -> None:
    """Take a modem's sample where the vehicle moves and it is known where it is; else it waits for the next fix."""
    position = draft.position
    if position is not None and 0 <= event.time_ms - position.time_ms <= FIX_MS:
        _observe_all(draft, event, position)
    else:
        draft.unplaced.append(event)


def place(draft: Draft) -> None:
    """Take the samples that have waited for this fix: of one moment, whatever stands first in it."""
    waiting, draft.unplaced = draft.unplaced, []
    position = draft.position
    for event in waiting:
        if position is not None and abs(event.time_ms - position.time_ms) <= SAME_MS:
            _observe_all(draft, event, position)


def _observe_all(draft: Draft, event: Observed, position: Position) -> None:
    for one in event.compiled.receptions:
        known = draft.reception.get(one.problem)
        if known is not None and (_stands(known, position) or event.time_ms <= known.time_ms):
            continue
        _observe(draft, event, one, one.problem, known, position)


def _stands(known: ReceptionState, position: Position) -> bool:
    return (
        abs(known.latitude - position.latitude) < MOVED_DEGREES
        and abs(known.longitude - position.longitude) < MOVED_DEGREES
    )


def _observe(
    draft: Draft, event: Observed, one: Reception, key: ProblemKey, known: ReceptionState | None, position: Position
) -> None:
    rule, cell, time_ms = one.rule, cell_of(position.latitude, position.longitude), event.time_ms
    if known is None or known.version != rule.version:
        known = ReceptionState(rule.version, position.latitude, position.longitude, time_ms)
    legs, turned, lacking = {**known.legs}, False, known.lacking
    vehicle, coverage, values = draft.before.vehicle, draft.learnt.coverage, event.values
    number, short = time_ms // rule.part_ms, cell[5:11]
    for leg, rsrp_at, rsrq_at, sinr_at in one.legs:
        rsrp: Any = values[rsrp_at]
        if rsrp is None:
            continue
        expected = coverage.expected(vehicle, cell, leg)
        usual_rsrp, usual_rsrq, usual_sinr = _UNKNOWN if expected is None else expected.figures
        if expected is None or usual_rsrp is None:
            lacking += 1
            continue
        before = legs.get(leg, _NEW)
        parts = before.parts
        if parts and parts[-1].number == number:
            earlier, last = parts[:-1], parts[-1]
        else:
            turned = turned or bool(parts)
            earlier = tuple(part for part in parts if part.number > number - 4 * PARTS)[-PARTS - 1 :]
            last = Part(number)
        n, better = last.qualities_n, 0.0
        rsrq: Any = None if rsrq_at is None else values[rsrq_at]
        if rsrq is not None and usual_rsrq is not None:
            n, better = n + 1, rsrq - usual_rsrq
        sinr: Any = None if sinr_at is None else values[sinr_at]
        if sinr is not None and usual_sinr is not None:
            n, better = n + 1, better + (sinr - usual_sinr)
        residual = rsrp - usual_rsrp
        cells = last.cells if short in last.cells or len(last.cells) >= _MOST_CELLS else (*last.cells, short)
        part = Part(number, last.n + 1, _tenths(last.residuals + residual), n, _tenths(last.qualities + better), cells)
        legs[leg] = _summed(before, (*earlier, part), time_ms, residual, rule.clear_db, expected.whose)
    draft.reception[key] = ReceptionState(rule.version, position.latitude, position.longitude, time_ms, legs, lacking)
    if turned:
        _judge(draft, event, one, key)


def _summed(
    leg: LegState, parts: tuple[Part, ...], time_ms: int, residual: float, clear_db: float, of: str
) -> LegState:
    """Return a leg's state with an observation more, which its last part holds already."""
    low, high = leg.low - residual - clear_db, leg.high + residual + clear_db
    low = 0.0 if low <= 0 else _MOST_SUM if low >= _MOST_SUM else _tenths(low)
    high = 0.0 if high <= 0 else _MOST_SUM if high >= _MOST_SUM else _tenths(high)
    low_ms = time_ms if leg.low == 0 < low else leg.low_ms
    high_ms = time_ms if leg.high == 0 < high else leg.high_ms
    return LegState(parts, low, low_ms, high, high_ms, of)


def _tenths(value: float) -> float:
    """Return a value in whole tenths; rounding to digits goes through text, at four times the cost."""
    return round(10 * value) / 10


def _judge(draft: Draft, event: Observed, one: Reception, key: ProblemKey) -> None:
    """Look at the parts that are whole, now that another one has begun."""
    rule, legs = one.rule, draft.reception[key].legs
    whole = {leg: state.parts[:-1][-PARTS:] for leg, state in legs.items()}
    problem = draft.problems.get(key)
    if problem is not None:
        if problem.rule == rule.id and any(_is_well(parts, rule) for parts in whole.values()):
            well = [state.high_ms for leg, state in legs.items() if _is_well(whole[leg], rule)]
            draft.close(
                rule,
                key,
                max(problem.event_ms, min(well)),
                _samples(event, one),
                _words(whole, legs, draft.reception[key].lacking),
            )
        return
    known = {leg: parts for leg, parts in whole.items() if len(parts) == PARTS}
    if not known or not all(_is_weaker(parts, rule) for parts in known.values()):
        return
    if draft.duty() not in rule.when or draft.is_hidden(key, draft.rule_states.values()):
        return
    began_ms = max(legs[leg].low_ms for leg in known)
    text = _words(known, legs, draft.reception[key].lacking)
    draft.open(rule, key, began_ms, _samples(event, one), text)


def _is_weaker(parts: Sequence[Part], rule: ReceptionRule) -> bool:
    means = [part.residuals / part.n for part in parts]
    cells = {cell for part in parts for cell in part.cells}
    known = sum(part.qualities_n for part in parts)
    better = known > 0 and sum(part.qualities for part in parts) / known > rule.better_db
    weaker = all(mean < -rule.clear_db for mean in means) and sum(means) / len(means) < -rule.by_db
    return weaker and len(cells) >= rule.min_cells and not better


def _is_well(parts: Sequence[Part], rule: ReceptionRule) -> bool:
    """Say whether the last parts, as long as ``clear_for``, are well."""
    number = max(1, round(rule.clear_for_ms / rule.part_ms))
    last = parts[-number:]
    return len(last) == number and all(part.residuals / part.n > -rule.clear_db for part in last)


def _words(parts: Any, legs: Any, lacking: int) -> str:
    found = []
    for leg, listed in sorted(parts.items()):
        n = sum(part.n for part in listed)
        if not n:
            continue
        mean = sum(part.residuals for part in listed) / n
        cells = len({cell for part in listed for cell in part.cells})
        found.append(f"{leg}: {mean:+.1f} dB against what is usual in {cells} places ({legs[leg].of})")
    if lacking:
        found.append(f"{lacking} samples where there is not enough record")
    return "; ".join(found)


def _samples(event: Observed, one: Reception) -> tuple[EvidenceSample, ...]:
    compiled, name = event.compiled, event.name
    return tuple(
        EvidenceSample(
            name.agent, name.run, name.sequence, event.time_ms, compiled.device, compiled.schema.columns[place].metric,
            compiled.schema.columns[place].labels, value,
        )
        for leg in one.legs
        for place in leg[1:]
        if place is not None and (value := event.values[place]) is not None
    )  # fmt: skip
