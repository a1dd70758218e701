"""How long a silence may be where: both sides of each limit, and where kits are switched off."""

from __future__ import annotations

import pytest

from collector.core.contact_gaps import NOTHING, ContactGaps
from collector.core.gap_record import GapRecord, edition
from collector.core.journeys import Booted, Lost, Passed
from collector.core.places import around, cell_of

HERE = cell_of(31.2000, 121.4000)
BESIDE = around(HERE)[1]
FAR = cell_of(31.3000, 121.4000)
DAY = 86_400_000
NOW = 20_000 * DAY
SHANGHAI = 8 * 3_600_000


def learnt(*given: tuple[str, object], now: int = NOW) -> ContactGaps:
    """The edition after these findings of one vehicle."""
    records: dict[str, GapRecord] = {}
    for cell, finding in given:
        records.setdefault(cell, GapRecord()).add(finding, "amb-1", SHANGHAI)  # type: ignore[arg-type]
    return edition(records.items(), now)


def passes(number: int, days: int, cell: str = HERE) -> list[tuple[str, object]]:
    return [(cell, Passed(cell, NOW - DAY * ago)) for ago in sorted((n % days for n in range(number)), reverse=True)]


def losses(*seconds: int, cell: str = HERE, ago_days: int = 1) -> list[tuple[str, object]]:
    return [
        (cell, Lost(cell, NOW - ago_days * DAY + n, NOW - ago_days * DAY + n + 1000 * one, one))
        for n, one in enumerate(seconds)
    ]


def seconds(gaps: ContactGaps, cell: str | None = HERE, silent_after: float | None = None) -> float:
    return gaps.limit(cell, silent_after).seconds


def test_where_nothing_is_known_and_without_a_fix_ten_minutes() -> None:
    assert NOTHING.limit(HERE, None) == (600, "not enough record of that place")
    assert NOTHING.limit(None, None) == (600, "nobody knows where it was")
    assert seconds(learnt(*passes(9, 3)), None) == 600
    assert seconds(learnt(*passes(9, 3)), FAR) == 600


@pytest.mark.parametrize(
    ("lately", "known", "limit"),
    [
        (0, [], 600),
        (300, [], 600),
        (700, [], 1110),
        (1300, [], 1800),
        (700, passes(9, 3), 240),
        (300, losses(800, 900), 1410),
        (1000, losses(800, 900), 1560),
    ],
)
def test_what_happened_lately_makes_the_limit_longer_where_contact_is_not_known_to_be_kept(
    lately: int, known: list[tuple[str, object]], limit: float
) -> None:
    assert learnt(*known).limit(HERE, None, lately).seconds == limit


@pytest.mark.parametrize(
    ("number", "days", "limit"), [(5, 2, 240), (4, 2, 600), (5, 1, 600), (40, 1, 600), (40, 20, 240)]
)
def test_five_passes_on_two_days_are_needed(number: int, days: int, limit: float) -> None:
    assert seconds(learnt(*passes(number, days))) == limit
    assert seconds(learnt(*passes(number, days, BESIDE))) == limit, "a neighbour's record is asked too"


def test_days_are_the_sites_own() -> None:
    """Half past midnight in Shanghai is another day, half past eight, where UTC's begins, is not."""
    midnight = NOW + 16 * 3_600_000
    for change, days in ((midnight, 2), (NOW, 1)):
        record = GapRecord()
        for at in (change - 1_800_000, change + 1_800_000):
            record.add(Passed(HERE, at), "amb-1", SHANGHAI)
        assert record.days == days


def test_one_loss_is_none_that_is_known_and_two_are() -> None:
    assert seconds(learnt(*losses(300))) == 600
    assert seconds(learnt(*passes(20, 5), *losses(300))) == 600, "something was lost: contact is not kept there"
    assert seconds(learnt(*losses(100, 300))) == 1.5 * 300 + 60
    assert seconds(learnt(*losses(100), *losses(300, cell=BESIDE))) == 1.5 * 300 + 60
    assert seconds(learnt(*passes(20, 5, BESIDE), *losses(100, 300))) == 510, "the neighbours do not outweigh it"


