"""The mutants: that there is one for each rule, window, edge and verb, and that a drill can tell one from the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.core.rules.files import load_rules
from tests.mutation.__main__ import last_time
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.notice import Asking, Run, about, ask, in_order, near, runs_of, scenarios


@pytest.fixture(scope="module")
def found() -> dict[str, Mutant]:
    return {one.name: one for one in mutants()}


def test_each_rule_and_each_verb_has_its_mutant(found: dict[str, Mutant]) -> None:
    shipped = load_rules()
    assert {f"rule {id} deleted" for id in shipped.by_id} <= found.keys()
    for id in shipped.by_id:
        assert id not in found[f"rule {id} deleted"].rules.by_id
    blocking = {fault for fault, shape in shipped.topology.faults.items() if shape.blocks}
    assert {f"verb {fault} blocks deleted" for fault in blocking} <= found.keys()
    assert not found["verb router_dead blocks deleted"].rules.topology.faults["router_dead"].blocks
    halved = [one for name, one in found.items() if "rule sim_absent: for" in name and name.endswith("halved")]
    assert [one.rules.by_id["sim_absent"].for_ms for one in halved] == [shipped.by_id["sim_absent"].for_ms // 2]


def test_what_is_excused_is_a_mutant_and_says_why(found: dict[str, Mutant]) -> None:
    assert EQUIVALENT.keys() <= found.keys()
    assert all(len(reason) > 20 for reason in EQUIVALENT.values())


def test_whoever_is_about_the_fault_is_asked_first(found: dict[str, Mutant]) -> None:
    mutant = found["rule sim_locked deleted"]
    order = list(in_order(mutant))
    assert len(order) == len(set(order))
    assert order
    assert all("sim_locked" in about(scenarios()[run.name]) for run in order)
    others = near(mutant)
    assert others
    assert not set(order) & set(others)


def test_a_scenario_notices_what_is_gone_or_shorter_and_says_so(found: dict[str, Mutant]) -> None:
    for name, by, said in (
        ("rule outbox_volatile deleted", "outbox_volatile", "missing     outbox_volatile a01/box"),
        ("rule on_battery: for 2m halved", "not_long_enough", "unexpected  on_battery a07/ups"),
        ("verb video_all_down blocks deleted", "switch_unpowered", ""),
    ):
        noticed = ask(Asking(found[name], (by,)))
        assert noticed.run is not None, name
        assert noticed.run.name == by
        assert noticed.said.startswith(said)


def test_who_does_not_notice_is_no_witness(found: dict[str, Mutant]) -> None:
    noticed = ask(Asking(found["rule outbox_volatile deleted"], ("camera_blip",), most=1))
    assert (noticed.by, noticed.said, noticed.asked) == ("", "", 1)


def test_where_no_scenario_is_asked_the_tests_of_its_rule_notice(found: dict[str, Mutant]) -> None:
    noticed = ask(Asking(found["rule router_dead: clear_for 30s halved"], most=0))
    assert noticed.by.startswith("rule test: ")
    assert noticed.run is None
    assert "expected router_dead/dev, found nothing" in noticed.said


def test_who_noticed_the_last_time_is_known_by_the_record(tmp_path: Path) -> None:
    run = next(runs_of("outbox_volatile"))
    by = {"rule outbox_volatile deleted": [run.name, *run.combination]}
    (tmp_path / "mutation-1.json").write_text(json.dumps({"counts": {"scenarios": by}}))
    assert last_time(tmp_path) == {"rule outbox_volatile deleted": Run("outbox_volatile", run.combination)}
