"""A week in virtual time: everybody is told what they should be, and a mistake in the telling is seen (tests/week)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.week.comparison import compare
from tests.week.desk import Week
from tests.week.mistakes import MISTAKES
from tests.week.plan import Plan
from tests.week.scenario import GROUP, Scenario, local, week
from tests.week.table import both_languages, messages, most_told, sums


def differences(folder: Path, scenario: Scenario) -> tuple[Week, list[str]]:
    folder.mkdir()
    found = Week(folder, scenario)
    found.run()
    return found, compare(
        scenario, Plan(scenario, found.centre).notifications, found.attempts, found.rows, found.centre
    )


def test_everybody_is_told_what_they_should_be_in_order_and_folded(tmp_path: Path) -> None:
    found, different = differences(tmp_path / "week", week(0))
    assert different == []
    assert len(found.numbers) == 40
    taken = Counter((one.key, one.channel) for one in found.attempts if one.answer == "taken")
    assert sum(times - 1 for times in taken.values()) == 1, "what was taken and not marked when the process died"
    assert most_told(found.attempts) <= 10
    assert max(one.count for one in found.attempts) >= 3, "something was folded"
    assert {row.state for row in found.rows} == {"sent", "folded", "passed", "failed"}
    assert {one.receiver for one in found.attempts} == {"zhao", "qian", "sun", "li", GROUP}
    printed = "\n".join([*messages(found.attempts), *both_languages(found.attempts)])
    assert all(one.ticket in printed for one in found.rows)
    assert "sms failed from 05-07 06:00" in "\n".join(sums(found.scenario, found.attempts, found.rows))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_telling_is_seen(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    scenario = week(0).only(*mistake.tickets, until=mistake.until)
    assert differences(tmp_path / "right", scenario)[1] == []
    with mistake.make():
        assert differences(tmp_path / "wrong", scenario)[1] != []


def test_what_was_never_tried_on_a_channel_that_is_down_is_still_one_message(tmp_path: Path) -> None:
    """Two for a stand-in whose first channel is down, and which were not tried there: one message by the next."""
    whole = week(2)
    scenario = whole.only(*whole.tickets, until=local(4, "19:10"))
    assert differences(tmp_path / "week", scenario)[1] == []
