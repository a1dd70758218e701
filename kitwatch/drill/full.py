"""Depth ``full``: what a life reads goes through the agent's sampler and outbox, the newest wire format, and SQLite.

The course of a life stays the simulator's: when an agent polls, connects, loses its line. What it says is made by the
agent's own parts, and what the centre commits stands in a database from which the next owner loads it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.inputs.base import Poll
from agent.outbox.disk import Disk
from agent.outbox.drafts import Draft, EventDraft, SampleDraft
from agent.outbox.outbox import Outbox
from agent.sampling.sample_builder import SampleBuilder, SeriesOwners
from collector.site.in_force import InForce
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.quotas import Quotas
from collector.site.unit_of_work import UnitOfWork
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from kitwatch.drill.came import Came
from kitwatch.drill.centre import Centre
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Drill
from simulator.life.agent import Agent, Heard, Held, Run
from simulator.life.kit import Input
from telemetry.intervals import Intervals
from telemetry.message import NUMBERED, Moment, Placed, SchemaBody, moments
from telemetry.readings import Identity, Reading
from telemetry.records import Clock, Record

_OUTBOX_BYTES: Final = 64 * 2**20


class _Undying(Disk):
    """A disk whose machine never loses its power: nothing is waited for, everything else is the real one."""

    def fdatasync(self, handle: int) -> None:
        """Do nothing: what is written is read by this process only, and is gone with it."""

    def sync_directory(self, directory: Path) -> None:
        """Do nothing, for the same reason."""


class FullAgent(Agent):
    """An agent whose words are made by the real one's parts. Its outbox is a folder of its own in ``folder``."""

    folder: Path
    format = NUMBERED

    def __init__(self, *args: Any, folder: Path, **more: Any) -> None:
        super().__init__(*args, **more)
        self.folder = folder / f"{self.name.vehicle}-{self.name.agent}"
        self._outbox: Outbox | None = None
        self._builders: dict[tuple[str, str], SampleBuilder] = {}
        self._told_schemas: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        """Of the present run's schemas, in the order in which they came: a number never changes what it means."""
        self._fresh: dict[int, Record] = {}
        """What was written last: the agent, too, sends what is new from memory and reads what it holds."""

    def close(self) -> None:
        """Let go of the outbox."""
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def _begin_run(self, run: Run) -> None:
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._outbox = Outbox.open(self.folder, _OUTBOX_BYTES, run.id, run.boot, disk=_Undying())
        self._numbers = {}
        owners = SeriesOwners()
        self._builders = {
            (one.device, one.name): SampleBuilder(one.device, one.name, primary=one.primary, owners=owners)
            for one in self.inputs
        }

    def _end_run(self) -> None:
        self.close()

    def _note_outbox_clock(self, run: Run, clock: Clock) -> None:
        assert self._outbox is not None
        self._outbox.add_clock(run.id, clock)

    # --- polls --------------------------------------------------------------------------------------------------------

    def _drafts_of(self, one: Input, time_ms: int, mono_ms: int) -> list[Draft]:
        now = self.body.between(time_ms)
        values, problem = self.body.read(one, time_ms, self.body.drive.at(time_ms), now, self.chance)
        readings = []
        without = now.condition.without.get(one.device, ())
        for column, value in zip(one.schema.columns, values or (), strict=False):
            if value is not None and column.metric not in without:
                readings.append(Reading(column.metric, value, column.labels))
        identity = None
        if not problem and one.primary:
            said = self.identity_of(one.device, time_ms)
            identity = Identity(**said) if said else None
        poll = Poll(readings, identity, problem=problem or None)
        return self._builders[one.device, one.name].take(poll, mono_ms)

    def _entries_of(self, due: Sequence[Input], time_ms: int, mono_ms: int) -> list[list[object]]:
        return self._write([draft for one in due for draft in self._drafts_of(one, time_ms, mono_ms)])

    def _write(self, drafts: Sequence[Draft]) -> list[list[object]]:
        """Write drafts into the outbox; return the entries that stand for them until they are sent."""
        assert self._outbox is not None
        entries: list[list[object]] = []
        self._fresh = {}
        for draft in drafts:
            record: Record
            if isinstance(draft, SampleDraft):
                id = self._outbox.add_schema(draft.schema)
                record = self._outbox.append(draft.mono_ms, id, draft.values)
                entries.append([id, draft.values])
            else:
                record = self._outbox.append_event(draft.mono_ms, draft.kind, draft.device, draft.body)
                entries.append([draft.kind, draft.device, draft.body])
            self._fresh[record.sequence] = record
        self._outbox.sync()
        return entries

    def _event(self, mono_ms: int, kind: Any, body: Mapping[str, Any]) -> list[list[object]]:
        return self._write([EventDraft(mono_ms, kind, "", body)])

    # --- the wire -----------------------------------------------------------------------------------------------------

    def _schemas_to_tell(self, run: Run, *, named: bool) -> SchemaBody | None:
        """Return those that were not told yet."""
        assert self._outbox is not None
        schemas = self._outbox.schemas(run.id)
        if named and self._told_schemas.get(run.id) == len(schemas):
            return None
        self._told_schemas[run.id] = len(schemas)
        body = SchemaBody(run.boot, dict(schemas), tuple(run.clocks))
        numbers = self._numbers_of(run, schemas)
        return msgspec.structs.replace(body, numbers=numbers) if numbers else body

    def _numbers_of(self, run: Run, schemas: Iterable[str]) -> dict[str, int]:
        """Return the numbers of a run's schemas by name: one that is over has none any more."""
        if run is not self.run:
            return {}
        for name in schemas:
            self._numbers.setdefault(name, len(self._numbers))
        return dict(self._numbers)

    def _moments(self, run: Run, batch: Sequence[Held], numbers: Intervals) -> list[Moment]:
        """Return the records as the outbox holds them."""
        assert self._outbox is not None
        clocks = {one.first + place: one.moment.clock for one in batch for place in range(len(one.moment.entries))}
        if run is self.run and self._fresh.keys() >= clocks.keys():
            records = [self._fresh[number] for number in clocks]
        else:
            records = self._outbox.read(run.id, numbers, len(numbers))
        placed = [Placed(record, clocks[record.sequence]) for record in records]
        return moments(placed, self._numbers_of(run, self._outbox.schemas(run.id)))

    def _committed(self, run: Run, until: int) -> None:
        if self._outbox is not None and until:
            self._outbox.release(run.id, Intervals([(0, until - 1)]))


