"""What is usual in a place: against the others, against its own past, and not learnt from a bad antenna."""

from __future__ import annotations

import random

import pytest

from collector.core import coverage_record, signals
from collector.core.coverage import LINK, SERVICE, Coverage, Expected
from collector.core.coverage_record import MOST_SAMPLES, CoverageRecord, Key, figure
from collector.core.journeys import Journey, Signal
from collector.core.places import cell_of, coarse_of
from collector.core.signals import AGAIN_MS, SLOT_MS

HERE = cell_of(31.2, 121.4)
BESIDE = cell_of(31.204, 121.4)
DAY = 86_400_000
T0 = 20_000 * DAY


def record(values: list[int], days: int = 1) -> CoverageRecord:
    made = CoverageRecord()
    for n, value in enumerate(sorted(values, key=lambda v: v % 7)):
        made.add({"rsrp": value, "rsrq": -10, "sinr": 15}, T0 + DAY * (n * days // len(values)), 0)
    return made


def usual(*given: tuple[str, CoverageRecord], cell: str = HERE, leg: str = "lte") -> Coverage:
    return coverage_record.edition((Key(cell, leg, name, ""), one) for name, one in sorted(given))


def test_the_median_of_the_other_vehicles_medians() -> None:
    """One of them is bad, or stood there for a night: that moves the median of three little."""
    a, b, c = record([-90] * 5), record([-120] * 900), record([-86] * 6)
    coverage = usual(("amb-2", a), ("amb-3", b), ("amb-4", c), ("amb-1", record([-60] * 50)))
    assert coverage.expected("amb-1", HERE, "lte") == Expected((-90.0, -10.0, 15.0), 3, "3 other vehicles")
    assert coverage.expected("amb-9", HERE, "lte") == Expected((-88.0, -10.0, 15.0), 4, "4 other vehicles"), (
        "one that was never here"
    )
    assert coverage.expected("amb-1", HERE, "nr") is None
    assert coverage.expected("amb-1", cell_of(30.0, 121.4), "lte") is None


@pytest.mark.parametrize(
    ("days", "samples", "enough"), [(5, 30, True), (4, 30, False), (5, 29, False), (4, 500, False)]
)
def test_its_own_past_counts_from_five_days_and_thirty_samples_on(days: int, samples: int, enough: bool) -> None:
    coverage = usual(("amb-1", record([-90] * samples, days)))
    assert bool(coverage.expected("amb-1", HERE, "lte")) is enough
    assert coverage.expected("amb-2", HERE, "lte") is None, "one other is not two"


def test_one_other_is_named_beside_its_own_past_and_two_take_its_place() -> None:
    own = ("amb-1", record([-90] * 30, 5))
    one = usual(own, ("amb-2", record([-76] * 10)))
    of = "its own past; amb-2 has -76 dBm here"
    assert one.expected("amb-1", HERE, "lte") == Expected((-90.0, -10.0, 15.0), 0, of)
    two = usual(own, ("amb-2", record([-76] * 10)), ("amb-3", record([-78] * 10)))
    assert two.expected("amb-1", HERE, "lte") == Expected((-77.0, -10.0, 15.0), 2, "2 other vehicles")


def test_four_samples_are_no_median() -> None:
    assert usual(("amb-2", record([-76] * 5)), ("amb-3", record([-76] * 5))).expected("amb-1", HERE, "lte")
    assert not usual(("amb-2", record([-76] * 4)), ("amb-3", record([-76] * 5))).expected("amb-1", HERE, "lte")


def test_a_fine_cell_without_enough_is_looked_up_in_the_coarse_one() -> None:
    fine = [(Key(HERE, "lte", "amb-2", ""), record([-70] * 9))]
    coarse = [(Key(coarse_of(HERE), "lte", name, ""), record([-95] * 9)) for name in ("amb-2", "amb-3")]
    coverage = coverage_record.edition(sorted([*fine, *coarse]))
    assert coverage.expected("amb-1", HERE, "lte") == Expected((-95.0, -10.0, 15.0), 2, "2 other vehicles")


def test_radio_cells_stand_apart_in_the_table_and_together_in_the_edition() -> None:
    keys = [Key(HERE, "lte", name, radio) for name in ("amb-2", "amb-3") for radio in ("1", "2")]
    coverage = coverage_record.edition(zip(keys, [record([-80] * 3), record([-90] * 6)] * 2, strict=True))
    assert coverage.expected("amb-1", HERE, "lte") == Expected((-90.0, -10.0, 15.0), 2, "2 other vehicles")


def test_shares_are_means_and_the_rest_medians() -> None:
    assert figure("nr", [{0: 1, 100: 3}]) == 75
    assert figure("loss", [{0: 9}, {100: 1}]) == 10
    assert figure("rtt", [{40: 9, 900: 8}]) == 40
    assert figure("rsrp", []) is None


def test_a_record_fades_and_an_edition_is_the_same_byte_for_byte() -> None:
    chance = random.Random(1)
    made = CoverageRecord()
    for n in range(10 * MOST_SAMPLES):
        made.add({"rsrp": round(chance.gauss(-90 if n < 5 * MOST_SAMPLES else -80, 4))}, T0 + n * 60_000, 0)
    assert made.n <= MOST_SAMPLES
    assert figure("rsrp", [made.figures["rsrp"]]) in (-81, -80, -79)
    assert len(made.row(Key(HERE, "lte", "amb-1", ""))["histogram"]) < 500
    coverage = usual(("amb-2", record([-76] * 5)), ("amb-3", record([-76] * 5)))
    again = Coverage.from_json(coverage.to_json())
    assert again.to_json() == coverage.to_json()
    assert again.expected("amb-1", HERE, "lte") == coverage.expected("amb-1", HERE, "lte")
    for wrong in (b"", b"{}", b"\x28\xb5\x2f\xfd"):
        with pytest.raises(ValueError, match=r"."):
            Coverage.from_json(wrong)


# --- what teaches -----------------------------------------------------------------------------------------------------

KNOWN = usual(("amb-2", record([-88] * 5)), ("amb-3", record([-88] * 5)))


def drive(
    journey: Journey, slot: int, power: int, leg: str = "lte", spans: object = (), known: Coverage = KNOWN
) -> int:
    """Five signals in a slot; return how many signals teach now."""
    for n in range(5):
        values = {"rsrp": power} if leg not in (SERVICE, LINK) else {"loss": 1}
        signals.take(journey, Signal(T0 + slot * SLOT_MS + n * AGAIN_MS, HERE, leg, "", values))
    taught, _ = signals.teach(journey, "amb-1", known, spans)  # type: ignore[arg-type]
    return len(taught)


def test_a_slot_teaches_when_the_next_one_is_whole_and_both_are_well() -> None:
    journey = Journey()
    assert [drive(journey, slot, -88) for slot in range(4)] == [0, 0, 5, 5]


@pytest.mark.parametrize(("power", "taught"), [(-92, 5), (-94, 0), (-100, 0)])
def test_a_bad_antenna_does_not_become_the_record_nor_the_minutes_before_it_is_found(power: int, taught: int) -> None:
    journey = Journey()
    well = [drive(journey, slot, -88) for slot in range(4)]
    bad = [drive(journey, slot, power) for slot in range(4, 8)]
    assert sum(well) == 10
    assert bad == [5, taught, taught, taught], "the slot before the first bad one is not believed either"
    assert [drive(journey, slot, -88) for slot in range(8, 12)] == [taught, taught, 5, 5]


def test_where_nothing_is_known_all_teach() -> None:
    journey = Journey()
    assert [drive(journey, slot, -120, known=Coverage()) for slot in range(3)] == [0, 0, 5]


@pytest.mark.parametrize(
    ("fault", "leg", "spoils"),
    [
        ("antenna_degraded", "lte", True),
        ("antenna_degraded", SERVICE, True),
        ("packet_loss", LINK, True),
        ("packet_loss", "lte", False),
        ("roaming", SERVICE, True),
        ("nr_fallback", LINK, False),
    ],
)
def test_while_a_problem_is_active_what_it_spoils_does_not_teach(fault: str, leg: str, spoils: bool) -> None:
    for spans, within in (
        ([(fault, T0, None)], True),
        ([(fault, T0 - DAY, T0 - 1)], False),
        ([(fault, T0 + 2 * DAY, None)], False),
    ):
        journey = Journey()
        taught = sum(drive(journey, slot, -88, leg, spans) for slot in range(4))
        assert taught == (0 if spoils and within else 10), (spans, within)


def test_standing_teaches_once_a_minute() -> None:
    journey = Journey()
    for n in range(0, 100 * AGAIN_MS, 10_000):
        signals.take(journey, Signal(T0 + n, HERE, "lte", "", {"rsrp": -88}))
    assert len(journey.held) == 100
    for n in range(10):
        signals.take(journey, Signal(T0 + DAY + n * 10_000, (HERE, BESIDE)[n % 2], "lte", "", {"rsrp": -88}))
    assert len(journey.held) == 110
