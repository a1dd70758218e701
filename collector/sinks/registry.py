"""Every sink, and what of the configuration it takes."""

from __future__ import annotations

from collections.abc import Iterator

from collector.config import CollectorConfig
from collector.sinks.history import Compactor
from collector.sinks.influxdb import InfluxSink
from collector.sinks.places import Places
from collector.sinks.sink import Sink
from collector.site.handover import Handover
from collector.store.store import Store
from telemetry.fleet import Site


def sinks_of(config: CollectorConfig, store: Store, site: str, plan: Site, handover: Handover) -> Iterator[Sink]:
    """Yield the sinks of a site that the configuration asks for.

    ``plan`` is what the fleet file says of it; ``handover`` takes what they learn to its owner.
    """
    yield Compactor(store, site, plan, days=config.history.days)
    yield Places(store, site, plan, handover)
    if config.influxdb is not None:
        yield InfluxSink(store, site, config.influxdb)
