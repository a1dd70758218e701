"""What a profile asks of a device: each scalar and each column once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import msgspec

from firmware_profiles.load import Profile, at_instance
from firmware_profiles.model import Metric, Source, Table
from telemetry.metrics import METRICS


class Wanted(msgspec.Struct, frozen=True):
    """What to ask a device for: ``scalars`` by one GET each, ``columns`` by walking."""

    scalars: Sequence[str]
    columns: Sequence[str]


def is_column(at: str, source: Source | None = None) -> bool:
    """Return whether an address outside a table names a column: an OID without ``.0``, or an HTTP path with ``[]``."""
    if ":" in at:
        return "[]" in at
    return not at.endswith(".0") and not (source is not None and source.exact)


def wanted(profile: Profile) -> Wanted:
    """Return everything the profile reads, each once."""
    scalars: dict[str, None] = {}
    columns: dict[str, None] = {}
    for metric in profile.metrics:
        table = profile.tables[metric.table] if metric.table else None
        for at in _addresses(metric):
            if table is not None and table.instances is not None:
                scalars.update(dict.fromkeys(at_instance(at, offset) for offset in table.instances.values()))
            elif table is not None or (metric.aggregate is not None and is_column(at)):
                columns[at] = None
            else:
                scalars[at] = None
    for name in {metric.table: None for metric in profile.metrics if metric.table}:
        columns.update(dict.fromkeys(_table_columns(profile.tables[name])))
    for sources in profile.identity.values():
        for source in sources:
            for at in source_addresses(source):
                (columns if is_column(at, source) else scalars)[at] = None
    return Wanted(tuple(scalars), tuple(columns))


def metric_of_column(profile: Profile, column: str) -> str:
    """Return the first metric that reads a column, for a flag about it; the table's whole measurement for a name."""
    for metric in profile.metrics:
        if column in _addresses(metric):
            return metric.metric
    for metric in profile.metrics:
        if metric.table is not None and column in _table_columns(profile.tables[metric.table]):
            return f"{METRICS[metric.metric].measurement}.*"
    return "device.*"


def sources_of(metric: Metric) -> list[Source]:
    """Return the metric's sources, settled by the loader."""
    return cast("list[Source]", metric.source)


def source_addresses(source: Source) -> list[str]:
    """Return the addresses of one source: its own, or those of its formula."""
    return [source.at] if source.at is not None else list(source.of.values())


def _addresses(metric: Metric) -> Iterator[str]:
    for source in sources_of(metric):
        yield from source_addresses(source)
        yield from (condition.at for condition in source.only if condition.at is not None)
    for condition in metric.when:
        yield from condition.of.values()
        if condition.at is not None:
            yield condition.at


def _table_columns(table: Table) -> Iterator[str]:
    if table.instances is not None:
        return
    for source in table.name:
        if isinstance(source, Source):
            yield from source_addresses(source)
    yield from (condition.at for condition in table.keep if condition.at is not None)
    yield from table.unique
