"""What sinks and channels have in common: what is told of them, and how long they wait before they try again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from telemetry.backoff import Backoff

logger = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 600.0
"""However long the other side asks us to wait, we look again after this."""
MAX_WORDS: Final = 500


class Progress(msgspec.Struct):
    """How a sink or a channel gets on; ``/healthz`` and ``/metrics`` show it."""

    position: int = 0
    """The last batch dealt with (sinks only)."""
    error: str = ""
    """Why nothing gets through, empty while something does."""
    failing_since_ms: int | None = None
    """Since when, UTC ms."""
    refusing: bool = False
    """Of a failure: the other side answers, and takes nothing."""
    answered: bool = False
    """Something has got through since this process began."""
    refused_ms: int | None = None
    """Receivers only: when it refused the last notification, UTC ms; ``None`` since it took one."""
    limited_ms: int | None = None
    """InfluxDB only: when it said last that it takes no new series, UTC ms."""
    last_refusal: str = ""
    """What the other side said of the last thing that it would not take."""
    counts: Counter[str] = msgspec.field(default_factory=Counter)


class Attempts:
    """The waits between attempts at one other side, told in its ``Progress``. ``who`` is for the log."""

    def __init__(
        self, who: str, progress: Progress, first_wait_s: float, longest_wait_s: float, now_ms: Callable[[], int]
    ) -> None:
        self._who = who
        self._progress = progress
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._now_ms = now_ms

    def failed(self, words: str, asked_s: float | None = None, *, refusing: bool = False) -> float:
        """Note a failure; return the seconds to wait. ``asked_s`` is what the other side asked for, if it did.

        ``refusing``: it did answer, and takes nothing.
        """
        progress = self._progress
        progress.refusing = refusing
        if progress.failing_since_ms is None:
            progress.failing_since_ms = self._now_ms()
            logger.warning("%s: %s", self._who, words)
        progress.error = words
        progress.counts["retries"] += 1
        wait_s = self._backoff.next()
        return wait_s if asked_s is None else min(max(wait_s, asked_s), LONGEST_WAIT_S)

    def refused(self, words: str) -> None:
        """Note that the other side answers, and did not take what it was given: failing, with nothing to wait for."""
        self._backoff.reset()
        progress = self._progress
        progress.refusing = True
        if progress.failing_since_ms is None:
            progress.failing_since_ms = self._now_ms()
        progress.error = words

    def succeeded(self) -> None:
        """Note that something got through."""
        self._backoff.reset()
        if self._progress.failing_since_ms is not None:
            logger.info("%s: works again", self._who)
        self._progress.error, self._progress.failing_since_ms = "", None
        self._progress.refusing, self._progress.answered = False, True


async def wait_for_any(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most so long."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


def one_line(words: str | bytes) -> str:
    """Return the other side's words in one line of at most ``MAX_WORDS`` characters that a database can hold."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return " ".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())[:MAX_WORDS]
