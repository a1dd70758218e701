"""Late data (docs/architecture.md): what the backlog may do to what live says, and what it may not."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.problems import ProblemChange
from collector.core.vehicle.draft import Effect
from tests.unit.judging import SHIPPED, T0, Story, rules_of

HOUR = 3600


def offline(story: Story) -> Story:
    """Good until the link goes; what comes then stands in the backlog until ``HOUR``."""
    for at in range(-60, 0, 10):
        story.heat(60, at)
    return story


def drain(story: Story, values: dict[int, float], now: float) -> list[Effect]:
    effects: list[Effect] = []
    for at in sorted(values):
        effects += story.heat(values[at], at, now=now, lane="backlog")
    return effects


def every_10_s(bad: range, until: int = HOUR) -> dict[int, float]:
    return {at: 90.0 if at in bad else 60.0 for at in range(0, until, 10)}


def test_still_true_one_ticket_event_time_from_the_sample_detection_now() -> None:
    """Field note T9: a fault that began in the backlog and lasts."""
    story = offline(Story())
    story.heat(90, HOUR)
    drain(story, every_10_s(range(1000, HOUR)), HOUR + 1)
    story.heat(90, HOUR + 10)
    for at in range(HOUR + 20, HOUR + 200, 10):
        story.heat(90, at)
    (problem,) = story.problems()
    assert (problem.event_ms, problem.detected_ms) == (T0 + 1_000_000, T0 + (HOUR + 10) * 1000)
    assert story.notes() == []
    samples = problem.evidence[0].samples
    assert [sample["time_ms"] for sample in (samples[0], samples[-1])] == [T0 + 1_000_000, T0 + (HOUR + 10) * 1000]


def test_an_active_problem_is_moved_back_when_the_backlog_comes_later() -> None:
    story = offline(Story())
    for at in range(HOUR, HOUR + 70, 10):
        story.heat(90, at)
    assert story.life() == [("modem_hot", "active", HOUR, None)]
    effects = drain(story, every_10_s(range(1000, HOUR)), HOUR + 70)
    assert story.life() == [("modem_hot", "active", 1000, None)]
    assert [type(effect).__name__ for effect in effects] == ["ProblemChange"]
    assert len(story.news("moved")) == 1
    (problem,) = story.problems()
    assert problem.detected_ms == T0 + (HOUR + 60) * 1000  # the clock runs from when we knew


def test_the_backlog_drained_before_the_first_live_value_gives_the_same() -> None:
    story = offline(Story())
    drain(story, every_10_s(range(1000, HOUR)), HOUR - 1)
    story.heat(90, HOUR)
    assert story.life() == [("modem_hot", "active", 1000, None)]


def test_began_and_ended_before_we_heard_is_a_note_and_no_ticket() -> None:
    """A fault that is over before it was heard of."""
    story = offline(Story())
    story.heat(60, HOUR)
    drain(story, every_10_s(range(1000, 1600)), HOUR + 1)
    assert story.problems() == []
    assert story.notes() == [("modem_hot", 1000, 1600)]
    assert story.news("began") == []


def test_a_fault_that_ends_where_live_begins_is_a_note() -> None:
    for live_first in (True, False):
        story = offline(Story())
        if live_first:
            story.heat(60, HOUR)
        drain(story, every_10_s(range(3000, HOUR)), HOUR + 1)
        if not live_first:
            story.heat(60, HOUR)
        assert story.problems() == []
        assert story.notes() == [("modem_hot", 3000, HOUR)], live_first


def test_short_peaks_in_the_backlog_are_nothing() -> None:
    story = offline(Story())
    story.heat(60, HOUR)
    drain(story, every_10_s(range(1000, 1040)), HOUR + 1)
    assert (story.problems(), story.notes()) == ([], [])


def test_older_than_the_bound_is_figures_only() -> None:
    """Row 3: 72 h by default."""
    story = offline(Story())
    late = 72 * HOUR + 2000
    story.heat(60, late)
    drain(story, every_10_s(range(0, 1000), 1500), late)
    assert (story.problems(), story.notes()) == ([], [])
    assert story.vehicle.skipped == {"too_late": 150}


def test_an_active_problem_is_neither_ended_nor_flapped() -> None:
    story = Story()
    for at in range(-100, 0, 10):
        story.heat(90, at)
    assert story.life() == [("modem_hot", "active", -100, None)]
    story.heat(90, HOUR)
    effects = drain(story, every_10_s(range(2000, HOUR)), HOUR + 1)
    assert effects == []
    assert story.life() == [("modem_hot", "active", -100, None)]
    assert story.notes() == []  # the problem tells of that time


def test_what_a_problem_that_is_over_told_is_not_noted_again() -> None:
    story = Story()
    for at in range(-100, 0, 10):
        story.heat(90, at)
    for at in range(HOUR, HOUR + 80, 10):
        story.heat(60, at)
    assert story.life() == [("modem_hot", "over", -100, HOUR)]
    drain(story, every_10_s(range(0, 2000)), HOUR + 100)
    assert story.notes() == []


def test_live_of_before_does_not_close_or_open_across_the_gap() -> None:
    """A clearing, too, is counted anew after the gap."""
    story = Story()
    for at in range(-100, -10, 10):
        story.heat(90, at)
    story.heat(60, -10)
    story.heat(60, 1800)
    assert story.active() == ["modem_hot/modem"]
    story.heat(60, 1860)
    assert story.life() == [("modem_hot", "over", -100, 1800)]


def test_a_gap_between_the_lanes_is_bridged_once_the_backlog_has_settled() -> None:
    """The agent restarted: two minutes are in neither lane."""
    story = offline(Story())
    values = {at: value for at, value in every_10_s(range(1000, HOUR)).items() if at < HOUR - 120}
    for at in range(HOUR, HOUR + 100, 10):
        story.heat(90, at)
    drain(story, values, HOUR + 100)
    assert story.life() == [("modem_hot", "active", HOUR, None)]
    for at in range(HOUR + 100, HOUR + 480, 10):
        story.heat(90, at)
        story.tick(at)
    assert story.life() == [("modem_hot", "active", 1000, None)]
    assert (story.vehicle.past, story.vehicle.late) == ({}, {})


def test_a_backlog_that_ends_bad_and_never_meets_live_is_noted_when_it_has_settled() -> None:
    story = offline(Story())
    story.heat(60, HOUR)
    drain(story, every_10_s(range(1000, 2000), 2000), HOUR + 1)
    assert story.notes() == []
    for at in range(HOUR, HOUR + 600, 10):
        story.heat(60, at)
        story.tick(at)
    assert story.notes() == [("modem_hot", 1000, 1990)]


def test_live_between_two_outages_ends_what_the_first_left_open() -> None:
    story = offline(Story())
    for at in range(600, 900, 10):
        story.heat(60, at)
    drain(story, dict.fromkeys(range(300, 590, 10), 90.0), 890)  # one poll short of meeting live
    drain(story, dict.fromkeys(range(1200, 1300, 10), 90.0), 1400)
    assert story.notes() == [("modem_hot", 300, 600)]


def test_events_in_the_past_are_not_symptoms_of_their_own() -> None:
    story = Story(SHIPPED)
    for at in range(0, 900, 10):
        for device in ("router", "camera-1"):
            story.sample(device, {"device.reachable": not 100 <= at < 700}, at, now=2000, lane="backlog")
    assert story.notes() == [("router_dead", 100, 700)]


def test_parked_in_the_backlog_counts_as_parked() -> None:
    story = Story(SHIPPED)
    for at in range(0, 900, 10):
        story.sample("power", {"power.ignition": not 90 <= at < 700}, at, now=2000, lane="backlog")
        story.sample("router", {"device.reachable": not 100 <= at < 710}, at, now=2000, lane="backlog")
    assert story.notes() == []


def test_what_was_bad_on_duty_is_noted_when_live_finds_the_vehicle_parked() -> None:
    story = Story(SHIPPED)
    story.sample("power", {"power.ignition": False}, HOUR)
    story.sample("camera-1", {"device.reachable": False}, HOUR)
    for at in range(0, HOUR, 10):
        story.sample("camera-1", {"device.reachable": at < 1000}, at, now=HOUR + 1, lane="backlog")
    assert (story.problems(), story.notes()) == ([], [("camera_down", 1000, HOUR)])


def test_a_record_older_than_the_lane_has_come_to_is_counted() -> None:
    story = Story()
    drain(story, {0: 90.0, 100: 90.0}, 200)
    story.heat(60, 50, now=200, lane="backlog")
    assert story.vehicle.skipped == {"unordered": 1}


# --- properties -------------------------------------------------------------------------------------------------------

LEVELS = st.sampled_from([60.0, 60.0, 78.0, 90.0, 90.0, 90.0, None])
RULES = """
rules:
  modem_hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80, clear: 75}, for: 30s}
