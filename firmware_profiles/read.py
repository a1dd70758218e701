"""From answers to readings, by a profile. Pure: the same answers give the same result, over SNMP and HTTP alike.

What this guarantees: a reading is in the catalogue, of its type, in its plausible range, and stands once. What was
seen and not taken is in ``flags``. What one figure says about another is judged in ``guards``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from firmware_profiles.answers import NUMERIC, Answers, Wire
from firmware_profiles.arithmetic import FormulaError, evaluate
from firmware_profiles.asked import is_column, source_addresses, sources_of
from firmware_profiles.cells import NOTHING, Outcome, all_ones, number_in, parse_cell, plain_number, shown
from firmware_profiles.guards import Found, Judged, guarded, holds, meant, set_legs
from firmware_profiles.load import Profile, at_instance
from firmware_profiles.model import Condition, Metric, Parsing, Source, Table
from firmware_profiles.version import VersionError, parse_range, parse_version
from telemetry.metrics import METRICS, Value
from telemetry.metrics import Metric as Entry
from telemetry.readings import Identity, Reading

IDENTITY_FIELDS: Final = ("model", "firmware", "serial", "hardware", "imei", "imsi", "iccid")
_IDENTITY_ENTRY: Final = Entry("device.identity", "text", "", "a part of a device's identity")
_NUMBER_ENTRY: Final = Entry("device.number", "float", "", "a number that a condition is about")
_MAX_LABEL: Final = 64


class Result(msgspec.Struct, frozen=True):
    """What came out: readings in the profile's order, who the device is, and flags (see ``agent.inputs.base.Poll``)."""

    readings: Sequence[Reading]
    identity: Identity
    flags: Sequence[str]


class _Place(msgspec.Struct):
    """Where a metric is looked up: outside tables (``row`` None), in a row of columns, or in an instance."""

    row: str | None = None
    offset: int | None = None