class FullCentre(Centre):
    """A centre whose commits stand in a database (its URL), and whose next owner loads them."""

    def __init__(self, in_force: InForce, begins_ms: int, offset_ms: Any, database: str) -> None:
        self._store = Store.open(database)
        self._store.migrate()
        self._connection = self._own(in_force.site_id)
        self._connection.load()
        super().__init__(in_force, begins_ms, offset_ms)

    def _own(self, site: str) -> SiteConnection:
        connection = SiteConnection.acquire(self._store, site, "drill")
        assert connection is not None, "nobody else has it"
        return connection

    def _read(self, work: UnitOfWork, heard: Heard, received_ms: int) -> None:
        work.take(Incoming(heard.topic, heard.payload, received_ms))

    def _commit(self, changes: Changes) -> None:
        self._connection.commit(changes)

    def _let_go(self) -> None:
        self._connection.close()

    def _load(self) -> Memory:
        self._connection = self._own(self.in_force.site_id)
        return self._remembering(Memory.of(self.in_force, self._connection.load(), Quotas()))

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._store.close()


class FullPlay(Play):
    """A drill played at this depth, with ``folder`` for outboxes and database."""

    def __init__(self, drill: Drill, folder: Path) -> None:
        self._folder = folder
        self._agents: list[FullAgent] = []
        super().__init__(drill)

    def _make_centre(self, in_force: InForce) -> Centre:
        database = f"sqlite:///{self._folder / 'collector.db'}"
        return FullCentre(in_force, self.drill.begins_ms, self.drill.lives.centre.offset_ms, database)

    def _heard(self) -> Iterator[Heard]:
        def make(*args: Any, **more: Any) -> FullAgent:
            agent = FullAgent(*args, folder=self._folder / "outboxes", **more)
            self._agents.append(agent)
            return agent

        return self.drill.lives.heard(list(self.drill.lives.agents(make)))

    def close(self) -> None:
        """Let go of outboxes and database."""
        for agent in self._agents:
            agent.close()
        if isinstance(self.centre, FullCentre):
            self.centre.close()


def play_in_full(drill: Drill) -> Came:
    """Play a drill at this depth, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-drill-") as name:
        play = FullPlay(drill, Path(name))
        try:
            return play.run()
        finally:
            play.close()
