"""Mosquitto as we ship it: Debian's main file, our configuration and access list, `kitwatch setup`'s certificates."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from kitwatch.main import main as kitwatch
from tests.services.certificates import Pair
from tests.services.process import Server, free_port, need, running

SHIPPED = Path(__file__).parents[2] / "systemd"
DEBIAN = Path("/etc/mosquitto/mosquitto.conf")
DEVICES = {"devices": {"box": {"kind": "host", "system": {}}}}
FLEET = {
    "sites": {
        "c1": {
            "broker": {"host": "localhost"},
            "vehicles": {
                "amb-01": {"agents": {"router": DEVICES}},
                "amb-02": {"agents": {"router": DEVICES}},
                "amb-03": {"agents": {"router": DEVICES, "tablet": DEVICES}},
            },
        }
    }
}


@dataclass
class Secured:
    """The broker and what `kitwatch setup` made for it in ``directory``."""

    directory: Path
    server: Server
    ports: dict[str, int]

    def certificate(self, name: str) -> Pair:
        """Return what a vehicle (VEHICLE or VEHICLE.AGENT) or the collector has."""
        if name == "collector":
            return Pair(self.directory / "collector.crt", self.directory / "collector.key")
        folder = self.directory / name
        if not folder.exists():
            vehicle, _, agent = name.partition(".")
            setup(self.directory, "vehicle", vehicle, *([agent] if agent else []))
            folder.mkdir()
            shutil.unpack_archive(self.directory / f"{name}.tar", folder)
        return Pair(folder / "agent.crt", folder / "agent.key")


def setup(directory: Path, *words: str) -> None:
    """Run `kitwatch setup` with everything in one directory."""
    to = [] if words[0] == "ca" else ["--to", str(directory)]
    owner = ["--owner", "root"] if words[0] in ("server", "collector") else []
    files = ["--fleet", f"{directory}/fleet.yaml", "--acl", f"{directory}/kitwatch.acl"] if "vehicle" in words else []
    assert kitwatch(["setup", *words, *to, *owner, *files, "--ca", str(directory / "ca")]) == 0


@contextlib.contextmanager
def secured_broker(directory: Path) -> Iterator[Secured]:
    """Yield it: Debian's main file and the shipped ones with other folders and ports, nothing else changed."""
    need("mosquitto", "mosquitto")
    (directory / "fleet.yaml").write_text(yaml.safe_dump(FLEET))
    (directory / "kitwatch.acl").write_text((SHIPPED / "mosquitto-kitwatch.acl").read_text())
    setup(directory, "ca", "--name", "tests")
    setup(directory, "server", "localhost", "127.0.0.1")
    setup(directory, "collector")
    ports = {"vehicles": free_port(), "collector": free_port()}
    ours = {
        "listener 8883\n": f"listener {ports['vehicles']} 127.0.0.1\n",
        "listener 8884 ": f"listener {ports['collector']} ",
        "/etc/mosquitto/certs/": f"{directory}/",
        "/etc/mosquitto/kitwatch.acl": f"{directory}/kitwatch.acl",
    }
    (directory / "conf.d").mkdir()
    (directory / "conf.d" / "kitwatch.conf").write_text(moved(SHIPPED / "mosquitto-kitwatch.conf", ours))
    debian = {
        "/run/mosquitto/": f"{directory}/",
        "/var/lib/mosquitto/": f"{directory}/",
        "/var/log/mosquitto/": f"{directory}/",
        "/etc/mosquitto/conf.d": f"{directory}/conf.d",
    }
    (directory / "mosquitto.conf").write_text(moved(DEBIAN, debian) + "user root\n")
    command = [need("mosquitto", "mosquitto"), "-c", str(directory / "mosquitto.conf")]
    server = Server(command, ports["vehicles"], directory / "log", also=[ports["collector"]])
    secured = Secured(directory, server, ports)
    for vehicle in ("amb-01", "amb-02"):
        secured.certificate(vehicle)  # and its lines of the access list
    with running(secured.server):
        yield secured


def moved(file: Path, places: dict[str, str]) -> str:
    """Return a configuration with other places."""
    text = file.read_text()
    for shipped, ours in places.items():
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    return text
