"""What docs/installation and docs/troubleshooting show, for the tests that run it.

A shell block has a comment before its fence: ``<!-- run: MACHINE -->`` or ``<!-- not run: REASON -->``; what a command
prints has ``<!-- printed: WHAT -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[1] / "docs"
LANGUAGES: Final = ("en", "zh")
_BLOCK: Final = re.compile(r"^(?:<!-- (run|not run): (.+?) -->\n)?```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC: Final = re.compile(r"<<'END'\n.*?^END$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Some commands. ``machine`` is ``None`` for those that no test runs; ``section`` is the heading's number."""

    section: int
    machine: str | None
    reason: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What somebody types, line by line; what goes into a file counts as the command that writes it."""
        return [line for line in _HEREDOC.sub("<<END", self.text).splitlines() if line.strip()]


def blocks(language: str) -> list[Block]:
    """Return the blocks of one language's guide, in order. Raises ValueError for a block that nothing is said of."""
    text = (DOCS / f"installation.{language}.md").read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        how, what, commands = match.groups()
        if how is None:
            raise ValueError(f"expected a comment that says who runs it, found none before {commands[:60]!r}")
        section = len(re.findall(r"^## \d", text[: match.start()], re.MULTILINE))
        found.append(Block(section, what if how == "run" else None, what, commands))
    return found


def printed(language: str, what: str) -> str:
    """Return what docs/troubleshooting shows as printed. Raises ValueError where it shows no such thing, or two."""
    text = (DOCS / f"troubleshooting.{language}.md").read_text(encoding="utf-8")
    found = re.findall(rf"^<!-- printed: {re.escape(what)} -->\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"expected one block {what!r} in {language}, found {len(found)}")
    return str(found[0]).rstrip("\n")
