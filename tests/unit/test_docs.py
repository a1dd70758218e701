"""The table of field notes names tests that exist, and every item that it owes."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "field-notes.md"
ITEMS = {str(number) for number in (*range(1, 41), 54, 55)} | {f"T{number}" for number in (*range(1, 13), 14, 15)}
STATES = {"covered", "partly", "not yet"}
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
COLUMNS = 5


def table(text: str) -> list[list[str]]:
    """Return the cells of every row that begins with an item; raises ValueError for a row of another width."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or not re.fullmatch(r"T?\d+|\d\d-\d+[a-z]?", cells[0]):
            continue
        if len(cells) != COLUMNS:
            raise ValueError(f"expected {COLUMNS} cells, found {len(cells)} in {line!r}")
        found.append(cells)
    return found


@functools.cache
def names_in(path: Path) -> set[str]:
    """Return the names of the tests that pytest would collect from a file."""
    body = ast.parse(path.read_text("utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


ROWS = table(PAGE.read_text("utf-8"))


def test_every_item_has_one_row() -> None:
    items = [row[0] for row in ROWS]
    assert sorted(item for item in items if "-" not in item) == sorted(ITEMS)
    assert len(set(items)) == len(items)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_that_are_named_exist(row: list[str]) -> None:
    _, _, state, tests, remark = row
    assert state in STATES
    named = _NAMED.findall(tests)
    assert _NAMED.sub("", tests).strip() == "", "nothing but tests stands in this column"
    assert named or state == "not yet"
    assert remark or state == "covered", "what is missing is said"
    for file, name in named:
        assert (ROOT / file).is_file(), file
        assert name in names_in(ROOT / file), f"{file}::{name}"


OURS = ("agent", "telemetry", "firmware_profiles", "kitwatch", "simulator", "bench")
ELSEWHERE = re.compile(r"\b(?:DESIGN|TOOLCHAIN|REQUIREMENTS|EXAMPLES|FIELD_NOTES|JUDGING)\b|\bFAULTS\.md\b")
"""Documents that the product was made from and that are not in the repository."""


def test_no_document_is_named_that_is_not_here() -> None:
    files = [path for folder in OURS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml")]
    assert len(files) > 150
    for path in files:
        found = ELSEWHERE.search(path.read_text("utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_a_row_of_another_width_is_found() -> None:
    with pytest.raises(ValueError, match="found 3"):
        table("| 1 | what | covered |")
    assert table("| item | what |\n|---|---|\ntext") == []
