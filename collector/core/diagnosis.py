"""What explains what: one graph of a vehicle, and the cause of each of its problems (docs/decisions/0025). Pure.

The graph's nodes are the fleet file's devices and what the shipped topology adds to them; its edges say what a node
needs. A fault stands at a node and has a verb there: it *blocks* (explains everything that needs the node), *degrades*
(explains what is listed and began later), or *blinds* (what is read through the node is unknown, never explained).

What holds: a node that is seen to work is no cause; of two that explain each other the earlier one is the cause; causes
are worked out anew from all problems at once, so that their order cannot matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from collector.core.identities import ProblemKey
from telemetry.fleet import VehiclePlan

LEAST_CHILDREN: Final = 2
"""So many must be gone, and all of them, before what they hang on is taken for the cause."""
RADIOS: Final = ("modem", "router")
"""Kinds of device that may tell of a SIM and a network."""
OUTLIVES_MS: Final = 150_000
"""A symptom that is there for so long after its cause has ended is one itself; at least."""
WAITS_MS: Final = 60_000
"""A problem waits for a sign of life of what it needs until so long after its begin, at most."""


class NodeShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of node."""

    needs: tuple[str, ...] = ()
    """Nodes, or kinds of device, that it cannot do without."""
    needs_one_of: tuple[str, ...] = ()
    """The same of its modems, where one of them will do: of a vehicle with two neither is needed."""
    needs_by_kind: dict[str, tuple[str, ...]] = {}
    """The same as ``needs``, by the kind of the device."""
    whole: bool = False
    """There is one in a vehicle, instead of one a device."""
    group: str = ""
    """There is one of each device of this kind, which those that depend on it need, and one of the whole vehicle."""


class FaultShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fault does at its node."""

    at: str
    """The node."""
    blocks: bool = False
    """Explains all that need the node, and what stands below it in the file at the same node."""
    degrades: tuple[str, ...] = ()
    """Faults of what has to do with the node that it explains if they began later."""
    blinds: Literal["", "device", "agent"] = ""
    """What is read of its device, or by the agent that runs on it, is unknown: nothing of it begins meanwhile."""


class Topology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shipped topology file."""

    nodes: dict[str, NodeShape]
    faults: dict[str, FaultShape]


class Since(msgspec.Struct, frozen=True):
    """A problem that may be a cause, or a symptom: which, since when, and whether its end can be seen."""

    key: ProblemKey
    event_ms: int
    sees_end: bool = True


Verb = Literal["blocks", "degrades"]
"""How a problem explains another one."""
Node = tuple[str, str]
"""(kind of node, device); the device is empty for what there is one of."""
Alive = Callable[[Node, int], bool]
"""Says whether something has shown since then that a node does its work, or that something lives behind it."""
ALL_OF_A_GROUP: Final = "video"
"""What the whole vehicle's node of a group is called where no single device is the middle of it."""


