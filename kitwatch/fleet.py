"""``kitwatch fleet``: is the fleet file sound, and the configuration of one agent from it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.fleet import Fleet, Site


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|agent")
    check = actions.add_parser("check", help="check a fleet file")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    agent = actions.add_parser("agent", help="print agent.yaml for one agent")
    agent.add_argument("vehicle", metavar="VEHICLE")
    agent.add_argument("agent", metavar="AGENT")
    agent.add_argument("--fleet", type=Path, default=Path("fleet.yaml"), metavar="FILE", help="default: fleet.yaml")
    agent.add_argument("--json", action="store_true", help="print it as JSON instead of YAML")


def run(args: argparse.Namespace) -> int:
    """Run it. Raises FileError with the first thing that is wrong."""
    from firmware_profiles.own import folders_of, load_fleet, refuse_unsound

    if args.action == "check":
        fleet = load_fleet(args.file)
        refuse_unsound(folders_of(fleet.profiles, args.file))
        vehicles = [vehicle for site in fleet.sites.values() for vehicle in site.vehicles.values()]
        found = {
            "sites": len(fleet.sites),
            "vehicles": len(vehicles),
            "agents": sum(len(vehicle.agents) for vehicle in vehicles),
            "devices": sum(1 for vehicle in vehicles for _ in vehicle.devices()),
        }
        warnings = _warnings(fleet, args.file)
        for warning in warnings:
            print(f"kitwatch: {warning}", file=sys.stderr)
        if args.json:
            print(json.dumps({**found, "warnings": warnings}))
        else:
            print(f"{args.file}: sound; " + ", ".join(f"{count} {what}" for what, count in found.items()))
        return 0
    from agent.config import render
    from telemetry.files import parse_yaml

    text = render(load_fleet(args.fleet), args.vehicle, args.agent, args.fleet)
    print(json.dumps(parse_yaml(text, args.fleet), ensure_ascii=False) if args.json else text, end="\n" * args.json)
    return 0


def _warnings(fleet: Fleet, path: Path) -> list[str]:
    """Return what is sound and yet will hurt, a line each."""
    from telemetry.fleet import IDLE_PATH_S

    idle = [
        f"{path}: sites.{site_id}.broker.keepalive: {site.broker.keepalive} s; balancers and NATs forget an idle path "
        f"after 240 s or more: at most {IDLE_PATH_S} s is safe"
        for site_id, site in fleet.sites.items()
        if site.broker is not None and site.broker.keepalive > IDLE_PATH_S
    ]
    return idle + [
        warning for site_id, site in fleet.sites.items() for warning in _probes_of_the_broker(site, site_id, path)
    ]


def _probes_of_the_broker(site: Site, site_id: str, path: Path) -> Iterator[str]:
    """Yield each TCP probe of the site's own broker: every single one is a failed handshake in its log."""
    for vehicle_id, vehicle in site.vehicles.items():
        for agent_id, device_id, device in vehicle.devices():
            for name, target in (device.probe.targets if device.probe is not None else {}).items():
                if site.broker is None or (target.address, target.port) != (site.broker.host, site.broker.port):
                    continue
                key = (
                    f"sites.{site_id}.vehicles.{vehicle_id}.agents.{agent_id}.devices.{device_id}.probe.targets.{name}"
                )
                yield f"{path}: {key}: a TCP probe of the broker fills its log; kind: icmp tells the same"
