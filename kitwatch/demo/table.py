"""What the demo shows on a terminal while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kitwatch.demo.tally import tickets_of

if TYPE_CHECKING:
    from collector.main import Running


def table(running: Running) -> list[str]:
    """Return what is so now, a line a vehicle and a line a ticket."""
    from collector.web.app import Sources
    from collector.web.vehicles import list_vehicles

    sources = Sources(running.store, running.fleet, {})
    lines = [f"{'vehicle':14} {'state':12} devices"]
    for vehicle in list_vehicles(sources)[0]:
        bad = {ticket["device"] for ticket in vehicle["open_tickets"]}
        devices = [f"{device['device']}{' !' if device['device'] in bad else ''}" for device in vehicle["devices"]]
        lines.append(f"{vehicle['vehicle']:14} {vehicle['state']:12} {', '.join(devices)}")
    lines += ["", f"{'ticket':12} {'fault':18} {'device':10} {'class':12} {'state':9} event"]
    for ticket in reversed(tickets_of(running)[-15:]):
        event = time.strftime("%H:%M:%S", time.localtime(ticket.event_ms / 1000))
        lines.append(
            f"{ticket.id:12} {ticket.fault:18} {ticket.device:10} {ticket.sla_class:12} {ticket.state:9} {event}"
        )
    return lines
