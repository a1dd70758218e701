"""What a command prints on its way to a terminal: words of devices, servers and strangers are only ever shown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from telemetry.printable import plain


class PlainOutput:
    """A text stream through which no escape sequence passes; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, with what a terminal would obey written out."""
        self._stream.write(plain(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Let standard output and standard error take no escape sequences, as far as they are open."""
    out: Any = PlainOutput(sys.stdout) if sys.stdout is not None else None
    errors: Any = PlainOutput(sys.stderr) if sys.stderr is not None else None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield
