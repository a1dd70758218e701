"""The shipped rules: each fault has one, each has its tests beside it, and each limit and window matters to them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest

from collector.core.rules.files import load_rules, parse_rules, shipped_files, shipped_tests
from collector.core.rules.sampled import SampledRule
from collector.core.rules.types import Rules
from collector.rule_tests import TestShape, failures, read_tests
from telemetry.durations import milliseconds
from telemetry.faults import FAULTS
from telemetry.files import FileError, parse_yaml

TESTS: Final = [test for name, text in shipped_tests() for test in read_tests(parse_yaml(text, name), name)]
SHIPPED: Final = load_rules()
ELSEWHERE: Final = {"nr_fallback", "roaming"}
"""They go by a record of places, which has tests of its own."""


def test_every_fault_has_a_rule() -> None:
    assert {rule.fault.id for rule in SHIPPED.by_id.values()} == FAULTS.keys()


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_the_shipped_tests_hold(test: TestShape) -> None:
    assert failures(test, SHIPPED) == []


def test_every_rule_on_samples_has_a_test_that_opens_it_and_one_that_does_not() -> None:
    for id, rule in SHIPPED.by_id.items():
        if isinstance(rule, SampledRule) and id not in ELSEWHERE:
            forms = {test.form for test in TESTS if id in test.rules}
            assert "quiet" in forms, id
            assert forms & {"strong", "weak"}, id


# --- mutation ---------------------------------------------------------------------------------------------------------


@cache
def _files() -> list[tuple[str, Any]]:
    return [(name, parse_yaml(text, name)) for name, text in shipped_files()]


def mutants(id: str) -> Iterator[tuple[str, Rules]]:
    """Yield the shipped rules without one, and with each of its limits and times loosened by a half."""
    files = copy.deepcopy(_files())
    body = next(data["rules"][id] for _, data in files if id in data["rules"])
    for part, key in [*_places(body)]:
        was, clear = part[key], part.get("clear")
        part[key] = _loosened(key, was)
        if clear is not None and not isinstance(was, str):
            part["clear"] = clear + part[key] - was
        changed = f"{key} {was} -> {part[key]}"
        try:
            yield changed, parse_rules(files)
        except FileError:
            pass  # a limit that a rule may not have is none that anybody can set
        finally:
            part[key] = was
            if clear is not None:
                part["clear"] = clear
    for _, data in files:
        data["rules"].pop(id, None)
    yield "deleted", parse_rules(files)


def _places(data: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each mapping and key at which a limit or a time stands that makes a rule look the other way."""
    if isinstance(data, list):
        for one in data:
            yield from _places(one)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key in ("above", "below", "for", "over") and (key != "for" or milliseconds(value)):
                yield data, key
            elif key not in ("only_if", "without", "except_where", "only_where"):
                yield from _places(value)


def _loosened(key: str, value: Any) -> Any:
    """Return a limit, or a time, half as strict."""
    if isinstance(value, str):
        return milliseconds(value) / 1000 * (0.5 if key == "below" else 3)
    by = abs(value) / 2 or 5
    return value + by + (0.5 if abs(value) < 1 else 0) if key == "above" else value - by


@pytest.mark.parametrize(
    "id", [id for id, rule in SHIPPED.by_id.items() if isinstance(rule, SampledRule) and id not in ELSEWHERE]
)
def test_what_is_deleted_or_loosened_is_found(id: str) -> None:
    """The beginnings of mutation: a test of the rule fails for each change of it."""
    own = [test for test in TESTS if id in test.rules]
    assert own
    alive = [what for what, rules in mutants(id) if not any(failures(test, rules) for test in own)]
    assert alive == []


def test_a_test_that_fails_says_what_was_expected_and_found() -> None:
    (strong,) = [test for test in TESTS if test.name == "a module at 90 degC"]
    without = dataclasses.replace(SHIPPED, by_id={id: one for id, one in SHIPPED.by_id.items() if id != "modem_hot"})
    assert [found.text for found in failures(strong, without)] == [
        "at 11m: expected modem_hot/modem, found nothing",
        "modem_hot/modem: expected to begin at 300 s, found never",
    ]
