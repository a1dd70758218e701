"""What a site's owner knows, exactly as it is committed. Pure."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from collector.core.identities import IdentityError, SourceKey
from collector.core.rules.schemas import CompiledSchema
from collector.core.survey import SiteState, Verdict, verdict_of
from collector.core.tickets.draft import DeskState
from collector.core.vehicle.events import Listening, Observed
from collector.core.vehicle.key_figures import CARRIED_MS, KeyFigure
from collector.core.vehicle.state import NewerStateError, Vehicle
from collector.core.vehicle.summary import SHOWN_MS
from collector.site.in_force import InForce
from collector.site.intake import KnownRun
from collector.site.quotas import DAY_MS, Quotas, Usage
from collector.site.tape import Tape, pieces_of
from collector.site.wakes import Wakes
from collector.store.batch import Batch
from collector.store.rows import RunKey, RunRow, SchemaKey, SiteData
from telemetry.intervals import Intervals

State = TypeVar("State", Vehicle, SiteState)


class Unreadable(msgspec.Struct, frozen=True):
    """A stored state that cannot be read, as it stands there, and why."""

    content: bytes
    reason: str


class Memory(msgspec.Struct):
    """What a site's owner knows, exactly as it is committed."""

    state: SiteState
    desk: DeskState
    vehicles: dict[str, Vehicle] = msgspec.field(default_factory=dict)
    verdict: Verdict = msgspec.field(default_factory=Verdict)
    runs: dict[RunKey, KnownRun] = msgspec.field(default_factory=dict)
    compiled: dict[SchemaKey, CompiledSchema] = msgspec.field(default_factory=dict)
    outdated: set[SchemaKey] = msgspec.field(default_factory=set)
    """Schemas that are to be compiled anew before they are used: their device is of another model now."""
    last_batch: int = 0
    unsettled: dict[tuple[str, str], set[str]] = msgspec.field(default_factory=dict)
    """By (vehicle, agent): runs that its last birth named, or that were heard since."""
    unnamed: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    listening: Listening = msgspec.field(default_factory=lambda: Listening(None))
    """What the last unit of work heard of that."""
    wakes: Wakes = msgspec.field(default_factory=Wakes)
    """When time is to be looked at for each vehicle."""
    snapshot_ms: int | None = None
    """When the last snapshot was made."""
    unreadable: dict[str, Unreadable] = msgspec.field(default_factory=dict)
    """By vehicle (empty: the site itself): stored states that begin anew with the next unit of work."""
    quotas: Quotas = msgspec.field(default_factory=Quotas)
    usage: dict[str, Usage] = msgspec.field(default_factory=dict)
    """By vehicle: what it has cost so far."""
    shown: dict[str, Vehicle] = msgspec.field(default_factory=dict)
    """Vehicles as their summaries show them."""
    shown_ms: int = 0
    """When all of these were brought up to date (our clock)."""
    to_show: set[str] = msgspec.field(default_factory=set)
    """Vehicles of whose summaries only the times are behind."""
    last_samples: dict[str, dict[SourceKey, Observed]] = msgspec.field(default_factory=dict)
    """By vehicle: the last live sample of each source, for summaries; not committed, and empty when an owner begins."""
    carried: Mapping[str, Sequence[KeyFigure]] = msgspec.field(default_factory=dict)
    """By vehicle: the figures that its summary had when the owner began, each shown until its device has spoken."""
    tapes: dict[str, Tape] = msgspec.field(default_factory=dict)
    """By vehicle with a fork: what has come of it since."""
    most_at_once: int | None = None
    """Records that a fork is stepped through within a unit of work at most; ``None``: all that there are."""
    to_join: bool = False
    """A fork is filled and little work: the next unit of work is wanted at once."""
    most_kept: int | None = None
    """Records that all tapes keep at most."""

    def carried_of(self, name: str, now_ms: int) -> Iterable[KeyFigure]:
        """Return a vehicle's figures of before this owner that are not too old to be shown."""
        return [one for one in self.carried.get(name, ()) if now_ms - one.time_ms <= CARRIED_MS]

    def compiled_of(self, key: SchemaKey, in_force: InForce) -> CompiledSchema | None:
        """Return a schema that is known, compiled by what is known now."""
        found = self.compiled.get(key)
        if found is not None and self.outdated and key in self.outdated:
            found = self.compiled[key] = in_force.compile(key, found.schema, self.vehicles.get(key[0]))
            self.outdated.discard(key)
        return found

    def is_little(self, name: str) -> bool:
        """Say whether a vehicle's fork is filled and so little work that a unit of work does it."""
        fork, tape = self.vehicles[name].fork, self.tapes[name]
        little = tape.is_whole and (self.most_at_once is None or tape.records <= self.most_at_once)
        return fork is not None and fork.is_filled and little

    def remember(self, batch: Batch) -> None:
        """Take in a batch from before the state that this memory began with: what forks are to be stepped through."""
        for vehicle, piece in pieces_of(batch.number, batch.now_ms, batch.entries):
            tape = self.tapes.get(vehicle)
            if tape is not None and tape.position < batch.number <= tape.after:
                tape.add([piece])

    def have_remembered(self) -> None:
        """All such batches were given."""
        for tape in self.tapes.values():
            tape.after = tape.position

    def committed(self, vehicle: str, agent: str, run: str) -> tuple[Intervals, Intervals]:
        """Return what is in the log of a run, and what of it is not waited for."""
        known = self.runs.get((vehicle, agent, run))
        return (known.row.seen, known.not_waited_for()) if known else (Intervals(), Intervals())

    def wake_ms(self) -> int | None:
        """Return when something is to be looked at though nothing has happened (our clock); ``None``: never."""
        if self.to_join:
            return 0
        soonest_ms = self.shown_ms + SHOWN_MS if self.to_show else None
        for asked_ms in (self.wakes.next_ms(), self.verdict.wake_ms, self.desk.wake_ms):
            if asked_ms is not None and (soonest_ms is None or asked_ms < soonest_ms):
                soonest_ms = asked_ms
        return soonest_ms

    @classmethod
    def of(cls, in_force: InForce, data: SiteData, quotas: Quotas | None = None) -> Memory:
        """Return what an owner begins with; what cannot be read begins anew. Raises NewerStateError."""
        runs = {key: KnownRun(row, dict(data.clocks.get(key, {}))) for key, row in data.seen.items()}
        for key, clocks in data.clocks.items():
            runs.setdefault(key, KnownRun(RunRow(*key), dict(clocks)))
        for key, names in data.schema_names.items():
            runs.setdefault(key, KnownRun(RunRow(*key))).schema_names = names
        unreadable: dict[str, Unreadable] = {}
        vehicles = {}
        for name, content in data.vehicles.items():
            known = _state(Vehicle, name, content, unreadable)
            if known is not None:
                vehicles[name] = known
        compiled = {}
        for key, schema in data.schemas.items():
            with contextlib.suppress(IdentityError):  # the first version took such names; its agent is asked again
                compiled[key] = in_force.compile(key, schema, vehicles.get(key[0]))
        for known_run in runs.values():
            known_run.next = known_run.row.seen.pairs()[-1][1] + 1 if known_run.row.seen else None
        tapes = {
            name: Tape(known.fork.position, data.last_batch)
            for name, known in vehicles.items()
            if known.fork is not None
        }
        unsettled: dict[tuple[str, str], set[str]] = {}
        for vehicle, agent, run in runs:
            unsettled.setdefault((vehicle, agent), set()).add(run)
        state = _state(SiteState, "", data.site_state, unreadable) if data.site_state is not None else None
        if state is None:
            state = SiteState.new(in_force.site_id)
        return cls(
            state,
            DeskState.of(
                in_force.site_id, data.ticket_events, data.problems, data.last_numbers, in_force.contract, data.held
            ),
            vehicles,
            verdict_of(state, wake_ms=0 if state.standings else None),
            runs=runs,
            compiled=compiled,
            last_batch=data.last_batch,
            snapshot_ms=data.snapshot_ms,
            unsettled=unsettled,
            wakes=Wakes({**in_force.site.vehicles, **vehicles}),
            unreadable=unreadable,
            quotas=quotas or Quotas(),
            tapes=tapes,
            usage=_usage(data, vehicles, runs, compiled),
        )

    def go_by(self, in_force: InForce, before: InForce | None = None) -> None:
        """Go by other editions from now on: schemas are compiled anew, and every vehicle is looked at.

        Nothing is compiled where no more than what was learnt is new.
        """
        self.wakes = Wakes({**in_force.site.vehicles, **self.vehicles})
        if before is not None and in_force.judges_as(before):
            return
        self.compiled = {
            key: in_force.compile(key, one.schema, self.vehicles.get(key[0])) for key, one in self.compiled.items()
        }
        self.outdated.clear()
        self.desk = self.desk.under(in_force.contract)


