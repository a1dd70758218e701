"""A problem that begins and ends again and again is one, and is over after a quiet time."""

from __future__ import annotations

import pytest

from tests.unit.judging import Story, rules_of

RULE = "rules: {a: {fault: sim_absent, condition: {metric: modem.sim, is: [absent]}, for: 30s, clear_for: 30s%s}}"


def played(minutes: float, hours: float, more: str = "", quiet_hours: float = 6) -> Story:
    """The SIM is out and in for so many minutes each, a sample each 10 s, and then stays in."""
    story = Story(rules_of(RULE % more))
    period = round(minutes * 60)
    for at in range(0, round(3600 * (hours + quiet_hours)), 10):
        out = at < 3600 * hours and at // period % 2 == 0
        story.sample("modem", {"modem.sim": "absent" if out else "ready"}, at)
    return story


def test_five_changes_in_an_hour_are_one_problem_that_ends_after_thirty_quiet_minutes() -> None:
    story = played(4, 0.5)
    first, second, flapping = story.life()
    assert [first[1:], second[1:]] == [("over", 0, 240), ("over", 480, 720)]
    assert flapping[1:] == ("over", 960, 1680), "its last end"
    over = story.news("over")[-1].problem
    assert over.over_ms is not None
    assert over.over_event_ms is not None
    assert over.over_ms - over.over_event_ms == 1_800_000
    assert (over.flapping, over.times) == (True, 4)
    assert [change.text for change in story.news("noted")] == ["flapping: over after 30 quiet minutes"]


def test_ten_changes_in_a_day_end_after_four_quiet_hours() -> None:
    story = played(60, 18)
    over = story.news("over")[-1].problem
    assert over.over_ms is not None
    assert over.over_event_ms is not None
    assert over.over_ms - over.over_event_ms == 4 * 3_600_000
    assert len(story.problems()) == 5


@pytest.mark.parametrize("more", [", flapping: []", ", flapping: [{changes: 30, within: 1m, quiet: 1h}]"])
def test_a_rule_says_what_flapping_is(more: str) -> None:
    story = played(4, 1, more)
    assert len(story.problems()) == 8
    assert not any(problem.flapping for problem in story.problems())


def test_it_lives_over_a_restart() -> None:
    story = Story(rules_of(RULE % ""), restart=True)
    for at in range(0, 2400, 30):
        story.sample("modem", {"modem.sim": "absent" if at // 240 % 2 == 0 else "ready"}, at)
    assert story.life()[-1][1] == "active"
    assert len(story.problems()) == 3


def test_a_window_dates_the_end_by_the_last_bad_sample() -> None:
    """20 s out, 20 s in for ten minutes, from 100 s on."""
    either = "any_of: [{metric: modem.sim, is: [absent]}, {metric: modem.sim, is: [absent], SHARE}]"
    text = f"rules: {{a: {{fault: sim_absent, condition: {{{either}}}, for: 30s}}}}"
    story = Story(rules_of(text.replace("SHARE", "share: {over: 10m}, above: 0.3, clear: 0.1")), restart=True)
    for at in range(0, 1500, 10):
        story.sample("modem", {"modem.sim": "absent" if 100 <= at < 700 and at % 40 < 20 else "ready"}, at)
    assert story.life() == [("sim_absent", "over", 120, 700)]
    assert story.problems()[0].detected_ms - story.problems()[0].event_ms < 240_000
    assert story.vehicle.windows == {}, "what is healthy makes no window"