class _Reader:
    def __init__(self, profile: Profile, answers: Answers) -> None:
        self.profile = profile
        self.answers = answers
        self.flags: list[str] = []

    def flag(self, kind: str, name: str, seen: str) -> None:
        text = f"{kind} {name} {seen}".rstrip()
        if text not in self.flags:
            self.flags.append(text)

    def cell(self, at: str, place: _Place, join: list[int] | None) -> Wire | None:
        if place.offset is not None:
            return self.answers.scalar(at_instance(at, place.offset))
        if place.row is None or (":" not in at and at.endswith(".0")):  # a row's condition on the whole device
            return self.answers.scalar(at)
        index = place.row
        if join is not None:
            parts = index.split(".")
            if any(number >= len(parts) for number in join):
                return None
            index = ".".join(parts[number] for number in join)
        return self.answers.column(at).get(index)

    def outcome(self, source: Source, entry: Entry, place: _Place) -> Outcome:
        if not all(holds(condition, self.raw(condition, place)) for condition in source.only):
            return NOTHING
        if source.at is not None:
            return parse_cell(self.cell(source.at, place, source.join), source, entry)
        numbers: dict[str, float] = {}
        for name, at in source.of.items():
            wire = self.cell(at, place, source.join)
            number = _plain_number(wire, source)
            if number is None:
                return NOTHING
            numbers[name] = number
        try:
            value = round(evaluate(source.formula or "", numbers), 6)
        except FormulaError as error:
            return Outcome(flag="unparsed", seen=str(error))
        return parse_cell(Wire("number", value), source, entry)

    def best(self, metric: Metric, place: _Place, where: str = "") -> Value | None:
        """Return the first alternative's value; flags of the alternatives tried are kept."""
        entry = METRICS[metric.metric]
        for source in sources_of(metric):
            outcome = self.outcome(source, entry, place)
            value = outcome.value
            flag, seen = outcome.flag, outcome.seen
            if value is not None:
                try:
                    value = entry.check(value)
                except ValueError:
                    value, flag = None, "unparsed"
                    seen = f"{shown(outcome.value)} outside {entry.low:g} to {entry.high:g}"
            if flag is not None:
                self.flag(flag, metric.metric, seen + where)
            if value is not None:
                return value
        return None

    def told(self, metric: Metric, place: _Place, value: Value) -> bool:
        """Return whether the raw conditions under which ``value`` means anything hold, flagging one that does not."""
        for condition in metric.when:
            reason = ""
            if condition.formula is not None and not self.within(condition, place):
                reason = f"{condition.formula} above {condition.at_most:g}"
            elif condition.at is not None:
                raw = self.raw(condition, place)
                reason = "" if holds(condition, raw) else f"{condition.at} is {shown(raw or '')}"
            if reason:
                if condition.flag is not None:
                    self.flag(condition.flag, metric.metric, f"{shown(value)} ({reason})")
                return False
        return True

    def within(self, condition: Condition, place: _Place) -> bool:
        """Return whether a condition's formula is at most its bound; where a number lacks, nothing is told."""
        source = Source(formula=condition.formula, of=condition.of, join=condition.join)
        value = self.outcome(source, _NUMBER_ENTRY, place).value
        return not isinstance(value, int | float) or condition.at_most is None or value <= condition.at_most

    def outside_tables(self, metric: Metric) -> Iterator[Found]:
        if metric.aggregate is None:
            value = self.best(metric, _Place())
            if value is not None and self.told(metric, _Place(), value):
                yield Found(metric, METRICS[metric.metric], value, dict(metric.labels))
            return
        entry = METRICS[metric.metric]
        for source in sources_of(metric):
            values: list[float] = []
            rows: list[str | None] = list(self.rows_of([metric]))
            if not any(map(is_column, source_addresses(source))):
                rows = [None]
            for row in rows:
                place = _Place(row)
                outcome = self.outcome(source, entry, place)
                if outcome.flag is not None:
                    self.flag(outcome.flag, metric.metric, outcome.seen + (f" (row {row})" if row else ""))
                if isinstance(outcome.value, int | float) and self.told(metric, place, outcome.value):
                    values.append(float(outcome.value))
            if values:
                try:
                    yield Found(metric, entry, entry.check(_aggregated(metric, values)), dict(metric.labels))
                except ValueError as error:
                    self.flag("unparsed", metric.metric, str(error))
                    continue
                return

    def rows_of(self, metrics: Iterable[Metric]) -> list[str]:
        """Return the indexes that any of the metrics' own columns has, in order."""
        rows: dict[str, None] = {}
        for metric in metrics:
            for source in sources_of(metric):
                if source.join is None:
                    for at in source_addresses(source):
                        rows.update(dict.fromkeys(self.answers.column(at)))
        return sorted(rows, key=_row_key) if len(rows) > 1 else list(rows)

    def in_table(self, name: str, metrics: list[Metric]) -> Iterator[Found]:
        table = self.profile.tables[name]
        places: list[tuple[str, _Place]]
        if table.instances is not None:
            places = [(key, _Place(key, offset)) for key, offset in table.instances.items()]
        else:
            places = [(row, _Place(row)) for row in self.rows_of(metrics)]
        if len(places) > table.rows:
            self.flag("truncated", f"{table.label}.*", f"{len(places)} rows, {table.rows} read")
            places = places[: table.rows]
        measurement = METRICS[metrics[0].metric].measurement
        found: list[tuple[str, str, list[Found]]] = []
        for index, place in self.distinct(table, measurement, places):
            where = f" (row {index})" if len(places) > 1 else ""
            row = [
                Found(metric, METRICS[metric.metric], value, dict(metric.labels))
                for metric in metrics
                if (value := self.best(metric, place, where)) is not None and self.told(metric, place, value)
            ]
            if row:
                found.append((index, self.name(table, index, place), row))
        for label, group in _by_name(found).items():
            if len(group) > 1:
                rows = ", ".join(index for index, _ in group)
                self.flag("duplicate", f"{measurement}.*", f"{shown(label)} in rows {rows}")
                continue
            for item in group[0][1]:
                item.labels[table.label] = label
                yield item

    def distinct(
        self, table: Table, measurement: str, places: list[tuple[str, _Place]]
    ) -> Iterator[tuple[str, _Place]]:
        """Yield the rows that meet the table's conditions, the first of each thing only."""
        seen: dict[tuple[str, ...], str] = {}
        for index, place in places:
            failed = next((item for item in table.keep if not holds(item, self.raw(item, place))), None)
            if failed is not None:
                if failed.flag is not None:
                    self.flag(failed.flag, f"{measurement}.*", f"row {index}: {shown(self.raw(failed, place) or '')}")
                continue
            key = tuple(self.raw(Condition(at=at), place) or "" for at in table.unique)
            if any(key):
                if key in seen:
                    self.flag("duplicate", f"{measurement}.*", f"row {index} is row {seen[key]} again")
                    continue
                seen[key] = index
            yield index, place

    def raw(self, condition: Condition, place: _Place) -> str | None:
        wire = self.cell(condition.at, place, condition.join) if condition.at is not None else None
        return None if wire is None else wire.text()

    def name(self, table: Table, index: str, place: _Place) -> str:
        for source in table.name:
            if isinstance(source, Source):
                outcome = self.outcome(source, _IDENTITY_ENTRY, place)
                if isinstance(outcome.value, str):
                    return "".join(filter(str.isprintable, outcome.value))[:_MAX_LABEL]
        return index

    def flag_firmware(self, sources: Iterable[Source]) -> None:
        """Say why a firmware that is there was not taken: its absence is a finding, other parts' is not."""
        for source in sources:
            if source.at is not None and not is_column(source.at, source):
                outcome = parse_cell(self.answers.scalar(source.at), source, _IDENTITY_ENTRY)
                if outcome.flag is not None:
                    self.flag(outcome.flag, "device.firmware", outcome.seen)

    def identity(self) -> Identity:
        parts: dict[str, str | None] = dict(self.profile.file.constants)
        for key, sources in self.profile.identity.items():
            value = identity_part(sources, self.answers)
            if value is not None:
                parts[key] = value
            elif key == "firmware":
                self.flag_firmware(sources)
        return Identity(vendor=parts.pop("vendor", None) or self.profile.vendor or None, **parts)


