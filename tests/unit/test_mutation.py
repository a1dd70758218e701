"""The mutants: that there is one for each rule, window, edge and verb, and that a drill can tell one from the rules."""

from __future__ import annotations

from collector.core.rules.files import load_rules
from tests.mutation.mutants import mutants
from tests.mutation.notice import holds


def test_each_rule_and_each_verb_has_its_mutant() -> None:
    found = {one.name: one for one in mutants()}
    shipped = load_rules()
    assert {f"rule {id} deleted" for id in shipped.by_id} <= found.keys()
    for id in shipped.by_id:
        assert id not in found[f"rule {id} deleted"].rules.by_id
    blocking = {fault for fault, shape in shipped.topology.faults.items() if shape.blocks}
    assert {f"verb {fault} blocks deleted" for fault in blocking} <= found.keys()
    assert not found["verb router_dead blocks deleted"].rules.topology.faults["router_dead"].blocks
    halved = [one for one in found.values() if "rule sim_absent: for" in one.name and one.name.endswith("halved")]
    assert [one.rules.by_id["sim_absent"].for_ms for one in halved] == [shipped.by_id["sim_absent"].for_ms // 2]


def test_a_scenario_notices_that_its_rule_is_gone() -> None:
    found = {one.name: one for one in mutants()}
    assert holds("outbox_volatile")
    assert not holds("outbox_volatile", found["rule outbox_volatile deleted"])
