"""``kitwatch agent --check``: what each device would be polled for, what run time will lack, what is out of reach."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kitwatch import needs
from kitwatch.needs import Need

if TYPE_CHECKING:
    from agent.config import AgentConfig


def check(config: AgentConfig, path: Path, *, as_json: bool) -> int:
    """Print it; return 1 where something is needed that is not there. What is not in reach now is no mistake."""
    lacking, reach = _needs(config), [asyncio.run(_broker(config)), *_serial_ports(config)]
    if as_json:
        found = {
            "site": config.site,
            "vehicle": config.vehicle,
            "agent": config.agent,
            "devices": _devices(config),
            "needs": [need._asdict() for need in lacking],
            "reach": [need._asdict() for need in reach],
        }
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join([*_lines(config, path), *needs.lines(lacking, reach)]))
    return 1 if any(need.problem for need in lacking) else 0


def _needs(config: AgentConfig) -> list[Need]:
    from firmware_profiles.own import refuse_unsound
    from telemetry.files import read_secret

    name = config.name
    found = needs.tls(config.broker, (name.vehicle, f"{name.vehicle}.{name.agent}"))
    for key, part in _parts(config):
        for field in part.__struct_fields__:
            file = getattr(part, field)
            if field.endswith("_file") and file is not None:
                found.append(needs.checked(f"{key}.{field}", partial(read_secret, file, f"{key}.{field}")))
    for device_id, device in config.devices.items():
        for input_name, settings in device.configured():
            port = getattr(settings, "port", None)
            if isinstance(port, str) and Path(port).exists():
                found.append(needs.device_file(f"devices.{device_id}.{input_name}.port", port))
    if config.profiles:
        found.append(needs.checked("profiles", partial(refuse_unsound, config.profiles)))
    found.append(needs.folder("state_directory", Path(config.state_directory), config.outbox_bytes))
    return found


def _parts(config: AgentConfig) -> list[tuple[str, msgspec.Struct]]:
    return [("broker", config.broker)] + [
        (f"devices.{device_id}.{name}", settings)
        for device_id, device in config.devices.items()
        for name, settings in device.configured()
    ]


async def _broker(config: AgentConfig) -> Need:
    from telemetry.files import FileError
    from telemetry.reach import broker_problem

    broker = config.broker
    what = f"the broker at {broker.host}:{broker.port} {'over TLS' if broker.tls else 'without TLS'}"
    try:
        return Need(what, await broker_problem(broker))
    except FileError as error:
        return Need(what, str(error))


def _serial_ports(config: AgentConfig) -> list[Need]:
    return [
        Need(f"devices.{device_id}.{name}.port {port}", "" if Path(port).exists() else "no such device is plugged in")
        for device_id, device in config.devices.items()
        for name, settings in device.configured()
        if isinstance(port := getattr(settings, "port", None), str)
    ]


def _devices(config: AgentConfig) -> dict[str, Any]:
    from agent.inputs import asked, open_input
    from firmware_profiles.own import metrics_of

    yields = metrics_of(config.profiles)

    devices = {}
    for device_id, device in config.devices.items():
        inputs = []
        for name, settings in device.configured():
            open_input(settings, config.profiles)
            inputs.append(
                {
                    "input": name,
                    "asks": asked(settings),
                    "interval_s": settings.interval,
                    "deadline_s": settings.deadline,
                    "metrics": sorted(yields(device.kind, name, settings)),
                }
            )
        devices[device_id] = {"kind": device.kind, "inputs": inputs}
    return devices


def _lines(config: AgentConfig, path: Path) -> list[str]:
    told = [f"{path}: {config.name}"]
    for device_id, device in _devices(config).items():
        told.append(f"{device_id} ({device['kind']})")
        told += [
            f"  every {one['interval_s']:g} s, within {one['deadline_s']:g} s: {one['input']}, {one['asks']}"
            for one in device["inputs"]
        ]
    return told
