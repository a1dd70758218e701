"""What explains what: one graph of a vehicle, and the cause of each of its problems (docs/decisions/0025). Pure.

The graph's nodes are the fleet file's devices and what the shipped topology adds to them; its edges say what a node
needs. A fault stands at a node and has a verb there: it *blocks* (explains everything that needs the node), *degrades*
(explains what is listed and began later), or *blinds* (what is read through the node is unknown, never explained).

What holds: a node that is seen to work is no cause; of two that explain each other the earlier one is the cause; causes
are worked out anew from all problems at once, so that their order cannot matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from collector.core.identities import ProblemKey
from telemetry.fleet import VehiclePlan

OUTLIVES_MS: Final = 150_000
"""A symptom that is there for so long after its cause has ended is one itself; at least."""


class NodeShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of node."""

    needs: tuple[str, ...] = ()
    """Nodes, or kinds of device, that it cannot do without."""
    needs_by_kind: dict[str, tuple[str, ...]] = {}
    """The same, by the kind of the device."""
    whole: bool = False
    """There is one in a vehicle, instead of one a device."""


class FaultShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fault does at its node."""

    at: str
    """The node."""
    blocks: bool = False
    """Explains all that need the node, and what stands below it in the file at the same node."""
    degrades: tuple[str, ...] = ()
    """Faults that it explains if they began later."""
    blinds: bool = False
    """What is read through the node is unknown."""


class Topology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shipped topology file."""

    nodes: dict[str, NodeShape]
    faults: dict[str, FaultShape]


@dataclass(frozen=True, slots=True)
class Since:
    """A problem that may be a cause, or a symptom: which, since when, and whether its end can be seen."""

    key: ProblemKey
    event_ms: int
    sees_end: bool = True


Node = tuple[str, str]
"""(kind of node, device); the device is empty for what there is one of."""
Alive = Callable[[str], bool]
"""Says whether something shows that a device does its work, reached or not."""


