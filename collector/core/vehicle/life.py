"""Signs of life: what shows that a node of the vehicle does its work, or that something lives behind it. Pure.

A device that answers over the network shows that it is there and that all it stands on is; so does a stream that plays
and a target that answers. What an agent reads at a port of its own host shows that device alone. What the vehicle's
own network reaches says nothing of a way out of which a target behind it tells that it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from collector.core.diagnosis import Graph, Node
from collector.core.identities import SourceKey
from collector.core.vehicle.state import Proof, Source

WORK: Final = frozenset({"stream", "probe"})
"""Inputs that see what a device does, and do not read the device itself."""
LOCAL: Final = frozenset({"modem", "gnss", "system", "agent"})
"""Inputs that reach their device without the vehicle's network."""
BESIDE: Final = frozenset({"camera", "encoder", "switch", "ups", "power", "host"})
"""Kinds of device that stand on the vehicle's network beside its router: a switch reaches them without it."""
_SLACK_MS: Final = 10_000
_FIRST_STEP_MS: Final = 60_000
"""Of a source that has been read once: the longest of the usual intervals."""


def counts_until(source: Source, shown_ms: int, interval_ms: int = 0) -> int:
    """Return until when a sign of life of a source at ``shown_ms`` counts: its next sample is due before that.

    ``interval_ms``: how often it is polled, where that is known better than by its last two samples.
    """
    return shown_ms + round(1.5 * (max(source.step_ms, interval_ms) or _FIRST_STEP_MS)) + _SLACK_MS


def latest_ms(sources: Mapping[SourceKey, Source]) -> int:
    """Return the kit's own time: that of its last sample."""
    return max((source.last_ms for source in sources.values()), default=0)


def answers(sources: Mapping[SourceKey, Source]) -> Iterator[tuple[SourceKey, Source]]:
    """Yield the sources whose device answered the last time, unless the next time is overdue by the kit's own time."""
    now_ms = latest_ms(sources)
    for key, source in sources.items():
        if source.alive_ms == source.last_ms and now_ms <= counts_until(source, source.alive_ms):
            yield key, source


def shown_by(device: str, graph: Graph, lost: frozenset[str]) -> frozenset[Node]:
    """Return what a device that answers shows to be there beside itself. ``lost`` are the ways out that are."""
    needs = graph.needs(("device", device))
    if lost and graph.kind(device) in BESIDE:
        beside = lost.difference(graph.depends_on(device))
        return needs - {("device", one) for one in beside}
    return needs


def lost_ways(sources: Mapping[SourceKey, Source], graph: Graph) -> frozenset[str]:
    """Return the routers behind which a target is asked, and none answers by the last word of it."""
    now_ms = latest_ms(sources)
    asked = [
        key.device
        for key, source in sources.items()
        if key.input == "probe" and source.alive_ms != source.last_ms and now_ms <= counts_until(source, source.last_ms)
    ]
    return frozenset(one for device in asked for one in graph.stands_on(device) if graph.kind(one) == "router")


def signs_of(sources: Mapping[SourceKey, Source], proofs: Mapping[SourceKey, Proof], graph: Graph) -> dict[Node, int]:
    """Return of each node that shows life the event time of the last sign."""
    found: dict[Node, int] = {}
    now_ms = latest_ms(sources)
    shown = [(key.device, source.alive_ms, key.input in LOCAL) for key, source in answers(sources)]
    for proof in proofs.values():
        shown += [(device, proof.until_ms, False) for device in proof.devices if now_ms <= proof.until_ms]
    lost = lost_ways(sources, graph)
    for device, time_ms, alone in shown:
        node = ("device", device)
        for one in (node,) if alone else (node, *shown_by(device, graph, lost)):
            found[one] = max(found.get(one, 0), time_ms)
    return found
