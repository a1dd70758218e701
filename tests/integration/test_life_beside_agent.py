"""What a simulated life says beside what the real agent brings: the same metrics, the same answer of the dead."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from agent.inputs import open_input
from agent.inputs.base import Poll
from agent.inputs.probe import Result
from simulator.life import kit
from simulator.life.body import Body, Wiring
from simulator.life.faults import Befallen
from simulator.life.world import Drive, Leg, Map, Radio
from telemetry.inputs import InputConfig, SnmpInput, SystemInput
from telemetry.metrics import METRICS

INPUTS = {(one.name, one.device): one for one in kit.inputs(kit.BOX, 10)}


def polled(config: InputConfig) -> Poll:
    async def poll() -> Poll:
        source = open_input(config, ())
        try:
            await source.poll(100.0)  # the first one has no processor's load yet
            await asyncio.sleep(0.2)
            return await source.poll(110.0)
        finally:
            await source.close()

    return asyncio.run(poll())


def metrics_of(name: str, device: str) -> set[str]:
    return {metric for metric, _ in INPUTS[name, device].keys}


def test_the_host_tells_what_a_real_one_does() -> None:
    """This machine's own figures, and the boots that the agent adds: every one is a column of the life's host."""
    told = {reading.metric for reading in polled(SystemInput()).readings}
    assert {"device.reachable", "host.load1", "host.memory_percent", "host.disk_percent"} <= told
    assert told <= metrics_of("system", "gateway")


def test_a_link_tells_what_a_real_probe_does() -> None:
    told = {reading.metric for reading in Result(3, [41.0, 42.5, 40.8], answered=True).readings("centre")}
    assert told | {"device.reachable"} == metrics_of("probe", "link") - {"link.certificate_days"}


def test_metrics_of_inputs_that_no_profile_decides_are_all_of_the_catalogue() -> None:
    for name, device, measurement in (
        ("gnss", "gnss", "gnss"), ("agent", "agent", "agent"), ("stream", "encoder", "stream"),
    ):  # fmt: skip
        known = {metric for metric in METRICS if metric.startswith(f"{measurement}.")}
        assert known == metrics_of(name, device) - {"device.reachable"}


def test_the_dead_answer_as_a_real_poll_of_nobody_does(tmp_path: Path) -> None:
    """Reachable is false, nothing else is known, and a problem says so."""
    secret = tmp_path / "community"
    secret.touch(0o600)
    secret.write_text("nobody\n", "utf-8")
    config = SnmpInput(address="127.0.0.1", port=1, community_file=str(secret), timeout=0.1, retries=0, deadline=1)
    real = polled(config)
    assert [(reading.metric, reading.value) for reading in real.readings] == [("device.reachable", False)]
    assert real.problem
    begin = 1_772_409_600_000
    drive = Drive(Map.of({"city": (Radio(), 12_000.0)}, {}, {}), [Leg(3_600_000, "city")], begin, 1)
    dead = Befallen("camera_down", "camera-2", 0.0, begin, None)
    body = Body(drive, Wiring(), [dead], begin, begin + 3_600_000, "1")
    now = body.between(begin + 10_000)
    values, problem = body.read(INPUTS["snmp", "camera-2"], begin + 10_000, drive.at(begin), now, random.Random(1))
    assert values is not None
    said = dict(zip(INPUTS["snmp", "camera-2"].keys, values, strict=True))
    assert {key[0]: value for key, value in said.items() if value is not None} == {"device.reachable": False}
    assert problem
