"""Profiles from their files: YAML, ``extends``, and everything that can be settled before a device is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from firmware_profiles.model import Match, Metric, Parsing, ProfileFile, Request, Source, Table, from_yaml
from telemetry.files import FileError, parse_yaml, read_text

HOME: Final = Path(__file__).parent
"""Where the shipped profiles are."""
_INSTANCE: Final = re.compile(r"\{(\d+)\}")
_PARSING_FIELDS: Final = Parsing.__struct_fields__
_SYS_UP_TIME: Final = Source(at="1.3.6.1.2.1.1.3.0", types=["ticks"], scale=0.01)


class ProfileError(FileError):
    """A profile that cannot be used. ``file`` and ``key`` say where; the message what was expected and found."""


class Profile(msgspec.Struct, frozen=True):
    """A profile ready for use: parts merged, every source carrying its whole parsing.

    ``file`` is what its YAML said (identity, constants, auth, examples live there, merged); ``metrics`` have only
    :class:`Source` objects in ``source``.
    """

    id: str
    vendor: str
    transport: str
    path: str
    file: ProfileFile
    match: Match
    identity: Mapping[str, tuple[Source, ...]]
    tables: Mapping[str, Table]
    metrics: tuple[Metric, ...]
    requests: Mapping[str, Request]

    @property
    def firmware(self) -> str:
        """The firmware range in words, for lists."""
        spec = self.match.firmware
        if spec is None:
            return "any"
        if spec.unknown == "only":
            return "not told"
        return " ".join([*spec.prefixes, spec.range]) if spec.prefixes else spec.range


def read_yaml(text: str, name: str) -> ProfileFile:
    """Return the profile that ``text`` holds. ``name`` is the file for messages. Raises ProfileError."""
    try:
        value = parse_yaml(text, name)
    except FileError as error:
        raise ProfileError(name, error.key, error.problem) from None
    try:
        return from_yaml(value)
    except msgspec.ValidationError as error:
        message, _, key = str(error).partition(" - at `")
        raise ProfileError(name, key.rstrip("`").removeprefix("$."), message) from error


def _names_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.yaml") if path.is_file())


def load_profiles(folders: Iterable[Path] = ()) -> dict[str, Profile]:
    """Return the shipped profiles and those of ``folders`` by id; a later one of the same id replaces an earlier one.

    Raises FileError for a file that cannot be read or used, OSError for a folder that cannot be read.
    """
    files: dict[str, tuple[str, ProfileFile]] = {}
    for folder in (HOME, *folders):
        if not folder.is_dir():
            raise ProfileError(str(folder), "", "expected a folder of profiles, found none")
        here: dict[str, str] = {}
        for path in _names_of(folder):
            name = os.path.relpath(path, folder) if folder == HOME else str(path)
            found = read_yaml(read_text(path), name)
            if found.id in here:
                raise ProfileError(name, "id", f"expected an id of its own, found {found.id!r} of {here[found.id]}")
            here[found.id] = name
            files[found.id] = (name, found)
    return resolve_all(files)


def resolve_all(files: Mapping[str, tuple[str, ProfileFile]]) -> dict[str, Profile]:
    """Return every profile that is not abstract, its parts merged. ``files`` are (name, file) by id."""
    settled = {  # once a file: what many extend is in memory once
        key: msgspec.structs.replace(file, metrics=[_settled(metric) for metric in file.metrics])
        for key, (_, file) in files.items()
    }
    return {key: _resolve(files[key][0], file, settled) for key, file in sorted(settled.items()) if not file.abstract}


def _lineage(
    name: str, file: ProfileFile, files: Mapping[str, ProfileFile], seen: tuple[str, ...]
) -> list[ProfileFile]:
    """Return the file's parts and itself, the most general first; each part once."""
    found: list[ProfileFile] = []
    for parent in file.extends:
        if parent in seen:
            raise ProfileError(name, "extends", f"expected no circle, found {' -> '.join((*seen, parent))}")
        if parent not in files:
            raise ProfileError(name, "extends", f"expected the id of a profile, found {parent!r}")
        found += [part for part in _lineage(name, files[parent], files, (*seen, parent)) if part not in found]
    return [*found, file]


