"""Kit that was read wrong once, served live: what each of these devices says, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.inputs.snmp import SnmpDevice
from firmware_profiles.examples import written
from firmware_profiles.load import load_profiles
from telemetry.inputs import SnmpInput
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
            SnmpInput(address="127.0.0.1", port=port, community_file=str(community), deadline=5, interval=10), PROFILES
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
