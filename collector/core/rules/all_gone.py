"""Rules on several devices that hang on the same and are gone together (``collector.core.vehicle.gone`` judges)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import Rule
from telemetry.files import convert
from telemetry.fleet import DeviceKind


class AllGoneShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two or more devices of these kinds that hang on the same node: all of them are gone, and nothing of it lives."""

    all_gone: Annotated[tuple[DeviceKind, ...], msgspec.Meta(min_length=1)]
    """The kinds of the devices."""


class AllGoneRule(Rule, frozen=True, kw_only=True):
    """Judges devices of the kinds ``children`` that hang on the node of the rule's fault together."""

    children: frozenset[str]


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> AllGoneRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, AllGoneShape, reader.path, f"{reader.key}.condition")
    return AllGoneRule(**reader.common(), children=frozenset(shape.all_gone))


KIND: Final = Kind("all_gone", AllGoneShape, _make)
