"""Stepping the forks of a site's vehicles to the present, beside its units of work (docs/decisions/0065).

A fork whose hole is filled and that has few records behind it becomes the state within a unit of work. For the others
the site's log is read here, once for as many vehicles as there are, and each is stepped in pieces between the turns of
the loop, so that live goes on. What comes meanwhile is stepped in further rounds; the last few records in the unit of
work that lets the fork become the state.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from collector.core.rules.schemas import CompiledSchema
from collector.core.vehicle.forks import At, Stepping
from collector.core.vehicle.state import Fork
from collector.core.vehicle.step import Context
from collector.site.in_force import InForce
from collector.site.memory import Memory
from collector.site.tape import Order, Piece, Tape, pieces_of
from collector.store import log as site_log
from collector.store.batch import Group
from collector.store.rows import SchemaKey
from collector.store.store import Store

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 1_000
"""Records that forks are stepped through within a unit of work: about 10 ms."""
MOST_KEPT: Final = 50_000
"""Records that are kept in memory beside the log; each takes half a KiB."""
PIECE: Final = 200
"""Records that are stepped between two turns of the loop: about 2 ms."""
MOST_READ: Final = 300_000
"""Records that are read from the log before they are stepped; vehicles beyond it wait for the next reading."""
BATCHES: Final = 4
"""Batches of the log that are read at a time: they hold up to 2,000 records each."""


class LogGap(Exception):  # noqa: N818 - it is what is found there
    """Batches of the log that are there no more, or cannot be read."""


class CaughtUp(msgspec.Struct, frozen=True):
    """A fork that was stepped to the present but for what came last."""

    stepped: Stepping | None
    """``None``: it could not be, and is to be given up."""
    rounds: tuple[int, ...]
    in_force: InForce
    """What it was judged by."""


class CatchingUp:
    """See the module. ``memory`` and ``in_force`` are the owner's; ``ring`` lets it look for what is caught up."""

    def __init__(self, store: Store, memory: Memory, in_force: Callable[[], InForce], ring: Callable[[], None]) -> None:
        self._store = store
        self._memory = memory
        self._in_force = in_force
        self._ring = ring
        self._changed = asyncio.Event()
        self._done: dict[str, CaughtUp] = {}
        memory.most_at_once, memory.most_kept = MOST_AT_ONCE, MOST_KEPT

    def look(self) -> None:
        """Something was committed: a hole may be filled."""
        if self._memory.tapes:
            self._changed.set()

    @property
    def is_due(self) -> bool:
        """Whether a fork is ready to become the state."""
        return bool(self._done)

    def take(self) -> dict[str, CaughtUp]:
        """Return the forks that are ready to become the state, by vehicle; they are the caller's now."""
        done, self._done = self._done, {}
        in_force = self._in_force()
        return {name: one for name, one in done.items() if one.in_force is in_force}

    async def run(self) -> None:
        """Step what is filled, until cancelled. Raises whatever reading the log raises."""
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            while names := [name for name in self._memory.tapes if name not in self._done and self._is_waiting(name)]:
                for name, pieces in (await self._read(names)).items():
                    await self._step(name, pieces)

    def _fork(self, name: str) -> Fork | None:
        vehicle = self._memory.vehicles.get(name)
        return None if vehicle is None else vehicle.fork

    def _is_waiting(self, name: str) -> bool:
        """Say whether a fork is to be stepped here rather than in a unit of work."""
        fork = self._fork(name)
        return fork is not None and fork.is_filled and not self._memory.is_little(name)

    async def _read(self, names: list[str]) -> dict[str, list[Piece]]:
        """Return what the log has of these vehicles since their forks: of all, or of the first ones if it is much."""
        tapes = {name: self._memory.tapes[name] for name in names}
        for tape in tapes.values():
            tape.is_wanted = True
        found: dict[str, list[Piece]] = {name: [] for name in names}
        spans = {name: (tape.position, tape.after) for name, tape in tapes.items() if not tape.is_whole}
        after, until = (
            min((one[0] for one in spans.values()), default=0),
            max((one[1] for one in spans.values()), default=0),
        )
        records = 0
        while after < until:
            read = functools.partial(_read, self._store, self._in_force().site_id, after, dict(spans))
            try:
                pieces, last = await asyncio.to_thread(read)
            except LogGap as gap:
                log.warning("site %s: %s: forks that need it are given up", self._in_force().site_id, gap)
                for name in [name for name, span in spans.items() if span[0] <= after < span[1]]:
                    self._done[name] = CaughtUp(None, (), self._in_force())
                    found.pop(name)
                    del spans[name]
                self._ring()
                after = min((span[0] for span in spans.values()), default=until)
                continue
            if last is None:
                break
            after = last
            for name, piece in pieces:
                if name in found:
                    found[name].append(piece)
                    records += _records([piece])
            while records > MOST_READ and len(found) > 1:
                name, dropped = found.popitem()
                records -= _records(dropped)
                tapes[name].is_wanted = False
                spans.pop(name, None)
        return found

    async def _step(self, name: str, pieces: list[Piece]) -> None:
        """Step a fork to the present; stop where another hole is found meanwhile: it waits for that too."""
        tape, fork, in_force = self._memory.tapes.get(name), self._fork(name), self._in_force()
        if tape is None or fork is None or not tape.is_wanted:
            return
        done: CaughtUp | None
        try:
            done = await self._caught_up(name, fork, tape, pieces)
        except Exception:
            log.exception("site %s: the fork of %s cannot be stepped: it is given up", in_force.site_id, name)
            done = CaughtUp(None, (), in_force)
        if done is not None:
            self._done[name] = done
            self._ring()
        tape.is_wanted = done is not None

    async def _caught_up(self, name: str, fork: Fork, tape: Tape, pieces: list[Piece]) -> CaughtUp | None:
        memory, in_force = self._memory, self._in_force()
        compiled = self._compiled(name)
        plan, most = in_force.vehicle_plan(name), memory.quotas.problems
        context = Context(plan, memory.listening, most_problems=most, learnt=in_force.learnt)
        stepped, rounds = Stepping(fork), list[int]()
        while True:
            bound = memory.last_batch
            todo = [*pieces, *(piece for piece in tape.pieces if not rounds or piece.batch > rounds[-1])]
            if rounds and _records(todo) <= MOST_AT_ONCE:
                break
            pieces = []
            for part in await self._in_order(todo, in_force, compiled):
                await asyncio.sleep(0)
                now = self._fork(name)
                if now is None or not now.is_filled or now.position != fork.position:
                    return None
                stepped.advance(part, context, in_force.rules)
            rounds.append(bound)
        same = in_force is self._in_force() and self._compiled(name) == compiled
        return CaughtUp(stepped, tuple(rounds), in_force) if same else None

    async def _in_order(
        self, pieces: list[Piece], in_force: InForce, compiled: Mapping[SchemaKey, CompiledSchema]
    ) -> list[list[At]]:
        """Return what is to be stepped, in parts."""
        order, records = Order(in_force.site_id, compiled.get, in_force.rules.settings), 0
        for piece in pieces:
            records += order.add(piece)
            if records >= PIECE:
                records = 0
                await asyncio.sleep(0)
        events = order.events()
        return [events[first : first + PIECE] for first in range(0, len(events), PIECE)]

    def _compiled(self, name: str) -> dict[SchemaKey, CompiledSchema]:
        memory, in_force = self._memory, self._in_force()
        found = {key: memory.compiled_of(key, in_force) for key in list(memory.compiled) if key[0] == name}
        return {key: one for key, one in found.items() if one is not None}


def _records(pieces: Iterable[Piece]) -> int:
    return sum(piece.entry.count for piece in pieces if isinstance(piece.entry, Group))


def _read(
    store: Store, site: str, after: int, spans: Mapping[str, tuple[int, int]]
) -> tuple[list[tuple[str, Piece]], int | None]:
    """Return what the next batches of the log have of these vehicles, and the last batch; ``None``: there are no more.

    ``spans`` are the batches (after, until) that are wanted of each. Blocking. Raises LogGap where they are there no
    more, or cannot be read.
    """
    batches = site_log.read(store, site, after, BATCHES)
    found: list[tuple[str, Piece]] = []
    for batch in batches:
        if batch.number != after + 1 or batch.problem:
            raise LogGap(f"batch {after + 1} of the log: {batch.problem or 'it was given up'}")
        after = batch.number
        for vehicle, piece in pieces_of(batch.number, batch.now_ms, batch.entries):
            first, last = spans.get(vehicle, (0, 0))
            if first < batch.number <= last:
                found.append((vehicle, piece))
    return found, batches[-1].number if batches else None
