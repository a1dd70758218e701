"""Kit that was read wrong once, served live: what each of these devices says, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.inputs.modem import Modem
from agent.inputs.snmp import SnmpDevice
from firmware_profiles.examples import written
from firmware_profiles.load import load_profiles
from telemetry.inputs import ModemInput, SnmpInput
from tests.services.modem import kit, values
from tests.services.snmpsim import snmpsim

PROFILES = load_profiles()
SNMP: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: (what it answers, the profile, every reading that is not of an interface)
    "cisco-no-service": (
        """
1.3.6.1.2.1.1.1.0|4|Cisco IOS Software [Amsterdam], ISR Software (ARMV8EL_LINUX_IOSD-UNIVERSALK9_IOT-M), Version 17.3.1
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.9.1.2661
1.3.6.1.4.1.9.9.661.1.3.1.1.6.4002|2|3
1.3.6.1.4.1.9.9.661.1.3.2.1.5.4002|2|2
1.3.6.1.4.1.9.9.661.1.3.2.1.6.4002|2|1
1.3.6.1.4.1.9.9.661.1.3.4.1.1.1.4002|2|-113
1.3.6.1.4.1.9.9.661.1.3.5.1.1.2.4002|2|2
1.3.6.1.4.1.9.9.817.1.1.1.1.1.1.4002|2|-140
1.3.6.1.4.1.9.9.817.1.1.1.1.1.2.4002|2|-200
1.3.6.1.4.1.9.9.817.1.1.1.1.1.3.4002|2|138
""",
        "cisco/ios-cellular",
        {"device.firmware": "17.3.1", "modem.technology{modem=4002}": "none", "modem.sim{modem=4002}": "ready"},
    ),
    "memory-two-meanings": (
        """
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.8072.3.2.10
1.3.6.1.2.1.25.2.3.1.2.1|6|1.3.6.1.2.1.25.2.1.2
1.3.6.1.2.1.25.2.3.1.5.1|2|61016
1.3.6.1.2.1.25.2.3.1.6.1|2|46984
1.3.6.1.4.1.2021.4.5.0|2|61016
1.3.6.1.4.1.2021.4.6.0|2|14084
1.3.6.1.4.1.2021.4.14.0|2|6264
""",
        "generic/net-snmp",
        {},
    ),
    "pepwave-one-modem-left": (
        """
1.3.6.1.2.1.1.1.0|4|Pepwave MAX HD4
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.27662
1.3.6.1.4.1.23695.200.1.1.1.1.1.0|4|Pepwave MAX HD4
1.3.6.1.4.1.23695.200.1.1.1.1.3.0|4|8.0.0s010 build 4198
1.3.6.1.4.1.23695.200.1.12.1.1.1.3.1|2|-58
1.3.6.1.4.1.23695.200.1.12.1.1.1.5.1|2|28
1.3.6.1.4.1.23695.200.1.12.1.1.1.7.1|2|-85
1.3.6.1.4.1.23695.200.1.12.1.1.1.8.1|2|-9
""",
        "peplink/max",
        {
            "device.firmware": "8.0.0s010 build 4198",
            "modem.rssi_dbm{leg=lte,modem=1}": -58.0,
            "modem.rsrp_dbm{leg=lte,modem=1}": -85.0,
            "modem.rsrq_db{leg=lte,modem=1}": -9.0,
            "modem.sinr_db{leg=lte,modem=1}": 28.0,
        },
    ),
    "teltonika-emergency": (
        """
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.48690
1.3.6.1.4.1.48690.1.3.0|4|RUTM5500XXXX
1.3.6.1.4.1.48690.1.6.0|4|RUTM_R_00.07.24.3
1.3.6.1.4.1.48690.2.2.1.9.1|4|inserted
1.3.6.1.4.1.48690.2.2.1.10.1|4|OK
1.3.6.1.4.1.48690.2.2.1.11.1|4|Emergency only
1.3.6.1.4.1.48690.2.2.1.12.1|4|-71
1.3.6.1.4.1.48690.2.2.1.16.1|4|LTE
1.3.6.1.4.1.48690.2.2.1.20.1|4|-99
""",
        "teltonika/rutos-7.10",
        {
            "device.firmware": "RUTM_R_00.07.24.3",
            "modem.registration{modem=1}": "emergency_only",
            "modem.technology{modem=1}": "4g",
            "modem.sim{modem=1}": "ready",
        },
    ),
    "ups-fillers": (
        """
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.705.1.2
1.3.6.1.2.1.33.1.1.1.0|4|EATON
1.3.6.1.2.1.33.1.2.1.0|66|2
1.3.6.1.2.1.33.1.2.3.0|66|4294967295
1.3.6.1.2.1.33.1.2.4.0|66|97
1.3.6.1.2.1.33.1.2.5.0|66|2707
1.3.6.1.2.1.33.1.2.7.0|2|0
1.3.6.1.2.1.33.1.4.1.0|2|3
""",
        "generic/ups",
        {"power.battery_percent": 97.0, "power.on_battery": False, "power.supply_v": 270.7},
    ),
    "hikvision-without-object-id": (
        """
