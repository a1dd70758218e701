"""What agent and collector say on standard error: for a person, or for systemd's journal.

The journal keeps time, unit and process by itself, and takes a line's level from ``<n>`` before it (sd-daemon(3)), so
that ``journalctl -p warning`` finds what is wrong.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

from telemetry.printable import without_password

_FOR_PEOPLE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FOR_THE_JOURNAL: Final = "%(name)s: %(message)s"
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
"""syslog(3): critical, error, warning, informational, debug."""


def begin(*, verbose: bool, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ) -> None:
    """Log to ``stream`` (standard error) from now on; ``verbose`` also what is of interest to developers only."""
    stream = sys.stderr if stream is None else stream
    journal = is_journal(stream, environment)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter(_FOR_THE_JOURNAL) if journal else PlainFormatter(_FOR_PEOPLE))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Say whether a stream leads to the journal: ``JOURNAL_STREAM`` names its device and inode (systemd.exec(5))."""
    told = environment.get("JOURNAL_STREAM", "")
    if not told:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return told == f"{status.st_dev}:{status.st_ino}"


class PlainFormatter(logging.Formatter):
    """A record as text in which what devices and servers said cannot make up lines, nor speak to a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        """Return the record's own line, without its traceback."""
        line = without_password(super().formatMessage(record))
        return line if line.isprintable() else "".join(each if each.isprintable() else "?" for each in line)


class JournalFormatter(PlainFormatter):
    """The same, each line with its level before it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
