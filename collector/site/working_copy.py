"""What a unit of work changes, on copies of what is committed: vehicles are stepped here, and the log written. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from collector.core.identities import OccurrenceKey, SourceKey
from collector.core.problems import ClosedNote, ProblemChange
from collector.core.rules.schemas import CompiledSchema
from collector.core.tickets.draft import DeskEffect
from collector.core.tickets.on_problems import causes_first
from collector.core.vehicle import forks
from collector.core.vehicle.draft import Draft, Effect
from collector.core.vehicle.events import (
    Born,
    Died,
    Event,
    Left,
    Listening,
    Observed,
    OfSequence,
    OverQuota,
    Told,
    Unlisted,
)
from collector.core.vehicle.state import InventoryEntry, Vehicle
from collector.core.vehicle.step import Context, begin, go_on, needs_look, step
from collector.core.vehicle.wake import Wake
from collector.site.in_force import InForce, without
from collector.site.intake import (
    KnownRun,
)
from collector.site.memory import Memory
from collector.site.quotas import Account
from collector.site.receipts import Receipts
from collector.store import batch as log
from collector.store.rows import (
    EditionRow,
    QuarantineRow,
    RunKey,
    RunRow,
    SchemaKey,
    SnapshotRow,
    TakenAction,
)
from telemetry.fleet import VehiclePlan
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema
from telemetry.topics import COLLECTOR, AgentName

PROBLEMS: Final = OccurrenceKey("quota", COLLECTOR, "problems")


class WorkingCopy:
    """Copies of what is known, as a unit of work changes them. What it begins with stays as it was."""

    def __init__(self, memory: Memory, in_force: InForce, listening: Listening, now_ms: int) -> None:
        self._memory = memory
        self._in_force = in_force
        self.in_force = in_force
        """What the next unit of work goes by."""
        self._listening = listening
        self._began_ms = self._logged_ms = self._now_ms = now_ms
        self._verdict = memory.verdict
        self._state = memory.state
        self._desk = memory.desk
        self._changes: list[ProblemChange] = []
        """Of which the desk has not heard yet."""
        self._vehicles: dict[str, Vehicle] = {}
        self._drafts: dict[str, Draft] = {}
        """Of vehicles of which nothing is news: open from one message to the next."""
        self._contexts: dict[str, Context] = {}
        self._plans: dict[str, VehiclePlan] = {}
        """Of vehicles of which the fleet file names something no more: without that, from this unit of work on."""
        self._again = False
        """It is done again from the log, which says what was missing."""
        self._rejoined: dict[str, Vehicle] = {}
        """Vehicles whose fork has become the state in this unit of work, as they were then."""
        self._runs: dict[RunKey, KnownRun] = {}
        self._settled: set[RunKey] = set()
        self._compiled: dict[SchemaKey, CompiledSchema] = {}
        self._by_name: dict[tuple[str, str], dict[str, CompiledSchema]] = {}
        """By (vehicle, agent): those that were asked for. Which they are does not change within a unit of work."""
        self._schemas: dict[SchemaKey, Schema] = {}
        self._clocks: dict[RunKey, dict[int, Clock]] = {}
        self._numbered: set[RunKey] = set()
        """Runs of which numbers of schemas are new."""
        self._entries: list[log.Entry] = []
        self._editions: list[EditionRow] = []
        self._snapshot: SnapshotRow | None = None
        self._shown: dict[str, Vehicle] = {}
        self._last_samples: dict[str, dict[SourceKey, Observed]] = {}
        self._all_shown = False
        self._to_look: set[str] = set()
        self._wakes: dict[str, Wake | None] = {}
        self._effects: list[ClosedNote | InventoryEntry | DeskEffect] = []
        self._quarantine: list[QuarantineRow] = []
        self._released: list[int] = []
        self._acted: list[TakenAction] = []
        self._unnamed: Counter[tuple[str, str]] = Counter()
        self._accounts: dict[str, Account] = {}
        self._news: list[Callable[[Receipts], None]] = []
        self._received_ms = now_ms
        self.urgent = False
        """Somebody waits for the commit: a problem has changed, a person acts, an agent was born or sends a schema."""
        self.taken = 0
        """Records taken."""
        self.counts: Counter[str] = Counter()
        """What nobody may overlook: duplicates, quarantine, unknown metrics, faults of ours."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Messages beyond a quota, by (vehicle, quota)."""
        self.withheld: Counter[tuple[str, str]] = Counter()
        """The same of what came of them, found when all was done: the next unit of work is told of it (``refuse``)."""
        self.faults: list[BaseException] = []
        """What our own judging raised, for the log."""

    def go_on(self, now_ms: int) -> None:
        """Let it be later. A unit of work may gather for a second: what comes in then is judged at its own time."""
        self._now_ms = max(self._now_ms, now_ms)

    def _run(self, agent: AgentName, run: str) -> KnownRun:
        key = (agent.vehicle, agent.agent, run)
        known = self._runs.get(key)
        if known is None:
            before = self._memory.runs.get(key)
            known = self._runs[key] = before.copy() if before else KnownRun(RunRow(*key))
        return known

    def _has_changed(self, key: RunKey, run: KnownRun) -> bool:
        before = self._memory.runs.get(key)
        return before is None or before.row != run.row

    def _compiled_of(self, key: SchemaKey) -> CompiledSchema | None:
        return self._compiled.get(key) or self._memory.compiled_of(key, self._in_force)

    def _close(self) -> None:
        """Let all vehicles be as they are now."""
        for name in list(self._drafts):
            self._vehicle(name)

    def _known(self, name: str) -> Vehicle | Draft:
        """Return what is known of a vehicle, to be looked at only."""
        return self._drafts.get(name) or self._vehicle(name)

    def _vehicle(self, name: str) -> Vehicle:
        draft = self._drafts.pop(name, None)
        if draft is not None:
            self._stepped(name, *draft.finish())
        found = self._vehicles.get(name) or self._memory.vehicles.get(name)
        return found or Vehicle.new(self._in_force.site_id, name, self._in_force.vehicle_plan(name))

    def _everyone(self) -> Iterable[str]:
        return {**self._in_force.site.vehicles, **self._memory.vehicles, **self._vehicles, **self._drafts}

    def _step(self, vehicle: str, event: Event | OfSequence) -> None:
        if isinstance(event, OfSequence):
            before = self._vehicle(vehicle)
            self._stepped(vehicle, forks.happened(before, event, self._before(vehicle), self._now_ms), [])
            return
        if isinstance(event, Unlisted):  # from now on nobody expects a word of it
            self._plans[vehicle] = without(self._plan(vehicle), event.device)
            self._contexts.pop(vehicle, None)
        after, effects = step(self._vehicle(vehicle), event, self._context(vehicle), self._in_force.rules, self._now_ms)
        if isinstance(event, Born):
            after = forks.happened(after, event, self._before(vehicle), self._now_ms)
        self._stepped(vehicle, after, effects)

    def _before(self, vehicle: str) -> forks.Before:
        """Return where a fork of the vehicle would begin: what is committed, so that the log has all that follows."""
        known = self._rejoined.get(vehicle) or self._memory.vehicles.get(vehicle)
        if known is None:
            known = Vehicle.new(self._in_force.site_id, vehicle, self._in_force.vehicle_plan(vehicle))
        return forks.Before(known, self._memory.last_batch)

    def _came(self, vehicle: str, agent: str, run: str, numbers: Intervals) -> None:
        """Note what has come of a run, or will never come, where something is missing."""
        known = self._vehicle(vehicle)
        if known.fork is not None and numbers:
            self._stepped(vehicle, forks.came(known, agent, run, numbers), [])

    def _step_all(self, vehicle: str, events: Sequence[Told]) -> None:
        """Step what a message tells. What raises has changed nothing."""
        draft = self._drafts.pop(vehicle, None) or self._draft(vehicle)
        try:
            is_calm = go_on(draft, events, self._now_ms)
        except Exception:
            self._step_again(vehicle, draft.taken)
            raise
        if is_calm:
            self._drafts[vehicle] = draft
        else:
            self._stepped(vehicle, *draft.finish())

    def _draft(self, vehicle: str) -> Draft:
        return begin(self._vehicle(vehicle), self._context(vehicle), self._in_force.rules, self._now_ms)

    def _step_again(self, vehicle: str, taken: Sequence[tuple[int, Sequence[Told]]]) -> None:
        """Step what had been stepped before in a working copy that is of no use any more."""
        draft = self._draft(vehicle)
        for now_ms, events in taken:
            go_on(draft, events, now_ms)
        self._stepped(vehicle, *draft.finish())

    def _stepped(self, vehicle: str, after: Vehicle, effects: list[Effect]) -> None:
        before = self._vehicles.get(vehicle) or self._memory.vehicles.get(vehicle)
        if after is not before:
            self._vehicles[vehicle] = after
            if before is None or needs_look(before, after):
                self._to_look.add(vehicle)
        known = {} if before is None else before.occurrences
        if after.occurrences is not known and after.occurrences.get(PROBLEMS) is not known.get(PROBLEMS):
            self.refused[vehicle, PROBLEMS.reason] += 1
            self.counts[f"over_quota.{PROBLEMS.reason}"] += 1
        if effects:
            changes = [effect for effect in effects if isinstance(effect, ProblemChange)]
            self._effects += [effect for effect in effects if not isinstance(effect, ProblemChange)]
            self._changes += causes_first(changes)
            self.urgent = self.urgent or bool(changes)

    def _plan(self, vehicle: str) -> VehiclePlan:
        return self._plans.get(vehicle) or self._in_force.vehicle_plan(vehicle)

    def _context(self, vehicle: str) -> Context:
        found = self._contexts.get(vehicle)
        if found is None:
            found = Context(
                self._plan(vehicle),
                self._listening,
                self._verdict,
                self._memory.quotas.problems,
                self._in_force.learnt,
            )
            self._contexts[vehicle] = found
        return found

    def _enter(self, entry: log.Entry) -> None:
        """Write into the log, and first what time it is."""
        self._enter_time()
        self._entries.append(entry)

    def _enter_time(self) -> None:
        if self._logged_ms != self._now_ms:
            self._logged_ms = self._now_ms
            self._entries.append(log.TimePassed(self._now_ms))

    def _happened(self, vehicle: str, event: Born | Left | Died | OverQuota | OfSequence) -> None:
        """Step what an agent, or the broker, says of an agent, or what a vehicle wanted, and write it into the log."""
        if self._try_step(vehicle, event):
            self._enter(log.Stepped(vehicle, event))

    def _try_step(self, vehicle: str, event: Event | OfSequence) -> bool:
        try:
            self._step(vehicle, event)
        except Exception as error:
            self._fault(type(event).__name__.lower(), error)
            return False
        return True

    def _fault(self, what: str, error: BaseException) -> None:
        self.counts[f"fault.{what}"] += 1
        self.faults.append(error)
