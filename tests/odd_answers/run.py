"""What holds for every protocol, and one run of it.

Held: nothing is raised that a reader does not promise to raise, no call takes longer than its deadline and some seconds
of its own, and nothing is raised in a task or callback of which nobody hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.services.stopwatch import Stopwatch

SLACK_S: Final = 5.0
"""What a call may take beyond its deadline, the time left out in which others had the processor."""
HUNG_S: Final = 180.0
"""After so long a call is over on any machine."""
T = TypeVar("T")


class PromiseBrokenError(AssertionError):
    """A promise was not kept; the text says which, and what was answered last."""


@dataclass
class Told:
    """What came of a run."""

    answers: int = 0
    """Odd answers that were given."""
    calls: int = 0
    """Polls, deliveries, connections."""
    longest_s: float = 0.0
    """The longest call."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """What calls came to, in a word."""


class Kind(ABC):
    """One protocol: a peer that answers oddly, and the reader of ours that asks it."""

    deadline_s: float = 1.0
    """Of one call."""
    side_by_side: int = 8
    """Readers at a time."""

    def __init__(self, chance: random.Random, directory: Path) -> None:
        self.chance = chance
        self.directory = directory
        self.told = Told()
        self.last = b""

    def answered(self, answer: bytes) -> bytes:
        """Note an answer that is about to be given, and return it."""
        self.told.answers += 1
        self.last = answer
        return answer

    def oddly(self, share: float) -> bool:
        """Say whether to be odd now: by turns in that share of the cases and hardly, so that readers get through."""
        return self.chance.random() < (share if self.told.answers // 50 % 2 else share / 20)

    @abstractmethod
    async def read(self, number: int, wanted: int, stack: AsyncExitStack) -> None:
        """Be reader ``number``: ask, by ``call``, until ``told.answers`` is ``wanted``."""

    async def call(self, asking: Awaitable[T]) -> T:
        """Wait for one call of a reader. Raises PromiseBrokenError when it takes too long; what it raises otherwise."""
        watch = Stopwatch()
        try:
            async with asyncio.timeout(self.deadline_s + HUNG_S):
                return await asking
        except TimeoutError:
            raise PromiseBrokenError(f"a call took {watch.seconds:.1f} s and had not ended") from None
        finally:
            self.told.calls += 1
            self.told.longest_s = max(self.told.longest_s, watch.seconds)
            if self.told.longest_s > self.deadline_s + SLACK_S:
                raise PromiseBrokenError(f"a call took {watch.seconds:.1f} s")


async def run(kind: Kind, wanted: int) -> Told:
    """Give a reader so many odd answers. Raises PromiseBrokenError with what was answered last."""
    unheard: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unheard.append(_words(context)))
    async with AsyncExitStack() as stack:
        readers = [asyncio.create_task(kind.read(number, wanted, stack)) for number in range(kind.side_by_side)]
        try:
            await asyncio.gather(*readers)
        except Exception:
            raise PromiseBrokenError(
                f"{traceback.format_exc()}\nafter {kind.told}, answered last: {kind.last[:2000]!r}"
            ) from None
        finally:
            for reader in readers:
                reader.cancel()
            with contextlib.suppress(Exception):
                await asyncio.gather(*readers, return_exceptions=True)
    if unheard:
        raise PromiseBrokenError(f"{len(unheard)} errors that nobody heard of, the first: {unheard[0]}")
    return kind.told


def _words(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message')}\n{''.join(traceback.format_exception(error)) if error else ''}"