"""


@st.composite
def outages(draw: st.DrawFn) -> list[tuple[str, int, float | None]]:
    """Live and backlog samples of one source, every 10 s, in an order of arrival that keeps each lane in order."""
    lanes = [
        lane
        for lane, length in draw(
            st.lists(st.tuples(st.sampled_from(["live", "backlog"]), st.integers(1, 12)), min_size=1, max_size=8)
        )
        for _ in range(length)
    ]
    samples = [(lane, 10 * number, draw(LEVELS)) for number, lane in enumerate(lanes)]
    live = [sample for sample in samples if sample[0] == "live"]
    late = [sample for sample in samples if sample[0] == "backlog"]
    arrived: list[tuple[str, int, float | None]] = []
    while live or late:
        now = live[0][1] if live else 10**6
        take_late = late and late[0][1] < now and (not live or draw(st.booleans()))
        arrived.append(late.pop(0) if take_late else live.pop(0))
    return arrived


def play(samples: list[tuple[str, int, float | None]], **more: Any) -> Story:
    story = Story(rules_of(RULES), **more)
    now = 0
    for lane, at, value in samples:
        now = max(now, at)
        before = set(story.vehicle.problems)
        effects = story.heat(value, at, now=now, lane=lane)
        if lane == "backlog":
            assert set(story.vehicle.problems) == before, "the backlog opened or resolved"
            assert all(effect.news == "moved" for effect in effects if isinstance(effect, ProblemChange))
        story.tick(now)
    return story


@given(outages())
@settings(max_examples=120, deadline=None)
def test_the_backlog_never_opens_or_resolves(samples: list[tuple[str, int, float | None]]) -> None:
    story = play(samples)
    assert len(story.news("began")) + len(story.news("again")) == len(story.problems())
    for change in story.news("moved"):
        assert change.problem.event_ms in {problem.event_ms for problem in story.problems()}


@given(outages())
@settings(max_examples=80, deadline=None)
def test_restart_between_lanes(samples: list[tuple[str, int, float | None]]) -> None:
    assert play(samples).effects == play(samples, restart=True).effects


@given(outages())
@settings(max_examples=80, deadline=None)
def test_without_backlog_live_says_the_same_or_knew_it_later(samples: list[tuple[str, int, float | None]]) -> None:
    """The backlog may let a problem begin earlier; it hides none that live alone would have opened."""
    with_backlog = play(samples)
    alone = play([sample for sample in samples if sample[0] == "live"])
    assert len(with_backlog.problems()) >= len(alone.problems())
    for problem in alone.problems():
        assert any(
            other.event_ms <= problem.event_ms or other.event_ms <= problem.detected_ms
            for other in with_backlog.problems()
        )


@given(st.lists(LEVELS, min_size=3, max_size=20), LEVELS, st.data())
@settings(max_examples=80, deadline=None)
def test_how_the_lanes_interleave_does_not_matter(
    values: list[float | None], newest: float | None, data: st.DataObject
) -> None:
    """One outage at the beginning; live goes on beside the drain. Notes and tickets tell the same beginnings.

    Live stays the same for three polls: what was bad for one poll and is over before the backlog has come is not put
    together again.
    """
    late = [("backlog", 10 * n, value) for n, value in enumerate(values)]
    after = [newest] * 3 + [60.0] * 8
    live = [("live", 10 * n, value) for n, value in enumerate(after, len(values))]
    first = play([live[0], *late, *live[1:]])
    mixed: list[tuple[str, int, float | None]] = [live[0]]
    rest_late, rest_live = list(late), list(live[1:])
    while rest_late or rest_live:
        use_live = rest_live and (not rest_late or (len(live) - len(rest_live) < 3 and data.draw(st.booleans())))
        mixed.append(rest_live.pop(0) if use_live else rest_late.pop(0))
    second = play(mixed)
    assert beginnings(first) == beginnings(second)


def beginnings(story: Story) -> list[float]:
    return sorted([begin for _, _, begin, _ in story.life()] + [begin for _, begin, _ in story.notes()])


def test_beginnings_are_compared_at_all() -> None:
    story = Story(rules_of(RULES))
    for at in range(0, 50, 10):
        story.heat(90, at)
    assert beginnings(story) == [0]
