"""What an outbox lost and has to tell the centre. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from agent.outbox.frames import Class
from telemetry.intervals import Intervals

PAIRS_PER_LOSS: Final = 256
"""Most intervals that one loss names: its event must fit a frame."""

Reason = Literal["evicted", "damaged", "missing"]
"""Why a record will never come: its place was needed; what stood there cannot be read; the file is gone."""


class Loss(msgspec.Struct, frozen=True):
    """Numbers of one run that will never come."""

    run: str
    intervals: tuple[tuple[int, int], ...]
    reason: Reason
    kind: Class | None = None
    """The class of the records where it is known (evicted)."""
    first_mono_ms: int | None = None
    """Time of the first of them, of that run's boot, where it is known."""
    last_mono_ms: int | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of the ``lost`` event that tells it."""
        body: dict[str, Any] = {
            "run": self.run,
            "intervals": [list(pair) for pair in self.intervals],
            "reason": self.reason,
        }
        if self.kind is not None:
            body["class"] = self.kind
        if self.first_mono_ms is not None:
            body |= {"first_mono_ms": self.first_mono_ms, "last_mono_ms": self.last_mono_ms}
        return body

    def count(self) -> int:
        """Return how many records are lost."""
        return sum(last - first + 1 for first, last in self.intervals)


class Losses:
    """Losses that nobody was told of yet."""

    def __init__(self) -> None:
        self.count: dict[Reason, int] = {"evicted": 0, "damaged": 0, "missing": 0}
        """Records lost since the start, by reason."""
        self._new: dict[tuple[str, Reason, Class | None], list[Loss]] = {}
        self._taken: list[Loss] = []

    def restore(self, losses: Sequence[Loss]) -> None:
        """Put back what an earlier run lost and did not tell."""
        for loss in losses:
            self._new.setdefault((loss.run, loss.reason, loss.kind), []).append(loss)

    def add(
        self,
        run: str,
        numbers: Intervals,
        reason: Reason,
        kind: Class | None = None,
        times: tuple[int, int] | None = None,
    ) -> list[Loss]:
        """Note a loss; return it in the pieces that the manifest takes. ``times``: of the first and last, monotonic."""
        self.count[reason] += len(numbers)
        losses = list(_pieces(run, numbers, reason, kind, times))
        self.restore(losses)
        return losses

    def take(self) -> list[Loss]:
        """Return what was lost and not taken yet, joined by run, reason and class."""
        result: list[Loss] = []
        for (run, reason, kind), parts in self._new.items():
            numbers = Intervals(pair for part in parts for pair in part.intervals)
            seen = [time for part in parts for time in (part.first_mono_ms, part.last_mono_ms) if time is not None]
            times = (min(seen), max(seen)) if seen else None
            result += _pieces(run, numbers, reason, kind, times)
        self._new.clear()
        self._taken += result
        return result

    def told(self, body: object) -> Loss | None:
        """Return the loss that the durable ``lost`` event with this body tells; it is forgotten here."""
        for loss in self._taken:
            if loss.body() == body:
                self._taken.remove(loss)
                return loss
        return None

    def untold(self) -> Iterator[Loss]:
        """Yield what is not told yet, taken or not."""
        yield from itertools.chain(*self._new.values(), self._taken)


def _pieces(
    run: str, numbers: Intervals, reason: Reason, kind: Class | None, times: tuple[int, int] | None
) -> Iterator[Loss]:
    pairs = numbers.pairs()
    first, last = times or (None, None)
    for at in range(0, len(pairs), PAIRS_PER_LOSS):
        yield Loss(run, tuple(pairs[at : at + PAIRS_PER_LOSS]), reason, kind, first, last)
