"""The simulated kit answers net-snmp's own tools and a plain serial client, and its scenario shows."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import serial

from simulator.gnss import sentence, sentences
from simulator.kit import Kit
from simulator.modem import reply
from simulator.scenario import Fault, Scenario, load_scenario
from simulator.world import kit_state
from tests.integration.test_stream_input import gstreamer
from tests.services.process import need

COMMUNITY = "simulated-1"


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return out.decode()


def test_net_snmp_reads_the_router_and_the_camera_loses_power() -> None:
    walk = need("snmpbulkwalk", "snmp")
    get = need("snmpget", "snmp")
    dark = Scenario(name="t", faults=(Fault(vehicle="v", fault="camera_unpowered", at=0),))

    async def main() -> tuple[str, str, str]:
        kit = Kit("v", dark, COMMUNITY)
        ends = await kit.start()
        try:
            router = f"127.0.0.1:{ends.router_port}"
            table = await _run(walk, "-v2c", "-c", COMMUNITY, "-On", router, "1.3.6.1.4.1.48690.2.2.1.11")
            wrong = await _run(get, "-v2c", "-c", "other", "-t", "0.3", "-r", "0", router, "1.3.6.1.2.1.1.1.0")
            camera = await _run(
                get,
                "-v2c",
                "-c",
                COMMUNITY,
                "-t",
                "0.3",
                "-r",
                "0",
                f"127.0.0.1:{ends.camera_ports['camera-1']}",
                "1.3.6.1.2.1.1.1.0",
            )
            return table, wrong, camera
        finally:
            await kit.stop()

    table, wrong, camera = asyncio.run(main())
    *_, last = table.splitlines()  # the first of net-snmp's tools on a machine says before it that it made a directory
    assert last == '.1.3.6.1.4.1.48690.2.2.1.11.1 = STRING: "Registered, home"'
    assert "Timeout" in wrong
    assert "Timeout" in camera


def test_curl_reads_the_encoder_behind_its_digest_and_is_refused_without() -> None:
    curl = need("curl", "curl")

    async def main() -> list[str]:
        kit = Kit("v", Scenario(name="t"), COMMUNITY, encoder_password="pass word")
        ends = await kit.start()
        try:
            page = f"{ends.encoder_url}/ISAPI/System/deviceInfo"
            status = [curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", page]
            login = ["--digest", "-u", "viewer:pass word"]
            return [
                await _run(*status),
                await _run(*status, *login[:2], "viewer:wrong"),
                await _run(curl, "-s", *login, page),
            ]
        finally:
            await kit.stop()

    bare, wrong, page = asyncio.run(main())
    assert (bare, wrong) == ("401", "401")
    assert "<firmwareVersion>V4.70.141</firmwareVersion>" in page


PLAYER = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
url, protocol = sys.argv[1:]
source = f'rtspsrc location={url} user-id=viewer user-pw=secret protocols={protocol} latency=0 timeout=0'
whole = ' ! rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au ! fakesink name=f'
line = Gst.parse_launch(source + whole)
pictures = []
line.get_by_name('f').props.signal_handoffs = True
line.get_by_name('f').connect('handoff', lambda _, picture, __: pictures.append(picture.get_size()))
line.set_state(Gst.State.PLAYING)
bus = line.get_bus()
for _ in range(600):  # until it plays: a busy machine needs its time to begin
    error = bus.timed_pop_filtered(Gst.SECOND // 10, Gst.MessageType.ERROR)
    if error or pictures:
        break
error = error or bus.timed_pop_filtered(3 * Gst.SECOND, Gst.MessageType.ERROR)
line.set_state(Gst.State.NULL)
print(len(pictures), max(pictures, default=0), error and error.parse_error()[0].message)
"""


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_gstreamer_plays_the_encoders_stream(protocol: str) -> None:
    """A player that is not ours accepts session, login, transport and the packets' form."""
    gstreamer()

    async def main() -> str:
        kit = Kit("v", Scenario(name="t"), COMMUNITY, encoder_password="secret")
        ends = await kit.start()
        try:
            return await _run("/usr/bin/python3", "-c", PLAYER, ends.stream_url or "", protocol)
        finally:
            await kit.stop()

    told = asyncio.run(main()).strip().splitlines()[-1]
    pictures, largest, error = told.split(" ", 2)
    assert error == "None"
    assert 45 < int(pictures) < 85  # of 25 a second in 3.1 s
    assert 5_000 < int(largest) < 6_200  # a whole picture, put together from its fragments


def test_the_modem_answers_at_commands_on_a_serial_port() -> None:
    async def main() -> bytes:
        kit = Kit("v", load_scenario("quiet"), COMMUNITY)
        ends = await kit.start()
        try:
            with serial.Serial(ends.modem_port, timeout=60) as port:
                port.write(b"AT+CPIN?;+CEREG?\r")
                answer = await asyncio.to_thread(port.read_until, b"\r\nOK\r\n")
                port.timeout = 0.5
                return answer + await asyncio.to_thread(port.read, 200)  # nothing more comes
        finally:
            await kit.stop()

    answer = asyncio.run(main())
    assert answer.startswith(b"AT+CPIN?;+CEREG?\r\r\n")
    assert b"\r\n+CPIN: READY\r\n" in answer
    assert answer.endswith(b"\r\nOK\r\n")


def test_a_pulled_sim_shows_on_router_and_modem_and_heals() -> None:
    scenario = Scenario(name="t", faults=(Fault(vehicle="v", fault="sim_absent", at=10, lasts=5),))
    before, during, after = (kit_state(scenario, "v", [], seconds) for seconds in (9.9, 10.0, 15.0))
    assert [state.sim_present for state in (before, during, after)] == [True, False, True]
    assert reply("AT+CPIN?", during, "1") == ["+CME ERROR: 10"]
    assert reply("AT+CPIN?", after, "1") == ["+CPIN: READY", "OK"]


def test_a_degraded_antenna_costs_what_the_scenario_says() -> None:
    scenario = Scenario(name="t", faults=(Fault(vehicle="v", fault="antenna_degraded", at=0, strength=20),))
    healthy = kit_state(Scenario(name="t"), "v", [], 100.0)
    weak = kit_state(scenario, "v", [], 100.0)
    assert round(healthy.nr.rsrp - weak.nr.rsrp, 6) == 20
    assert weak.nr.sinr < healthy.nr.sinr - 15


def test_sentences_carry_the_checksum_of_nmea_0183() -> None:
    # A sentence with its published checksum: gpsd's documentation of GLL.
    assert sentence("GPGLL,4916.45,N,12311.12,W,225444,A") == "$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n"
    state = replace(kit_state(Scenario(name="t"), "v", [], 0.0), latitude=31.5, longitude=-121.25)
    told = sentences(state, datetime(2026, 5, 9, 8, 7, 6, tzinfo=UTC))
    assert "GNGGA,080706.00,3130.00000,N,12115.00000,W,1,14," in told
    assert "GNRMC,080706.00,A," in told
    assert ",090526," in told
