"""The oracle of the contract's clocks: it is its own, it knows the decrees, and it counts the contract's examples."""

from __future__ import annotations

import ast
import datetime
from pathlib import Path

import chinese_calendar
import pytest

from tests.oracle import days
from tests.oracle.case import Act, Case, Contract, Kind
from tests.oracle.oracle import answer

FOLDER = Path(days.__file__).parent
OWN = ("days", "case", "oracle", "made")
ALL = frozenset({2024, 2025, 2026})
HOME = "Asia/Shanghai"


@pytest.mark.parametrize("module", OWN)
def test_it_imports_nothing_of_the_product_nor_of_a_calendar(module: str) -> None:
    allowed = {
        "__future__", "array", "collections", "dataclasses", "datetime", "functools", "random", "typing", "zoneinfo",
        *(f"tests.oracle.{own}" for own in OWN),
    }  # fmt: skip
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").removesuffix(".abc")}
        else:
            continue
        assert names <= allowed, f"{module} imports {names - allowed}"


def test_its_table_of_decrees_is_the_library_s() -> None:
    first, last = datetime.date(2024, 1, 1), datetime.date(2026, 12, 31)
    for number in range(first.toordinal(), last.toordinal() + 1):
        day = datetime.date.fromordinal(number)
        assert days.is_worked(number, ALL) == chinese_calendar.is_workday(day), day


def at(text: str) -> int:
    return days.minute_of(f"2026-{text}" if len(text) == 11 else text, HOME)


def act(text: str, kind: Kind, what: str = "", until: str = "") -> Act:
    return Act(kind, at(text), what, at(until) if until else None)


GENERAL_8_MAY = (act("05-08 17:00", "respond"),)
EXAMPLES = [
    ("1", "disaster", "10-03 02:10", (), {"response": "2026-10-03 03:10"}, {}),
    ("2", "general", "05-08 16:00", GENERAL_8_MAY,
     {"response": "2026-05-08 18:00", "solution": "2026-05-13 00:00"}, {}),
    ("3", "general", "04-30 08:00", (act("04-30 09:00", "respond"),), {"solution": "2026-05-09 00:00"}, {}),
    ("4", "change", "02-13 09:00", (act("02-13 10:00", "respond"),), {"solution": "2026-03-03 00:00"}, {}),
    ("5", "general", "2025-12-31 14:00", (act("2025-12-31 15:00", "respond"),), {"solution": "2026-01-07 00:00"}, {}),
    ("6", "general", "12-31 09:00", (act("12-31 10:00", "respond"),), {"solution": 2027}, {}),
    ("7", "general", "05-08 16:00", (*GENERAL_8_MAY, act("05-11 10:00", "wait", "customer", "05-13 10:00")),
     {"solution": "2026-05-15 00:00"}, {}),
    ("8", "general", "05-08 22:30", (act("05-09 03:00", "respond"),), {"solution": "2026-05-14 00:00"}, {}),
    ("9", "hardware", "09-30 10:00", (), {"solution": "2026-10-03 00:00"}, {}),
    ("9 rolled", "hardware", "09-30 10:00", (), {"solution": "2026-10-09 00:00"}, {"roll_off_holidays": True}),
    ("10", "deferrable", "03-02 08:00", (), {"solution": "2026-03-10 00:00"}, {}),
    ("11", "general", "03-02 10:00", (act("03-02 10:30", "class", "disaster"),), {"response": "2026-03-02 11:30"}, {}),
    ("11 late", "general", "03-02 10:00", (act("03-02 11:40", "class", "disaster"),),
     {"response": "2026-03-02 12:00"}, {}),
    ("12", "disaster", "03-02 10:00", (act("03-02 10:30", "class", "general"),), {"response": "2026-03-02 12:00"}, {}),
    ("13", "general", "09-19 10:00", (act("09-19 11:00", "respond"),), {"solution": "2026-09-23 00:00"}, {}),
    ("14", "disaster", "03-02 08:47", (), {"response": "2026-03-02 09:47"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("klass", "notice", "acts", "due", "keys"), [case[1:] for case in EXAMPLES],
                         ids=[case[0] for case in EXAMPLES])  # fmt: skip
def test_the_worked_examples(klass, notice, acts, due, keys) -> None:  # type: ignore[no-untyped-def]
    now = max([at(notice), *(one.at for one in acts)]) + 3 * 1440
    case = Case(0, at(notice), None, klass, "at_hand", acts, now, (HOME,), Contract(**keys), ALL)
    clocks = {clock.name: clock for clock in answer(case, HOME).clocks}
    for name, expected in due.items():
        clock = clocks[name]
        assert (days.local_text(clock.due, HOME) if clock.due else clock.missing_year) == expected
