"""The kinds of rules: whoever adds one adds its file and a line here."""

from __future__ import annotations

from typing import Final

from collector.core import clock_faults, health, survey
from collector.core.rules import all_gone, reception, sampled
from collector.core.rules.reader import Kind
from collector.core.vehicle import silence, told

KINDS: Final[tuple[Kind, ...]] = (
    silence.KIND,
    told.KIND,
    survey.KIND,
    clock_faults.KIND,
    health.KIND,
    all_gone.KIND,
    reception.KIND,
    sampled.KIND,
)
"""The one whose word stands in a condition; the last one if none does."""
