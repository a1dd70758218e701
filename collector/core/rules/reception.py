"""Rules on signal that is weaker than what is usual in the same places: the type, and how it is read.

``collector.core.vehicle.reception`` judges by it; what is usual is the edition of coverage (docs/coverage.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from collector.core.identities import ProblemKey
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import Rule
from telemetry.files import convert

PARTS: Final = 6
"""In so many parts `for` is divided; in each of them the signal must be weaker."""


class WeakerShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The power that a modem receives, against what is usual there, over the rule's `for`."""

    by_db: Annotated[float, msgspec.Meta(gt=0, le=60)]
    """So much weaker on the average, on every leg of which there is record."""
    clear_db: Annotated[float, msgspec.Meta(gt=0, le=60)]
    """And so much in each sixth of the time; from here on it is well."""
    min_cells: Annotated[int, msgspec.Meta(ge=1, le=30)] = 5
    """In so many places at least."""
    better_db: Annotated[float, msgspec.Meta(ge=0, le=60)] = 3
    """Quality (RSRQ, SINR) that is better than usual by more than this says that it is not the antenna."""


class ReceptionShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signal against what is usual in the same places."""

    weaker_than_there: WeakerShape
    """By how much, and how that is counted."""


class ReceptionRule(Rule, frozen=True, kw_only=True):
    """Judges the signal of a modem against the record of the places that it goes through."""

    by_db: float
    clear_db: float
    min_cells: int = 5
    better_db: float = 3.0

    @property
    def part_ms(self) -> int:
        """How long one part of the window is."""
        return max(1, self.for_ms // PARTS)


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> ReceptionRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, ReceptionShape, reader.path, f"{reader.key}.condition").weaker_than_there
    if shape.clear_db > shape.by_db:
        raise reader.wrong("condition.weaker_than_there.clear_db", f"expected at most by_db, found {shape.clear_db:g}")
    found = {name: getattr(shape, name) for name in shape.__struct_fields__}
    rule = ReceptionRule(**reader.common(), **found)
    if rule.for_ms < PARTS:
        raise reader.wrong("for", f"expected a time to divide by {PARTS}, found {rule.for_ms} ms")
    return rule


KIND: Final = Kind("weaker_than_there", ReceptionShape, _make)


class Reception(msgspec.Struct, frozen=True):
    """What a rule looks at in the samples of one schema."""

    rule: ReceptionRule
    problem: ProblemKey
    """That it can make; labelled with the modem where there are several."""
    legs: tuple[tuple[str, int, int | None, int | None], ...]
    """(leg, index of RSRP, of RSRQ, of SINR)."""


def receptions(
    rule: ReceptionRule, device: str, columns: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]
) -> list[Reception]:
    """Return what a rule looks at, for each modem that a schema tells of."""
    modems: dict[str, list[tuple[str, int, int | None, int | None]]] = {}
    for (metric, labels), number in columns.items():
        if metric == "modem.rsrp_dbm":
            known = dict(labels)
            beside = [columns.get((name, labels)) for name in ("modem.rsrq_db", "modem.sinr_db")]
            modems.setdefault(known.get("modem", ""), []).append(
                (known.get("leg", "lte"), number, beside[0], beside[1])
            )
    return [
        Reception(rule, ProblemKey.of(rule.fault.id, device, {"modem": modem} if modem else {}), tuple(legs))
        for modem, legs in modems.items()
    ]