@pytest.mark.parametrize(("longest", "limit"), [(359, 600), (361, 601.5), (780, 1230), (1161, 1800), (7000, 1800)])
def test_one_loss_that_was_long_makes_no_second_ticket_of_the_same_hole(longest: int, limit: float) -> None:
    assert seconds(learnt(*losses(longest))) == limit
    assert seconds(learnt(*losses(longest)), silent_after=120) == 120, "the fleet file's word stands"


@pytest.mark.parametrize(("longest", "limit"), [(90, 240), (119, 240), (121, 241.5), (1159, 1798.5), (1161, 1800)])
def test_within_four_and_thirty_minutes(longest: int, limit: float) -> None:
    assert seconds(learnt(*losses(80, longest))) == limit


def test_under_twenty_losses_the_longest_counts_from_then_on_the_95th_percentile() -> None:
    nineteen = [200] * 18 + [1000]
    assert seconds(learnt(*losses(*nineteen))) == 1560
    assert seconds(learnt(*losses(200, *nineteen))) == 360
    record = GapRecord()
    for n, one in enumerate([200, *nineteen]):
        record.add(Lost(HERE, n, n + one, one), "amb-1", 0)
    row = record.row(HERE)
    assert (row["lost"], row["p50_s"], row["p95_s"]) == (20, 200, 200)


def test_after_ninety_days_a_loss_counts_no_more() -> None:
    assert seconds(learnt(*losses(100, 300, ago_days=90))) == 510
    assert seconds(learnt(*losses(100, 300, ago_days=91))) == 600
    assert seconds(learnt(*passes(9, 3), *losses(100, 300, ago_days=91))) == 240


def test_the_fleet_files_word_stands_for_the_four_and_the_ten_minutes() -> None:
    kept, lost = learnt(*passes(9, 3)), learnt(*losses(100, 300))
    assert seconds(kept, silent_after=120) == 120
    assert seconds(NOTHING, silent_after=120) == 120
    assert seconds(NOTHING, None, silent_after=120) == 120
    assert seconds(lost, silent_after=120) == 510
    assert seconds(lost, silent_after=900) == 900, "no known gap makes it shorter than what was asked for"
    assert seconds(lost, silent_after=3600) == 3600


def test_two_boots_make_a_place_for_parking_with_its_neighbours() -> None:
    one = learnt((HERE, Booted(HERE, NOW - DAY)))
    two = learnt((HERE, Booted(HERE, NOW - DAY)), (BESIDE, Booted(BESIDE, NOW - DAY)))
    assert not one.is_parking(HERE)
    assert two.is_parking(HERE)
    assert two.is_parking(BESIDE)
    assert not two.is_parking(FAR)
    assert not two.is_parking(None)
    old = learnt(*[(HERE, Booted(HERE, NOW - 91 * DAY - n)) for n in range(5)])
    assert not old.is_parking(HERE)


def test_an_edition_comes_back_as_it_was_and_equal_ones_are_equal_byte_for_byte() -> None:
    gaps = learnt(*passes(5, 2, FAR), *losses(100, 300), (BESIDE, Booted(BESIDE, NOW)))
    again = ContactGaps.from_json(gaps.to_json())
    assert again == gaps
    assert again.to_json() == gaps.to_json()
    assert ContactGaps(
        frozenset(sorted(gaps.kept, reverse=True)), dict(sorted(gaps.lost.items(), reverse=True))
    ).to_json() == (ContactGaps(gaps.kept, gaps.lost).to_json())
    with pytest.raises(ValueError, match="kept"):
        ContactGaps.from_json(b"{}")


def test_a_record_is_bounded() -> None:
    record = GapRecord()
    for n in range(1000):
        record.add(Lost(HERE, n * 1000, n * 1000 + 60, 60 + n % 7), f"amb-{n}", 0)
        record.add(Booted(HERE, n), f"amb-{n}", 0)
        record.add(Passed(HERE, n * DAY), f"amb-{n}", 0)
    row = record.row(HERE)
    assert (row["passes"], row["days"], row["lost"], row["boots"], row["vehicles"]) == (1000, 1000, 40, 8, 16)
    assert len(row["detail"]) < 1200
