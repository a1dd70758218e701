"""Both depths of a drill give the same: through the agent's own sampler and outbox, wire and SQLite, and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kitwatch.drill.compare import result_of
from kitwatch.drill.full import FullPlay, play_in_full
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, drill_of, load_scenario
from kitwatch.main import main

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


def test_a_database_tells_what_other_rules_would_have_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill's centre writes its log and snapshot into SQLite; the command reads them, and changes nothing."""
    scenario = load_scenario("outbox_volatile")
    play = FullPlay(drill_of("outbox_volatile", scenario, Combination(poll_s=60)), tmp_path)
    came = play.run()
    play.close()
    assert came.quarantined == 0, "schemas that come later change no number of those before"
    database = f"sqlite:///{tmp_path / 'collector.db'}"
    before = (tmp_path / "collector.db").read_bytes()
    assert main(["rules", "replay", "--database", database, "--site", "north", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert [one["fault"] for one in same["was"]] == [one.ticket.fault for one in came.tickets.values()]
    assert same["was"] == same["would_be"]
    slow = tmp_path / "slow.yaml"
    slow.write_text("overrides: [{rule: outbox_volatile, set: {for: 3h, version: 99}}]", "utf-8")
    assert main(["rules", "replay", str(slow), "--database", database, "--site", "north"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in told] == [
        "  only then  outbox_volatile a01/box", "  problems   outbox_volatile: -1", "1 tickets then",
    ]  # fmt: skip
    assert main(["rules", "replay", "--database", database, "--site", "south"]) == 2
    assert "expected a snapshot to begin with" in capsys.readouterr().err
    assert (tmp_path / "collector.db").read_bytes() == before