def _aggregated(metric: Metric, values: list[float]) -> float:
    total = sum(values)
    by_name = {"max": max(values), "min": min(values), "sum": total, "mean": total / len(values)}
    return round(by_name[metric.aggregate or "mean"], 6)


def _by_name(found: list[tuple[str, str, list[Found]]]) -> dict[str, list[tuple[str, list[Found]]]]:
    groups: dict[str, list[tuple[str, list[Found]]]] = {}
    for index, label, row in found:
        groups.setdefault(label, []).append((index, row))
    return groups


def _row_key(index: str) -> tuple[int, tuple[int, ...], str]:
    parts = index.split(".")
    if all(part.isdigit() and len(part) < 12 for part in parts):
        return (0, tuple(map(int, parts)), "")
    return (1, (), index)


def _plain_number(wire: Wire | None, parsing: Parsing) -> float | None:
    if wire is None:
        return None
    text = "" if wire.kind in NUMERIC else wire.text()
    number = plain_number(wire) if wire.kind in NUMERIC else number_in(text, parsing) if text else None
    return None if all_ones(number, wire, parsing) else number


def identity_part(sources: Iterable[Source], answers: Answers) -> str | None:
    """Return the first text that the sources give: a scalar's, or the first row's that has one."""
    for source in sources:
        if source.at is None:
            continue
        if is_column(source.at, source):
            cells: Iterable[Wire | None] = answers.column(source.at).values()
        else:
            cells = (answers.scalar(source.at),)
        for wire in cells:
            value = parse_cell(wire, source, _IDENTITY_ENTRY).value
            if isinstance(value, str) and value:
                return value
    return None


def is_blocked(profile: Profile, firmware: str) -> bool | None:
    """Say whether a version must not run; ``None`` where the profile blocks none, or does not understand it."""
    spec = profile.match.firmware
    if not profile.file.blocked or spec is None:
        return None
    try:
        version = parse_version(firmware, spec.version)
        return any(version in parse_range(one.range) for one in profile.file.blocked)
    except VersionError:
        return None


def read(profile: Profile, answers: Answers) -> Result:
    """Return what ``answers`` say by ``profile``. Never raises for anything a device sent."""
    reader = _Reader(profile, answers)
    found: list[Found] = []
    done: set[str] = set()
    for metric in profile.metrics:
        if metric.table is None:
            found += reader.outside_tables(metric)
        elif metric.table not in done:
            done.add(metric.table)
            found += reader.in_table(metric.table, [other for other in profile.metrics if other.table == metric.table])
    judged = Judged(found)
    found = [item for item in found if meant(item, judged, reader.flag)]
    set_legs(profile.file.default_leg, found, judged)
    identity = reader.identity()
    found = guarded(found, judged, identity, reader.flag)
    readings: dict[tuple[str, tuple[tuple[str, str], ...]], Reading] = {}
    if identity.firmware is not None:
        readings[("device.firmware", ())] = Reading("device.firmware", identity.firmware)
        blocked = is_blocked(profile, identity.firmware)
        if blocked is not None:
            readings[("device.firmware_blocked", ())] = Reading("device.firmware_blocked", blocked)
    for item in found:
        key = (item.metric.metric, tuple(sorted(item.labels.items())))
        if key in readings:
            reader.flag("duplicate", item.metric.metric, f"{shown(item.value)} {item.labels or ''}")
        else:
            readings[key] = Reading(item.metric.metric, item.value, item.labels)
    return Result(tuple(readings.values()), identity, tuple(reader.flags))