def _resolve(name: str, file: ProfileFile, files: Mapping[str, ProfileFile]) -> Profile:
    parts = _lineage(name, file, files, (file.id,))
    identity: dict[str, list[str | Source]] = {}
    constants: dict[str, str] = {}
    tables: dict[str, Table] = {}
    requests: dict[str, Request] = {}
    metrics: dict[tuple[object, ...], Metric] = {}
    default_leg, auth, vendor = file.default_leg, file.auth, file.vendor
    for part in parts:
        identity.update(part.identity)
        constants.update(part.constants)
        tables.update(part.tables)
        requests.update(part.requests)
        default_leg = part.default_leg or default_leg
        vendor = part.vendor or vendor
        auth = part.auth if part.auth.kind != "none" else auth
        for removed in part.remove:
            metrics = {key: metric for key, metric in metrics.items() if removed not in (key[0], f"table {key[1]}")}
        for metric in part.metrics:
            metrics[(metric.metric, metric.table, *sorted(metric.labels.items()))] = metric
    merged = msgspec.structs.replace(file, constants=constants, default_leg=default_leg, auth=auth, vendor=vendor)
    for metric in metrics.values():
        if metric.table is not None and metric.table not in tables:
            raise ProfileError(name, f"metrics {metric.metric}", f"expected a table of tables, found {metric.table!r}")
    return Profile(
        id=file.id,
        vendor=vendor,
        transport=file.transport,
        path=name,
        file=merged,
        match=file.match,
        identity={key: tuple(_as_source(item) for item in items) for key, items in identity.items()},
        tables={
            key: msgspec.structs.replace(table, name=[_as_source(item) for item in table.name])
            for key, table in tables.items()
        },
        metrics=tuple(_with_uptime(file, list(metrics.values()))),
        requests=requests,
    )


def _with_uptime(file: ProfileFile, metrics: list[Metric]) -> list[Metric]:
    """Return the metrics with sysUpTime as the last place for an SNMP device's uptime, which every agent has.

    It counts from the start of the SNMP agent: without it most devices would show no reboot at all. It is 32 bits of
    hundredths, so it begins anew after 497 days.
    """
    name = "device.uptime_s"
    if file.transport != "snmp":
        return metrics
    found = next((metric for metric in metrics if metric.metric == name), None)
    if found is None:
        return [*metrics, Metric(metric=name, source=[_SYS_UP_TIME])]
    if _SYS_UP_TIME.at in {source.at for source in map(_as_source, found.source)}:
        return metrics
    longer = msgspec.structs.replace(found, source=[*found.source, _SYS_UP_TIME])
    return [_settled(longer) if metric is found else metric for metric in metrics]


def _as_source(item: str | Source) -> Source:
    return Source(at=item) if isinstance(item, str) else item


def _settled(metric: Metric) -> Metric:
    """Return the metric with every source a :class:`Source` that carries the metric's parsing where it has none."""
    parsing = {field: value for field in _PARSING_FIELDS if (value := getattr(metric, field)) is not None}

    def carrying(source: Source) -> Source:
        lacking = {field: value for field, value in parsing.items() if getattr(source, field) is None}
        return msgspec.structs.replace(source, **lacking) if lacking else source

    sources: list[str | Source] = [carrying(_as_source(item)) for item in metric.source]
    return msgspec.structs.replace(metric, source=sources)


def at_instance(at: str, offset: int) -> str:
    """Return ``at`` with ``{30}`` replaced by 30 plus ``offset``."""
    return _INSTANCE.sub(lambda found: str(int(found[1]) + offset), at)
