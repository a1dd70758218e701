"""Reading rules files into ``Rules``; every mistake is one FileError with file and key. ``shapes`` has the keys.

A file has up to three parts. Shipped files are read first, then the given ones in their order; a rule of the same id
replaces the earlier one as a whole, an override changes single keys of it for some sites, vehicles, models or devices::

    rules:
      modem_hot:
        version: 1                    # a new version starts its conditions anew and adopts the active problem
        fault: modem_hot              # of the catalogue
        condition: {metric: modem.temperature_c, above: 80, clear: 75}
        for: 5m
        source: where the figures come from
    overrides:
      - rule: modem_hot
        models: ["RUTX*"]
        set: {condition: {above: 85}, version: 2}  # or: disabled: true
    settings:
      lateness: 72h
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from collector.core.diagnosis import Topology, check_topology
from collector.core.kinds import KINDS
from collector.core.rules.reader import RuleReader, refuse_old_words
from collector.core.rules.sampled import KIND as SAMPLED
from collector.core.rules.shapes import FileShape, OverrideShape, RuleShape, SettingsShape
from collector.core.rules.types import Override, Rule, Rules, Settings
from telemetry.durations import Span, milliseconds
from telemetry.faults import FAULTS
from telemetry.files import FileError, convert, parse_yaml, read_yaml
from telemetry.fleet import DeviceKind, Fleet
from telemetry.metrics import nearest

_FOLDER: Final = Path(__file__).parents[2] / "rules"
_TOPOLOGY: Final = "topology.yaml"
_RULE_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def shipped_files() -> list[tuple[str, str]]:
    """Return (name, text) of the rules files that the product ships, in their order."""
    files = sorted(_FOLDER.glob("*.yaml"))
    return [(f"shipped:{file.name}", file.read_text(encoding="utf-8")) for file in files if file.name != _TOPOLOGY]


def shipped_tests() -> list[tuple[str, str]]:
    """Return (name, text) of the unit tests of the shipped rules, which stand beside them."""
    files = sorted((_FOLDER / "tests").glob("*.yaml"))
    return [(f"shipped:tests/{file.name}", file.read_text(encoding="utf-8")) for file in files]


@functools.cache
def shipped_topology() -> Topology:
    """Return what the product ships about what needs what. Raises FileError."""
    name = f"shipped:{_TOPOLOGY}"
    text = (_FOLDER / _TOPOLOGY).read_text(encoding="utf-8")
    topology = convert(parse_yaml(text, name), Topology, name)
    wrong = check_topology(topology, FAULTS, get_args(DeviceKind))
    if wrong:
        raise FileError(name, "", f"expected nodes, kinds of device and faults that there are, found {wrong}")
    return topology


def load_rules(paths: Iterable[Path] = (), fleet: Fleet | None = None) -> Rules:
    """Return the shipped rules, changed by the files given, and by all files of the folders given, by name.

    With ``fleet``, sites, vehicles and devices that are named must be in it. Raises FileError for the first thing that
    is wrong.
    """
    texts = [(name, parse_yaml(text, name)) for name, text in shipped_files()]
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    return parse_rules([*texts, *((str(path), read_yaml(path)) for path in files)], fleet)


def parse_rules(files: Iterable[tuple[str, Any]], fleet: Fleet | None = None) -> Rules:
    """Return the rules in plain data: (name of the file, what its YAML holds). Raises FileError."""
    loader = _Loader(fleet)
    read = tuple((name, {} if data is None else data) for name, data in files)
    for name, data in read:
        loader.add(name, data)
    return dataclasses.replace(loader.rules(), files=read)


class _Loader:
    """Collects files; every rule and every override is checked as it comes."""

    def __init__(self, fleet: Fleet | None) -> None:
        self._fleet = fleet
        self._raw: dict[str, dict[str, Any]] = {}
        self._rules: dict[str, Rule] = {}
        self._overrides: list[tuple[str, int, OverrideShape]] = []
        self._settings = Settings()

    def add(self, path: str, data: Any) -> None:
        """Take a file's content."""
        file = convert(data, FileShape, path)
        for id, rule in file.rules.items():
            key = f"rules.{id}"
            if not _RULE_ID.fullmatch(id):
                raise FileError(path, key, f"expected a name of small letters, digits and _, found {id!r}")
            self._rules[id] = self._build(path, key, id, rule)
            self._raw[id] = rule
        self._overrides += [(path, number, override) for number, override in enumerate(file.overrides)]
        given = {
            f"{name}_ms": _ms(path, f"settings.{name}", getattr(file.settings, name))
            for name in SettingsShape.__struct_fields__
            if getattr(file.settings, name) is not None
        }
        self._settings = msgspec.structs.replace(self._settings, **given)

    def rules(self) -> Rules:
        """Return all of it; overrides are laid over the rules as the last file has left them."""
        overrides = tuple(self._override(*entry) for entry in self._overrides)
        return Rules(dict(self._rules), shipped_topology(), overrides, self._settings)

    def _override(self, path: str, number: int, shape: OverrideShape) -> Override:
        key = f"overrides.{number}"
        base = self._raw.get(shape.rule)
        if base is None:
            raise FileError(
                path,
                f"{key}.rule",
                f"expected the name of a rule, found {shape.rule!r}{nearest(shape.rule, self._raw)}",
            )
        if shape.disabled == bool(shape.set):
            raise FileError(path, key, "expected either 'set' with the keys to change or 'disabled: true'")
        self._check_selectors(path, key, shape.sites, shape.vehicles, shape.devices)
        rule = None if shape.disabled else self._build(path, f"{key}.set", shape.rule, _merge(base, shape.set))
        return Override(
            shape.rule,
            rule,
            frozenset(shape.sites),
            frozenset(shape.vehicles),
            frozenset(shape.devices),
            shape.models,
        )

    def _check_selectors(
        self, path: str, key: str, sites: Iterable[str], vehicles: Iterable[str], devices: Iterable[str]
    ) -> None:
        if self._fleet is None:
            return
        vehicles = set(vehicles)
        chosen = {
            id: plan
            for site in self._fleet.sites.values()
            for id, plan in site.vehicles.items()
            if not vehicles or id in vehicles
        }
        known_vehicles = {id for site in self._fleet.sites.values() for id in site.vehicles}
        known_devices = {device for plan in chosen.values() for _, device, _ in plan.devices()}
        for name, found, known, what in (
            ("sites", sites, set(self._fleet.sites), "a site of the fleet file"),
            ("vehicles", sorted(vehicles), known_vehicles, "a vehicle of the fleet file"),
            ("devices", devices, known_devices, "a device of one of these vehicles"),
        ):
            for word in found:
                if word not in known:
                    raise FileError(path, f"{key}.{name}", f"expected {what}, found {word!r}{nearest(word, known)}")

    def _build(self, path: str, key: str, id: str, body: Mapping[str, Any]) -> Rule:
        refuse_old_words(path, key, body)
        shape = convert(body, RuleShape, path, key)
        self._check_selectors(path, key, shape.sites, shape.vehicles, shape.devices)
        reader = RuleReader(path, key, id, shape)
        condition = shape.condition
        words = condition if isinstance(condition, Mapping) else {}
        kind = next((kind for kind in KINDS if kind.word in words), SAMPLED)
        return kind.make(reader, words)


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule's keys, changed, mappings key by key. A limit that is turned round loses the old one."""
    merged = dict(base)
    for name, value in change.items():
        before = merged.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(before, value) if both else value  # type: ignore[arg-type]
    for one, other in (("above", "below"), ("below", "above")):
        if one in change and other not in change:
            merged.pop(other, None)
    return merged


def _ms(path: str, key: str, span: Span) -> int:
    """Return a duration in milliseconds. Raises FileError."""
    try:
        return milliseconds(span)
    except ValueError as error:
        raise FileError(path, key, str(error)) from None
