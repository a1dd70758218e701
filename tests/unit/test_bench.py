"""What the benchmarks stand on: the standard kit has the counts that the docs tell, rows and their ratios are right."""

from __future__ import annotations

import zlib
from collections import Counter

import msgspec
import pytest

from bench import train_dictionary
from bench.__main__ import ROWS
from bench.row import percentile, row, table
from bench.standard_kit import MOMENTS_A_DAY, PARTS, samples
from telemetry.message import DEFLATED, NUMBERED, dictionary
from telemetry.metrics import METRICS


def test_the_standard_kit_has_the_counts_of_design_6() -> None:
    assert len(PARTS) == 14
    assert sum(len(part.keys) for part in PARTS) == 109
    assert len({part.schema_id for part in PARTS}) == 14
    by_interval = Counter((part.every * 10, len(part.keys)) for part in PARTS)
    every_10 = [(10, count) for count in (18, 14, 9, 6, 4)]
    every_30 = [(30, count) for count in (10, 5, 5, 6, 6, 6)]
    every_60 = [(60, count) for count in (6, 6, 8)]
    assert by_interval == Counter([*every_10, *every_30, *every_60])


def test_a_day_has_8640_moments_and_64800_records() -> None:
    assert MOMENTS_A_DAY == 8_640
    sixty = [len(moment) for moment in samples(3, 60)]  # ten minutes; the pattern repeats each minute
    assert sum(sixty) * MOMENTS_A_DAY // 60 == 64_800


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    def taken(seed: int) -> bytes:
        return msgspec.json.encode([[one.values for one in moment] for moment in samples(seed, 30)])

    assert taken(5) == taken(5)
    assert taken(5) != taken(6)


def test_values_are_of_their_metrics_and_move() -> None:
    seen: dict[tuple[str, str, str], set[object]] = {}
    for moment in samples(7, 600):
        assert {one.mono_ms % 10_000 for one in moment} == {0}
        for one in moment:
            for (metric, label), value in zip(one.part.keys, one.values, strict=True):
                assert METRICS[metric].check(value) == value
                seen.setdefault((one.part.device, metric, label), set()).add(value)
    moving = {metric for (_, metric, _), values in seen.items() if len(values) > 5}
    assert {"modem.rsrp_dbm", "gnss.latitude", "interface.bytes_sent", "link.rtt_ms", "host.load1"} <= moving


@pytest.mark.long
def test_the_dictionary_is_what_the_script_makes_and_pays() -> None:
    bodies = [train_dictionary.body_of(moment) for moment in samples(1, 60)]
    numbers = {part.schema_id: number for number, part in enumerate(PARTS)}
    numbered = [train_dictionary.body_of(moment, numbers) for moment in samples(1, 60)]
    packed = {}
    for format, those in ((DEFLATED, bodies), (NUMBERED, numbered)):
        made = train_dictionary.train(format)
        assert dictionary(format) == made
        packed[format] = sum(train_dictionary.deflated(body, made) for body in those)
    without = sum(len(zlib.compress(body, 9)) for body in bodies)
    assert packed[NUMBERED] < 0.76 * packed[DEFLATED] < 0.76 * 0.75 * without


def test_a_ratio_is_the_median_of_the_runs_own_ratios() -> None:
    one = row("speed", [10, 30, 20], "theirs", [5, 10, 40], target="ratio <= 2")
    assert (one["ours"], one["theirs"], one["ratio"]) == (20, 10, 2)
    assert one["spread"] == [0.5, 3]
    assert one["met"] is True
    assert row("speed", 3, "theirs", 2, target="ours >= 3.5")["met"] is False
    assert row("speed", 3, "theirs", 2)["met"] is None


def test_a_target_must_be_one() -> None:
    with pytest.raises(ValueError, match="expected a target"):
        row("speed", 1, "theirs", 1, target="fast")
    with pytest.raises(ValueError, match="argument"):
        row("speed", [1, 2], "theirs", [1])


def test_the_table_is_markdown() -> None:
    rows = [row("a|b", [1, 1], "c", [4, 2], target="ratio <= 0.3", note="by hand"), row("d", 2.0, "e", 1.0)]
    assert table(rows).splitlines() == [
        "| what | ours | against | theirs | ratio | spread | target | met |",
        "|---|---|---|---|---|---|---|---|",
        "| a\\|b | 1 | c | 3 | 0.375 | 0.25 to 0.5 | ratio <= 0.3 | **no** |",
        "| d | 2 | e | 1 | 2 |  |  |  |",
        "",
        "- a|b: by hand",
    ]


def test_a_row_without_target_or_spread_can_be_shown() -> None:
    plain = {"what": "w", "ours": 1.5, "against": "x", "theirs": 3.0, "ratio": 0.5}
    assert table([plain]).splitlines()[-1] == "| w | 1.5 | x | 3 | 0.5 |  |  |  |"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentiles_are_nearest_ranks(share: float, expected: int) -> None:
    assert percentile(list(range(1, 101)), share) == expected


@pytest.mark.long
def test_every_row_that_is_offered_exists() -> None:
    from importlib import import_module

    for name in ROWS:
        assert callable(import_module(f"bench.{name}").rows)
