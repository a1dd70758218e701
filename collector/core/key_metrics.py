"""The few metrics of a vehicle that lists show: its radio, its way out, its streams, its supply."""

from __future__ import annotations

from typing import Final

KEY_METRICS: Final = frozenset(
    {
        "agent.outbox_hours_left",
        "agent.outbox_oldest_s",
        "agent.outbox_records",
        "device.reachable",
        "device.video_input",
        "gnss.fix",
        "gnss.speed_kmh",
        "link.loss_percent",
        "link.rtt_ms",
        "modem.operator",
        "modem.registration",
        "modem.rsrp_dbm",
        "modem.sim",
        "modem.sinr_db",
        "modem.technology",
        "power.battery_percent",
        "power.on_battery",
        "power.supply_v",
        "stream.bitrate_kbps",
        "stream.frozen",
        "stream.up",
    }
)
