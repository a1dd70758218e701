"""Whether a sample counts where it was taken, for rules that hold in some places only."""

from __future__ import annotations

from typing import Final

from collector.core.coverage import figures_of
from collector.core.places import cell_of
from collector.core.rules.types import Rule
from collector.core.rules.usual import LEG_OF, UsualShape
from collector.core.vehicle.draft import Draft

FIX_MS: Final = 60_000
"""An older fix does not say where a sample was taken."""


def counts(draft: Draft, rule: Rule, time_ms: int) -> bool:
    """Say whether a bad sample of this time is evidence of anything in the place where it was taken.

    Where nothing is known, nothing is usual: ``only_where`` does not hold there, ``except_where`` does.
    """
    if rule.only_where is not None and not _is_usual(draft, rule.only_where, time_ms):
        return False
    return rule.except_where is None or not _is_usual(draft, rule.except_where, time_ms)


def _is_usual(draft: Draft, shape: UsualShape, time_ms: int) -> bool:
    position, coverage = draft.position, draft.learnt.coverage
    if position is None or not coverage or abs(time_ms - position.time_ms) > FIX_MS:
        return False
    leg = LEG_OF[shape.usual]
    expected = coverage.expected(draft.before.vehicle, cell_of(position.latitude, position.longitude), leg)
    value = None if expected is None else expected.figures[figures_of(leg).index(shape.usual)]
    return value is not None and value > shape.above
