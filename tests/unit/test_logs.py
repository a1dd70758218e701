"""What agent and collector say: levels for the journal, and lines that nobody else can make up."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitwatch import logs

SAY = """
import logging, sys
from kitwatch import logs
logs.begin(verbose=False)
log = logging.getLogger("agent.x")
log.info("fine")
log.warning("a device said %s", "one\\ntwo\\x1b[31m")
log.debug("not told")
try:
    raise ValueError("why")
except ValueError:
    log.exception("broken")
"""


def said(journal: bool, folder: Path) -> list[str]:
    """Return what a process says whose standard error is a file, of which it is told that it is the journal or not."""
    with (folder / "stderr").open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        told = f"{status.st_dev}:{status.st_ino if journal else status.st_ino + 1}"
        environment = os.environ | {"JOURNAL_STREAM": told}
        subprocess.run([sys.executable, "-c", SAY], stderr=stderr, check=True, env=environment)
    return (folder / "stderr").read_text().splitlines()


def test_each_line_for_the_journal_has_its_level_and_no_time(tmp_path: Path) -> None:
    lines = said(True, tmp_path)
    assert lines[:3] == ["<6>agent.x: fine", "<4>agent.x: a device said one?two?[31m", "<3>agent.x: broken"]
    assert lines[3] == "<3>Traceback (most recent call last):"
    assert lines[-1] == "<3>ValueError: why"
    assert all(line.startswith("<3>") for line in lines[2:])


def test_a_standard_error_that_is_not_the_journals_gets_times_and_words(tmp_path: Path) -> None:
    """JOURNAL_STREAM is inherited by what a unit starts, whose own standard error may lead elsewhere."""
    lines = said(False, tmp_path)
    assert lines[0].endswith(" INFO agent.x: fine")
    assert lines[1].endswith(" WARNING agent.x: a device said one?two?[31m")


@pytest.mark.parametrize(
    ("level", "prefix"),
    [(logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"),
     (logging.CRITICAL, "<2>")],
)  # fmt: skip
def test_levels_are_syslogs(level: int, prefix: str) -> None:
    record = logging.LogRecord("x", level, "", 0, "words", (), None)
    assert logs.JournalFormatter("%(message)s").format(record) == f"{prefix}words"


def test_a_stream_without_a_descriptor_is_no_journal() -> None:
    assert not logs.is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
    assert not logs.is_journal(sys.stderr, {})