1.3.6.1.2.1.1.1.0|4|
1.3.6.1.2.1.1.3.0|67|8640000
1.3.6.1.4.1.39165.1.1.0|4|DS-2CD2T47G2
1.3.6.1.4.1.39165.1.3.0|4|V5.7.11
1.3.6.1.4.1.39165.1.7.0|4|27 PERCENT
""",
        "hikvision/camera",
        {"device.firmware": "V5.7.11", "device.uptime_s": 86400, "device.cpu_percent": 27.0},
    ),
    "baicells-as-net-snmp": (
        """
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.8072.3.2.10
1.3.6.1.2.1.1.3.0|67|360000
1.3.6.1.4.1.53058.2.1.8.0|4|BaiCE_BG_3.6.11
1.3.6.1.4.1.53058.2.2.7.0|4|-94 dBm
""",
        "baicells/cpe",
        {"device.firmware": "BaiCE_BG_3.6.11", "device.uptime_s": 3600, "modem.rsrp_dbm{leg=lte}": -94.0},
    ),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("kit")
    for name, (answers, _, _) in SNMP.items():
        (folder / f"{name}.snmprec").write_text(answers.lstrip())
    with snmpsim(folder, "pepwave-one-modem-left") as port:
        yield port


@pytest.mark.parametrize("name", SNMP)
def test_a_device_over_snmp(name: str, port: int, tmp_path: Path) -> None:
    _, profile, expected = SNMP[name]
    community = tmp_path / "community"
    community.write_text(name)
    community.chmod(0o600)

    async def poll() -> tuple[str | None, dict[str, Any]]:
        device = SnmpDevice(
            SnmpInput(
                address="127.0.0.1", port=port, community_file=str(community), timeout=10, deadline=60, interval=60
            ),
            PROFILES,
        )
        try:
            found = await device.poll(0.0)
        finally:
            await device.close()
        readings = {written(reading.metric, reading.labels): reading.value for reading in found.readings}
        return device.profile.id if device.profile is not None else found.problem, readings

    found, readings = asyncio.run(poll())
    assert found == profile
    assert readings.pop("device.reachable") is True
    assert readings == expected


def modem(maker: str, model: str, firmware: str, **answers: str) -> dict[str, list[str]]:
    """Return a modem's table: who it is, and the lines of its answers by command."""
    who: dict[str, list[str]] = {"AT": [], "AT+CGMI": [maker], "AT+CGMM": [model], "AT+CGMR": [firmware]}
    return who | {"AT+CMEE=1": [], "AT+COPS=3,2": []} | {name: text.splitlines() for name, text in answers.items()}


