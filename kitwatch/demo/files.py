"""What the demo writes for its parts: fleet file, configurations of collector and agents, secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from simulator.kit import Endpoints
    from telemetry.fleet import Fleet
    from telemetry.topics import AgentName

COMMUNITY: Final = "demo-only"
ENCODER_PASSWORD: Final = "demo-only-too"


@dataclass
class Files:
    """Everything goes into ``directory``. ``kept``: somebody wants it afterwards, secrets too.

    Otherwise secrets are on no disk: whatever ends the demo, a kill too, nothing of them is left in a temporary folder.
    """

    directory: Path
    kept: bool
    _descriptors: list[int] = field(default_factory=list)

    def secret(self, name: str, text: str) -> str:
        """Return the path of a file of mode 0600 that holds a secret."""
        if self.kept:
            path = self.directory / name
            path.touch(mode=0o600)
            path.chmod(0o600)
            path.write_text(text + "\n", encoding="utf-8")
            return str(path)
        descriptor = os.memfd_create(name)
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode() + b"\n")
        self._descriptors.append(descriptor)
        return f"/proc/self/fd/{descriptor}"

    def close(self) -> None:
        """Forget the secrets."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def fleet(self, site_id: str, broker: Mapping[str, Any], endpoints: list[Endpoints]) -> Path:
        """Write the fleet file for two simulated kits and this machine; return it."""
        from simulator.kit import ENCODER_USER

        community = self.secret("community", COMMUNITY)
        password = self.secret("encoder-password", ENCODER_PASSWORD)
        every = {"interval": 1, "deadline": 1}

        def snmp(port: int) -> dict[str, Any]:
            return {"address": "127.0.0.1", "port": port, "community_file": community, "timeout": 0.4, **every}

        def kit(ends: Any) -> dict[str, Any]:
            devices: dict[str, Any] = {
                "router": {"kind": "router", "snmp": snmp(ends.router_port)},
                "modem": {"kind": "modem", "modem": {"port": ends.modem_port, **every}, "depends_on": ["router"]},
                "gnss": {"kind": "gnss", "gnss": {"port": ends.gnss_port, **every}},
            }
            for camera, port in ends.camera_ports.items():
                devices[camera] = {"kind": "camera", "snmp": snmp(port), "depends_on": ["router"]}
            for name, port in {"ups": ends.ups_port, "power": ends.panel_port}.items():
                if port is not None:
                    devices[name] = {"kind": name, "snmp": snmp(port) | {"interval": 2}}
            if ends.encoder_url is not None:
                login = {"user": ENCODER_USER, "password_file": password}
                devices["encoder"] = {
                    "kind": "encoder",
                    "http": {
                        "url": ends.encoder_url,
                        "profile": "hikvision/isapi",
                        **login,
                        "interval": 2,
                        "deadline": 2,
                    },
                    "stream": {"url": ends.stream_url, **login, "play": 2, "interval": 5, "deadline": 4},
                    "depends_on": ["router"],
                }
            return {"devices": devices}

        target = {"kind": "tcp", "address": broker["host"], "port": broker["port"]}
        host = {"kind": "host", "system": {"interval": 2, "deadline": 2}}
        uplink = {"kind": "link", "probe": {"targets": {"broker": target}, "interval": 2, "deadline": 2}}
        vehicles = {
            "amb-01": {
                "name": "急救01车",
                "plate": "沪A·D0001",
                "agents": {"router": kit(endpoints[0]), "tablet": {"devices": {"tablet": host, "uplink": uplink}}},
            },
            "amb-02": {"name": "急救02车", "plate": "沪A·D0002", "agents": {"router": kit(endpoints[1])}},
            "this-machine": {
                "name": "本机 this machine",
                "agents": {"local": {"devices": {"machine": host, "uplink": uplink}}},
            },
        }
        site = {"name": "示范急救中心", "hotline": "120", "broker": dict(broker), "vehicles": vehicles}
        return self._write("fleet.yaml", {"sites": {site_id: site}})

    def collector(
        self, fleet: Path, broker: Mapping[str, Any], influxdb: Mapping[str, Any] | None, **more: Any
    ) -> Path:
        """Write the collector's file; return it. ``more`` are further keys."""
        config: dict[str, Any] = {
            "broker": dict(broker),
            "database": f"sqlite:///{self.directory / 'kitwatch.sqlite'}",
            "fleet": str(fleet),
            "timings": {"receipt": 2, "beat": 1, "reconnect_window": 5},
            **more,
        }
        if influxdb is not None:
            config["influxdb"] = dict(influxdb)
        return self._write("collector.yaml", config)

    def agent(self, fleet: Fleet, fleet_file: Path, name: AgentName) -> AgentConfig:
        """Write an agent's file; return what it says."""
        from agent.config import load, render

        text = yaml.safe_load(render(fleet, name.vehicle, name.agent, fleet_file))
        text["state_directory"] = str(self.directory / "agents" / f"{name.vehicle}-{name.agent}")
        text["waits"] = {"own_figures": 5, "resend": 15, "problem_repeat": 2}
        return load(self._write(f"agent-{name.vehicle}-{name.agent}.yaml", text))

    def _write(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path
