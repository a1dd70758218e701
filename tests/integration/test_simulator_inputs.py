"""The product's own inputs read the simulated kit and find the truth of its world; faults show, and heal.

The scenario's clock stands still while an input polls, so that there is one truth to compare with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.inputs import open_input
from agent.inputs.base import Poll
from simulator.kit import ENCODER_USER, Endpoints, Kit
from simulator.modem import MAKERS, Maker
from simulator.scenario import Fault, Scenario, SimulatedFault, load_scenario
from simulator.world import KitState
from telemetry.inputs import GnssInput, HttpInput, InputConfig, ModemInput, SnmpInput, StreamInput
from telemetry.metrics import metric

COMMUNITY = "simulated-1"
PASSWORD = 'sim "ulated"'
BEFORE, DURING, AFTER = 50.0, 105.0, 150.0
"""Of a fault that is there from 100 to 140 s."""


@dataclass
class Bench:
    """A kit whose scenario stands at ``seconds``, with the configuration of each of its inputs."""

    kit: Kit
    ends: Endpoints
    clock: list[float]
    secrets: Path

    def at(self, seconds: float) -> KitState:
        self.clock[0] = seconds
        return self.kit.state()

    def config(self, name: str, **more: Any) -> InputConfig:
        ends = self.ends
        login: dict[str, Any] = {"user": ENCODER_USER, "password_file": str(self.secrets / "password")}
        ports = {"router": ends.router_port, "ups": ends.ups_port, "power": ends.panel_port, **ends.camera_ports}
        quick: dict[str, Any] = {"deadline": 10.0, **more}
        if name in ports:
            port, file = ports[name], str(self.secrets / "community")
            assert port is not None
            return SnmpInput(address="127.0.0.1", port=port, community_file=file, timeout=2.0, retries=0, **quick)
        if name == "encoder":
            return HttpInput(url=ends.encoder_url or "", **login, **quick)
        if name == "stream":
            return StreamInput(url=ends.stream_url or "", play=2.0, **login, **{"deadline": 8.0, **more})
        if name == "modem":
            return ModemInput(port=ends.modem_port, **quick)
        return GnssInput(port=ends.gnss_port, **quick)


def with_kit(
    tmp_path: Path,
    use: Callable[[Bench], Awaitable[Any]],
    faults: tuple[Fault, ...] = (),
    maker: Maker = "quectel",
    repeat: float | None = None,
) -> Any:
    for name, text in {"community": COMMUNITY, "password": PASSWORD}.items():
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)

    async def main() -> Any:
        clock = [0.0]
        scenario = Scenario(name="t", faults=faults, repeat=repeat)
        kit = Kit(
            "v",
            scenario,
            COMMUNITY,
            monotonic=lambda: clock[0],
            ups=True,
            encoder_password=PASSWORD,
            modem=maker,
            gnss_period=0.2,
        )
        bench = Bench(kit, await kit.start(), clock, tmp_path)
        try:
            return await use(bench)
        finally:
            await kit.stop()

    return asyncio.run(main())


async def polls(bench: Bench, name: str, *moments: float, **more: Any) -> list[tuple[KitState, Poll]]:
    """Poll one input once at each moment of the scenario."""
    source = open_input(bench.config(name, **more))
    found = []
    try:
        for number, seconds in enumerate(moments):
            state = bench.at(seconds)
            if name == "stream":
                await asyncio.sleep(0.5)  # a port without power closes, one with power opens
            elif name == "encoder":
                await asyncio.sleep(0.3)
            elif name == "gnss":
                await asyncio.sleep(0.5)  # it prints five times a second
            found.append((state, await source.poll(number * 400.0)))
    finally:
        await source.close()
    return found


def values(poll: Poll) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reading in poll.readings:
        metric(reading.metric).check(reading.value)
        label = reading.labels.get("leg") or reading.labels.get("interface")
        found[reading.metric + (f"/{label}" if label else "")] = reading.value
    return found


def one(tmp_path: Path, name: str, *moments: float, faults: tuple[Fault, ...] = (), **more: Any) -> list[Any]:
    async def use(bench: Bench) -> list[tuple[KitState, Poll]]:
        return await polls(bench, name, *moments)

    return [(state, values(poll)) for state, poll in with_kit(tmp_path, use, faults, **more)]


def struck(tmp_path: Path, name: str, fault: SimulatedFault, *moments: float, **more: Any) -> list[Any]:
    """Poll before, during and after a fault, or at other moments."""
    strength = more.pop("strength", None)
    faults = (Fault(vehicle="v", fault=fault, at=100, lasts=40, strength=strength),)
    return one(tmp_path, name, *(moments or (BEFORE, DURING, AFTER)), faults=faults, **more)


# --- the truth --------------------------------------------------------------------------------------------------------


def test_the_router_tells_the_truth(tmp_path: Path) -> None:
    ((state, found),) = one(tmp_path, "router", 77.0)
    assert found["device.reachable"] is True
    assert found["device.firmware"] == "RUTX_R_00.07.13.1"
    assert found["device.uptime_s"] == 86_477
    assert found["modem.rsrp_dbm/nr"] == round(state.nr.rsrp)
    assert found["modem.sinr_db/nr"] == round(state.nr.sinr)
    assert found["modem.temperature_c"] == pytest.approx(state.modem_temperature_c, abs=0.06)
    assert found["modem.bytes_sent"] == state.bytes_sent == 115_500_000
    assert (found["modem.sim"], found["modem.registration"], found["modem.technology"]) == ("ready", "home", "5g_sa")


@pytest.mark.parametrize("maker", MAKERS)
def test_each_maker_of_modems_tells_the_same_world(maker: Maker, tmp_path: Path) -> None:
    faults = (Fault(vehicle="v", fault="nr_fallback", at=100, lasts=40),)
    (state, nr), (fallen_state, lte), (_, healed) = one(
        tmp_path, "modem", BEFORE, DURING, AFTER, faults=faults, maker=maker
    )
    assert nr["device.reachable"] is True
    assert (nr["modem.sim"], nr["modem.registration"]) == ("ready", "home")
    assert nr["modem.plmn"] == "46000"
    assert nr["modem.operator"] == "CHINA MOBILE"
    assert nr["modem.technology"] == healed["modem.technology"] == ("5g_sa" if maker == "tdtech" else "5g_nsa")
    assert nr["modem.band/nr"] == "n41"
    assert nr["modem.rsrp_dbm/nr"] == round(state.nr.rsrp)
    assert nr["modem.sinr_db/nr"] == pytest.approx(state.nr.sinr, abs=0.51)
    assert nr["modem.temperature_c"] == pytest.approx(state.modem_temperature_c, abs=0.51)
    assert lte["modem.technology"] == "4g"
    assert lte["modem.rsrp_dbm/lte"] == round(fallen_state.lte.rsrp)
    assert lte["modem.rsrq_db/lte"] == pytest.approx(fallen_state.lte.rsrq, abs=0.51)
    assert lte["modem.cell_id/lte"] == 0x3359966
    assert not [name for name in lte if name.endswith("/nr")]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("fault", "sim", "registration"),
    [
        ("sim_absent", "absent", "not_registered"),
        ("sim_locked", "locked", "not_registered"),
        ("registration_denied", "ready", "denied"),
    ],
)
def test_what_keeps_a_modem_off_the_network(
    maker: Maker, fault: SimulatedFault, sim: str, registration: str, tmp_path: Path
) -> None:
    (_, before), (_, during), (_, after) = struck(tmp_path, "modem", fault, maker=maker)
    assert (before["modem.sim"], before["modem.registration"]) == ("ready", "home")
    if maker == "quectel" and sim != "ready":
        registration = "searching"  # +QENG says SEARCH, which is more than the +CREG family does
    assert (during["modem.sim"], during["modem.registration"]) == (sim, registration)
    assert not [name for name in during if name.startswith(("modem.rsrp", "modem.rsrq", "modem.sinr"))]
    assert (after["modem.sim"], after["modem.registration"]) == ("ready", "home")


def test_the_position_is_where_the_vehicle_is(tmp_path: Path) -> None:
    (state, found), (_, cut), (_, healed) = struck(tmp_path, "gnss", "gnss_antenna_cut")
    assert found["gnss.latitude"] == pytest.approx(state.latitude, abs=1e-6)
    assert found["gnss.longitude"] == pytest.approx(state.longitude, abs=1e-6)
    assert found["gnss.speed_kmh"] == pytest.approx(40.0, abs=0.1)
    assert (found["gnss.satellites"], found["gnss.fix"], found["gnss.antenna"]) == (14, "3d", "ok")
    assert (cut["gnss.fix"], cut["gnss.antenna"]) == ("none", "open")
    assert "gnss.latitude" not in cut
    assert (healed["gnss.fix"], healed["gnss.antenna"]) == ("3d", "ok")


def test_a_position_jumps(tmp_path: Path) -> None:
    (_, first), (_, second), (_, third) = struck(tmp_path, "gnss", "gnss_jumping", 110.0, 111.0, 112.0, strength=5.0)
    # A minute of arc is a nautical mile: 1.852 km; the vehicle itself drives 11 m in a second.
    jumped = [
        abs(two["gnss.latitude"] - one["gnss.latitude"]) * 60 * 1.852 for one, two in ((first, second), (second, third))
    ]
    assert jumped == pytest.approx([5.0, 5.0], abs=0.05)


def test_the_ups_runs_down_and_wears(tmp_path: Path) -> None:
    (_, before), (_, during), (_, after) = struck(tmp_path, "ups", "on_battery", BEFORE, 130.0, AFTER, strength=60.0)
    assert (before["power.on_battery"], before["power.battery_percent"], before["power.runtime_s"]) == (
        False,
        100,
        1800,
    )
    assert (during["power.on_battery"], during["power.battery_percent"], during["power.runtime_s"]) == (True, 50, 30)
    assert during["power.supply_v"] == pytest.approx((27.2 + 21.0) / 2)
    assert after.pop("device.uptime_s") > before.pop("device.uptime_s")
    assert after == before
    (_, _), (_, worn), (_, replaced) = struck(tmp_path, "ups", "ups_battery_worn")
    assert (worn["power.on_battery"], worn["power.battery_percent"], worn["power.runtime_s"]) == (False, 100, 120)
    assert replaced.pop("device.uptime_s") > 0
    assert replaced == before


def test_the_supply_sags(tmp_path: Path) -> None:
    (state, before), (_, during), (_, after) = struck(tmp_path, "power", "supply_sag", strength=3.0)
    assert before["power.supply_v"] == pytest.approx(state.supply_v, abs=0.051)
    assert during["power.supply_v"] == pytest.approx(10.9, abs=0.11)
    assert after["power.supply_v"] == pytest.approx(13.9, abs=0.11)


# --- devices that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("router", "router_dead"),
        ("router", "snmp_dead"),
        ("camera-1", "camera_unpowered"),
        ("modem", "modem_hung"),
        ("encoder", "encoder_unpowered"),
        ("stream", "encoder_unpowered"),
    ],
)
def test_a_device_is_gone_and_comes_back(name: str, fault: SimulatedFault, tmp_path: Path) -> None:
    (_, before), (_, during), (_, after) = struck(tmp_path, name, fault)
    assert before["device.reachable"] is True
    assert during.pop("modem.port_open", True) is True  # the port stays though the module says nothing
    assert during == {"device.reachable": False}
    assert after["device.reachable"] is True
    assert before.keys() == after.keys()


def test_only_snmp_is_dead(tmp_path: Path) -> None:
    (state, _), (_, found), _ = struck(tmp_path, "modem", "snmp_dead")
    assert state.router_alive
    assert found["modem.registration"] == "home"


def test_a_router_that_starts_again_and_again(tmp_path: Path) -> None:
    moments = (99.0, 102.0, 107.0, 112.0, 119.0, 145.0)  # of ten seconds, down for five, up for five
    found = struck(tmp_path, "router", "router_reboot_loop", *moments, strength=10.0)
    assert [told["device.reachable"] for _, told in found] == [True, False, True, False, True, True]
    assert [told.get("device.uptime_s") for _, told in found] == [86_499, None, 2, None, 4, 5]


def test_a_module_gets_hotter_by_the_slope_that_the_scenario_says(tmp_path: Path) -> None:
    found = struck(tmp_path, "modem", "modem_hot", 99.0, 110.0, 120.0, 139.0, AFTER, strength=2.0)
    told = [told["modem.temperature_c"] for _, told in found]
    # 44 degrees, 3 more or less with the time of day, and 2 a second from the fault's beginning on, 115 at most.
    assert told == [pytest.approx(44 + above, abs=3.6) for above in (0, 20, 40, 71, 0)]
    assert told[3] <= 115


def test_a_firmware_that_changes_is_told_as_another_identity(tmp_path: Path) -> None:
    fault = Fault(vehicle="v", fault="firmware_changed", at=100)

    async def use(bench: Bench) -> list[Poll]:
        return [poll for _, poll in await polls(bench, "router", BEFORE, 60.0, DURING)]

    first, second, third = with_kit(tmp_path, use, (fault,))
    assert first.identity.firmware == "RUTX_R_00.07.13.1"
    assert second.identity is None
    assert third.identity.firmware == "RUTX_R_00.07.14.2"


# --- the encoder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, "hikvision/isapi"])
def test_the_encoder_is_read_over_http(named: str | None, tmp_path: Path) -> None:
    async def use(bench: Bench) -> tuple[Poll, int, int]:
        ((_, poll),) = await polls(bench, "encoder", 40.0, profile=named)
        assert bench.kit.encoder is not None
        return poll, bench.kit.encoder.logins, bench.kit.encoder.failures

    poll, logins, failures = with_kit(tmp_path, use)
    assert poll.problem is None
    assert poll.identity.model == "DS-6704HUHI"
    assert values(poll) == {
        "device.reachable": True,
        "device.firmware": "V4.70.141",
        "device.uptime_s": 3_640,
        "device.cpu_percent": 25.0,
        "device.memory_percent": 75.0,
        "device.video_input": True,
    }
    assert logins >= 2
    assert failures == 0


def test_a_changed_password_costs_two_logins_and_no_lock_out(tmp_path: Path) -> None:
    fault = Fault(vehicle="v", fault="password_changed", at=100)

    async def use(bench: Bench) -> tuple[list[Poll], int]:
        found = await polls(bench, "encoder", BEFORE, DURING, 106.0, 107.0, 108.0, 109.0, 110.0, 111.0)
        assert bench.kit.encoder is not None
        return [poll for _, poll in found], bench.kit.encoder.failures

    found, failures = with_kit(tmp_path, use, (fault,))
    assert found[0].problem is None
    for poll in found[1:]:
        assert values(poll) == {"device.reachable": True}
        assert poll.problem is not None
        assert poll.problem.startswith("login refused: ")
    assert failures == 2, "the nonce in use and one fresh try; five would lock our address"


def test_the_encoder_locks_an_address_that_guesses(tmp_path: Path) -> None:
    """So that the test above means something: five wrong logins, and the right password is refused too."""
    import aiohttp

    async def use(bench: Bench) -> list[int]:
        async def ask(password: str) -> int:
            login = aiohttp.DigestAuthMiddleware(ENCODER_USER, password)
            async with (
                aiohttp.ClientSession(middlewares=(login,)) as session,
                session.get(f"{bench.ends.encoder_url}/ISAPI/System/status") as answer,
            ):
                text = await answer.text()
                assert ("<lockStatus>lock</lockStatus>" in text) == (answer.status == 401 and password == PASSWORD)
                return answer.status

        told = [await ask(PASSWORD), *[await ask(f"guess {number}") for number in range(4)], await ask(PASSWORD)]
        for number in range(5):
            async with (
                aiohttp.ClientSession(
                    middlewares=(aiohttp.DigestAuthMiddleware(ENCODER_USER, f"{number}"),)
                ) as session,
                session.get(f"{bench.ends.encoder_url}/ISAPI/System/status") as answer,
            ):
                assert answer.status == 401
        told.append(await ask(PASSWORD))
        bench.at(1900.0)  # half an hour later
        told.append(await ask(PASSWORD))
        return told

    assert with_kit(tmp_path, use) == [200, 401, 401, 401, 401, 200, 401, 200]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_stream_plays(transport: str, tmp_path: Path) -> None:
    async def use(bench: Bench) -> Poll:
        return (await polls(bench, "stream", 40.0, transport=transport))[0][1]

    poll = with_kit(tmp_path, use)
    found = values(poll)
    assert (poll.problem, list(poll.flags)) == (None, [])
    assert (found["device.reachable"], found["stream.up"], found["stream.frozen"]) == (True, True, False)
    assert found["stream.packet_loss_percent"] == 0
    assert found["stream.frames_per_second"] == pytest.approx(25, abs=2)
    assert 150 < found["stream.bitrate_kbps"] < 600


def test_a_picture_freezes_and_moves_again(tmp_path: Path) -> None:
    (_, before), (_, during), (_, after) = struck(tmp_path, "stream", "stream_frozen")
    assert [told["stream.up"] for told in (before, during, after)] == [True, True, True]
    assert [told["stream.frozen"] for told in (before, during, after)] == [False, True, False]
    assert during["stream.packet_loss_percent"] == 0


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_packets_are_lost_as_the_scenario_says(transport: str, tmp_path: Path) -> None:
    fault = Fault(vehicle="v", fault="stream_lossy", at=100, lasts=40, strength=20.0)

    async def use(bench: Bench) -> list[tuple[KitState, Poll]]:
        return await polls(bench, "stream", DURING, AFTER, transport=transport)

    (_, during), (_, after) = [(state, values(poll)) for state, poll in with_kit(tmp_path, use, (fault,))]
    assert 8 < during["stream.packet_loss_percent"] < 35  # of some hundred packets
    assert during["stream.up"] is True
    assert after["stream.packet_loss_percent"] == 0


def test_an_encoder_tells_that_its_input_has_no_picture(tmp_path: Path) -> None:
    told = [values["device.video_input"] for _, values in struck(tmp_path, "encoder", "encoder_no_video")]
    assert told == [True, False, True]


def test_an_encoder_without_video_plays_nothing(tmp_path: Path) -> None:
    (_, before), (_, during), (_, after) = struck(tmp_path, "stream", "encoder_no_video")
    assert before["stream.up"] is True
    assert during == {"device.reachable": True, "stream.up": False}
    assert after["stream.up"] is True


def test_a_stream_refuses_a_wrong_password(tmp_path: Path) -> None:
    async def use(bench: Bench) -> Poll:
        (bench.secrets / "password").write_text("another\n")
        return (await polls(bench, "stream", 40.0))[0][1]

    poll = with_kit(tmp_path, use)
    assert poll.problem is not None
    assert "refuses the user or the password" in poll.problem


# --- scenarios --------------------------------------------------------------------------------------------------------


def test_a_scenario_that_repeats_strikes_again(tmp_path: Path) -> None:
    faults = (Fault(vehicle="v", fault="router_dead", at=10, lasts=10),)
    found = one(tmp_path, "router", 5.0, 15.0, 25.0, 115.0, 125.0, faults=faults, repeat=100.0)
    assert [told["device.reachable"] for _, told in found] == [True, False, True, False, True]
    assert [told.get("device.uptime_s") for _, told in found] == [86_405, None, 5, None, 5]


def test_the_whole_kit_scenario_has_every_fault_that_needs_no_other_password() -> None:
    scenario = load_scenario("whole-kit")
    assert {fault.fault for fault in scenario.faults} == {
        *SimulatedFault.__args__,  # type: ignore[attr-defined]
    } - {"password_changed"}
    assert scenario.repeat is not None
    assert all(fault.lasts and fault.at + fault.lasts < scenario.repeat for fault in scenario.faults)
