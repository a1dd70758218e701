"""The figures of ``/metrics``, in Prometheus text exposition format 0.0.4.

Every figure has one line here. What is asked of the database costs by what is open, behind or waiting, not by the
fleet; the size of history, which does not, is asked once in ``EXTENT_S``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collector.channels import deliveries
from collector.read import sites, tickets
from collector.sinks import history, influxdb
from collector.store import log
from collector.store.history import Extent, extent
from collector.web.app import Sources
from collector.web.connections import Counts
from collector.web.machine import Extents

EXTENT_S: Final = 60.0


def exposed(sources: Sources, extents: Extents) -> bytes:
    """Return all figures as text: ours and the process's, nothing that a library registers for itself. Blocks."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(sources, extents))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


@dataclass(eq=False)
class Figures(Collector):
    """All that is told, read when it is asked for."""

    sources: Sources
    extents: Extents

    def collect(self) -> Iterator[Metric]:
        """Yield every family. Blocks for the database."""
        yield from _of_disk()
        yield from _of_process(self.sources)
        yield from _of_connections(self.sources.connections)
        yield from _of_ways_out(self.sources)
        yield from _of_database(self.sources)
        yield from self._of_history()

    def _of_history(self) -> Iterator[Metric]:
        """Yield how much history holds."""
        size = _gauge("history_bytes", "size of the chunks", "site")
        age = _gauge("history_oldest_seconds", "age of the oldest chunk: so far history goes back", "site")
        for site in self.sources.statuses:
            held = self._extent(site)
            size.add_metric([site], held.bytes)
            age.add_metric([site], _age_s(held.oldest_ms))
        yield from (size, age)

    def _extent(self, site: str) -> Extent:
        asked_s, found = self.extents.get(site, (None, None))
        if asked_s is None or found is None or time.monotonic() - asked_s > EXTENT_S:
            found = extent(self.sources.store, site)
            self.extents[site] = (time.monotonic(), found)
        return found


