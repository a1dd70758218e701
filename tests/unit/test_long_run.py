"""How long runs are asked for, and what stays of them."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.long_run import RESULTS, ROOT, LongRun, Record, arguments, commit_here, seconds


@pytest.mark.parametrize(("text", "expected"), [("60s", 60), ("5m", 300), ("1.5h", 5400)])
def test_times_are_told_with_their_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["60", "0s", "-1m", "1d", "", "5 m"])
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time such as 60s"):
        seconds(text)


def test_what_every_long_run_takes() -> None:
    args = arguments("tests.x", "x").parse_args(["--for", "2m", "--seed", "7", "--record"])
    assert (args.seconds, args.seed, args.json, args.record) == (120, 7, False, True)


def test_a_record_says_what_was_run_and_what_came_of_it(tmp_path: Path) -> None:
    began = datetime.datetime(2026, 3, 1, 13, 0, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=8)))
    one = Record("fuzz", "tests.fuzz", ["--for", "10m", "a b"], [7, 8], began, 600.04, {"cases": 12}, True)
    path = one.write(tmp_path)
    assert path.name == f"fuzz-20260301T050005Z-{commit_here()}.json"
    assert one.write(tmp_path).name == f"fuzz-20260301T050005Z-{commit_here()}-2.json", "another of the same second"
    told = json.loads(path.read_text())
    assert told.pop("machine")
    assert told == {
        "run": "fuzz",
        "command": "python -m tests.fuzz --for 10m 'a b'",
        "commit": commit_here(),
        "began": "2026-03-01T05:00:05Z",
        "seconds": 600.0,
        "seeds": [7, 8],
        "counts": {"cases": 12},
        "held": True,
    }


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("words", [["--json"], []])
def test_how_a_long_run_ends(words: list[str], held: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run = LongRun("x", "tests.x", arguments("tests.x", "x").parse_args(words))
    assert run.end({"cases": 12}, held=held, seeds=[7]) == (0 if held else 1)
    told = capsys.readouterr().out
    if words:
        found = json.loads(told)
        assert found.pop("seconds") >= 0
        assert found == {"seeds": [7], "cases": 12, "held": held}
    else:
        assert [line.split() for line in told.splitlines()][:2] == [["seeds", "[7]"], ["cases", "12"]]
        assert told.split()[-2:] == ["held", str(held)]


def test_it_is_over_with_its_time_or_when_it_is_told_to_stop() -> None:
    assert LongRun("x", "tests.x", arguments("tests.x", "x", default=0.0).parse_args([])).over
    before = signal.getsignal(signal.SIGTERM)
    run = LongRun("x", "tests.x", arguments("tests.x", "x", default=3600.0).parse_args([]))
    run.end_on_sigterm()
    try:
        assert not run.over
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.over
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_commit_is_named_and_so_is_that_files_differ() -> None:
    assert re.fullmatch(r"[0-9a-f]{10,40}(-changed)?|unknown", commit_here())


def test_the_records_that_are_committed_have_the_keys_that_their_page_explains() -> None:
    page = (RESULTS / "README.md").read_text()
    keys = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in page.splitlines() if "| `" in line)))
    for path in RESULTS.glob("*-*.json"):
        assert set(json.loads(path.read_text())) == keys, path.relative_to(ROOT)
    assert "seeds" in keys
