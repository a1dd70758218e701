"""When an agent is told what is committed, and what the receipt says (docs/architecture.md). Pure.

Everything here is called after the commit only: a receipt is the outbox's leave to forget. One goes out on change, at
most once in ``interval_ms`` an agent, and at once, called fresh, as the answer to a birth. Until an agent's first birth
in this ownership nothing is said: a new epoch makes every agent give birth.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from telemetry.intervals import Intervals
from telemetry.message import MAX_INTERVALS, Needed, Receipt
from telemetry.records import SchemaRef
from telemetry.topics import AgentName

FORGET_AFTER_MS: Final = 400 * 86_400_000
"""A run that no birth has named for so long is dropped."""
MAX_PAIRS: Final = 10_000
"""Most intervals of all runs together: a receipt must fit into one packet of any broker."""
MOST_NEEDED: Final = 256
"""Most schemas, and most clocks, that are asked for of one run at a time; the others are when these have come."""
MOST_NAME: Final = 64
"""Letters of a schema's name that is asked for; they have 6."""
NO_CLOCK: Final = -1
"""Stands in ``Needed.clocks`` for "the sample came without one"."""


class Birthday(msgspec.Struct, frozen=True):
    """What a birth tells of receipts: its run and session, and the first sequence number still held of each run."""

    run: str
    session: int
    held: Mapping[str, int]


class _Agent(msgspec.Struct):
    birth: Birthday
    told_ms: int | None = None
    changed: bool = True


class Need(msgspec.Struct):
    """Schemas and clocks without which samples of a run cannot be taken."""

    schemas: set[SchemaRef] = msgspec.field(default_factory=set)
    """By name, or by number where that is all that the samples tell."""
    clocks: set[int] = msgspec.field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.schemas or self.clocks)


class Receipts:
    """Who is to be told, and when. ``interval_ms`` is the least time between two receipts of one agent."""

    def __init__(self, epoch: int, interval_ms: int = 30_000) -> None:
        self._epoch = epoch
        self._interval_ms = interval_ms
        self._agents: dict[AgentName, _Agent] = {}
        self._row: list[tuple[int, int, AgentName]] = []
        """A heap of when (ms) whoever has something new is to be told, so that to ask costs by who is due."""
        self._entries = itertools.count()
        self._due: dict[AgentName, None] = {}
        self._asked_ms = 0
        self._needs: dict[tuple[AgentName, str], Need] = {}

    def born(self, agent: AgentName, birth: Birthday) -> None:
        """Note a committed birth: its receipt is due at once. What its runs no longer name is no longer lacking."""
        self._agents[agent] = _Agent(birth)
        self._stand_in_row(agent, 0)
        for key in [key for key in self._needs if key[0] == agent and key[1] not in birth.held]:
            del self._needs[key]

    def changed(self, agent: AgentName) -> None:
        """Note that something new of this agent is committed."""
        known = self._agents.get(agent)
        if known is not None and not known.changed:
            known.changed = True
            self._stand_in_row(agent, 0 if known.told_ms is None else known.told_ms + self._interval_ms)

    def repeat(self) -> None:
        """Tell everybody again, at once: what was said before a new connection may have been lost."""
        for agent, known in self._agents.items():
            known.told_ms, known.changed = None, True
            self._stand_in_row(agent, 0)

    def lack(self, agent: AgentName, run: str, schemas: Iterable[SchemaRef] = (), clocks: Iterable[int] = ()) -> None:
        """Note what stands in the way of samples of a run."""
        need = self._needs.setdefault((agent, run), Need())
        names = (
            name for name in schemas if (isinstance(name, int) or len(name) <= MOST_NAME) and name not in need.schemas
        )
        need.schemas.update(itertools.islice(names, MOST_NEEDED - len(need.schemas)))
        numbers = (number for number in clocks if number not in need.clocks)
        need.clocks.update(itertools.islice(numbers, MOST_NEEDED - len(need.clocks)))
        self.changed(agent)

    def supplied(self, agent: AgentName, run: str, schemas: Iterable[str], clocks: Iterable[int]) -> None:
        """Note what has come, or is known to be gone: it is not asked for again.

        Nor is any number: an agent that was asked for one tells all that it has, and of an earlier run it has none. Its
        samples come again by name; one that comes by a number that is still not known is asked for again.
        """
        need = self._needs.get((agent, run))
        if need is None:
            return
        need.schemas = {ref for ref in need.schemas.difference(schemas) if isinstance(ref, str)}
        need.clocks.difference_update(clocks)
        if not need:
            del self._needs[agent, run]

    def due(self, now_ms: int) -> list[AgentName]:
        """Return who is to be told now."""
        if now_ms < self._asked_ms:  # the clock was set back: what was told in its future may be told again
            for agent, known in self._agents.items():
                if known.changed:
                    self._stand_in_row(agent, 0)
        self._asked_ms = now_ms
        while self._row and self._row[0][0] <= now_ms:
            agent = heapq.heappop(self._row)[2]
            known = self._agents[agent]
            if not known.changed:
                continue
            if known.told_ms is None or not 0 <= now_ms - known.told_ms < self._interval_ms:
                self._due[agent] = None
            else:
                self._stand_in_row(agent, known.told_ms + self._interval_ms)
        return list(self._due)

    def _stand_in_row(self, agent: AgentName, at_ms: int) -> None:
        heapq.heappush(self._row, (at_ms, next(self._entries), agent))

    def make(
        self,
        agent: AgentName,
        committed: Callable[[str], tuple[Intervals, Intervals]],
        now_ms: int,
        most: int = MAX_PAIRS,
    ) -> tuple[str, Receipt]:
        """Return (run of the birth, receipt) for an agent that is ``due``, and note that it is told.

        ``committed`` gives what was seen of a run, and what is not waited for though it is not committed: told as lost,
        or in quarantine. Together they make fewer pieces; the second are named apart too, because somebody else may
        have named them. Pieces below what the agent holds are left out, and so are the highest where there are more
        than ``most``: the agent lets go of the others and names what is left in its next birth.
        """
        known = self._agents[agent]
        known.told_ms, known.changed = now_ms, False
        self._due.pop(agent, None)
        runs: dict[str, list[tuple[int, int]]] = {}
        needed: dict[str, Needed] = {}
        uncommitted: dict[str, list[tuple[int, int]]] = {}
        left = most
        for run in {known.birth.run: None, **dict.fromkeys(known.birth.held)}:
            seen, others = committed(run)
            done = seen.copy()
            done.update(others)
            first = known.birth.held.get(run, 0)
            pairs = [pair for pair in done.pairs() if pair[1] >= first][: min(MAX_INTERVALS, left)]
            left -= len(pairs)
            if pairs or run == known.birth.run:
                runs[run] = pairs
            apart = Intervals(pairs).minus(seen)
            if apart:
                uncommitted[run] = _covered(apart.pairs(), max(1, left))
                left = max(0, left - len(uncommitted[run]))
            need = self._needs.get((agent, run))
            if need is not None:
                needed[run] = Needed(tuple(sorted(need.schemas, key=str)), tuple(sorted(need.clocks)))
        return known.birth.run, Receipt(
            self._epoch, (known.birth.run, known.birth.session), runs, needed, uncommitted or msgspec.UNSET
        )


def _covered(pairs: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most so many intervals that cover these: to name more is only more careful."""
    return pairs if len(pairs) <= most else [*pairs[: most - 1], (pairs[most - 1][0], pairs[-1][1])]
