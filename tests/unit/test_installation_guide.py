"""docs/installation: both languages say the same, and every block says whether a test runs it."""

from __future__ import annotations

import re

import pytest

from tests.guide import DOCS, LANGUAGES, blocks


def test_both_languages_have_the_same_blocks() -> None:
    english, chinese = ([(block.section, block.machine, block.text) for block in blocks(one)] for one in LANGUAGES)
    assert english == chinese
    assert len(english) > 20


def test_both_languages_have_the_same_sections_and_tables() -> None:
    shapes = []
    for language in LANGUAGES:
        lines = (DOCS / f"installation.{language}.md").read_text(encoding="utf-8").splitlines()
        headings = [re.match(r"#+", line)[0] for line in lines if re.match(r"#+ ", line)]  # type: ignore[index]
        ports = [re.findall(r"\d{3,5}/(?:tcp|udp)", line) for line in lines if line.startswith("|")]
        shapes.append((headings, ports))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_block_that_no_test_runs_says_why(language: str) -> None:
    for block in blocks(language):
        if block.machine is None:
            assert len(block.reason) > 10, block
        else:
            assert block.machine in ("developer", "centre", "vehicle"), block


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fence_is_a_shell_block(language: str) -> None:
    """Another kind of block would be seen by no test."""
    text = (DOCS / f"installation.{language}.md").read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks(language))
