"""A bad antenna against a weak place: by the residual to what others, or its own past, had in the same places."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from collector.core.coverage import Coverage, Usual
from collector.core.learnt import Learnt
from collector.core.places import COARSE, cell_of
from tests.unit.judging import SHIPPED, Story, vehicle_plan

PLAN = """
agents:
  box:
    devices:
      modem: {kind: modem, modem: {port: /dev/m}}
      gnss: {kind: gnss, gnss: {port: /dev/g}}
"""
STEP = 0.0009
"""Degrees of latitude in ten seconds: 100 m, 36 km/h."""
ROUND = 200
"""The road is so many steps long, there and back: it lies in some twenty cells."""


def latitude(at: float) -> float:
    at_step = int(at / 10) % (2 * ROUND)
    return 31.2 + STEP * min(at_step, 2 * ROUND - at_step)


CELLS = {cell_of(31.2 + STEP * n / 4, 121.4) for n in range(4 * ROUND + 1)}


def record(*vehicles: str, rsrp: int = -88, enough: bool = True, cells: set[str] | None = None) -> Learnt:
    """What these vehicles have along the road: -88 dBm, -10 dB and 15 dB on both legs."""
    usual = [Usual(name, enough, (rsrp, -10, 15)) for name in vehicles]
    return Learnt(coverage=Coverage({cell: {"lte": usual, "nr": usual} for cell in cells or CELLS}))


OTHERS = record("amb-2", "amb-3")


class Drive:
    def __init__(self, learnt: Learnt, *, poll: int = 10, gnss_first: bool = True, seed: int = 1) -> None:
        self.story = Story(SHIPPED, plan=vehicle_plan(PLAN), learnt=learnt)
        self.chance = random.Random(seed)
        self.poll, self.gnss_first = poll, gnss_first

    def go(
        self,
        start: int,
        end: int,
        *,
        loss: Callable[[float], float] = lambda at: 0.0,
        noise: float = 4.0,
        legs: tuple[str, ...] = ("lte", "nr"),
        quality: float = 0.0,
        moves: bool = True,
    ) -> Drive:
        for at in range(start, end, self.poll):
            where = latitude(at if moves else start)
            fix = {"gnss.latitude": where, "gnss.longitude": 121.4, "gnss.speed_kmh": 36.0}
            values = {}
            for leg in ("lte", "nr"):
                lost = loss(at) if leg in legs else 0.0
                values[f"modem.rsrp_dbm{{leg={leg}}}"] = -88 - lost + self.chance.gauss(0, noise)
                values[f"modem.rsrq_db{{leg={leg}}}"] = -10 + quality + self.chance.gauss(0, 1)
                values[f"modem.sinr_db{{leg={leg}}}"] = 15 + quality + self.chance.gauss(0, 2)
            if self.gnss_first:
                self.story.sample("gnss", fix, at, input="gnss")
            self.story.sample("modem", values, at, input="modem")
            if not self.gnss_first:
                self.story.sample("gnss", fix, at, input="gnss")
        return self

    @property
    def faults(self) -> list[str]:
        return self.story.faults()


def lost(decibels: float, since: int = 1800, until: int = 10**9) -> Callable[[float], float]:
    return lambda at: decibels if since <= at < until else 0.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("poll", [10, 60])
def test_twelve_decibels_are_found_in_fading_of_four(seed: int, poll: int) -> None:
    """Begin within fading's reach of the true one, opened in 45 min, over when the connector is tight again."""
    drive = Drive(OTHERS, seed=seed, poll=poll).go(0, 4 * 3600, loss=lost(12, 1800, 9000))
    (problem,) = drive.story.problems()
    assert (problem.key.text(), problem.state) == ("antenna_degraded/modem", "over")
    began, opened = (problem.event_ms - 1_760_000_000_000) / 60_000, (problem.detected_ms - 1_760_000_000_000) / 60_000
    assert 28 <= began <= 45
    assert 30 < opened <= 75
    assert problem.over_event_ms is not None
    assert 135 <= (problem.over_event_ms - 1_760_000_000_000) / 60_000 <= 155


