"""Every AT transcript, against values written by hand from AT.md: nothing missing, nothing extra.

Hexadecimal identifiers stand as the modem printed them; powers are worked out from the report mappings of AT.md
sections 2 to 6 (``-141 + n`` and its like), shown as sums where they are not printed in dB.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from kitwatch.decode_at import decode_at

FOLDER = os.environ.get("KITWATCH_CAPTURES")
if not FOLDER:
    warnings.warn("KITWATCH_CAPTURES is not set: the AT transcripts are NOT tested", stacklevel=1)
    pytest.skip("KITWATCH_CAPTURES is not set", allow_module_level=True)
TRANSCRIPTS = Path(FOLDER) / "serial" / "at"


def at(name: str) -> Path:
    return TRANSCRIPTS / name


def lte(**figures: Any) -> dict[str, Any]:
    return {f"{key}/lte": value for key, value in figures.items()}


def nr(**figures: Any) -> dict[str, Any]:
    return {f"{key}/nr": value for key, value in figures.items()}


def blocks(name: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for reading in decode_at(at(name))["readings"]:
        key = reading["metric"].removeprefix("modem.")
        assert set(reading["labels"]) <= {"leg"}
        if "leg" in reading["labels"]:
            key += f"/{reading['labels']['leg']}"
        block = found.setdefault(reading["block"], {})
        assert key not in block, f"{key} twice in block {reading['block']}"
        block[key] = reading["value"]
    return found


LTE_ONLY = {"technology": "4g"}
SA = {"technology": "5g_sa"}
NSA = {"technology": "5g_nsa"}
HOME = {"registration": "home"}

EXPECTED: dict[str, dict[int, dict[str, Any]]] = {
    "fibocom_fm350-gl_endc-cesq_and_no-signal.txt": {
        # +CESQ: 17,99,255,255,4,29,75,52,57
        1: NSA
        | {"plmn": "26202", "temperature_c": 32.5}
        | lte(rsrq_db=-20 + 4 / 2, rsrp_dbm=-141 + 29, tac=0x1A2B, cell_id=0x12345AB, pci=42)
        | nr(rsrq_db=-43.5 + 75 / 2, rsrp_dbm=-157 + 52, sinr_db=-23.5 + 57 / 2),
    },
    "fibocom_fm350-gl_endc.txt": {
        1: NSA
        | {"plmn": "25001"}
        | lte(rsrp_dbm=-141 + 62, rsrq_db=-20 + 18 / 2, tac=0x1234, cell_id=0x1234567, pci=223, band="B3")
        | lte(bandwidth_mhz=10)  # 50 resource blocks
        | nr(rsrp_dbm=-157 + 68, rsrq_db=-43.5 + 80 / 2, sinr_db=13, pci=143, band="n79"),
    },
    "fibocom_fm350-gl_lte.txt": {
        1: HOME
        | LTE_ONLY
        | {"plmn": "25001", "temperature_c": 37.6}
        | lte(rssi_dbm=-113 + 2 * 9, rsrp_dbm=-102, rsrq_db=-16.5, tac=0x1234, cell_id=0x123456, pci=470, band="B3")
        | lte(bandwidth_mhz=20),
        2: LTE_ONLY
        | {"plmn": "25002"}
        | lte(rsrp_dbm=-141 + 33, rsrq_db=-20 + 17 / 2, tac=0x81B3, cell_id=0x4E31009, pci=280, band="B3")
        | lte(bandwidth_mhz=15),
    },
    "fibocom_fm350-gl_nr5g-sa_cesq-pair.txt": {
        1: SA
        | {"plmn": "46000"}
        | nr(rsrq_db=-11.0, rsrp_dbm=-87, sinr_db=15.0, tac=0x149002, cell_id=0xC2840C002, pci=128),
        2: lte(rsrq_db=-12.0, rsrp_dbm=-97),
        # "+C5GREG: 0" is a mode without a state: it withholds nothing.
        3: nr(rsrq_db=-43.5 + 83 / 2, rsrp_dbm=-157 + 73, sinr_db=-23.5 + 77 / 2),
        4: SA | {"operator": "CHINA MOBILE"} | nr(rsrq_db=-43.5 + 71 / 2, rsrp_dbm=-157 + 74, sinr_db=-23.5 + 74 / 2),
    },
    "fibocom_l850-gl_lte_xmci.txt": {
        1: HOME | LTE_ONLY | lte(tac=0x7D08, cell_id=0x4E23C04),
        2: LTE_ONLY
        | {"plmn": "51011"}
        | lte(rsrp_dbm=-82, rsrq_db=-10.5, sinr_db=7.0, tac=0x7D08, cell_id=0x4E23C06, pci=0x71, band="B3"),
        3: LTE_ONLY
        | {"plmn": "51011"}
        | lte(rsrp_dbm=-141 + 63, rsrq_db=-20 + 14 / 2, sinr_db=6 / 2, tac=0x7D08, cell_id=0x4E23C06, pci=0x71)
        | lte(band="B3"),
    },
    "fibocom_l860-gl_lte_malformed-rsrq.txt": {
        1: lte(rssi_dbm=-113 + 2 * 15, rsrq_db=-7.0, rsrp_dbm=-84, sinr_db=25.0, pci=502),
    },
    "huawei_e3372h-320_wcdma.txt": {
        1: {"technology": "3g", "rssi_dbm": -77, "temperature_c": 39.1},
        2: LTE_ONLY | lte(band="B1", bandwidth_mhz=15),
    },
    "huawei_hcsq_sysinfoex_variants.txt": {
        1: LTE_ONLY | lte(rssi_dbm=-121 + 30, rsrp_dbm=-141 + 19, sinr_db=pytest.approx(-20.2 + 66 / 5), rsrq_db=-20),
        2: {"technology": "3g", "rssi_dbm": -121 + 30},
        3: {"technology": "2g", "rssi_dbm": -121 + 36},
        4: LTE_ONLY | lte(rssi_dbm=-88, rsrp_dbm=-101, sinr_db=6.8, rsrq_db=-14.5),
        5: {"technology": "none", "registration": "not_registered"},
        6: {"technology": "none", "registration": "not_registered"},
        7: {"technology": "3g"},
        8: {"technology": "3g"},
        9: {"technology": "3g"},
    },
    "openluat_air724ug_lte_data-after-ok.txt": {
        1: LTE_ONLY | {"plmn": "46011", "sim": "ready"} | lte(rssi_dbm=-113 + 2 * 27, rsrq_db=-10.5, rsrp_dbm=-90),
    },
    "quectel_5g_nr5g-sa_creg0_space-in-field.txt": {
        1: HOME
        | SA
        | {"sim": "ready", "operator": "515 66 DITO", "plmn": "51566"}
        | nr(rsrp_dbm=-109, rsrq_db=-12, sinr_db=14, band="n78", bandwidth_mhz=100, pci=538)
        | nr(tac=1130496, cell_id=4295434240),
    },
    "quectel_5g_nr5g-sa_tmo_ca.txt": {
        1: HOME
        | SA
        | {"operator": "T-Mobile", "plmn": "310260"}
        | nr(rsrp_dbm=-104, rsrq_db=-13, sinr_db=11, band="n71", bandwidth_mhz=10, pci=24)
        | nr(tac=6334976, cell_id=39613121108),
        2: SA
        | {"operator": "T-Mobile", "plmn": "310260"}
        # Bandwidth code 10 is 80 MHz only in the list that has 70 MHz (code 9).
        | nr(rsrp_dbm=-89, rsrq_db=-11, sinr_db=19, band="n41", bandwidth_mhz=80, pci=271)
        | nr(tac=0x59E700, cell_id=0x14758F12F),
    },
    "quectel_ec200a_lte_reordered.txt": {
        1: HOME
        | LTE_ONLY
        | {"sim": "ready", "operator": "NOS", "plmn": "26803"}
        | lte(rssi_dbm=-113 + 2 * 17, tac=0xA8, cell_id=0x5355E8D),
    },
    "quectel_ec200t_lte_qtemp255.txt": {
        1: LTE_ONLY
        | {"plmn": "12301", "temperature_c": 38}
        | lte(rsrp_dbm=-87, rsrq_db=-16, rssi_dbm=-69, sinr_db=5, band="B3", bandwidth_mhz=20, pci=348)
        | lte(tac=0x5443, cell_id=0x43300C),
    },
    "quectel_glinet-e5800_nr5g-nsa_bare-cops.txt": {
        # LTE SINR 16 is dB or a code, the model is not named; RSSNR is that of B66, not of the B2 cell.
        1: HOME
        | NSA
        | {"plmn": "310260"}
        | lte(rsrp_dbm=-88, rsrq_db=-18, rssi_dbm=-51, band="B2", bandwidth_mhz=15, pci=322)
        | lte(tac=0x3C6E, cell_id=0x1762809)
        | nr(rsrp_dbm=-81, sinr_db=22, rsrq_db=-10, band="n41", bandwidth_mhz=100, pci=704),
    },
    "quectel_glinet-rg650v_sa-and-lte_dual-sub.txt": {
        1: SA
        | {"operator": "T-Mobile", "plmn": "310260"}
        | nr(rssi_dbm=-113 + 2 * 16, rsrp_dbm=-99, rsrq_db=-13, sinr_db=4, band="n71", bandwidth_mhz=15, pci=721)
        | nr(tac=0x870100, cell_id=0x187461035),
        2: LTE_ONLY
        | {"registration": "roaming", "operator": "AT&T", "plmn": "310410"}
        | lte(rsrp_dbm=-117, rsrq_db=-15, rssi_dbm=-82, sinr_db=0, band="B66", bandwidth_mhz=20, pci=136),
    },
    "quectel_rg500q-ea_nr5g-nsa.txt": {
        1: HOME
        | NSA
        | {"operator": "SUN", "plmn": "51503", "temperature_c": 50}
        # SINR from QCAINFO's RSSNR
        | lte(rsrp_dbm=-89, rsrq_db=-13, rssi_dbm=-58, sinr_db=15, band="B1", bandwidth_mhz=20, pci=1)
        | lte(tac=0x4AA3, cell_id=0x3359966)
        | nr(rsrp_dbm=-76, sinr_db=21, rsrq_db=-11, band="n41", bandwidth_mhz=60, pci=832),
    },
    "quectel_rm500q-gl_no-service.txt": {
        1: {"registration": "not_registered", "technology": "none"},
        2: {"registration": "denied", "technology": "none", "sim": "ready"},
        3: {"registration": "searching", "technology": "none"},
    },
    "quectel_rm500u-cnv_nr5g-sa.txt": {
        1: HOME
        | SA
        | {"sim": "ready", "plmn": "46011", "temperature_c": 50}
        | nr(rssi_dbm=-77, rsrp_dbm=-89, rsrq_db=-8, sinr_db=15, band="n78", bandwidth_mhz=100, pci=702)
        | nr(tac=7733519, cell_id=31687901460),
    },
    "quectel_rm520n-gl_limsrv_lab.txt": {
        # Camped without being registered: the cell is told, its figures are withheld.
        1: SA
        | {"registration": "not_registered", "plmn": "00101"}
        | nr(band="n78", bandwidth_mhz=20, pci=0, tac=1, cell_id=0xE00),
        2: SA
        | {"plmn": "00101"}
        | nr(rsrp_dbm=-92, rsrq_db=-11, sinr_db=21, band="n78", bandwidth_mhz=20, pci=0, tac=1, cell_id=0xE00),
    },
    "quectel_rm5xx_nr5g-sa_chained_qrsrp-unknown.txt": {
        1: HOME
        | SA
        | {"plmn": "310260", "temperature_c": 40}
        | nr(rsrp_dbm=-84, rsrq_db=-11, sinr_db=21, band="n71", bandwidth_mhz=20, pci=869)
        | nr(tac=11598592, cell_id=4400443395),
    },
    "quectel_unnamed_endc_qcainfo-arity.txt": {
        1: HOME
        | NSA
        | {"plmn": "51503"}
        | lte(rsrp_dbm=-94, rsrq_db=-8, rssi_dbm=-66, sinr_db=25, band="B3", bandwidth_mhz=15, pci=295)
        | nr(rsrp_dbm=-89, sinr_db=24, rsrq_db=-10, band="n41", bandwidth_mhz=60, pci=262),
    },
    "sierra_em7455_lte.txt": {
        1: LTE_ONLY
        | {"temperature_c": 53}
        | lte(rsrp_dbm=-110, rssi_dbm=-84, rsrq_db=-12.7, sinr_db=1.0, band="B8", bandwidth_mhz=5)
        | lte(tac=58090, cell_id=46352458),
        2: LTE_ONLY
        | {"temperature_c": 36}
        | lte(rsrp_dbm=-109, rssi_dbm=-74, rsrq_db=-17.4, sinr_db=-2.6, band="B3", bandwidth_mhz=10)
        | lte(tac=54700, cell_id=37633588),
    },
    "sierra_em9191_endc_truncated.txt": {
        1: HOME
        | NSA
        | {"plmn": "20201", "temperature_c": 43}
        | lte(rsrp_dbm=-99, rssi_dbm=-65, band="B3", bandwidth_mhz=20, tac=0x1206, cell_id=0x19E4A03),
    },
    "simcom_a76xx_sim-race_no-service.txt": {
        1: {"sim": "ready", "registration": "not_registered"},
        2: {"registration": "not_registered", "technology": "none"},
        3: {"sim": "absent", "registration": "not_registered"},
    },
    "simcom_sim7906_lte.txt": {
        1: LTE_ONLY
        | {"plmn": "25002"}
        | lte(rsrq_db=-10.8, rsrp_dbm=-88.9, rssi_dbm=-61.4, sinr_db=19, band="B3", bandwidth_mhz=10, pci=58)
        | lte(tac=3832, cell_id=22060),
    },
    "simcom_sim82xx_nr5g_fw-variants.txt": {
        1: SA
        | {"plmn": "24212"}
        | nr(rsrp_dbm=-77.0, rsrq_db=-11.0, sinr_db=29.0, band="n78", pci=0, tac=0x765D, cell_id=4955280),
        2: NSA
        | {"plmn": "46011"}
        | lte(rsrq_db=-9.4, rsrp_dbm=-85.0, rssi_dbm=-54.5, sinr_db=15, band="B3", bandwidth_mhz=20, pci=257)
        | lte(tac=0x5A1E, cell_id=187214780)
        | nr(rsrq_db=-12, rsrp_dbm=-86, sinr_db=8.5, pci=58),
        3: NSA | nr(rsrq_db=-12, rsrp_dbm=-86, sinr_db=8.5, pci=58),
        4: NSA | nr(rsrp_dbm=-76.0, rsrq_db=-11.0, band="n41", pci=298),
    },
    "tdtech_mt5700m-cn_nr-and-lte.txt": {
        1: SA
        | {"plmn": "46000"}
        | nr(rsrp_dbm=-74, rsrq_db=-9, sinr_db=17, band="n41", bandwidth_mhz=60, pci=276)
        | nr(tac=1319516, cell_id=51581505637),
        2: SA | nr(rsrp_dbm=-141 + 77, sinr_db=pytest.approx(-20.2 + 241 / 5)),
        3: LTE_ONLY
        | {"plmn": "46000"}
        | lte(rssi_dbm=-55, rsrp_dbm=-86, sinr_db=13.0, rsrq_db=-11, pci=8, tac=0x24C8, cell_id=0xD975244),
        4: LTE_ONLY
        | lte(rssi_dbm=-121 + 45, rsrp_dbm=-141 + 34, sinr_db=pytest.approx(-20.2 + 106 / 5), rsrq_db=-20 + 19 / 2),
    },
    "telit_lm960a18_lte.txt": {
        1: LTE_ONLY
        | {"plmn": "310260", "operator": "T-Mobile"}
        | lte(rsrp_dbm=-101, rssi_dbm=-68, rsrq_db=-13, band="B66", tac=11544, cell_id=50896642, pci=0xEC),
        2: LTE_ONLY
        | {"plmn": "310410", "operator": "AT&T"}
        | lte(rsrp_dbm=-93, rssi_dbm=-59, rsrq_db=-14, band="B2", tac=0x8B1E),
    },
}

WHO: dict[str, tuple[str | None, str | None, str]] = {
    "fibocom_fm350-gl_lte.txt": ("FM350-GL", "81600.0000.00.29.22.40", "fibocom"),
    "fibocom_l850-gl_lte_xmci.txt": ("L850-GL", None, "fibocom"),
    "huawei_e3372h-320_wcdma.txt": ("E3372h-320", "10.0.5.1(H195SP3C983)", "huawei"),
    "huawei_hcsq_sysinfoex_variants.txt": (None, None, "huawei"),
    "openluat_air724ug_lte_data-after-ok.txt": ("Air724UG", "LuatOS-Air_V4032_RDA8910_TTS_NOLVGL_FLOAT", "3gpp"),
    "quectel_ec200a_lte_reordered.txt": ("EC200A", "EC200AELLAR01A05M16_TP", "quectel"),
    "quectel_rg500q-ea_nr5g-nsa.txt": ("RG500Q-EA", "RG500QEAAAR11A06M4G", "quectel"),
    "quectel_rm500u-cnv_nr5g-sa.txt": ("RM500U-CNV", "RM500UCNVCAR03A12M2G", "quectel"),
    "quectel_glinet-e5800_nr5g-nsa_bare-cops.txt": (None, None, "quectel"),
    "sierra_em9191_endc_truncated.txt": ("EM9191", None, "sierra"),
    "simcom_sim7906_lte.txt": ("SIM7906", None, "simcom"),
    "tdtech_mt5700m-cn_nr-and-lte.txt": ("MT5700M-CN", None, "huawei"),
    "telit_lm960a18_lte.txt": ("LM960A18", "32.01.150", "telit"),
}

FLAGS: dict[str, list[str]] = {
    "fibocom_fm350-gl_endc.txt": ["filler modem.tac", "filler modem.cell_id"],
    "fibocom_fm350-gl_nr5g-sa_cesq-pair.txt": ["unknown_text modem.registration", "filler modem.rssi_dbm"],
    "fibocom_l860-gl_lte_malformed-rsrq.txt": ["unparsed modem.rsrq_db"],
    "huawei_e3372h-320_wcdma.txt": ["filler modem.temperature_c"],
    "quectel_ec200t_lte_qtemp255.txt": ["filler modem.temperature_c"],
    "quectel_rm5xx_nr5g-sa_chained_qrsrp-unknown.txt": ["filler modem.rsrp_dbm", "filler modem.temperature_c"],
    "quectel_rm520n-gl_limsrv_lab.txt": [
        "withheld modem.rsrp_dbm",
        "withheld modem.rsrq_db",
        "withheld modem.sinr_db",
        "filler modem.rsrq_db",
    ],
    "sierra_em9191_endc_truncated.txt": ["truncated modem."],
    "simcom_a76xx_sim-race_no-service.txt": ["stale modem.sim failure, then ready"],
    "simcom_sim82xx_nr5g_fw-variants.txt": ["unparsed modem.sinr_db"],
    "tdtech_mt5700m-cn_nr-and-lte.txt": ["unparsed modem.rsrq_db"],
    "telit_lm960a18_lte.txt": ["unparsed modem.cell_id"],
}


def test_every_transcript_is_expected() -> None:
    there = {path.name for path in TRANSCRIPTS.glob("*.txt")}
    assert there == set(EXPECTED) | {"generic_creg-family_variants.txt"}


@pytest.mark.parametrize("name", EXPECTED)
def test_transcript(name: str) -> None:
    assert blocks(name) == EXPECTED[name]


@pytest.mark.parametrize("name", WHO)
def test_who_it_is(name: str) -> None:
    result = decode_at(at(name))
    assert (result["model"], result["firmware"], result["dialect"]) == WHO[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_flags(name: str) -> None:
    flags = decode_at(at(name))["flags"]
    kinds = ("filler", "withheld", "contradiction", "unknown_text", "truncated", "stale", "unparsed")
    assert all(flag.split()[0] in kinds and flag.split()[1].startswith("modem.") for flag in flags)
    for start in FLAGS.get(name, []):
        assert any(flag.startswith(start) for flag in flags), f"no {start} in {flags}"
    if not any(start.startswith("withheld") for start in FLAGS.get(name, [])):
        assert not any(flag.startswith("withheld") for flag in flags)
    if name != "sierra_em9191_endc_truncated.txt":
        assert not any(flag.startswith("truncated") for flag in flags)


@pytest.mark.parametrize("name", ["quectel_rm500u-cnv_nr5g-sa", "openluat_air724ug_lte_data-after-ok"])
def test_the_bytes_of_the_port_read_the_same(name: str) -> None:
    assert decode_at(at(f"{name}.bin"))["readings"] == decode_at(at(f"{name}.txt"))["readings"]


# The words of the table for what the state means to us; SMS only and CSFB are registered, RLOS carries no data.
STATE = {
    "denied": "denied",
    "idle": "not_registered",
    "searching": "searching",
    "home": "home",
    "home_sms_only": "home",
    "roaming": "roaming",
    "roaming_csfb_not_preferred": "roaming",
    "attached_rlos": "emergency_only",
}
ACCESS = {"unknown": None, "gsm": "2g", "edge": "2g", "umts": "3g", "lte": "4g", "5gnr": "5g_sa"}


def table() -> list[tuple[str, list[str]]]:
    lines = at("generic_creg-family_variants.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(reply, [part.strip() for part in meaning.split("|")]) for _, reply, meaning in rows]


def test_the_table_of_registration_replies_row_by_row() -> None:
    found = blocks("generic_creg-family_variants.txt")
    rows = table()
    assert sorted(found) == list(range(1, len(rows) + 1))
    for number, (reply, (state, tac, cell, access, _)) in enumerate(rows, start=1):
        block = {key.partition("/")[0]: value for key, value in found[number].items()}
        where = f"row {number}: {reply}"
        if reply.count("REG:") == 2:
            # Two messages at once: the table reads the first, which is of voice; we the one of data.
            assert block == {"registration": "not_registered"}, where
            continue
        expected: dict[str, Any] = {"registration": STATE[state]}
        # 0 is the table's word for "not told", and a tracking area 0 is reserved.
        expected |= {"tac": int(tac, 16)} if int(tac, 16) else {}
        expected |= {"cell_id": int(cell, 16)} if int(cell, 16) else {}
        if ACCESS[access] and STATE[state] in ("home", "roaming"):
            expected["technology"] = ACCESS[access]
        assert block == expected, where


def test_legs_of_the_table() -> None:
    found = blocks("generic_creg-family_variants.txt")
    for number, (reply, (_, tac, _, access, _)) in enumerate(table(), start=1):
        if not int(tac, 16):
            continue
        leg = {"lte": "/lte", "5gnr": "/nr"}.get(access, "")
        assert f"tac{leg}" in found[number], reply
