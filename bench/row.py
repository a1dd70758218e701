"""A row of the table: ours against something else, measured in the same run."""

from __future__ import annotations

import operator
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Row = dict[str, Any]
"""``what``, ``ours``, ``against``, ``theirs``, ``ratio``, ``target``, ``met``; also ``spread``, ``runs``, ``note``."""

_TARGET: Final = re.compile(r"(ours|ratio) (<=|>=) ([0-9.]+)")
_SIGNS: Final[Mapping[str, Callable[[float, float], bool]]] = {"<=": operator.le, ">=": operator.ge}
_COLUMNS: Final = ("what", "ours", "against", "theirs", "ratio", "spread", "target", "met")


def row(
    what: str,
    ours: float | Sequence[float],
    against: str,
    theirs: float | Sequence[float],
    *,
    target: str | None = None,
    note: str = "",
) -> Row:
    """Return a row of one run or of several, whose medians are given.

    The ratio is the median of the runs' own ratios, ``spread`` their least and greatest. ``target`` is
    ``ratio <= 4`` or ``ours >= 3`` or the like. Raises ValueError for a target of another shape or unequal runs.
    """
    left, right = _runs(ours), _runs(theirs)
    ratios = [one / other for one, other in zip(left, right, strict=True)]
    found: Row = {
        "what": what,
        "ours": _rounded(statistics.median(left)),
        "against": against,
        "theirs": _rounded(statistics.median(right)),
        "ratio": _rounded(statistics.median(ratios)),
        "target": target,
        "met": None,
        "spread": [_rounded(min(ratios)), _rounded(max(ratios))],
        "runs": len(ratios),
        "note": note,
    }
    if target is not None:
        found["met"] = _met(target, found)
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, each note below it."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(_cell(one, column) for column in _COLUMNS) + " |" for one in rows]
    lines += ["", *(f"- {one['what']}: {one['note']}" for one in rows if one.get("note"))]
    return "\n".join(lines).rstrip()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all are not above (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def _cell(one: Row, column: str) -> str:
    value = one.get(column)
    if column == "spread" and value is not None:
        return "" if one.get("runs", 1) < 2 else f"{value[0]:g} to {value[1]:g}"
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _runs(values: float | Sequence[float]) -> list[float]:
    return [float(values)] if isinstance(values, int | float) else [float(value) for value in values]


def _rounded(value: float) -> float:
    """Return four significant digits: what the next run will have too."""
    return float(f"{value:.4g}")


def _met(target: str, found: Row) -> bool:
    parts = _TARGET.fullmatch(target)
    if parts is None:
        raise ValueError(f"expected a target such as 'ratio <= 4', found {target!r}")
    return _SIGNS[parts[2]](found[parts[1]], float(parts[3]))
