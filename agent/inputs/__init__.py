"""Inputs: each polls one device and yields readings, nothing else.

Here is what is known of all of them without opening one: which class reads a configuration (imported only where it is
configured), and what it asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from telemetry.printable import without_password

if TYPE_CHECKING:
    from agent.inputs.base import Input


def open_input(config: InputConfig, profiles: tuple[str, ...] = ()) -> Input:
    """Return the input for a configuration; ``profiles`` are folders of own firmware profiles.

    It touches its device at the first poll only. Raises FileError.
    """
    match config:
        case SystemInput():
            from agent.inputs.system import SystemHost

            return SystemHost(config)
        case SnmpInput():
            from agent.inputs.snmp import SnmpDevice
            from firmware_profiles.own import profiles_for

            return SnmpDevice(config, profiles_for("snmp", profiles))
        case HttpInput():
            from agent.inputs.http import HttpDevice
            from firmware_profiles.own import profiles_for

            return HttpDevice(config, profiles_for("http", profiles))
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
            return f"HTTP at {without_password(config.url)}, read by {by}"
        case ProbeInput():
            targets = (
                f"{name} ({target.kind} {without_password(target.url or str(target.address))})"
                for name, target in config.targets.items()
            )
            return f"{config.count} probes each of {', '.join(targets)}"
        case StreamInput():
            return f"stream {config.stream} played for {config.play:g} s over {config.transport}"
    return type(config).__name__