def test_thirty_decibels_in_half_an_hour_from_the_first_bad_sample() -> None:
    drive = Drive(OTHERS).go(0, 3 * 3600, loss=lost(30, 1800, 7200))
    (problem,) = drive.story.problems()
    assert problem.event_ms - 1_760_000_000_000 == 1_800_000
    assert problem.detected_ms - 1_760_000_000_000 <= 65 * 60_000
    assert problem.over_event_ms == 1_760_000_000_000 + 7_200_000
    text = problem.evidence[0].text
    assert text.startswith("lte: -2")
    assert "(2 other vehicles)" in text
    assert {sample["metric"] for sample in problem.evidence[0].samples} == {
        "modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db"
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_what_is_no_bad_antenna_is_none(seed: int) -> None:
    """Fading alone, less than it, one leg, a deep hole of 18 min, quality that is better than usual."""
    assert Drive(OTHERS, seed=seed).go(0, 4 * 3600).faults == []
    assert Drive(OTHERS, seed=seed).go(0, 4 * 3600, loss=lost(3)).faults == []
    assert Drive(OTHERS, seed=seed).go(0, 4 * 3600, loss=lost(20), legs=("nr",)).faults == []
    for begin in range(1800, 2100, 60):
        assert Drive(OTHERS, seed=seed).go(0, 2 * 3600, loss=lost(29, begin, begin + 1080)).faults == []
    assert Drive(OTHERS, seed=seed).go(0, 3 * 3600, loss=lost(12), quality=6).faults == []


def test_a_night_in_one_place_is_one_observation() -> None:
    drive = Drive(OTHERS).go(0, 600)
    drive.go(600, 10 * 3600, loss=lost(27, 0), moves=False)
    assert drive.faults == []


def test_a_weak_place_that_all_know_is_none() -> None:
    assert Drive(record("amb-2", "amb-3", rsrp=-118)).go(0, 3 * 3600, loss=lost(30, 0)).faults == []


def test_without_enough_record_there_is_no_verdict() -> None:
    for learnt in (
        Learnt(),
        record("amb-1", "amb-2", enough=False),  # one other, and not enough of its own
        record("amb-2"),
        record("amb-2", "amb-3", cells={cell_of(30.0, 121.4)}),
        record("amb-2", "amb-3", cells=set(sorted(CELLS)[:1])),
    ):
        assert Drive(learnt).go(0, 3 * 3600, loss=lost(30)).faults == []


def test_of_two_ambulances_its_own_past_counts_and_both_are_named() -> None:
    """They differ by 12 dB, and always have: no fault. When one falls by 12 dB, the other's level is told beside."""
    usual = [Usual("amb-1", True, (-88, -10, 15)), Usual("amb-2", True, (-76, -10, 15))]
    learnt = Learnt(coverage=Coverage({cell: {"lte": usual, "nr": usual} for cell in CELLS}))
    assert Drive(learnt).go(0, 3 * 3600).faults == []
    drive = Drive(learnt).go(0, 3 * 3600, loss=lost(12))
    assert drive.faults == ["antenna_degraded"]
    assert "its own past; amb-2 has -76 dBm here" in drive.story.problems()[0].evidence[0].text


def test_where_a_fine_cell_has_not_enough_the_coarse_one_counts() -> None:
    coarse = {cell_of(latitude(at), 121.4, COARSE) for at in range(0, 4000, 10)}
    assert Drive(record("amb-2", "amb-3", cells=coarse)).go(0, 3 * 3600, loss=lost(12)).faults == ["antenna_degraded"]


def test_five_cells_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_reception.ROUND", 30)
    for number, found in ((5, True), (4, False)):
        first = list(dict.fromkeys(cell_of(latitude(at), 121.4) for at in range(0, 300, 10)))
        learnt = record("amb-2", "amb-3", cells=set(first[:number]))
        assert bool(Drive(learnt).go(0, 6 * 3600, loss=lost(30, 0)).faults) is found, number


def test_a_fix_may_stand_behind_the_modem_in_a_message_of_once_a_minute() -> None:
    """Within one message; between messages an old fix says nothing."""
    drive = Drive(OTHERS, poll=10, gnss_first=False).go(0, 3 * 3600, loss=lost(12))
    assert drive.faults == ["antenna_degraded"]


def test_a_restart_in_between_changes_nothing_and_the_state_is_small() -> None:
    whole, cut = Drive(OTHERS, seed=3), Drive(OTHERS, seed=3)
    cut.story.restart = True
    for drive in (whole, cut):
        drive.go(0, 7200, loss=lost(12))
    assert cut.story.problems() == whole.story.problems()
    without = Story(SHIPPED, plan=vehicle_plan(PLAN)).vehicle
    assert len(whole.story.vehicle.to_json()) - len(without.to_json()) < 6_000, (
        "its active problem and what that rests on among it"
    )
