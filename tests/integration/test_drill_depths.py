"""Both depths of a drill give the same: through the agent's own sampler and outbox, wire and SQLite, and without."""

from __future__ import annotations

from typing import Any

import pytest

from kitwatch.drill.compare import result_of
from kitwatch.drill.full import play_in_full
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import drill_of, load_scenario

SCENARIOS = (
    "camera_down", "late_sim_absent", "router_dead", "modem_hot", "supply_sag", "outbox_volatile", "identity_clash",
    "collector_away_minute", "firmware_changed_encoder", "agent_killed",
)  # fmt: skip


def told(result: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same: all but the names of runs and samples."""
    names = ("fault", "at", "labels", "rule", "class", "state", "event_ms", "opened_ms", "over_event_ms", "faults")
    return {
        "tickets": [{name: one[name] for name in names} for one in result["tickets"]],
        "events": [[(event["what"], event["recorded_ms"]) for event in one["events"]] for one in result["tickets"]],
        "problems": [
            {name: one[name] for name in one if name not in ("evidence", "cause")} for one in result["problems"]
        ],
        "notes": result["notes"],
        "notifications": result["notifications"],
        "records": result["records"],
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_depths_give_the_same(name: str) -> None:
    scenario = load_scenario(name)
    combination = min(Wanted(seeds=1).of(scenario), key=lambda one: (one.vehicles, -one.poll_s))
    drill = drill_of(name, scenario, combination)
    core = told(dict(result_of(drill, Play(drill).run)))
    full = told(dict(result_of(drill, lambda: play_in_full(drill))))
    assert core == full
    assert core["records"] > 100