AT: dict[str, tuple[dict[str, list[str]], dict[str, Any]]] = {
    "voice-registered-data-denied": (
        modem(
            "Quectel",
            "EC25",
            "EC25EFAR06A06M4G",
            **{
                "AT+CPIN?": "+CPIN: READY",
                "AT+CREG?": "+CREG: 0,1",
                "AT+CGREG?": "+CGREG: 0,3",
                "AT+CEREG?": "+CEREG: 0,3",
                "AT+CSQ": "+CSQ: 20,99",
            },
        ),
        {"sim": "ready", "registration": "denied"},
    ),
    "quectel-long-nr-carrier": (
        modem(
            "Quectel",
            "RM520N-GL",
            "RM520NGLAAR03A03M4G",
            **{"AT+QCAINFO": '+QCAINFO: "PCC",521310,10,"NR5G BAND 41",271,-89,-11,1950'},
        ),
        {
            "technology": "5g_sa",
            "band/nr": "n41",
            "bandwidth_mhz/nr": 80.0,
            "pci/nr": 271,
            "rsrp_dbm/nr": -89.0,
            "rsrq_db/nr": -11.0,
            "sinr_db/nr": 19.5,
        },
    ),
    "sierra-on-3g": (
        modem(
            "Sierra Wireless, Incorporated",
            "MC7354",
            "SWI9X15C_05.05.58.00",
            **{
                "AT!GSTATUS?": "!GSTATUS: \n"
                "Current Time:  1350             Temperature: 33\n"
                "System mode:   WCDMA            PS state:    Attached     \n"
                "WCDMA band:    WCDMA 2100 \n"
                "RX level C0:   -68              LAC:         1389 (5001)\n"
                "RX level C1:   -106             Cell ID:     01F5C482 (32883842)"
            },
        ),
        {"technology": "3g", "temperature_c": 33.0, "tac": 5001, "cell_id": 32883842},
    ),
    "simcom-whole-units": (
        modem(
            "SIMCOM INCORPORATED",
            "SIMCOM_SIM7080",
            "1951B16SIM7080",
            **{
                "AT+CPSI?": "+CPSI: LTE CAT-M1,Online,238-01,0x07D1,12024587,465,EUTRAN-BAND20,6350,5,5,-15,-85,-55,9",
                "AT+CSQ": "+CSQ: 22,99",
            },
        ),
        {
            "technology": "4g",
            "plmn": "23801",
            "band/lte": "B20",
            "bandwidth_mhz/lte": 20.0,
            "cell_id/lte": 12024587,
            "pci/lte": 465,
            "tac/lte": 0x07D1,
            "rsrq_db/lte": -15.0,
            "rsrp_dbm/lte": -85.0,
            "rssi_dbm/lte": -55.0,
            "sinr_db/lte": 9.0,
        },
    ),
    "telit-without-txpwr": (
        modem(
            "Telit",
            "LE910C1-EU",
            "25.20.676",
            **{
                "AT#RFSTS": '#RFSTS: "286 01",1795,-101,-67,-15,2242,,128,3,1,0B5D121,'
                '"286010000000000","Turkcell",3,3,108'
            },
        ),
        {
            "technology": "4g",
            "plmn": "28601",
            "operator": "Turkcell",
            "band/lte": "B3",
            "cell_id/lte": 0x0B5D121,
            "tac/lte": 0x2242,
            "rsrp_dbm/lte": -101.0,
            "rssi_dbm/lte": -67.0,
            "rsrq_db/lte": -15.0,
        },
    ),
}


@pytest.mark.parametrize("name", AT)
def test_a_modem_over_at(name: str) -> None:
    table, expected = AT[name]

    async def poll() -> dict[str, Any]:
        live = Modem(ModemInput(port=device.name))
        try:
            return values(await live.poll(0.0))
        finally:
            await live.close()

    with kit(table) as device:
        found = asyncio.run(poll())
    assert (found.pop("device.reachable"), found.pop("port_open")) == (True, True)
    assert found == expected