class Graph(msgspec.Struct):
    """One vehicle's graph."""

    topology: Topology
    plan: VehiclePlan
    _kinds: dict[str, str] = msgspec.field(default_factory=dict)
    _direct: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    _hosts: dict[str, frozenset[str]] = msgspec.field(default_factory=dict)
    _order: dict[str, int] = msgspec.field(default_factory=dict)
    _needs: dict[Node, frozenset[Node]] = msgspec.field(default_factory=dict)
    _middles: dict[tuple[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for agent, id, device in self.plan.devices():
            self._kinds.setdefault(id, device.kind)
            self._direct[id] = (*self._direct.get(id, ()), *device.depends_on)
            if device.kind == "host":
                self._hosts[agent] = self._hosts.get(agent, frozenset()) | {id}
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

    def stands_on(self, device: str) -> list[str]:
        """Return the devices that one cannot work without, by the fleet file or else by its kind."""
        return [id for kind, id in self.needs(("device", device)) if kind == "device"]

    def kind(self, device: str) -> str:
        """Return the kind of a device, empty for one that the fleet file does not name."""
        return self._kinds.get(device, "")

    def devices(self, kinds: Collection[str]) -> list[str]:
        """Return the vehicle's devices of these kinds."""
        return [id for id, kind in self._kinds.items() if kind in kinds]

    def middles(self, group: str, children: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return what several of these children hang on together, each with those: the vehicle's node first."""
        name = group, tuple(children)
        if name not in self._middles:
            self._middles[name] = self._found_middles(*name)
        return self._middles[name]

    def _found_middles(self, group: str, children: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        kind = self.topology.nodes[group].group
        behind = {
            id: tuple(child for child in children if id in self.depends_on(child)) for id in self.devices((kind,))
        }
        whole = next((id for id, found in behind.items() if len(found) == len(children)), self._whole(group))
        found = {whole: children, **{id: kids for id, kids in behind.items() if id != whole}}
        return {id: kids for id, kids in found.items() if len(kids) >= LEAST_CHILDREN}

    def explains(self, cause: Since, symptom: Since, alive: Alive) -> bool:
        """Say whether a problem would explain another one."""
        one, other = cause.key, symptom.key
        if one.fault == other.fault and one.device != other.device and self._one_chain(one.device, other.device):
            return True  # the same fault told twice: of a router, and of the modem in it
        verb = self.verb(one, other, alive, cause.event_ms)
        return verb == "blocks" or (verb == "degrades" and cause.event_ms <= symptom.event_ms)

    def verb(self, cause: ProblemKey, key: ProblemKey, alive: Alive, since_ms: int) -> Verb | None:
        """Return how a problem would explain another one by what the topology says; ``None``: it would not.

        ``since_ms``: when it began; a sign of life from before that proves nothing.
        """
        fault, at, node = self.topology.faults.get(cause.fault), self.node(cause), self.node(key)
        if cause[:2] == key[:2] or fault is None or at is None or node is None:
            return None
        if key.fault in fault.degrades and self._concerns(cause, at, key, node):
            return "degrades"
        if not fault.blocks or alive(at, since_ms):
            return None
        if at == node:
            return "blocks" if self._order[cause.fault] < self._order[key.fault] else None
        return "blocks" if at in self.needs(node) else None

    def blinds(self, cause: ProblemKey, key: ProblemKey, agent: str) -> bool:
        """Say whether what an agent tells of a device is unknown because of a problem."""
        fault = self.topology.faults.get(cause.fault)
        if fault is None or not fault.blinds or (cause.device == key.device and cause.fault == key.fault):
            return False
        if fault.blinds == "agent":
            return cause.device in self._hosts.get(agent, ()) and cause.device != key.device
        return cause.device == key.device and key.fault in self.topology.faults and self.node(key) != self.node(cause)

    def at_device(self, fault: str) -> bool:
        """Say whether a fault says of a device that it is gone: it explains before it has lasted for its time."""
        shape = self.topology.faults.get(fault)
        return shape is not None and shape.at == "device" and shape.blocks

    def _concerns(self, cause: ProblemKey, at: Node, key: ProblemKey, node: Node) -> bool:
        """Say whether one problem's place has anything to do with the other's."""
        if cause.device == key.device or at == node or cause.device in self._hosts.get(key.device, ()):
            return True
        needs = self.needs(node)
        return at in needs or ("device", cause.device) in needs

    def _one_chain(self, one: str, other: str) -> bool:
        return one in self.depends_on(other) or other in self.depends_on(one)

    def _edges(self, node: Node) -> Iterable[Node]:
        kind, device = node
        shape = self.topology.nodes[kind]
        for need in shape.needs:
            yield from self._resolved(need, device)
        if len(self.devices(("modem",))) < LEAST_CHILDREN:
            for need in shape.needs_one_of:
                yield from self._resolved(need, device)
        if shape.group and device != self._whole(kind):
            yield kind, self._whole(kind)
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
            return
        shape = self.topology.nodes[need]
        if shape.whole:
            yield need, ""
        elif shape.group:
            yield need, self._whole(need)
            yield from ((need, id) for id in (device, *self.depends_on(device)) if self._kinds.get(id) == shape.group)
        elif device:
            yield need, device
        else:
            yield from ((need, id) for id in self.devices(RADIOS))

    def _whole(self, group: str) -> str:
        found = self.devices((self.topology.nodes[group].group,))
        return found[0] if len(found) == 1 else ALL_OF_A_GROUP


def graph_of(memory: dict[object, Any], topology: Topology, vehicle: str, plan: VehiclePlan) -> Graph:
    """Return a vehicle's graph, remembered in ``memory``: one for all that are equipped alike (5 kB)."""
    found: tuple[VehiclePlan, Graph] | None = memory.get(("graph", vehicle))
    if found is None or found[0] is not plan:
        alike = tuple((agent, id, device.kind, device.depends_on) for agent, id, device in plan.devices())
        graph = memory.setdefault(("graph", alike), Graph(topology, plan))
        found = memory["graph", vehicle] = plan, graph
    return found[1]


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
    if not cause.sees_end or not graph.explains(cause, symptom, alive):
        return False
    if symptom.sees_end and graph.explains(symptom, cause, alive):
        return (cause.event_ms, cause.key) < (symptom.event_ms, symptom.key)
    return True


def check_topology(topology: Topology, faults: Mapping[str, Any], kinds: Iterable[str]) -> str:
    """Return the first word of a topology that means nothing, empty if each of them does."""
    known = {*topology.nodes, *kinds}
    for name, shape in topology.nodes.items():
        group = (shape.group,) if shape.group else ()
        by_kind = (word for words in shape.needs_by_kind.values() for word in words)
        for need in (*group, *shape.needs, *shape.needs_one_of, *by_kind):
            if need not in known:
                return f"nodes.{name}: {need}"
    for fault, effect in topology.faults.items():
        if effect.at not in topology.nodes:
            return f"faults.{fault}.at: {effect.at}"
        for word in (fault, *effect.degrades):
            if word not in faults:
                return f"faults: {word}"
    return ""
