"""What the documents name is there: tests, files, links, notes; and what is printed from the code is current."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest

from kitwatch import faults_reference
from kitwatch.main import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "field-notes.md"
ITEMS = {str(number) for number in (*range(1, 53), 54, 55, 59, 60, 61, 62)} | {f"T{number}" for number in range(1, 16)}
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


def test_every_item_of_the_second_list_has_a_row() -> None:
    found = {int(item[1]) for row in ROWS if (item := re.fullmatch(r"15-(\d+)[a-z]?", row[0]))}
    missing = {*range(1, 14), *range(15, 26)} - found  # it has no item 14
    assert missing == set()


def test_what_was_taken_out_was_found_by_tests_that_are_there() -> None:
    rows = PAGE.read_text("utf-8").partition("## Taken out, and found")[2].partition("\n## ")[0]
    named = _NAMED.findall(rows)
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if name not in names_in(ROOT / file)] == []


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


KINDS = {".py", ".yaml", ".yml", ".toml", ".md", ".service", ".conf", ".acl", ".json", ".html", ".js", ".css", ""}
FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.suffix in KINDS
    and path.is_file()
    and not any(part.startswith((".", "build", "dist", "__")) for part in path.relative_to(ROOT).parts[:-1])
    and path != Path(__file__)
)
PAGES = [path for path in FILES if path.suffix == ".md"]
ELSEWHERE = re.compile(
    r"\b(?:DESIGN|TOOLCHAIN|REQUIREMENTS|EXAMPLES|FIELD_NOTES|JUDGING)(?: \d|\.md)"
    r"|\bFAULTS\.md\b|must-show|\b[Ii]ssue \d\d?\b"
)
"""Documents that the product was made from and that are not in the repository."""
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IN_BACKTICKS = re.compile(
    r"`((?:agent|bench|collector|docs|firmware_profiles|grafana|kitwatch|simulator|systemd|telemetry|tests)/[^`\s:]*)`"
)
_PAGE = re.compile(r"\bdocs/[\w/.-]*\w")
_NOTE = re.compile(r"\b[Ff]ield[ -]notes?(?:\.md)? ((?:[TS]?\d+(?:, | and )?)+)")
_PROMISE = re.compile(r"contract\.md, (R\d+)(?: to (R\d+))?")


NO_FILES = ("kitwatch/v1/", "bench/results/latest.json")
"""Topics, and what a run leaves behind and git does not keep."""


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_document_is_named_that_is_not_here() -> None:
    assert len(FILES) > 400
    for path in FILES:
        if "recorded" in path.parts or "decisions" in path.parts:
            continue
        found = ELSEWHERE.search(text_of(path))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in _LINK.findall(text_of(page)):
            file, _, anchor = target.partition("#")
            if "://" in file or file.startswith("mailto:"):
                continue
            there = (page.parent / file) if file else page
            assert there.exists(), f"{page.relative_to(ROOT)}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", text_of(there), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                anchors |= set(re.findall(r'<a id="([^"]+)">', text_of(there)))
                assert anchor in anchors, f"{page.relative_to(ROOT)}: {target}"


def test_every_path_that_is_named_is_there() -> None:
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it tells what was there at the time
            continue
        for name in _IN_BACKTICKS.findall(text_of(page)):
            if not set(name) & set("*<>{}") and "NNNN" not in name and not name.startswith(NO_FILES):
                assert (ROOT / name).exists(), f"{page.relative_to(ROOT)}: {name}"
    for path in FILES:
        for name in _PAGE.findall(text_of(path)):
            here = ROOT / name
            assert here.exists() or any(here.parent.glob(here.name + "*")), f"{path.relative_to(ROOT)}: {name}"


def test_every_note_and_promise_that_is_named_is_there() -> None:
    page = text_of(PAGE)
    notes = {row[0] for row in ROWS} | set(re.findall(r"^- \*\*([TS]?\d+)\*\*", page, re.MULTILINE))
    promises = set(re.findall(r"^\| (R\d+) \|", text_of(ROOT / "docs" / "contract.md"), re.MULTILINE))
    assert promises == {f"R{number}" for number in range(1, 21)}
    for path in FILES:
        text = " ".join(text_of(path).split())
        for named in _NOTE.findall(text):
            missing = {note for note in re.split(r", | and ", named) if note} - notes
            assert not missing, f"{path.relative_to(ROOT)}: {missing}"
        for named in _PROMISE.findall(text):
            assert {name for name in named if name} <= promises, f"{path.relative_to(ROOT)}: {named}"


REPLACED = re.compile(
    r"\b(?:SchemaPlan|FigurePlan|LinePlan|Ear|Pulse|deaf|calm|word_ms|fault of ours|no turn|a turn of)\b|\bclass Turn\b"
)
"""Words of the first version that have given way to the glossary's."""


def test_replaced_words_do_not_come_back() -> None:
    for path in FILES:
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "collector" and "migrations" not in path.parts:
            found = REPLACED.search(text_of(path))
            assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_the_glossary_has_each_word_once() -> None:
    words = re.findall(r"^\| \*\*([^*]+)\*\* \|", text_of(ROOT / "docs" / "glossary.md"), re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)


def test_the_page_of_faults_is_the_catalogue() -> None:
    """``kitwatch rules faults > docs/faults.md`` writes it anew."""
    assert text_of(ROOT / "docs" / "faults.md") == faults_reference.markdown()


EXAMPLES = re.findall(
    r"(?:```yaml\n([^`]*)```\n\n)?```console\n\$ kitwatch ([^\n]*)\n([^`]*)```", text_of(ROOT / "docs" / "contract.md")
)


PROVED = re.findall(
    r"^\| (R\d+) \| ((?:`tests/[^|]*)?) ?\|([^|]*)\|$", text_of(ROOT / "docs" / "contract.md"), re.MULTILINE
)
"""What the contract asks of the desk, the tests that prove it, what is left."""


def test_each_promise_of_the_desk_is_proved() -> None:
    assert [row[0] for row in PROVED] == [f"R{number}" for number in range(3, 14)]


@pytest.mark.parametrize(("promise", "tests", "left"), PROVED, ids=[row[0] for row in PROVED])
def test_the_tests_of_a_promise_exist(promise: str, tests: str, left: str) -> None:
    named = _NAMED.findall(tests)
    assert _NAMED.sub("", tests).strip() == "", "nothing but tests stands in this column"
    assert named or left.strip(), "what is missing is said"
    for file, name in named:
        assert name in names_in(ROOT / file), f"{file}::{name}"


def test_the_contract_has_its_worked_examples() -> None:
    assert len(EXAMPLES) == 16  # fourteen, and two with a second half


@pytest.mark.parametrize(("file", "command", "output"), EXAMPLES, ids=[row[1] for row in EXAMPLES])
def test_a_worked_example(
    file: str,
    command: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if file:
        Path("rolls.yaml").write_text(file, encoding="utf-8")
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output


def test_a_row_of_another_width_is_found() -> None:
    with pytest.raises(ValueError, match="found 3"):
        table("| 1 | what | covered |")
    assert table("| item | what |\n|---|---|\ntext") == []
