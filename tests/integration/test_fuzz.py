"""The long form of the fuzz tests finds what is there, and makes the same inputs again from the seed that it told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import fuzz

TESTS = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_numbers(number):
    with open({seen!r}, "a") as seen:
        print(number, file=seen)
    assert number {condition}
"""


def write(folder: Path, condition: str) -> Path:
    path = folder / "test_written.py"
    (folder / "conftest.py").write_text("from tests.conftest import pytest_collection_modifyitems\n")
    path.write_text(TESTS.format(seen=str(folder / "seen"), condition=condition))
    return path


def tried(folder: Path) -> list[str]:
    found = (folder / "seen").read_text().splitlines()
    (folder / "seen").unlink()
    return found


def test_rounds_differ_and_the_same_seed_makes_the_same_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "is not None")
    assert fuzz.main(["--rounds", "2", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rounds"], told["tests"], told["held"]) == (2, 1, True)
    both = tried(tmp_path)
    assert told["cases"] == len(both)
    first, second = told["seeds"]
    assert fuzz.main(["--rounds", "1", "--seed", str(first), str(path)]) == 0
    of_first = tried(tmp_path)
    assert fuzz.main(["--rounds", "1", "--seed", str(second), str(path)]) == 0
    of_second = tried(tmp_path)
    assert of_first != of_second
    assert of_first + of_second == both


def test_what_is_found_is_told_and_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "< 1000")
    assert fuzz.main(["--rounds", "50", "--seed", "3", str(path)]) == 1
    said = capsys.readouterr()
    assert "seed " in said.err
    assert "number=1000" in said.err
    assert said.out.split()[-2:] == ["held", "False"]


def test_a_run_without_tests_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_nothing.py").write_text("")
    assert fuzz.main(["--rounds", "1", str(tmp_path / "test_nothing.py")]) == 2
    assert "fuzz: " in capsys.readouterr().err
