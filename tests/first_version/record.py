# mypy: ignore-errors
"""Records what an agent and a collector of the first version (commit 0aa31cf) say to each other.

In a worktree of that commit: ``python record.py DIRECTORY``. Both run as processes over a real Mosquitto; the link is
cut for a while, so that there is a backlog. Written once: the bytes in ``conversation.json`` never change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt

from tests.services.mosquitto import mosquitto
from tests.services.relay import relay

FLEET = """
sites:
  north: {vehicles: {amb-1: {agents: {box: {devices: {box: {kind: host, system: {interval: 1, deadline: 1}}}}}}}}
"""
COLLECTOR = """
broker: {host: 127.0.0.1, port: PORT}
database: sqlite:///first.sqlite
fleet: fleet.yaml
timings: {receipt: 1, beat: 1}
"""
AGENT = """
site: north
vehicle: amb-1
agent: box
broker: {host: 127.0.0.1, port: PORT}
state_directory: state
devices: {box: {kind: host, system: {interval: 1, deadline: 1}}}
waits: {backoff_cap: 1, resend: 6, own_figures: 3, spread: 1, connect: 5}
"""


def main(directory: Path) -> None:
    said: list[dict[str, object]] = []
    with mosquitto(directory) as broker, relay(broker.port) as link:
        recorder = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        recorder.on_message = lambda _client, _data, message: said.append(
            {"topic": message.topic, "payload": message.payload.hex(), "at_ms": time.time_ns() // 1_000_000}
        )
        recorder.connect("127.0.0.1", broker.port)
        recorder.subscribe("kitwatch/v1/#")
        recorder.loop_start()
        for name, text, port in (
            ("fleet", FLEET, 0),
            ("collector", COLLECTOR, broker.port),
            ("agent", AGENT, link.port),
        ):
            (directory / f"{name}.yaml").write_text(text.replace("PORT", str(port)))
        run = [sys.executable, "-m", "kitwatch.main"]
        collector = subprocess.Popen([*run, "collector", "--config", "collector.yaml"], cwd=directory)
        time.sleep(4)
        agent = subprocess.Popen([*run, "agent", "--config", "agent.yaml"], cwd=directory)
        time.sleep(6)
        link.set("cut")
        time.sleep(4)
        link.set("pass")
        time.sleep(8)
        agent.terminate()
        agent.wait(20)
        time.sleep(1)
        collector.terminate()
        collector.wait(20)
        time.sleep(0.5)
        recorder.loop_stop()
    (directory / "conversation.json").write_text("[\n" + ",\n".join(map(json.dumps, said)) + "\n]\n")
    for one in said:
        print(one["topic"], len(str(one["payload"])) // 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
