"""Live each life with its faults, as many at once as is said, and have the oracle judge what came."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kitwatch.drill.matrix import Wanted, drill_all
from kitwatch.drill.scenario import Scenario
from telemetry.files import convert
from tests.told import oracle
from tests.told.draw import Case, forms

LEFT_OPEN: Final = "left open"
"""Those of which the requirements do not say whether they must come, or as a ticket or a note: much of it is right."""


@dataclass(frozen=True)
class Told:
    """What came of one life."""

    case: Case
    verdicts: Sequence[oracle.Verdict]
    """Of each fault."""
    false: Sequence[str]
    """What came that nobody caused."""
    vehicle_days: float

    @property
    def wrong(self) -> bool:
        """Whether anything was."""
        return bool(self.false) or any(one.result != "right" for one in self.verdicts)


def live(case: Case) -> Told:
    """Live one life and judge it."""
    scenario = convert(case.scenario, Scenario, case.name)
    (came,) = drill_all({case.name: scenario}, Wanted(), workers=1)
    verdicts, false = oracle.judge(came, expectations(case), case.scenario)
    days = case.vehicles * (came["until_ms"] - came["begins_ms"]) / 86_400_000
    return Told(case, verdicts, false, days)


def expectations(case: Case) -> list[tuple[oracle.Truth, oracle.Expected]]:
    """Return what is true of each fault of a life, and what must come of it."""
    found = []
    for put in case.puts:
        says = forms()[put.fault][put.form]
        truth = oracle.truth(case.scenario, dataclasses.asdict(put), says, case.record)
        found.append((truth, oracle.expected(truth)))
    return found


def live_all(cases: Sequence[Case], workers: int) -> Iterator[Told]:
    """Yield what came of each life, in order."""
    if workers == 1:
        yield from map(live, cases)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(live, cases)


def lines_of(told: Told) -> Iterator[str]:
    """Yield a line for each thing that was wrong."""
    case = told.case
    where = f"{case.wiring}, tablet {case.tablet}, {case.vehicles} vehicles, record {case.record}, poll " + str(
        case.scenario["vary"]["poll"][0]
    )
    for put, verdict in zip(case.puts, told.verdicts, strict=True):
        if verdict.result != "right":
            lasts = f"from {put.from_s}" if put.to_s is None else f"from {put.from_s} to {put.to_s}"
            yield (
                f"{case.name}: {verdict.result}: {put.fault} ({put.form}) {put.vehicle}, {put.situation} to "
                f"{put.ending}, {lasts} [{where}]: {verdict.detail}"
            )
    for one in told.false:
        yield f"{case.name}: beside {', '.join(put.fault for put in case.puts)} [{where}]: {one}"


def keep(told: Told, folder: Path) -> Path:
    """Write a life as a scenario for ``kitwatch drill``, with what must come of it as far as a file can say it."""
    folder.mkdir(parents=True, exist_ok=True)
    tickets: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    until = told.case.scenario["lasts"]
    for of, expected in expectations(told.case):
        if expected.must == "note":
            notes.append(
                {"fault": expected.fault, "at": expected.at, "event": f"{of.from_s:.0f}s", "over": f"{of.to_s:.0f}s"}
            )
        if expected.must in ("ticket", "told"):
            tickets.append(
                {
                    "fault": expected.fault,
                    "at": expected.at,
                    "class": list(expected.classes),
                    "class_at_opening": expected.first_classes[0],
                    "event": [f"{max(0, one):.0f}s" for one in expected.begins]
                    if of.says.get("begins") != "any"
                    else "any",
                    "readable": f"{of.from_s:.0f}s",
                    "opened_within": f"{min(expected.by, float(until[:-1])) - of.from_s:.0f}s",
                    "over": "any",
                    "notifications": [1, 9],
                }
            )
    because = "; ".join(lines_of(told)) or "All was told right."
    path = folder / f"{told.case.name}.yaml"
    content = {**told.case.scenario, "because": because, "expect": {"tickets": tickets, "notes": notes}}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120), "utf-8")
    return path


def table(all_of: Iterable[Told]) -> dict[str, Mapping[str, int]]:
    """Return, by fault and form, how many were tried and what came of them."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for told in all_of:
        for put, verdict in zip(told.case.puts, told.verdicts, strict=True):
            row = rows[f"{put.fault} ({put.form})"]
            row["tried"] += 1
            row[LEFT_OPEN] += verdict.must in ("open", "told")
            row[verdict.result] += 1
    return {name: {head: count for head, count in rows[name].items() if count} for name in sorted(rows)}


def printed(rows: Mapping[str, Mapping[str, int]], beside: int) -> str:
    """Return the table as text."""
    heads = ("tried", LEFT_OPEN, *oracle.RESULTS)
    lines = [f"{'fault (form)':38}" + "".join(f"{head:>12}" for head in heads)]
    whole: Counter[str] = Counter()
    for name, row in rows.items():
        whole.update(row)
        lines.append(f"{name:38}" + "".join(f"{row.get(head, 0) or '-':>12}" for head in heads))
    lines.append(f"{'all':38}" + "".join(f"{whole[head] or '-':>12}" for head in heads))
    lines.append(f"false beside a fault: {beside}")
    return "\n".join(lines)