@dataclass(slots=True)
class Graph:
    """One vehicle's graph."""

    topology: Topology
    plan: VehiclePlan
    _kinds: dict[str, str] = field(default_factory=dict)
    _direct: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)
    _needs: dict[Node, frozenset[Node]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _, id, device in self.plan.devices():
            self._kinds[id] = device.kind
            self._direct[id] = device.depends_on
        self._order = {fault: number for number, fault in enumerate(self.topology.faults)}

    def node(self, key: ProblemKey) -> Node | None:
        """Return the node at which a problem stands, ``None`` where the topology says nothing of its fault."""
        fault = self.topology.faults.get(key.fault)
        if fault is None:
            return None
        return fault.at, "" if self.topology.nodes[fault.at].whole else key.device

    def needs(self, node: Node) -> frozenset[Node]:
        """Return all nodes that one cannot do without, however far away."""
        found = self._needs.get(node)
        if found is None:
            seen: set[Node] = set()
            row = list(self._edges(node))
            while row:
                one = row.pop()
                if one not in seen and one != node:
                    seen.add(one)
                    row += self._edges(one)
            found = self._needs[node] = frozenset(seen)
        return found

    def depends_on(self, device: str) -> list[str]:
        """Return the devices that the fleet file says a device cannot work without, the nearest first."""
        found: list[str] = []
        row = list(self._direct.get(device, ()))
        while row:
            id = row.pop(0)
            if id not in found and id != device:
                found.append(id)
                row += self._direct.get(id, ())
        return found

    def explains(self, cause: ProblemKey, key: ProblemKey, alive: Alive) -> bool:
        """Say whether a problem would explain another one."""
        if cause.fault == key.fault and cause.device != key.device and self._one_chain(cause.device, key.device):
            return True  # the same fault told twice: of a router, and of the modem in it
        return self.stands_before(cause, key, alive)

    def stands_before(self, cause: ProblemKey, key: ProblemKey, alive: Alive) -> bool:
        """Say whether a problem would explain another one by what the topology says."""
        if cause[:2] == key[:2]:
            return False
        fault, at, node = self.topology.faults.get(cause.fault), self.node(cause), self.node(key)
        if fault is None or at is None or node is None:
            return False
        if key.fault in fault.degrades:
            return True
        if not (fault.blocks or fault.blinds) or (at[0] == "device" and alive(at[1])):
            return False
        if at == node:
            return fault.blocks and self._order[cause.fault] < self._order[key.fault]
        return at in self.needs(node)

    def degraded_by(self, fault: str) -> tuple[str, ...]:
        """Return the faults that a fault explains if they began later."""
        return self.topology.faults[fault].degrades if fault in self.topology.faults else ()

    def blinds(self, fault: str) -> bool:
        """Say whether a fault only hides what lies behind it."""
        return fault in self.topology.faults and self.topology.faults[fault].blinds

    def at_device(self, fault: str) -> bool:
        """Say whether a fault stands at a device itself: it explains before it has lasted long enough to begin."""
        return fault in self.topology.faults and self.topology.faults[fault].at == "device"

    def _one_chain(self, one: str, other: str) -> bool:
        return one in self.depends_on(other) or other in self.depends_on(one)

    def _edges(self, node: Node) -> Iterable[Node]:
        kind, device = node
        shape = self.topology.nodes[kind]
        for need in shape.needs:
            yield from self._resolved(need, device)
        if kind == "device":
            direct = self._direct.get(device, ())
            yield from (("device", id) for id in direct)
            for need in shape.needs_by_kind.get(self._kinds.get(device, ""), ()):
                if not direct or need in self.topology.nodes:
                    yield from self._resolved(need, device)

    def _resolved(self, need: str, device: str) -> Iterable[Node]:
        """Yield the nodes that a word of the topology means for a node of ``device``."""
        if need not in self.topology.nodes:
            yield from (("device", id) for id, kind in self._kinds.items() if kind == need)
        elif self.topology.nodes[need].whole:
            yield need, ""
        elif device:
            yield need, device
        else:
            yield from ((need, id) for id in self._kinds)


def graph_of(memory: dict[object, Any], topology: Topology, vehicle: str, plan: VehiclePlan) -> Graph:
    """Return a vehicle's graph; the last one is remembered in ``memory`` as long as the plan is the same object."""
    found = memory.get(("graph", vehicle))
    if not isinstance(found, Graph) or found.plan is not plan:
        found = memory["graph", vehicle] = Graph(topology, plan)
    return found


def causes(graph: Graph, problems: Iterable[Since], alive: Alive) -> dict[ProblemKey, ProblemKey | None]:
    """Return the cause of each problem, ``None`` for one that nothing explains."""
    listed = list(problems)
    explained = {one.key: [other for other in listed if explains(graph, other, one, alive)] for one in listed}
    found: dict[ProblemKey, ProblemKey | None] = {}
    for key, by in explained.items():
        roots = [one for one in by if not explained[one.key]] or by
        found[key] = min(roots, key=lambda one: (one.event_ms, one.key)).key if roots else None
    for first in _first_of_circles(found, {one.key: (one.event_ms, one.key) for one in listed}):
        found[first] = None
    return found


def _first_of_circles(
    found: Mapping[ProblemKey, ProblemKey | None], ranks: Mapping[ProblemKey, tuple[int, ProblemKey]]
) -> set[ProblemKey]:
    """Return of each row of problems that explain each other in a circle the earliest: it is the cause."""
    firsts: set[ProblemKey] = set()
    done: set[ProblemKey] = set()
    for key in found:
        row: list[ProblemKey] = []
        at: ProblemKey | None = key
        while at is not None and at not in done:
            done.add(at)
            row.append(at)
            at = found[at]
        if at is not None and at in row:
            firsts.add(min(row[row.index(at) :], key=ranks.__getitem__))
    return firsts


def explains(graph: Graph, cause: Since, symptom: Since, alive: Alive) -> bool:
    """Say whether one problem is the cause of another."""
    if not cause.sees_end or graph.blinds(cause.key.fault) or not graph.explains(cause.key, symptom.key, alive):
        return False
    if symptom.key.fault in graph.degraded_by(cause.key.fault):
        return cause.event_ms <= symptom.event_ms
    if graph.explains(symptom.key, cause.key, alive):
        return (cause.event_ms, cause.key) < (symptom.event_ms, symptom.key)
    return True


def check_topology(topology: Topology, faults: Mapping[str, Any], kinds: Iterable[str]) -> str:
    """Return the first word of a topology that means nothing, empty if each of them does."""
    known = {*topology.nodes, *kinds}
    for name, shape in topology.nodes.items():
        for need in (*shape.needs, *(word for words in shape.needs_by_kind.values() for word in words)):
            if need not in known:
                return f"nodes.{name}: {need}"
    for fault, effect in topology.faults.items():
        if effect.at not in topology.nodes:
            return f"faults.{fault}.at: {effect.at}"
        for word in (fault, *effect.degrades):
            if word not in faults:
                return f"faults: {word}"
    return ""
