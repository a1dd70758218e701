"""From polls to samples: the columns of one input of one device, kept stable. Pure.

Columns that come and go (a leg of NSA, a table row) are nulls in one schema; a column never seen before makes a new
schema, in which columns that have long been away are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from agent.inputs.base import Poll
from agent.outbox.drafts import Draft, EventDraft, SampleDraft
from telemetry.metrics import MAX_TEXT, METRICS, Value
from telemetry.printable import readable
from telemetry.readings import Identity, Reading
from telemetry.records import Column, Schema

MAX_COLUMNS: Final = 400
"""Most columns of one input: kit is hostile, and a message must stay under 256 KiB."""
FORGET_AFTER: Final = 360
"""Polls after which a column that was not seen is left out of the next new schema."""

MAX_PROBLEM: Final = 300
"""Longest text of a problem, in characters."""

Key = tuple[str, tuple[tuple[str, str], ...]]


class SeriesOwners(msgspec.Struct):
    """Which input of this agent gives a series: two values at one time would contradict each other."""

    owners: dict[tuple[str, Key], str] = msgspec.field(default_factory=dict)

    def claim(self, device: str, key: Key, name: str) -> str:
        """Return the input that gives this series: the one that came first, ``name`` if nobody did."""
        return self.owners.setdefault((device, key), name)

    def release(self, device: str, keys: Iterable[Key]) -> None:
        """Forget series that their input has forgotten: a device that invents names for ever must not fill memory."""
        for key in keys:
            self.owners.pop((device, key), None)


class SampleBuilder:
    """What one input of one device has yielded so far, and the schema made of it.

    ``primary``: only the device's first input may say ``device.reachable``. ``counts`` are the flags and refusals so
    far, by kind. ``repeat_ms`` is the least time between two ``problem`` events.
    """

    def __init__(
        self, device: str, name: str, *, primary: bool, owners: SeriesOwners | None = None, repeat_ms: int = 60_000
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._device = device
        self._name = name
        self._primary = primary
        self._owners = owners or SeriesOwners()
        self._repeat_ms = repeat_ms
        self._polls = 0
        self._seen: dict[Key, int] = {}
        self._schema: Schema | None = None
        self._schema_id = ""
        self._keys: tuple[Key, ...] = ()
        self._identity: dict[str, str] = {}
        self._problem = ""
        self._problem_ms: int | None = None

    def take(self, poll: Poll, mono_ms: int) -> list[Draft]:
        """Return what a poll is worth: events on change, and a sample unless nothing at all is known."""
        self._polls += 1
        self.counts.update(flag.split(" ", 1)[0].rstrip(":") for flag in poll.flags)
        values, refused = self._values(poll.readings)
        drafts: list[Draft] = []
        problem = _plain("; ".join(text for text in (poll.problem, refused) if text), MAX_PROBLEM)
        drafts += self._input_trouble(problem, mono_ms)
        drafts += self._inventory(poll.identity, mono_ms)
        if values:
            schema = self._fit(values.keys())
            row = [values.get(key) for key in self._keys]
            drafts.append(SampleDraft(mono_ms, self._schema_id, schema, row))
        return drafts

    def _values(self, readings: Iterable[Reading]) -> tuple[dict[Key, Value], str]:
        """Return values by series, and in words which series another input gives already."""
        values: dict[Key, Value] = {}
        refused: list[str] = []
        for reading in readings:
            if reading.metric == "device.reachable" and not self._primary:
                continue  # by rule the primary's; every input has an opinion
            key = reading.metric, tuple(sorted(reading.labels.items()))  # as ``Column.key``
            try:
                value = _checked(reading)
            except ValueError:
                self.counts["invalid"] += 1
                continue
            if key in values:
                self.counts["duplicate"] += 1
            elif len(values) >= MAX_COLUMNS:
                self.counts["truncated"] += 1
            elif (owner := self._owners.claim(self._device, key, self._name)) != self._name:
                self.counts["refused"] += 1
                labels = ",".join(f"{name}={label}" for name, label in key[1])
                series = f"{reading.metric}{{{labels}}}" if labels else reading.metric
                refused.append(f"{series} ({owner})")
            else:
                values[key] = value
        if refused:
            return values, f"series that another input of this device gives already: {', '.join(sorted(refused)[:3])}"
        return values, ""

    def _fit(self, keys: Iterable[Key]) -> Schema:
        """Return the schema that has these columns; make a new one if one of them is new."""
        new = False
        for key in keys:
            new = new or key not in self._seen
            self._seen[key] = self._polls
        if new or self._schema is None:
            lately, before = self._polls - FORGET_AFTER, self._seen
            self._seen = {key: last for key, last in self._seen.items() if last >= lately}
            while len(self._seen) > MAX_COLUMNS:
                del self._seen[min(self._seen, key=lambda key: (self._seen[key], key))]
            self._owners.release(self._device, before.keys() - self._seen.keys())
            self._keys = tuple(sorted(self._seen))
            columns = tuple(Column(metric, dict(labels)) for metric, labels in self._keys)
            self._schema = Schema(self._name, self._device, columns)
            self._schema_id = self._schema.id()
        return self._schema

    def _input_trouble(self, problem: str, mono_ms: int) -> list[Draft]:
        """Return the event ``problem`` of the wire: an input cannot read its device, or can again.

        A text that changes with every poll, or comes and goes, is told once a minute at most.
        """
        if problem == self._problem:
            return []
        if self._problem_ms is not None and mono_ms - self._problem_ms < self._repeat_ms:
            return []
        self._problem, self._problem_ms = problem, mono_ms
        return [EventDraft(mono_ms, "problem", self._device, {"input": self._name, "problem": problem})]

    def _inventory(self, identity: Identity | None, mono_ms: int) -> list[Draft]:
        if identity is None:
            return []
        told = {name: getattr(identity, name) for name in Identity.__struct_fields__}
        known = {name: _plain(value, MAX_TEXT) for name, value in told.items() if value}
        if not known or self._identity | known == self._identity:
            return []
        self._identity |= known
        return [EventDraft(mono_ms, "inventory", self._device, {"input": self._name, **self._identity})]


def _checked(reading: Reading) -> Value:
    """Return the value in its metric's type. Raises ValueError for what the catalogue does not allow."""
    metric = METRICS.get(reading.metric)
    if metric is None:
        raise ValueError(f"unknown metric {reading.metric!r}")
    for name, label in reading.labels.items():
        if name not in metric.labels or not 0 < len(label) <= MAX_TEXT or not label.isprintable():
            raise ValueError(f"{reading.metric}: label {name}={label!r}")
    value = reading.value
    return metric.check(_plain(value, len(value)) if metric.kind == "text" and isinstance(value, str) else value)


def _plain(text: str, most: int) -> str:
    """Return what a device said without control characters and no longer than ``most``."""
    return readable(text[:most])