def _of_disk() -> Iterator[Metric]:
    """Yield what this process lets the kernel write (proc(5), ``io``); nothing where the kernel does not count it."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return
    written = _counter("written_bytes", "bytes that went to disks: database, its log, checkpoints of that")
    written.add_metric([], next(int(line.split()[1]) for line in lines if line.startswith("write_bytes")))
    yield written


def _of_process(sources: Sources) -> Iterator[Metric]:
    """Yield what this process knows of its sites."""
    now_ms = time.time_ns() // 1_000_000
    owner = _gauge("site_owner", "1 while this collector owns the site", "site")
    epoch = _gauge("site_epoch", "the site's epoch as this collector owned it last", "site")
    connected = _gauge("broker_connected", "1 while the site's MQTT session is connected", "site")
    listening = _gauge(
        "listening", "1 while silence proves something: our beat comes back behind the queue", "site"
    )  # fmt: skip
    waiting = _gauge("messages_waiting", "messages that came in and are not yet committed", "site")
    oldest = _gauge("message_oldest_waiting_seconds", "age of the oldest of them", "site")
    events = _counter(
        "site_events", "what this process did and saw: records, commits, receipts, duplicates, ...", "site", "what"
    )
    refused = _counter("over_quota", "messages refused beyond a vehicle's quotas", "site", "vehicle", "quota")
    for site, status in sources.statuses.items():
        owner.add_metric([site], status.state == "owner")
        epoch.add_metric([site], status.epoch)
        connected.add_metric([site], status.connected)
        listening.add_metric([site], status.listening_since_ms is not None)
        waiting.add_metric([site], status.waiting_messages)
        since_ms = status.oldest_waiting_ms
        oldest.add_metric([site], max(0, now_ms - since_ms) / 1000 if since_ms else 0.0)
        for what, number in status.counts.items():
            events.add_metric([site, what], number)
        for (vehicle, quota), refusals in status.refusals.items():
            refused.add_metric([site, vehicle, quota], refusals.number)
    yield from (owner, epoch, connected, listening, waiting, oldest, events, refused)


def _of_connections(counts: Counts) -> Iterator[Metric]:
    """Yield what has come of the connections to the pages."""
    now = _gauge("web_connections", "connections to the pages")
    now.add_metric([], counts.open)
    closed = _counter("web_connections_closed", "connections that were closed by us before they had an answer", "why")
    for why, number in (("late", counts.late), ("displaced", counts.displaced), ("refused", counts.refused)):
        closed.add_metric([why], number)
    yield from (now, closed)


def _of_ways_out(sources: Sources) -> Iterator[Metric]:
    """Yield how sinks and receivers get on. InfluxDB has its own names, as dashboards know them."""
    failing = _gauge("influxdb_failing", "1 while InfluxDB does not take what we send", "site")
    lines = _counter("influxdb_lines", "lines of line protocol by what became of them", "site", "what")
    others_failing = _gauge(
        "drain_failing", "1 while the other side of a sink or a receiver does not take what we send", "site", "drain"
    )
    others = _counter("drain_events", "what the other sinks and the receivers did and saw", "site", "drain", "what")
    for (site, name), one in (*sources.sinks.items(), *sources.receivers.items()):
        known = name == influxdb.NAME
        (failing if known else others_failing).add_metric([site] if known else [site, name], bool(one.error))
        for what, number in one.counts.items():
            (lines if known else others).add_metric([site, what] if known else [site, name, what], number)
    yield from (failing, lines, others_failing, others)


def _of_database(sources: Sources) -> Iterator[Metric]:
    """Yield what is committed, behind and waiting."""
    engine = sources.store.engine
    open_tickets = _gauge("tickets_open", "open tickets", "site", "fault", "sla_class")
    for *labels, number in tickets.count_open_tickets(engine):
        open_tickets.add_metric(labels, number)
    yield open_tickets
    committed = _counter(
        "committed", "what was committed and nobody may overlook, by all owners of the site", "site", "what"
    )
    for of, number in sites.counters(engine).items():
        committed.add_metric(of, number)
    yield committed
    for prefix, whose, name in (("influxdb", "InfluxDB", influxdb.NAME), ("history", "history", history.NAME)):
        yield from _behind(sources, prefix, whose, name)
    waiting = _gauge("notices_waiting", "notifications that are not delivered yet", "site")
    oldest = _gauge("notices_oldest_waiting_seconds", "age of the oldest of them", "site")
    failed = _gauge("notices_failed", "notifications that a receiver refused", "site")
    for site in sorted({site for site, _ in sources.receivers}):
        number, oldest_ms = deliveries.waiting(sources.store, site)
        waiting.add_metric([site], number)
        oldest.add_metric([site], _age_s(oldest_ms))
        failed.add_metric([site], deliveries.failed(sources.store, site))
    yield from (waiting, oldest, failed)


def _behind(sources: Sources, prefix: str, whose: str, name: str) -> Iterator[Metric]:
    """Yield how many committed batches a sink has before it, and how old the oldest of them is."""
    batches = _gauge(f"{prefix}_batches_behind", f"batches that {whose} does not have yet", "site")
    age = _gauge(f"{prefix}_seconds_behind", "age of the oldest of them", "site")
    for site in (site for site, sink in sources.sinks if sink == name):
        number, oldest_ms = log.waiting(sources.store, site, name)
        batches.add_metric([site], number)
        age.add_metric([site], _age_s(oldest_ms))
    yield from (batches, age)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"kitwatch_{name}", meaning, labels=labels)


def _counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    """Return a counter; its name on the wire ends in ``_total``."""
    return CounterMetricFamily(f"kitwatch_{name}", meaning, labels=labels)


def _age_s(since_ms: int | None) -> float:
    return 0.0 if since_ms is None else max(0.0, time.time() - since_ms / 1000)
