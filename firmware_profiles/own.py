"""Own firmware profiles: the folders that a fleet file, an agent's and a collector's file name under ``profiles``.

They are read after the shipped ones, so that a profile of the same id takes a shipped one's place. Relative folders
count from the folder of the file that names them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from telemetry.files import FileError
from telemetry.files import load as load_file
from telemetry.fleet import Device, Fleet, MetricsOf, check, fixed_metrics
from telemetry.inputs import InputConfig
from telemetry.metrics import nearest

if TYPE_CHECKING:
    from firmware_profiles.load import Profile


def folders_of(names: Sequence[str], file: Path) -> tuple[str, ...]:
    """Return the folders that ``file`` names, absolute. Raises FileError for one that is none."""
    folders = tuple(str(file.resolve().parent / name) for name in names)
    for number, folder in enumerate(folders):
        if not Path(folder).is_dir():
            raise FileError(
                file, f"profiles.{number}", f"expected a folder of firmware profiles, found none at {folder!r}"
            )
    return folders


@functools.cache
def profiles_of(folders: tuple[str, ...] = ()) -> Mapping[str, Profile]:
    """Return the shipped profiles and those of these folders, loaded once for all devices (``load_fleet``: anew).

    Raises FileError.
    """
    return _load(folders)


@functools.cache
def profiles_for(transport: str, folders: tuple[str, ...] = ()) -> Mapping[str, Profile]:
    """Return what an agent reads its devices by: the profiles of one protocol, and of those what reading needs.

    Without examples, and with metrics as they are settled only. Raises FileError.
    """
    return {
        id: msgspec.structs.replace(profile, file=msgspec.structs.replace(profile.file, examples=[], metrics=[]))
        for id, profile in _load(folders).items()
        if profile.transport == transport
    }


def _load(folders: tuple[str, ...]) -> Mapping[str, Profile]:
    from firmware_profiles.load import load_profiles

    try:
        return load_profiles(map(Path, folders))
    except OSError as error:
        raise FileError(
            error.filename or "", "", f"expected a folder that can be read, found: {error.strerror}"
        ) from None


def metrics_of(folders: tuple[str, ...] = ()) -> MetricsOf:
    """Return what tells which metrics an input is known to yield beforehand: of SNMP and HTTP only a named profile's.

    ``device.reachable`` is none of them: every input has an opinion and the device's first one is heard.
    """

    def known(kind: str, name: str, config: InputConfig) -> Iterable[str]:
        named = getattr(config, "profile", None)
        if named is None:
            return [metric for metric in fixed_metrics(kind, name, config) if metric != "host.boot_count"]
        profile = profiles_of(folders).get(named)
        return [] if profile is None else list(dict.fromkeys(metric.metric for metric in profile.metrics))

    return known


def missing_profiles(
    devices: Mapping[str, Device], folders: tuple[str, ...], path: str | Path, key: str
) -> Iterator[FileError]:
    """Yield an error for each profile that is named and does not exist, or reads another protocol."""
    for device_id, device in devices.items():
        for name, config in device.configured():
            named = getattr(config, "profile", None)
            if named is None:
                continue
            fit = [profile.id for profile in profiles_of(folders).values() if profile.transport == name]
            if named not in fit:
                where = f"{key}.{device_id}.{name}.profile"
                found = f"expected a profile for {name}, found {named!r}{nearest(named, fit)}"
                yield FileError(path, where, f"{found} (kitwatch profiles list)")


def load_fleet(path: Path, more: tuple[str, ...] = ()) -> Fleet:
    """Return the fleet file, checked with what its profiles know; ``more`` are folders that another file names.

    Own profiles are read anew: a collector reads its files again when it is told to. Raises FileError with the first
    thing that is wrong, an own profile among them.
    """
    profiles_of.cache_clear()
    fleet = load_file(path, Fleet)
    folders = folders_of(fleet.profiles, path) + more
    if folders:
        profiles_of(folders)
    for problem in check(fleet, path, metrics_of(folders)):
        raise problem
    for site_id, site in fleet.sites.items():
        for vehicle_id, vehicle in site.vehicles.items():
            for agent_id, agent in vehicle.agents.items():
                key = f"sites.{site_id}.vehicles.{vehicle_id}.agents.{agent_id}.devices"
                for problem in missing_profiles(agent.devices, folders, path, key):
                    raise problem
    return fleet


def refuse_unsound(folders: tuple[str, ...]) -> None:
    """Raise FileError for the first thing that ``kitwatch profiles check`` finds in these folders' profiles."""
    if not folders:
        return
    import time

    from firmware_profiles.check import check_profiles

    profiles, shipped = profiles_of(folders), profiles_of()
    for found in check_profiles(profiles, time.process_time):
        path = profiles[found.profile].path
        if found.profile not in shipped or path != shipped[found.profile].path:
            raise FileError(path, found.key, found.message)


def refuse_slow_patterns(folders: tuple[str, ...]) -> None:
    """Raise FileError for a pattern in these folders' profiles that a device's text could hold the agent with.

    `kitwatch profiles check` says it too; a profile that nobody checked must not cost the agent its loop.
    """
    if not folders:
        return
    import time

    from firmware_profiles.pattern_cost import slow_patterns

    for profile in profiles_of(folders).values():
        if any(Path(profile.path).is_relative_to(folder) for folder in folders):
            for key, message in slow_patterns(profile, time.process_time):
                raise FileError(profile.path, key, message)