def _state(kind: type[State], name: str, content: bytes, unreadable: dict[str, Unreadable]) -> State | None:
    """Return a stored state; one that cannot be read costs only itself. Raises NewerStateError."""
    try:
        return kind.from_json(content)
    except NewerStateError:
        raise
    except Exception as error:  # bytes that are no UTF-8, a state 20,000 deep
        unreadable[name] = Unreadable(content, f"{type(error).__name__}: {error}"[:300])
        return None


def _usage(
    data: SiteData,
    vehicles: Mapping[str, Vehicle],
    runs: Mapping[RunKey, KnownRun],
    compiled: Mapping[SchemaKey, CompiledSchema],
) -> dict[str, Usage]:
    """Return what each vehicle has cost, by what is committed; of a day's changes those of its last day are not known.

    Its new runs of that day are taken to be all that were heard.
    """
    found: dict[str, Usage] = {}
    for name, size in data.quarantine_bytes.items():
        found.setdefault(name, Usage()).quarantine_bytes = size
    for (name, agent, _), run in runs.items():
        usage = found.setdefault(name, Usage())
        usage.agents |= {agent}
        usage.clocks += len(run.clocks)
        usage.intervals += run.pieces
        usage.of_day(run.row.heard_ms // DAY_MS)
        usage.runs += run.row.heard_ms // DAY_MS == usage.day
    for (name, agent, _), schema in compiled.items():
        usage = found.setdefault(name, Usage())
        usage.agents |= {agent}
        usage.devices |= {schema.device}
        usage.schemas += 1
        usage.series += len(schema.schema.columns)
    for name, vehicle in vehicles.items():
        usage = found.setdefault(name, Usage())
        usage.agents |= vehicle.agents.keys()
        usage.devices |= {key.device for part in (vehicle.inventory, vehicle.troubles) for key in part}
    return found
