"""Inputs: each polls one device and yields readings, nothing else.

Here is what is known of all of them without opening one: which class reads a configuration (imported only where it is
configured), which metrics it may yield, what it asks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.files import FileError
from telemetry.fleet import Device, fixed_metrics
from telemetry.inputs import (
    GnssInput,
    HttpInput,
    InputConfig,
    ModemInput,
    ProbeInput,
    SnmpInput,
    StreamInput,
    SystemInput,
)
from telemetry.metrics import nearest

if TYPE_CHECKING:
    from agent.inputs.base import Input
    from firmware_profiles.load import Profile


@functools.cache
def profiles() -> Mapping[str, Profile]:
    """Return the shipped firmware profiles, loaded once a process. Raises FileError for one that is wrong."""
    from firmware_profiles.load import load_profiles

    return load_profiles()


def open_input(config: InputConfig) -> Input:
    """Return the input for a configuration. It touches its device at the first poll only. Raises FileError."""
    match config:
        case SystemInput():
            from agent.inputs.system import SystemHost

            return SystemHost(config)
        case SnmpInput():
            from agent.inputs.snmp import SnmpDevice

            return SnmpDevice(config, profiles())
        case HttpInput():
            from agent.inputs.http import HttpDevice

            return HttpDevice(config, profiles())
        case ModemInput():
            from agent.inputs.modem import Modem

            return Modem(config)
        case GnssInput():
            from agent.inputs.gnss import Gnss

            return Gnss(config)
        case ProbeInput():
            from agent.inputs.probe import Probe

            return Probe(config)
        case StreamInput():
            from agent.inputs.stream import Stream

            return Stream(config)
    raise NotImplementedError(f"no input for {type(config).__name__}")


def metrics_of(kind: str, name: str, config: InputConfig) -> Iterable[str]:
    """Return the metrics that an input is known to yield beforehand: of SNMP and HTTP only those of a named profile.

    ``device.reachable`` is none of them: every input has an opinion and the device's first one is heard.
    """
    named = getattr(config, "profile", None)
    if named is None:
        return [metric for metric in fixed_metrics(kind, name, config) if metric != "host.boot_count"]
    profile = profiles().get(named)
    return [] if profile is None else list(dict.fromkeys(metric.metric for metric in profile.metrics))


def missing_profiles(devices: Mapping[str, Device], path: str | Path, key: str) -> Iterator[FileError]:
    """Yield an error for each profile that is named and does not exist, or reads another protocol."""
    for device_id, device in devices.items():
        for name, config in device.configured():
            named = getattr(config, "profile", None)
            if named is None:
                continue
            fit = [profile.id for profile in profiles().values() if profile.transport == name]
            if named not in fit:
                where = f"{key}.{device_id}.{name}.profile"
                found = f"expected a profile for {name}, found {named!r}{nearest(named, fit)}"
                yield FileError(path, where, f"{found} (kitwatch profiles list)")


def asked(config: InputConfig) -> str:
    """Say in a few words what an input asks and where."""
    match config:
        case SystemInput():
            return f"this machine, disk {config.disk}"
        case SnmpInput():
            by = f"profile {config.profile}" if config.profile else "the profile that its answers match"
            return f"SNMP v{config.version} at {config.address}:{config.port}, read by {by}"
        case ModemInput():
            return f"AT commands at {config.port}, {config.baud} baud"
        case GnssInput():
            return f"NMEA sentences from {config.port}, {config.baud} baud"
        case HttpInput():
            by = f"profile {config.profile}" if config.profile else "the profile that its answers match"
            return f"HTTP at {config.url}, read by {by}"
        case ProbeInput():
            targets = (
                f"{name} ({target.kind} {target.url or target.address})" for name, target in config.targets.items()
            )
            return f"{config.count} probes each of {', '.join(targets)}"
        case StreamInput():
            return f"stream {config.stream} played for {config.play:g} s over {config.transport}"
    return type(config).__name__
