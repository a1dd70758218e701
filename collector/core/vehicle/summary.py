"""What lists of vehicles show of one, worked out when it changes: nobody who asks has to read its whole state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from collector.core.problems import Duty, Problem, ProblemState
from collector.core.vehicle.duty import state_of
from collector.core.vehicle.events import Observed
from collector.core.vehicle.key_figures import KeyFigure, key_figures
from collector.core.vehicle.state import Agent, Position, Vehicle
from telemetry.fleet import VehiclePlan

VehicleState = Duty | Literal["silent", "unheard", "never_heard"]
"""As people see it."""


class AgentSummary(msgspec.Struct, frozen=True, array_like=True):
    """One agent. Times are our clock's."""

    heard_ms: int | None
    """Its last word."""
    interval_ms: int
    """Its sending interval."""
    version: str = ""
    left: str = ""
    """The reason of its goodbye, until the next birth."""
    lost: bool = False
    """The broker lost it, until the next birth."""


class DeviceSummary(msgspec.Struct, frozen=True, array_like=True):
    """One device as one agent reads it."""

    agent: str
    device: str
    answered_ms: int | None
    """When (our clock) it last said something of itself."""
    step_ms: int
    """Time between its last two samples, of the input that is read least often."""
    trouble: str = ""
    """Why the agent cannot read it, by any of its inputs; empty if it can."""


class ProblemSummary(msgspec.Struct, frozen=True, array_like=True):
    """One problem that is not over, ticket or not; see ``Problem``. Keys in their text form."""

    key: str
    fault: str
    device: str
    state: ProblemState
    event_ms: int
    detected_ms: int
    times: int
    cause: str | None
    """The problem that explains it."""


class Details(msgspec.Struct, frozen=True):
    """The parts of a vehicle; as JSON the column ``details``."""

    agents: dict[str, AgentSummary] = {}
    devices: list[DeviceSummary] = []
    problems: list[ProblemSummary] = []
    figures: list[KeyFigure] = []
    """The last live values of the series that lists show."""
    position: Position | None = None
    parked_inferred: str = ""
    """Why it is taken for parked though nobody said so: it stood (``still``) or is where others parked (``place``)."""


class Summary(msgspec.Struct, frozen=True):
    """A row of ``vehicle_summary``."""

    state: VehicleState
    heard_ms: int | None
    """The last word of any agent, our clock."""
    silent_since_ms: int | None
    """Since when it is silent as a problem, event time."""
    details: Details


SHOWN_MS: Final = 30_000
"""So far the times of a row may be behind, while they are all that has changed: a row for each word of each vehicle
would be most of what a site without news writes."""
_SILENT: Final = "vehicle_silent"


def summary_of(
    vehicle: Vehicle,
    plan: VehiclePlan,
    fact_ms: int,
    last: Iterable[Observed] = (),
    carried: Iterable[KeyFigure] = (),
) -> Summary:
    """Return the summary of a vehicle's state.

    ``fact_ms`` is the rules' setting, ``last`` its last live samples, ``carried`` its figures of before them.
    """
    heard = [agent.heard_ms for agent in vehicle.agents.values() if agent.heard_ms is not None]
    silent = [problem.event_ms for key, problem in vehicle.problems.items() if key.fault == _SILENT]
    agents = {
        id: AgentSummary(agent.heard_ms, agent.interval_ms, agent.version, agent.left, agent.lost)
        for id, agent in vehicle.agents.items()
    }
    parking = vehicle.expectation.parking
    return Summary(
        state_of(vehicle, plan, fact_ms) if heard else "never_heard",
        max(heard, default=None),
        min(silent, default=None),
        Details(
            agents,
            _devices(vehicle),
            [_problem(problem) for problem in vehicle.problems.values()],
            key_figures(last, carried),
            vehicle.position,
            "" if parking is None else parking.why,
        ),
    )


def shows_more(before: Vehicle | None, after: Vehicle) -> bool:
    """Say whether what lists show has changed by more than times. ``before`` is the vehicle as it is shown."""
    return (
        before is None
        or before.problems != after.problems
        or before.facts != after.facts
        or before.given != after.given
        or before.expectation.parking != after.expectation.parking
        or before.expectation.unheard != after.expectation.unheard
        or before.troubles != after.troubles
        or before.sources.keys() != after.sources.keys()
        or before.agents.keys() != after.agents.keys()
        or any(_is_other(before.agents[id], agent) for id, agent in after.agents.items())
    )


def _is_other(before: Agent, after: Agent) -> bool:
    return (before.interval_ms, before.version, before.left, before.lost, before.heard_ms is None) != (
        after.interval_ms, after.version, after.left, after.lost, after.heard_ms is None
    )  # fmt: skip


def _problem(problem: Problem) -> ProblemSummary:
    key, cause = problem.key, problem.cause
    return ProblemSummary(
        key.text(), key.fault, key.device, problem.state, problem.event_ms, problem.detected_ms, problem.times,
        None if cause is None else cause.key.text(),
    )  # fmt: skip


def _devices(vehicle: Vehicle) -> list[DeviceSummary]:
    answered: dict[tuple[str, str], int | None] = {}
    steps: dict[tuple[str, str], int] = {}
    for source, told in vehicle.sources.items():
        key = (source.agent, source.device)
        before = answered.get(key)
        if before is None or (told.answered_ms is not None and told.answered_ms > before):
            answered[key] = told.answered_ms
        steps[key] = max(steps.get(key, 0), told.step_ms)
    troubles: dict[tuple[str, str], list[str]] = {}
    for one, trouble in vehicle.troubles.items():
        if trouble.text:
            troubles.setdefault((one.agent, one.device), []).append(trouble.text)
    return [
        DeviceSummary(*key, answered.get(key), steps.get(key, 0), "; ".join(troubles.get(key, ())))
        for key in dict.fromkeys((*answered, *troubles))
    ]
