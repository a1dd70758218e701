"""The contract's clocks beside the oracle's, a short form of `make clocks`; and mistakes in them, which it must see."""

from __future__ import annotations

import functools
import inspect
import types

import pytest

from collector.calendars import load_calendar
from collector.core import calendar, clocks, counting
from collector.core.tickets import fold, promises
from tests.oracle.__main__ import main
from tests.oracle.case import Case
from tests.oracle.compare import differences
from tests.oracle.made import case
from tests.oracle.oracle import Answer, answer

SEED = 20261128
ENOUGH = 800
"""Cases within which each mistake below must be seen."""


@pytest.mark.long
def test_no_clock_differs_and_every_difficulty_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases", "1500", "--seed", str(SEED)]) == 0, capsys.readouterr()


@functools.cache
def cases() -> list[tuple[Case, dict[str, Answer]]]:
    made = [case(SEED, number) for number in range(ENOUGH)]
    return [(one, {zone: answer(one, zone) for zone in one.zones}) for one in made]


def seen() -> bool:
    """Whether one of the cases shows a difference."""
    return any(differences(one, answers) for one, answers in cases())


def mistake(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType, right: str, wrong: str) -> None:
    """Let the module's functions do what they would do if ``wrong`` stood in its source instead of ``right``."""
    source = inspect.getsource(module)
    assert source.count(right) == 1, f"{right!r} stands {source.count(right)} times in {module.__name__}"
    other = types.ModuleType(module.__name__)
    exec(compile(source.replace(right, wrong), str(module.__file__), "exec"), vars(other))
    for name, here in vars(module).items():
        if getattr(here, "__module__", None) != module.__name__:
            continue
        functions = vars(here).items() if isinstance(here, type) else [(name, here)]
        for its_name, function in functions:
            if isinstance(function, types.FunctionType) and function.__code__.co_filename == module.__file__:
                there = vars(getattr(other, name))[its_name] if isinstance(here, type) else getattr(other, name)
                monkeypatch.setattr(function, "__code__", there.__code__)


MISTAKES: dict[str, tuple[types.ModuleType, str, str]] = {
    "the starting day counts": (counting, "day = self._date(start_ms)", "day = self._date(start_ms) - _DAY"),
    "a pause is counted twice": (counting, "owed_ms + stopped_ms", "owed_ms + 2 * stopped_ms"),
    "a pause is not counted": (counting, "owed_ms + stopped_ms", "owed_ms"),
    "due at 23:59": (counting, "else end_ms\n", "else end_ms - _MINUTE\n"),
    "the machine's zone instead of the site's": (counting, "ZoneInfo(time_zone)", 'ZoneInfo("UTC")'),
    "a day that is rolled off is not": (counting, "and self._roll_off:", "and False:"),
    "the holidays of the year before": (
        calendar,
        "day not in self.holidays",
        "day.isoformat()[5:] not in _before(self.year)",
    ),
    "make-up days are forgotten": (calendar, "return day in self.make_up or (", "return ("),
    "a year that is not loaded is guessed": (
        calendar,
        "raise YearMissingError(day.year)",
        "return Year(day.year, (), ())",
    ),
    "a late response starts the second clock": (
        clocks,
        "at_ms = response.due_ms if response.ended_ms is None or late",
        "at_ms = response.due_ms if response.ended_ms is None",
    ),
    "raised, it ends later than the old one": (
        clocks,
        "if old is None or _has_ended(old, phase.at_ms):",
        "if True:",
    ),
    "raised, a clock that had ended holds the new one": (
        clocks,
        "if old is None or _has_ended(old, phase.at_ms):",
        "if old is None:",
    ),
    "lowered, it runs from the change": (
        clocks,
        "from_ms = at_ms if raised else self._facts.notice_ms",
        "from_ms = at_ms",
    ),
    "raised, it runs from the notice": (
        clocks,
        "from_ms = at_ms if raised else self._facts.notice_ms",
        "from_ms = self._facts.notice_ms",
    ),
    "raised, nobody is asked to respond again": (clocks, "higher and self._terms.raise_asks_again", "False"),
    "waiting stops the response": (
        clocks,
        "due_ms, ends = phase.from_ms + span_ms,",
        "due_ms, ends = self._counting.hours(phase.from_ms, span_ms)[0],",
    ),
    "parts stop the clock": (clocks, "if reason in terms.waiting_stops)", "if True)"),
    "hardware counts without a spare": (clocks, 'spares[-1] != "at_hand"', 'spares[-1] == "never"'),
    "a clock before the contract's start": (clocks, "facts.notice_ms < terms.start_ms", "False"),
    "a corrected time is forgotten": (fold, "event = _at(event, corrected)", "pass"),
    "opened again, the first round counts": (promises, "after.round != before.round or ", ""),
    "going on earlier does not end a waiting": (promises, "max(since_ms, at_ms))", "_)"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    years = load_calendar(None).years.values()
    days = {year.year + 1: {day.isoformat()[5:] for day in year.holidays} for year in years}
    monkeypatch.setattr(calendar, "_before", days.get, raising=False)
    mistake(monkeypatch, *MISTAKES[name])
    assert seen()


@pytest.mark.long
def test_without_a_mistake_nothing_is_seen() -> None:
    assert not seen()
