"""The centre of one site in virtual time: the product's own unit of work, memory and desk, with nothing beside them.

It does what ``collector.site.ownership`` does around them: takes what came in, looks when something wants to be looked
at, commits, and begins anew from what is committed. No I/O, no thread and no wall clock; a commit is kept in a list.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from collector.core.health import PartReport
from collector.core.vehicle.events import Listening
from collector.site.heartbeat import Heartbeat
from collector.site.in_force import LEARNT, InForce
from collector.site.intake import message_of
from collector.site.memory import Memory
from collector.site.quotas import Quotas, words_of
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch as log
from collector.store import snapshot
from collector.store.rows import Action, BatchRow, Changes, SiteData
from simulator.life.agent import Heard
from telemetry.message import Header
from telemetry.records import Run

GATHER_MS: Final = 600_000
"""A unit of work that nobody waits for is kept open for so long: each record is judged at its own time all the same."""
RECONNECT_MS: Final = Heartbeat(0).listening(0).reconnect_ms
NOBODY: Final = Listening(None, RECONNECT_MS)


class JudgingError(Exception):
    """Judging raised: a fault of the product, which no drill lets pass."""


class Centre:
    """One owner of the site after the other. ``offset_ms`` says how fast its clock is at a true time (UTC ms)."""

    def __init__(self, in_force: InForce, begins_ms: int, offset_ms: Callable[[int], int] = lambda time_ms: 0) -> None:
        memory = Memory.of(in_force, SiteData({}, None, {}, {}, {}, 0), Quotas())
        self._set_up(in_force, begins_ms, offset_ms, memory)
        self._begin(begins_ms)

    def _set_up(self, in_force: InForce, begins_ms: int, offset_ms: Callable[[int], int], memory: Memory) -> None:
        self._commits: list[tuple[int, Changes]] = []
        """What units of work have changed and nobody has taken yet, in order, and when (true time)."""
        self._log: list[BatchRow] = []
        """The log, as far back as the fork of a vehicle with a hole still needs it."""
        self.records = 0
        self.looks = 0
        self._offset_ms = offset_ms
        self._force = in_force
        self._memory: Memory | None = memory
        self._queued: list[Heard] = []
        """What waits at the broker for an owner."""
        self._wanted: list[Callable[[int], None]] = []
        """What people wanted meanwhile."""
        self._hears = True
        """The broker is there."""
        self._work: UnitOfWork | None = None
        self._opened_ms = self._open_until_ms = begins_ms
        """When the unit of work was opened, and when it is due at the latest: what is known changes at its end only."""
        self._listening = NOBODY
        self._offset = offset_ms(begins_ms)

    @classmethod
    def going_on(cls, in_force: InForce, memory: Memory, time_ms: int) -> Centre:
        """Return one that goes on with what is known, as its clock went."""
        centre = cls.__new__(cls)
        centre._set_up(in_force, time_ms, lambda time_ms: 0, memory)
        return centre

    def _begin(self, begins_ms: int) -> None:
        in_force = self._force
        for kind, content in in_force.contents().items():
            self.put_in_force(begins_ms, kind, content)
        self.listen(begins_ms)

    @property
    def in_force(self) -> InForce:
        """What the site is judged by."""
        return self._force

    @property
    def memory(self) -> Memory:
        """What the owner knows."""
        assert self._memory is not None
        return self._memory

    # --- a history ----------------------------------------------------------------------------------------------------

    def again(self, time_ms: int, entry: log.Entry) -> None:
        """Do again what a log says came in."""
        self.pass_time(time_ms)
        work = self._open(time_ms)
        work.replay(entry)
        if work.urgent or work.wants_look or not isinstance(entry, log.Group):
            self._finish(time_ms)

    def listening(self, listening: Listening) -> None:
        """Listen as it was: from the last moment on, for between that and the next one the clock may have been set."""
        if listening != self._listening:
            self._finish(self._opened_ms)
            self._listening = listening

    def edit(self, time_ms: int, kind: str, number: int, content: bytes) -> None:
        """Go by another edition, as it was."""
        self.pass_time(time_ms)
        self._finish(time_ms)
        before, self._force = self._force, self._force.edited(kind, number, content)
        self.memory.go_by(self._force, before)

    # --- what happens -------------------------------------------------------------------------------------------------

    def arrive(self, time_ms: int, heard: Heard) -> None:
        """Let a message arrive at the broker."""
        self.pass_time(time_ms)
        if self._memory is None:
            self._queued.append(heard)
        else:
            self._take(time_ms, heard)

    def report(self, time_ms: int, report: PartReport) -> None:
        """Let the owner, if there is one, report a part of the centre."""
        if self._memory is None:
            return
        self.pass_time(time_ms)
        self._open(time_ms).report(report)
        self._finish(time_ms)

    def refuse(self, time_ms: int, vehicle: str, quota: str) -> None:
        """Let the owner, if there is one, not take a message of a vehicle that is beyond a quota."""
        if self._memory is None:
            return
        self.pass_time(time_ms)
        self._open(time_ms).refuse(vehicle, quota, words_of(quota, self.memory.quotas))
        self._finish(time_ms)

    def act(self, time_ms: int, action: Action) -> None:
        """Let a person, or dispatch, want something; it waits in the database for an owner."""
        if self._memory is None:
            self._wanted.append(lambda at_ms: self.act(at_ms, action))
            return
        self.pass_time(time_ms)
        self._open(time_ms).act(action)
        self._finish(time_ms)

    def put_in_force(self, time_ms: int, kind: str, content: bytes) -> None:
        """Put another edition in force, at once or with the next owner."""
        if self._memory is None:
            self._wanted.append(lambda at_ms: self.put_in_force(at_ms, kind, content))
            return
        self.pass_time(time_ms)
        self._finish(time_ms)
        self._open(time_ms).put_in_force(kind, content, anew=kind not in LEARNT)
        self._finish(time_ms)

    def listen(self, time_ms: int) -> None:
        """Begin to listen: connected, and the heartbeat has come back."""
        self._hears = True
        if self._memory is None:
            return
        self.pass_time(time_ms)
        self._finish(time_ms)
        self._listening = Listening(time_ms + self._offset, RECONNECT_MS)

    def be_deaf(self, time_ms: int) -> None:
        """Listen no more: the broker is away."""
        self._hears = False
        self.pass_time(time_ms)
        self._finish(time_ms)
        self._listening = NOBODY

    def go_away(self, time_ms: int) -> None:
        """The collector stops; what is committed stays."""
        self.pass_time(time_ms)
        self._finish(time_ms)
        self._let_go()
        self._memory = None
        self._listening = NOBODY

    def come_back(self, time_ms: int) -> None:
        """Another owner loads what is committed, takes what waits at the broker, and listens."""
        self._memory = self._load()
        self._offset = self._offset_ms(time_ms)
        wanted, self._wanted = self._wanted, []  # asked for when it begins, before it is connected to the broker
        for want in wanted:
            want(time_ms)
        queued, self._queued = self._queued, []
        for heard in queued:
            self._take(time_ms, heard)
        if self._hears:
            self.listen(time_ms + 1_000)

    def set_clock(self, time_ms: int) -> None:
        """The centre's clock steps: all times that were asked for went by the old one."""
        self.pass_time(time_ms)
        self._finish(time_ms)
        self._offset = self._offset_ms(time_ms)
        self._listening = NOBODY  # a beat that was under way when the clock was set proves nothing
        if self._memory is not None:
            self._memory.wakes.all_at_once()

    def hear_again(self, time_ms: int) -> None:
        """Listen anew, if the broker is there."""
        if self._hears:
            self.listen(time_ms)

    def pass_time(self, until_ms: int) -> None:
        """Let time pass until then, and look whenever something wants to be looked at."""
        if self._memory is None or (self._work is not None and until_ms < self._open_until_ms):
            return
        while True:
            due_ms = self._due_ms()
            if due_ms is None or due_ms > until_ms:
                return
            if not self._put_off(due_ms):
                self._finish(due_ms)

    def _put_off(self, time_ms: int) -> bool:
        """Let a look wait for which all that has come due have spoken since; the unit of work stays open then."""
        if self._work is None or self._opened_ms + GATHER_MS <= time_ms:
            return False
        self._work.go_on(time_ms + self._offset)
        put_off = self._work.put_off()
        self.memory.wakes.update(put_off)  # at once: here no unit of work is thrown away
        self._open_until_ms = self._due_ms() or time_ms
        return bool(put_off)

    def end(self, time_ms: int) -> None:
        """Commit what is open."""
        self._finish(time_ms)

    def take_commits(self) -> list[tuple[int, Changes]]:
        """Return what was committed since this was asked last, each with its true time."""
        found, self._commits = self._commits, []
        return found

    # --- units of work ------------------------------------------------------------------------------------------------

    def _due_ms(self) -> int | None:
        """Return when the owner would look or commit next, true time."""
        wake_ms = self.memory.wake_ms()
        due_ms = None if wake_ms is None else max(wake_ms - self._offset, self._opened_ms)
        if self._listening != self.memory.listening:
            due_ms = self._opened_ms
        if self._work is not None:
            gathered_ms = self._opened_ms + GATHER_MS
            return gathered_ms if due_ms is None else min(due_ms, gathered_ms)
        return due_ms

    def _open(self, time_ms: int) -> UnitOfWork:
        now_ms = time_ms + self._offset
        if self._work is None:
            self._work = UnitOfWork(self.memory, self._force, self._listening, now_ms)
            self._opened_ms = time_ms
            self._open_until_ms = self._due_ms() or time_ms
        self._work.go_on(now_ms)
        return self._work

    def _take(self, time_ms: int, heard: Heard) -> None:
        work = self._open(time_ms)
        self._read(work, heard, time_ms + self._offset)
        self.records += heard.records
        if work.urgent or work.wants_look:
            self._finish(time_ms)

    def _finish(self, time_ms: int) -> None:
        """Look, commit and remember, as the owner does at the end of each unit of work. Raises JudgingError."""
        if self._memory is None:
            return
        work = self._open(time_ms)
        work.look()
        self.looks += 1
        changes = work.changes()
        if work.faults:
            raise JudgingError(f"{type(work.faults[0]).__name__}: {work.faults[0]}") from work.faults[0]
        self._work = None
        if changes is not None:
            self._commit(changes)
        work.keep()
        self._opened_ms = time_ms
        if changes is not None:
            self._commits.append((time_ms, changes))
            self._write_log(changes)
        if work.in_force is not self._force:
            self._force = work.in_force

    def _read(self, work: UnitOfWork, heard: Heard, received_ms: int) -> None:
        """Give a message to the unit of work: at this depth it never was bytes, and a life keeps to its schemas."""
        header = Header(heard.format, Run(heard.run), heard.numbers)
        schemas_of = functools.partial(work.schemas_of, are_kept=True)
        message = message_of(heard.agent, heard.kind, header, heard.body, schemas_of)
        work.take_message(message, received_ms)

    # --- what is committed --------------------------------------------------------------------------------------------

    def _commit(self, changes: Changes) -> None:
        """Keep what a unit of work has changed: at this depth all of it stands in memory."""

    def _write_log(self, changes: Changes) -> None:
        holes = [vehicle.fork.position for vehicle in self.memory.vehicles.values() if vehicle.fork is not None]
        if changes.batch is not None:
            self._log.append(changes.batch)
        self._log = [row for row in self._log if row.number > min(holes)] if holes else []

    def _let_go(self) -> None:
        """Give the site up; what is committed stays."""
        self._kept = _data_of(self.memory)

    def _load(self) -> Memory:
        """Return what is committed."""
        return self._remembering(Memory.of(self._force, self._kept, Quotas()))

    def _remembering(self, memory: Memory) -> Memory:
        """Give the forks of vehicles with a hole what the log has of them since."""
        for row in self._log if memory.tapes else ():
            content = log.decode(row.content)
            memory.remember(log.Batch(self._force.site_id, row.number, row.received_ms, row.now_ms, *content))
        memory.have_remembered()
        return memory


def _data_of(memory: Memory) -> SiteData:
    """Return what the database would hold of what an owner knows: the states go through a snapshot's bytes."""
    data, _ = snapshot.decode(snapshot.encode(memory.state, memory.vehicles, memory.desk, {}))
    data.seen = {key: run.row.copy() for key, run in memory.runs.items()}
    data.clocks = {key: dict(run.clocks) for key, run in memory.runs.items()}
    data.schema_names = {key: run.schema_names for key, run in memory.runs.items() if run.schema_names}
    data.schemas = {key: compiled.schema for key, compiled in memory.compiled.items()}
    return replace(data, last_batch=memory.last_batch, snapshot_ms=memory.snapshot_ms)
