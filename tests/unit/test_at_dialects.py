"""Reply lines to readings: the worked examples of AT.md section 7 and what its sections say beside them."""

import functools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.protocols.at import MAX_LINE, MAX_REPLY, final_result
from agent.protocols.dialects import core, huawei, quectel
from agent.protocols.dialects.answers import Answer, Exchange, Record, answers, split
from agent.protocols.dialects.core import Registration, parse_registration
from agent.protocols.dialects.facts import MAX_FLAGS, PREFERENCE, Facts
from agent.protocols.dialects.identity import identify
from agent.protocols.dialects.registry import DIALECTS, PARSERS, STANDARD, choose, decode
from telemetry.metrics import METRICS
from tests.unit.bounds import quick

Figures = dict[str, Any]


def read(*lines: str, model: str = "", cut: bool = False, asked: str | None = "AT") -> tuple[Figures, list[str]]:
    result = final_result(lines[-1])
    exchange = Exchange(asked, lines[:-1] if result else lines, result, cut)
    readings, flags = decode([exchange], model)
    found = {}
    for reading in readings:
        assert METRICS[reading.metric].check(reading.value) == reading.value
        key = reading.metric.removeprefix("modem.") + (f"/{reading.labels['leg']}" if reading.labels else "")
        assert key not in found
        found[key] = reading.value
    return found, flags


def figures(*lines: str, model: str = "") -> Figures:
    return read(*lines, model=model)[0]


# (number in AT.md section 7, lines, what must be there)
WORKED: list[tuple[int, tuple[str, ...], Figures]] = [
    (1, ("+CSQ: 18,99",), {"rssi_dbm": -77}),
    (2, ("+CSQ: 99,99",), {}),
    (3, ("+CSQ: 9, 99",), {"rssi_dbm": -95}),
    (4, ("+CSQ:",), {}),
    (5, ("+CESQ: 99,99,255,255,20,80",), {"rsrq_db/lte": -10.0, "rsrp_dbm/lte": -61}),
    (6, ("+CESQ: 99,99,95,40,255,255",), {}),
    (7, ("+CESQ: 10,6,255,255,255,255",), {"rssi_dbm": -101}),
    (8, ("+CESQ: 99,99,255,255,19,51",), {"rsrq_db/lte": -10.5, "rsrp_dbm/lte": -90}),
    (
        9,
        ("+CESQ: 99,99,255,255,255,255,65,70,77",),
        {"rsrq_db/nr": -11.0, "rsrp_dbm/nr": -87, "sinr_db/nr": 15.0},
    ),
    (
        10,
        ("+CESQ: 17,99,255,255,4,29,75,52,57",),
        {"rsrq_db/lte": -18.0, "rsrp_dbm/lte": -112, "rsrq_db/nr": -6.0, "rsrp_dbm/nr": -105, "sinr_db/nr": 5.0},
    ),
    (11, ("+CESQ: 27,99,255,255,16,44,255,255,255",), {"rsrq_db/lte": -12.0, "rsrp_dbm/lte": -97}),
    (
        12,
        ("+XCESQ: 0,99,99,255,255,19,46,-32",),
        {"rsrq_db/lte": -10.5, "rsrp_dbm/lte": -95, "sinr_db/lte": -16.0},
    ),
    (
        13,
        ("+XCESQ: 0,99,99,255,255,26,57,50,255,255,255,255",),
        {"rsrq_db/lte": -7.0, "rsrp_dbm/lte": -84, "sinr_db/lte": 25.0},
    ),
    (
        14,
        ('+XMCI: 4,510,11,"0x7D08","0x04E23C06","0x0071","0x52D","0x4B7D","0xFFFFFFFF",59,19,14,"0x0","0x0"',),
        {"rsrp_dbm/lte": -82, "rsrq_db/lte": -10.5, "sinr_db/lte": 7.0, "pci/lte": 113},
    ),
    (
        15,
        ('+QENG: "servingcell","CONNECT","NR5G-SA","TDD",460,11,760BF0114,702,76010F,633984,78,100,-89,-8,15,18,34,1',),
        {"cell_id/nr": 31687901460, "tac/nr": 7733519, "band/nr": "n78", "bandwidth_mhz/nr": 100.0}
        | {"rsrp_dbm/nr": -89, "rsrq_db/nr": -8, "sinr_db/nr": 15},
    ),
    (
        16,
        ('+QENG: "servingcell","NOCONN","NR5G-SA","FDD",310,260,106497003,869,B0FB00,124350,71,3,-84,-11,21,0,-',),
        {"cell_id/nr": 4400443395, "tac/nr": 11598592, "band/nr": "n71", "bandwidth_mhz/nr": 20.0}
        | {"rsrp_dbm/nr": -84, "rsrq_db/nr": -11, "sinr_db/nr": 21, "plmn": "310260"},
    ),
    (
        17,
        ('+QENG: "servingcell","NOCONN","NR5G-SA","FDD",310,260,939204254,24,60AA00,126490,71,1,-104,-13,11,0,-',),
        {"cell_id/nr": 39613121108, "tac/nr": 6334976},
    ),
    (
        18,
        ('+QENG:"NR5G-NSA",515,03,832,-76,21,-11,528030,41,8,1',),
        {"rsrp_dbm/nr": -76, "sinr_db/nr": 21, "rsrq_db/nr": -11, "band/nr": "n41", "bandwidth_mhz/nr": 60.0}
        | {"plmn": "51503", "technology": "5g_nsa"},
    ),
    (19, ("+QRSRP: -90,-83,-32768,-32768,NR5G",), {"rsrp_dbm/nr": -83}),
    (
        20,
        ('+QCAINFO: "SCC",528030,8,"NR5G BAND 41",262,-91,-11,2681',),
        {"band/nr": "n41", "bandwidth_mhz/nr": 60.0, "rsrp_dbm/nr": -91, "rsrq_db/nr": -11, "sinr_db/nr": 26.81},
    ),
    (
        21,
        ('+C5GREG: 2,1,"114000","100072000",11,4,"01.010101"',),
        {"registration": "home", "tac/nr": 1130496, "cell_id/nr": 4295434240, "technology": "5g_sa"},
    ),
    (
        22,
        ("+GTCCINFO:", "1,4,250,1,1234,000123456,1802,470,103,100,-4,39,39,7"),
        {"band/lte": "B3", "rsrp_dbm/lte": -102, "rsrq_db/lte": -16.5},
    ),
    (23, ("+GTSENRDTEMP: 1,37628",), {"temperature_c": 37.6}),
    (
        24,
        ("^HCSQ: LTE,33,40,135,11",),
        {"rssi_dbm/lte": -88, "rsrp_dbm/lte": -101, "sinr_db/lte": 6.8, "rsrq_db/lte": -14.5},
    ),
    (25, ('^HCSQ:"WCDMA",44,35,47',), {"rssi_dbm": -77, "technology": "3g"}),
    (
        26,
        ('^HCSQ: "LTE",66,55,166,18', "^MONSC: LTE,460,00,38400,D975244,8,24C8,-85,-10,-54"),
        {"rsrp_dbm/lte": -86, "rsrq_db/lte": -11, "rssi_dbm/lte": -55, "sinr_db/lte": 13.0},
    ),
    (
        27,
        ("^MONSC: NR,460,00,524910,1,C027F5065,114,14225C,-74,-9,17",),
        {"cell_id/nr": 51581505637, "pci/nr": 276, "tac/nr": 1319516}
        | {"rsrp_dbm/nr": -74, "rsrq_db/nr": -9, "sinr_db/nr": 17},
    ),
    (
        28,
        ("+CPSI: NR5G_SA,Online,242-12,0x765D,4955280,0,NR5G_BAND78,640704,-770,-110,290",),
        {"rsrp_dbm/nr": -77.0, "rsrq_db/nr": -11.0, "sinr_db/nr": 29.0},
    ),
    (
        29,
        ("+CPSI: LTE,Online,250-02,0x0EF8,22060,58,EUTRAN-BAND3,1725,3,3,-108,-889,-614,19",),
        {"rsrq_db/lte": -10.8, "rsrp_dbm/lte": -88.9, "rssi_dbm/lte": -61.4, "sinr_db/lte": 19},
    ),
    (
        30,
        ('#RFSTS: "310 260",66786,-101,-68,-13,2D18,255,,640,1,0,3089F02,"000000000000000","T-Mobile",3,66',),
        {"rsrp_dbm/lte": -101, "rssi_dbm/lte": -68, "rsrq_db/lte": -13, "tac/lte": 11544, "cell_id/lte": 50896642}
        | {"band/lte": "B66"},
    ),
    (31, ("^CHIPTEMP: 391,391,65535,31,65535",), {"temperature_c": 39.1}),
    (32, ("+RSRQ: 502,1820,-9.-50,502,6200,-10.00",), {"rsrq_db/lte": -9.5}),
]


@pytest.mark.parametrize(("number", "lines", "expected"), WORKED, ids=[str(row[0]) for row in WORKED])
def test_worked_example(number: int, lines: tuple[str, ...], expected: Figures) -> None:
    found = figures(*lines)
    assert found.items() >= expected.items()
    assert expected or not found, f"example {number} tells nothing"


def test_the_worked_examples_are_all_there() -> None:
    assert [row[0] for row in WORKED] == list(range(1, 33))


# Example 6 and 25: figures of 3G. They have no metric and must not become an RSRP.
def test_3g_power_is_no_rsrp() -> None:
    assert figures("+CESQ: 99,99,95,40,255,255") == {}
    assert set(figures('^HCSQ: "WCDMA",30,30,58')) == {"rssi_dbm", "technology"}


@pytest.mark.parametrize(
    ("function", "index", "value"),
    [
        (core.csq_dbm, 0, -113),
        (core.csq_dbm, 31, -51),
        (core.lte_rsrp_dbm, 97, -44),
        (core.lte_rsrq_db, 34, -3),
        (core.nr_rsrp_dbm, 126, -31),
        (core.nr_rsrq_db, 126, 19.5),
        (core.nr_sinr_db, 127, 40),
        (core.gsm_rssi_dbm, 63, -48),
        (huawei.rssi_dbm, 96, -25),
        (huawei.sinr_db, 251, 30.0),
    ],
)
def test_ends_of_the_scales(function: Any, index: int, value: float) -> None:
    assert function(index) == pytest.approx(value)


def test_bandwidth_codes_with_70_mhz_at_nine() -> None:
    codes = [5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100, 200, 400, 35, 45]
    assert [quectel.NR_BANDWIDTH[str(code)] for code in range(17)] == codes


@pytest.mark.parametrize(
    "line", ["+CSQ: 32,99", "+CSQ: abc,99", "+CESQ: 99,99,255,255,35,98", "^HCSQ: LTE,97,98,252,35"]
)
def test_what_has_no_meaning_is_flagged_and_not_reported(line: str) -> None:
    found, flags = read(line)
    assert set(found) <= {"technology"}
    assert any(flag.startswith("unparsed modem.") for flag in flags)


# +QENG


def lte_cell(sinr: str, rssi: str = "-69") -> str:
    return f'+QENG: "servingcell","NOCONN","LTE","FDD",123,01,43300C,348,1802,3,5,5,5443,-87,-16,{rssi},{sinr},34'


@pytest.mark.parametrize(
    ("model", "sinr", "value"),
    [
        ("RM500Q-GL", "16", 12),
        ("RG500Q-EA RG500QEAAAR11A06M4G", "10", 0),
        ("EC200T", "5", 5),
        ("", "-3", -3),
        ("RM500Q-GL", "-3", -3),
        ("", "16", None),
        ("RM520N-GL", "16", None),
    ],
)
def test_lte_sinr_of_qeng_needs_the_model(model: str, sinr: str, value: float | None) -> None:
    found, flags = read(lte_cell(sinr), model=model)
    assert found.get("sinr_db/lte") == value
    assert any(flag.startswith("unparsed modem.sinr_db") for flag in flags) == (value is None)


def test_rssnr_of_the_same_carrier_is_better_than_qengs_field() -> None:
    same = '+QCAINFO: "PCC",1802,100,"LTE BAND 3",1,348,-87,-16,-69,9'
    other = '+QCAINFO: "PCC",66786,100,"LTE BAND 66",1,348,-92,-10,-59,6'
    assert figures(lte_cell("16"), same)["sinr_db/lte"] == 9
    found, flags = read(lte_cell("16"), other)
    assert "sinr_db/lte" not in found
    assert found["band/lte"] == "B3"
    assert "contradiction modem.band lte QENG B3, QCAINFO B66" in flags


def test_unisoc_bandwidth_is_mhz_and_qualcomms_is_a_code() -> None:
    cell = '+QENG: "servingcell","NOCONN","NR5G-SA","TDD",460,00,1,2,3,633984,78,{},-89,-8,15,{}'
    for tail in ("1,-", "18,34,1"):  # one more field tells nothing
        assert figures(cell.format("10", tail), model="RM520N-GL")["bandwidth_mhz/nr"] == 80
        assert figures(cell.format("10", tail), model="RM500U-CNV")["bandwidth_mhz/nr"] == 10
        assert "bandwidth_mhz/nr" not in figures(cell.format("10", tail))  # 10 MHz, or the code of 80
        assert figures(cell.format("12", tail))["bandwidth_mhz/nr"] == 100  # no carrier has 12 MHz
        assert figures(cell.format("100", tail))["bandwidth_mhz/nr"] == 100  # nor a code of 100


def test_en_dc_gives_both_legs_with_the_indices_of_each_line() -> None:
    found = figures(
        '+QENG: "servingcell","NOCONN"',
        '+QENG: "LTE","FDD",515,03,3359966,1,150,1,5,5,4AA3,-89,-13,-58,16,15,20,-',
        '+QENG:"NR5G-NSA",515,03,832,-76,21,-11,528030,41,8,1',
        model="RG500Q-EA",
    )
    assert found == {
        "technology": "5g_nsa",
        "plmn": "51503",
        "rsrp_dbm/lte": -89,
        "rsrq_db/lte": -13,
        "rssi_dbm/lte": -58,
        "sinr_db/lte": 12,
        "band/lte": "B1",
        "bandwidth_mhz/lte": 20,
        "cell_id/lte": 0x3359966,
        "pci/lte": 1,
        "tac/lte": 0x4AA3,
        "rsrp_dbm/nr": -76,
        "sinr_db/nr": 21,
        "rsrq_db/nr": -11,
        "band/nr": "n41",
        "bandwidth_mhz/nr": 60,
        "pci/nr": 832,
    }


def test_an_nr_line_of_fillers_is_no_nr_leg() -> None:
    lte = '+QENG: "LTE","FDD",515,03,3359966,1,150,1,5,5,4AA3,-89,-13,-58,-3,15,20,-'
    found, flags = read(lte, '+QENG: "NR5G-NSA",515,03,65535,-32768,-32768,-32768')
    assert found["technology"] == "4g"
    assert not [key for key in found if key.endswith("/nr")]
    assert "filler modem.rsrp_dbm QENG -32768" in flags


def test_no_service_beside_a_registration_is_older() -> None:
    found = figures("+CEREG: 0,1", "+QNWINFO: No Service", '+COPS: 0,2,"46000",7')
    assert (found["registration"], found["technology"]) == ("home", "4g")


def test_neighbours_are_not_ours() -> None:
    assert figures('+QENG: "neighbourcell","NR",633984,262,-102,-17,-6,-,32') == {}
    assert figures('+QENG: "neighbourcell intra","LTE",1802,1,-10,-100,-70,0,34') == {}
    assert figures("+GTCCINFO:", "2,4,,,FFFF,00FFFFFFF,9460,71,,43,43,10") == {}
    assert figures('+XMCI: 5,000,000,"0xFFFE","0xFFFFFFFF","0x0071","0xEBE","0xFFFFFFFF","0x0",55,8,255') == {}


def test_limsrv_and_its_fillers() -> None:
    found, flags = read(
        '+QENG: "servingcell","LIMSRV","NR5G-SA","TDD",460,00,FFFFFFFFF,702,FFFFFF,633984,78,12,-95,-11,-3276,1,-'
    )
    assert found["registration"] == "not_registered"
    assert not {"rsrp_dbm/nr", "sinr_db/nr", "cell_id/nr", "tac/nr"} & set(found)
    assert "withheld modem.rsrp_dbm nr -95.0 registration not_registered" in flags
    assert "filler modem.sinr_db QENG -3276" in flags
    assert "filler modem.cell_id QENG FFFFFFFFF" in flags


def test_two_records_on_one_line() -> None:
    found = figures(
        '+QCAINFO: "PCC",1350,75,"LTE BAND 3",5,295,-94,-8,-66,25'
        '+QCAINFO: "SCC",528030,8,"NR5G BAND 41",262,-91,-11,2681'
    )
    assert found["registration"] == "roaming"
    assert found["band/nr"] == "n41"
    assert found["bandwidth_mhz/lte"] == 15


@pytest.mark.parametrize(
    ("line", "hottest"),
    [
        ("+QTEMP: 38,255,255", 38),
        ('+QTEMP:"modem-sdr0-pa0","0"', None),
        ('+QTEMP:"modem-mmw0","-273"', None),
        ('+QTEMP:"aoss0-usr","0"', 0),
        ('+QTEMP: "soc-thermal","-5"', -5),
    ],
)
def test_temperatures(line: str, hottest: float | None) -> None:
    assert figures(line).get("temperature_c") == hottest


def test_qcsq_where_the_sign_may_lack() -> None:
    expected = {"rssi_dbm/lte": -52, "rsrp_dbm/lte": -81, "sinr_db/lte": pytest.approx(19.4), "rsrq_db/lte": -10}
    assert figures('+QCSQ: "LTE",-52,-81,197,-10') == expected
    assert figures('+QCSQ: "LTE",52,-81,197,-10') == expected


# Registration, SIM, operator


@pytest.mark.parametrize(
    ("text", "solicited", "expected"),
    [
        ("0,1", True, Registration(1)),
        ("0", True, Registration(None)),
        ("3", False, Registration(3)),
        ("2,1,0001,0010", True, Registration(1, "0001", "0010")),
        ("2, 0001, 00000100, 7", False, Registration(2, "0001", "00000100", 7)),
        ('1,"1206","19E4A03",13', True, Registration(1, "1206", "19E4A03", 13)),
        ('2,1,"1234","00123456",7,"FF"', True, Registration(1, "1234", "00123456", 7)),
        ("2,10, 2CA8, 20 ,B5583D ,7", True, Registration(10, "2CA8", "B5583D", 7)),
        ('2,1,"114000","100072000",11,4,"01.010101"', True, Registration(1, "114000", "100072000", 11)),
    ],
)
def test_forms_of_a_registration_reply(text: str, solicited: bool, expected: Registration) -> None:
    assert parse_registration(text, solicited) == expected


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (("+CREG: 0,0", "+C5GREG: 0,1"), "home"),
        (("+CREG: 0,3", "+CEREG: 0,1"), "home"),
        (("+CREG: 0,1", "+CGREG: 0,0", "+CEREG: 0,5"), "roaming"),
        (("+CEREG: 0,3", "+CREG: 0,0"), "denied"),
        (("+CEREG: 0,2", "+C5GREG: 0,0"), "searching"),
        (("+CEREG: 0,4",), "unknown"),
        (("+CEREG: 0,8",), "emergency_only"),
        (("+CEREG: 0,9",), "home"),
        (("+CEREG: 0,10",), "roaming"),
        (("+CEREG: 0,7",), "roaming"),
    ],
)
def test_the_best_registration_counts(lines: tuple[str, ...], state: str) -> None:
    assert figures(*lines)["registration"] == state


def test_a_state_that_is_not_told_withholds_nothing() -> None:
    assert figures("+CSQ: 18,99", "+CEREG: 0,4")["rssi_dbm"] == -77
    assert figures("+CSQ: 18,99", "+C5GREG: 0") == {"rssi_dbm": -77}
    assert "rssi_dbm" not in figures("+CSQ: 18,99", "+CEREG: 0,3")


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("+CPIN: READY", "ready"),
        ("+CPIN: SIM PIN", "locked"),
        ("+CPIN: SIM PUK", "locked"),
        ("+CPIN: PH-NET PIN", "locked"),
        ("+CPIN: NOT INSERTED", "absent"),
        ("+CME ERROR: 10", "absent"),
        ("+CME ERROR: SIM not inserted", "absent"),
        ("+CME ERROR: 11", "locked"),
        ("+CME ERROR: 13", "failure"),
        ("+CME ERROR: SIM failure", "failure"),
        ("+CME ERROR: 14", "busy"),
        ("+CME ERROR: 100", None),
        ("+CME ERROR: 107", None),
        ("+CME ERROR: 4", None),
        ("+CME ERROR: invalid command line", None),
        ("ERROR", None),
        ("+QSIMSTAT: 0,0", "absent"),
        ("+QSIMSTAT : 1,0", "absent"),
        ("+QSIMSTAT: 1,1", None),
    ],
)
def test_sim(line: str, state: str | None) -> None:
    assert read(line, asked="AT+CPIN?")[0].get("sim") == state


def test_figures_of_a_modem_without_a_sim_are_withheld() -> None:
    found, flags = read("+CSQ: 18,99", "+CME ERROR: 10", asked="AT+CPIN?;+CSQ")
    assert found == {"sim": "absent"}
    assert flags == ["withheld modem.rssi_dbm -77.0 sim absent"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("+COPS: 0", {}),
        ("+COPS: 5", {}),
        ('+COPS:0,255,"",0', {}),
        ('+COPS:0,2,"46011",11', {"plmn": "46011", "technology": "5g_sa"}),
        ('+COPS: 0,2,"310260",13', {"plmn": "310260", "technology": "5g_nsa"}),
        ('+COPS: 0,0,"NOS",7', {"operator": "NOS", "technology": "4g"}),
        ('+COPS: 0,0,"4E2D56FD79FB52A8",7', {"operator": "中国移动", "technology": "4g"}),
        ('+COPS: 0,0,"T-Mobile, US",7', {"operator": "T-Mobile, US", "technology": "4g"}),
    ],
)
def test_operator(line: str, expected: Figures) -> None:
    assert figures(line) == expected


def test_the_leg_of_csq_is_that_in_use() -> None:
    assert figures("+CSQ: 18,99", '+COPS: 0,2,"46011",11')["rssi_dbm/nr"] == -77
    assert figures("+CSQ: 18,99", '+COPS: 0,2,"46011",13')["rssi_dbm/lte"] == -77
    assert figures("+CSQ: 18,99", '+COPS: 0,2,"46011",2')["rssi_dbm"] == -77


def test_rsrp_above_rssi_is_impossible() -> None:
    found, flags = read(lte_cell("5", rssi="-95"))
    assert not {"rssi_dbm/lte", "rsrp_dbm/lte"} & set(found)
    assert any(flag.startswith("contradiction modem.rsrp_dbm") for flag in flags)
    # One bar of +CSQ beside a good RSRP: the RSRP is the cell's own.
    found, flags = read("+CESQ: 99,99,255,255,19,81", "+CSQ: 5,99")
    assert found == {"rsrp_dbm/lte": -60, "rsrq_db/lte": -10.5}
    assert any(flag.startswith("contradiction modem.rsrp_dbm") for flag in flags)


def test_two_scales_of_one_figure_are_flagged() -> None:
    _, flags = read("+CESQ: 99,99,255,255,19,51", "+RSRP: 113,1325,-60.00")
    assert "contradiction modem.rsrp_dbm lte CESQ -90.0, RSRP -60.0" in flags


def test_cell_ids_beyond_36_bits_are_refused() -> None:
    found, flags = read('+C5GREG: 2,1,"114000","FEDCBA9876543210",11')
    assert "cell_id/nr" not in found
    assert "unparsed modem.cell_id C5GREG (identity)" in flags  # as long as an ICCID: not shown


# What is not believed


@pytest.mark.parametrize("data", ["+CEREG: 0,3", "+CGREG: 0,3", "+C5GREG: 0,3", "+CEREG: 0,0", "+CEREG: 0,2"])
def test_voice_does_not_hide_a_refused_data_service(data: str) -> None:
    state = {"3": "denied", "0": "not_registered", "2": "searching"}[data[-1]]
    found, flags = read("+CREG: 0,1", data, "+CSQ: 20,99")
    assert found == {"registration": state}
    assert flags == [f"withheld modem.rssi_dbm -73.0 registration {state}"]
    assert figures("+CREG: 0,1", "+CSQ: 20,99") == {"registration": "home", "rssi_dbm": -73}


def test_voice_alone_in_a_makers_words_is_no_service_either() -> None:
    assert figures('^SYSINFOEX: 2,1,0,1,,3,"WCDMA",41,"WCDMA"') == {"technology": "3g"}
    assert figures('^SYSINFOEX: 2,3,0,1,,3,"WCDMA",41,"WCDMA"') == {"technology": "3g", "registration": "home"}
    refused = figures("+CEREG: 0,3", '+QCAINFO: "PCC",1350,75,"LTE BAND 3",1,295,-94,-8,-66,25')
    assert refused["registration"] == "denied"
    assert "rsrp_dbm/lte" not in refused


RFSTS = '#RFSTS: "286 01",1795,-101,-67,-15,2242,,128,{}3,1,0B5D121,"286010000000000","Turkcell",3,3{}'


@pytest.mark.parametrize("left_out", ["", "19,"])
@pytest.mark.parametrize("behind", ["", ",108", ",108,0"])
def test_telits_record_is_counted_from_the_imsi(left_out: str, behind: str) -> None:
    found, flags = read(RFSTS.format(left_out, behind))
    assert found["operator"] == "Turkcell"
    assert found["band/lte"] == "B3"
    assert found["cell_id/lte"] == 0x0B5D121
    assert (found["rsrp_dbm/lte"], found["rssi_dbm/lte"], found["rsrq_db/lte"]) == (-101, -67, -15)
    assert (found["tac/lte"], found["plmn"]) == (0x2242, "28601")
    assert not flags


@pytest.mark.parametrize(
    "line",
    [
        # WCDMA: PSC, Ec/Io, RSCP, RSSI, LAC, RAC, TXPWR, DRX, MM, RRC, NOM, BLER, CID
        '#RFSTS: "222 10",10713,275,-7.0,-79,-72,5414,,-9.5,64,19,0,1,005,0B5D121,"222100000000108","I TIM",3,3',
        '#RFSTS: "222 10",10713,275,-7.0,-79,-72,5414,,64,19,0,005,0B5D121,"222100000000108","I TIM",3',
        # GSM: RSSI, LAC, RAC, TXPWR, MM, RR, NOM, CID
        '#RFSTS: "222 10",45,-70,5414,01,6,19,0,1,D5A1,"222100000000108","I TIM",3,2',
    ],
)
def test_an_imsi_becomes_no_figure_no_band_and_no_flag(line: str) -> None:
    found, flags = read(line)
    assert found == {}
    assert flags
    assert not any("222100000000108" in flag or "B108" in flag for flag in flags)


def test_a_part_of_the_identity_is_no_name_of_an_operator() -> None:
    found, flags = read('+COPS: 0,0,"460001234567890"')
    assert found == {}
    assert flags == ["unparsed modem.operator COPS (identity)"]


NR = {"pci/nr": 271, "band/nr": "n41", "bandwidth_mhz/nr": 80.0, "technology": "5g_sa"}


def test_nr_carriers_are_told_apart_by_what_stands_in_them() -> None:
    short = '+QCAINFO: "PCC",521310,10,"NR5G BAND 41",271'
    assert figures(short) == NR
    assert figures(f"{short},-89,-11,1950") == NR | {"rsrp_dbm/nr": -89, "rsrq_db/nr": -11, "sinr_db/nr": 19.5}
    stated = '+QCAINFO: "PCC",521310,10,"NR5G BAND 41",1,271,0,-,-'
    assert figures(stated) == NR | {"registration": "home"}
    unisoc = '+QCAINFO: "PCC",633984,100,"NR N78",1,702,-92,-7,-72,10'
    assert figures(unisoc)["bandwidth_mhz/nr"] == 100
    assert figures(unisoc)["pci/nr"] == 702


@pytest.mark.parametrize(
    "line",
    [
        '+QCAINFO: "PCC",521310,10,"NR5G BAND 41",271,-89,-11,99999',
        '+QCAINFO: "PCC",1350,75,"LTE BAND 3",1,295,-94,-8,66,25',
        '+QENG: "servingcell","NOCONN","NR5G-SA","TDD",460,00,1,2,3,633984,78,12,-89,-8,41,1,-',
        "+CPSI: LTE,Online,250-02,0x0EF8,22060,999,EUTRAN-BAND3,1725,3,3,-108,-889,-614,19",
        "+CPSI: LTE,Online,250-02,0x0EF8,22060,58,250020000000108,1725,3,3,-108,-889,-614,19",
        "^HCSQ: LTE,33,140,135,11",
        "^MONSC: LTE,460,00,38400,D975244,8,24C8,-10,-85,-54",
        '+XMCI: 4,510,11,"0x7D08","0x04E23C06","0x0071","0x52D","0x4B7D","0xFFFFFFFF",159,19,14',
        "+CESQ: 99,99,255,255,80,20",
    ],
)
def test_a_record_of_which_one_figure_is_impossible_gives_none(line: str) -> None:
    found, flags = read(line)
    assert found == {}
    assert any(flag.startswith("unparsed") for flag in flags)


def test_the_rows_of_one_answer_are_records_of_their_own() -> None:
    found = figures(
        "+GTCCINFO:",
        "1,4,250,1,1234,000123456,1802,470,103,100,-4,39,99,7",
        "1,9,250,1,1234,1,640704,143,5079,,13,,68,80",
    )
    assert "rsrp_dbm/lte" not in found
    assert "cell_id/lte" not in found
    assert found["rsrp_dbm/nr"] == -89


CPSI = "+CPSI: {},Online,238-01,0x07D1,12024587,465,EUTRAN-BAND20,6350,5,5,{}"


@pytest.mark.parametrize(
    ("model", "mode", "tail", "expected"),
    [
        ("SIMCOM_SIM7080 1951B16SIM7080", "LTE CAT-M1", "-15,-85,-55,9", (-15, -85, -55, 9)),
        ("SIM7000E", "LTE NB-IOT", "-15,-85,-55,9", (-15, -85, -55, 9)),
        ("", "LTE CAT-M1", "-15,-85,-55,9", (-15, -85, -55, 9)),
        ("SIM7600E-H", "LTE", "-108,-889,-614,19", (-10.8, -88.9, -61.4, 19)),
        ("SIM8202G", "LTE", "-94,-850,-545,15", (-9.4, -85.0, -54.5, 15)),
        ("A7670E", "LTE", "21,45,255,255", (-9.5, -96, None, None)),
        ("A7670E", "LTE", "-94,-850,-545,15", (None, None, None, None)),
        ("", "LTE", "-15,-85,-55,9", (None, None, None, None)),  # of which unit nobody knows
        ("", "LTE", "-108,-889,-614,19", (-10.8, -88.9, -61.4, 19)),  # no RSRP is -889 dBm
        ("SIM7600E-H", "LTE", "-15,-85,-55,9", (None, None, None, None)),  # an RSRP of -8.5 dBm there is not
    ],
)
def test_simcoms_unit_is_the_models(model: str, mode: str, tail: str, expected: tuple[float | None, ...]) -> None:
    found = figures(CPSI.format(mode, tail), model=model)
    names = ("rsrq_db/lte", "rsrp_dbm/lte", "rssi_dbm/lte", "sinr_db/lte")
    assert tuple(found.get(name) for name in names) == expected


def test_on_3g_there_is_no_leg() -> None:
    found = figures(
        "!GSTATUS: ",
        "Current Time:  1350             Temperature: 33",
        "System mode:   WCDMA            PS state:    Attached     ",
        "WCDMA band:    WCDMA 2100 ",
        "RX level C0:   -68              LAC:         1389 (5001)",
        "RX level C1:   -106             Cell ID:     01F5C482 (32883842)",
    )
    assert found == {"technology": "3g", "temperature_c": 33, "cell_id": 32883842, "tac": 5001}
    # What +CEREG and +CESQ still know is of the LTE cell before.
    found, flags = read(
        '+QNWINFO: "HSPA+","26201","WCDMA 2100",10737', '+CEREG: 2,1,"4AA3","3359966",7', "+CESQ: 99,99,255,255,20,80"
    )
    assert found == {"technology": "3g", "registration": "home", "plmn": "26201"}
    assert "contradiction modem.rsrp_dbm CESQ lte -61.0, technology 3g" in flags


@pytest.mark.parametrize(
    ("line", "celsius"),
    [
        ("+GTSENRDTEMP: 1,37628", 37.6),
        ("+GTSENRDTEMP: 1,38", None),
        ("+GTSENRDTEMP: 1,0", None),
        ("^CHIPTEMP: 0,0", None),
    ],
)
def test_a_temperature_of_unknown_unit_or_no_sensor_is_none(line: str, celsius: float | None) -> None:
    assert figures(line).get("temperature_c") == celsius


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("LTE BAND 3", "B3"),
        ("EUTRAN-BAND20", "B20"),
        ("66", "B66"),
        ("B8", "B8"),
        ("no band 3", None),
        ("IMSI 108", None),
    ],
)
def test_a_bands_name_is_read_as_a_whole(name: str, band: str | None) -> None:
    assert figures(f'+QNWINFO: "FDD LTE","26201","{name}",1300').get("band/lte") == band


@pytest.mark.parametrize(
    ("access", "technology"),
    [("FDD LTE", "4g"), ("NR5G-NSA", "5g_nsa"), ("LTE/NR", "5g_nsa"), ("no LTE", None), ("5G", None)],
)
def test_an_access_is_read_as_a_whole(access: str, technology: str | None) -> None:
    assert figures(f'+QNWINFO: "{access}","26201","LTE BAND 3",1300').get("technology") == technology


# Makers


def test_fm150_writes_arfcn_and_pci_in_hexadecimal_and_half_db() -> None:
    row = "1,4,460,0,5A1E,B28A30C,514,1D6,103,100,24,50,50,20"
    found = figures("+GTCCINFO:", "LTE service cell:", row, "LTE neighbor cell:", "2,4,,,FFFF,0,1,2,,3,3,4")
    assert (found["pci/lte"], found["sinr_db/lte"], found["rsrp_dbm/lte"]) == (0x1D6, 12, -91)
    assert figures("+GTCCINFO:", row, model="FM150-AE")["sinr_db/lte"] == 12
    assert "sinr_db/lte" not in figures("+GTCCINFO:", row.replace("1D6", "470"), model="FM350-GL")


@pytest.mark.parametrize(("code", "band"), [("5078", "n78"), ("5079", "n79"), ("501", "n1"), ("5041", "n41")])
def test_fibocom_nr_bands(code: str, band: str) -> None:
    assert figures("+GTCCINFO:", f"1,9,460,0,149002,C2840C002,504990,128,{code},,16,69,69,64")["band/nr"] == band


@pytest.mark.parametrize(("code", "band"), [("103", "B3"), ("120", "B20"), ("166", "B66"), ("138", "B38")])
def test_fibocom_lte_bands(code: str, band: str) -> None:
    assert figures("+GTCCINFO:", f"1,4,460,0,5A1E,B28A30C,514,1,{code},100,4,50,50,20")["band/lte"] == band


def test_a_one_digit_mnc_is_padded_only_where_that_is_sure() -> None:
    assert figures("+GTCCINFO:", "1,4,250,1,5A1E,B28A30C,514,1,103,100,4,50,50,20")["plmn"] == "25001"
    assert "plmn" not in figures("+GTCCINFO:", "1,4,310,4,5A1E,B28A30C,514,1,103,100,4,50,50,20")


def test_sierra_on_en_dc_and_secondary_carriers() -> None:
    found = figures(
        "!GSTATUS: ",
        "Current Time:  68882\t\tTemperature: 43",
        "System mode:   ENDC        \tPS state:    Attached     ",
        "LTE band:      B3     \t\tLTE bw:      20 MHz  ",
        "PCC RxM RSSI:  -85\t\tPCC RxM RSRP:  ---",
        "PCC RxD RSSI:  -82\t\tPCC RxD RSRP:  -112",
        "SCC RxM RSSI:  -50\t\tRSRP (dBm):  -60",
        "Tx Power:      --\t\tTAC:         1206 (4614)",
        "RSRQ (dB):     -10.2\t\tCell ID:     019E4A03 (27150851)",
        "SINR (dB):      8.4",
        "NR5G band:     n78          NR5G bw:    100 MHz",
        "NR5G(sub6) RxM RSRP:  -99          NR5G RSRQ (dB):  -11",
        "NR5G RSRP (dBm):  -95",
        "NR5G SINR (dB):  14.5",
    )
    assert found == {
        "technology": "5g_nsa",
        "temperature_c": 43,
        "band/lte": "B3",
        "bandwidth_mhz/lte": 20,
        "rssi_dbm/lte": -82,
        "rsrp_dbm/lte": -112,
        "rsrq_db/lte": -10.2,
        "sinr_db/lte": 8.4,
        "tac/lte": 4614,
        "cell_id/lte": 27150851,
        "band/nr": "n78",
        "bandwidth_mhz/nr": 100,
        "rsrp_dbm/nr": -95,
        "rsrq_db/nr": -11,
        "sinr_db/nr": 14.5,
    }


def test_sierra_identifier_whose_two_forms_disagree() -> None:
    found, flags = read("!GSTATUS:", "TAC:         E2EA (58091)")
    assert found == {}
    assert flags == ["contradiction modem.tac GSTATUS E2EA (58091)"]


# What is cut off


def test_the_last_field_of_a_line_that_was_cut_is_not_trusted() -> None:
    whole = '+QENG: "servingcell","NOCONN","NR5G-SA","FDD",310,260,106497003,869,B0FB00,124350,71,3,-84,-11,21,0,-'
    assert read(whole, cut=True)[0]["sinr_db/nr"] == 21
    found, flags = read(whole[: whole.index("-11") + 2], cut=True)
    assert found["rsrp_dbm/nr"] == -84
    assert "rsrq_db/nr" not in found
    assert any(flag.startswith("truncated modem.") for flag in flags)
    assert "cell_id/lte" not in read('+CEREG: 2,1,"1206","19E', cut=True)[0]


def test_fields_and_quotes() -> None:
    assert split('"a,b",c, d ,') == ['"a,b"', "c", "d", ""]
    assert split('"a,b') == ['"a', "b"]
    record = Record('"a", 515,"310 260"', cut=True)
    assert (record[0], record[1], record[2], record[9], record.doubted) == ("a", "515", None, None, True)


# Who it is


def test_identity_with_and_without_names() -> None:
    exchanges = [
        Exchange("AT+CGMI", ("Quectel",)),
        Exchange("AT+CGMM;+CGMR", ('+CGMM: "FM350-GL"', '+CGMR: "81600.0000"')),
        Exchange("AT+CGSN", ("869119XXXXXXXXX",)),
        Exchange("AT+ICCID", (), final_result("+CME ERROR: 4")),
        Exchange("AT+CCID", ("+CCID: 89860300000000000000",)),
    ]
    said = identify(exchanges)
    assert (said.vendor, said.model, said.firmware) == ("Quectel", "FM350-GL", "81600.0000")
    assert (said.imei, said.iccid) == (None, "89860300000000000000")


@pytest.mark.parametrize(
    ("lines", "model", "firmware"),
    [
        (("Quectel", "RM500U-CNV", "Revision: RM500UCNVCAR03A12M2G"), "RM500U-CNV", "RM500UCNVCAR03A12M2G"),
        (
            ("Manufacturer: Huawei Technologies Co.,Ltd.", "Model: E3372h-320", "Revision: 10.0.5.1(H195SP3C983)"),
            "E3372h-320",
            "10.0.5.1(H195SP3C983)",
        ),
    ],
)
def test_ati(lines: tuple[str, ...], model: str, firmware: str) -> None:
    said = identify([Exchange("ati", lines)])
    assert (said.model, said.firmware) == (model, firmware)


@pytest.mark.parametrize(
    ("vendor", "model", "firmware", "name", "asks"),
    [
        ("Quectel", "RM500Q-GL", None, "quectel", 'AT+QENG="servingcell"'),
        (None, None, "RM520NGLAAR03A03M4G", "quectel", "AT+QCAINFO"),
        ("Fibocom Wireless Inc.", "FM350-GL", None, "fibocom", "AT+GTCCINFO?"),
        ("Fibocom", "L850-GL", None, "fibocom", "AT+XMCI=1"),
        ("Fibocom", None, None, "fibocom", "AT+GTCCINFO?"),
        ("SIMCOM INCORPORATED", "SIMCOM_SIM8202G-M2", None, "simcom", "AT+CPSI?"),
        ("TD Tech Ltd", "MT5700M-CN", None, "huawei", "AT^MONSC"),
        ("Sierra Wireless, Incorporated", "EM9191", None, "sierra", "AT!GSTATUS?"),
        ("Telit", "LM960A18", "32.01.150", "telit", "AT#RFSTS"),
        ("", "Air724UG", None, "3gpp", "AT+CESQ"),
        (None, None, None, "3gpp", "AT+CESQ"),
    ],
)
def test_choice_of_the_dialect(vendor: str, model: str, firmware: str, name: str, asks: str) -> None:
    dialect = choose(vendor, model, firmware)
    assert dialect.name == name
    assert asks in [command.text for command in dialect.commands]


def test_dialects_only_ask() -> None:
    writes = ("=3,0", "=3,2", "+CMEE=1", "REG=2", '="servingcell"', "+XMCI=1", "+GTSENRDTEMP=1")
    for dialect in (*DIALECTS, STANDARD):
        for command in (*dialect.setup, *dialect.commands, *dialect.iccid):
            assert "=" not in command.text or command.text.endswith(writes)


def test_preferences_name_metrics_and_sources_that_exist() -> None:
    sources = {name[1:] for name in PARSERS}
    for (metric, leg), order in PREFERENCE.items():
        assert metric in METRICS
        assert leg in ("", "lte", "nr")
        assert set(order) <= sources


# Anything at all


_FIELD = st.one_of(
    st.integers(-40000, 2**40).map(str),
    st.sampled_from(
        ["", "-", "--", '"', '""', "FFFF", "0x7FFFFFFF", "99", "255", "-32768", "-9.-50", "NR5G-SA", "LTE", "١"]
    ),
    st.sampled_from(
        ['"servingcell"', '"NOCONN"', '"PCC"', '"SCC"', '"LTE BAND 3"', '"NR5G BAND 41"', "NR", "1", "4", "9"]
    ),
    st.text(max_size=8),
)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(PARSERS)), st.lists(_FIELD, max_size=20), st.lists(_FIELD, max_size=14))),
    st.sampled_from(["", "RM500Q-GL", "RM500U", "EC200T", "FM150", "FM350-GL"]),
    st.booleans(),
)
@example([("+COPS", ["0", "2", '"' + "9" * 400 + '"'], [])], "", False)
def test_no_reply_breaks_a_parser(replies: list[tuple[str, list[str], list[str]]], model: str, cut: bool) -> None:
    lines = tuple(line for name, fields, row in replies for line in (f"{name}: {','.join(fields)}", ",".join(row)))
    for asked in ("AT", None):
        found, flags = read(*lines, "OK", model=model, cut=cut, asked=asked)
        assert len(found) <= 40
        assert all(len(flag) < 220 for flag in flags)
        assert len(flags) <= MAX_FLAGS


_PIECE = st.one_of(
    _FIELD,
    st.sampled_from(
        [",", ":", " :", ": ", " ", "  ", "\t", "(", ")", "(dBm)", "-", ".", "_", "\x1c", "\x85", "\u2028"]
    ),
    st.sampled_from(
        ["RSRP", "RSRP:", "RSRQ", "SINR", "RSSI", "TAC", "Cell ID", "PCC", "SCC1", "NR5G", "bw", "Id:", "²"]
    ),
    st.integers(20, 500).map(lambda length: "9" * length),
)
_TEXT = st.one_of(st.text(max_size=400), st.lists(_PIECE, max_size=30).map("".join))


@settings(max_examples=200, deadline=None)
@given(_TEXT, st.lists(_TEXT, max_size=4), st.sampled_from(sorted(PARSERS)))
@example("", [" :0"], "!GSTATUS")  # found here: a value without a key
@example("-" + "9" * 400, [], "+RSRP")  # found here: a physical cell that is no float
def test_any_text_after_a_name_and_in_the_rows_that_follow(text: str, rows: list[str], name: str) -> None:
    facts = Facts()
    PARSERS[name](Answer(name, text, rows=rows), facts)
    facts.settle()
    assert next(answers(Exchange("AT", (f"{name}:{text}", *rows)))).name == name


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize("unit", [",", '"', "a ", "a  ", "a: ", '",', "1,", "-9.-50,", "\t", "A:", "+X", "0x"])
def test_the_longest_reply_takes_no_time(name: str, unit: str) -> None:
    row = (unit * MAX_LINE)[: MAX_LINE - 20]
    one_line = [f"{name}: {row}"] * (MAX_REPLY // MAX_LINE)
    rows = [f"{name}:", *[row] * (MAX_REPLY // MAX_LINE)]
    for lines in (one_line, rows):
        quick(functools.partial(read, *lines))


def test_a_refusal_is_not_hidden_by_a_modem_that_searches_on() -> None:
    """TS 27.007 7.2: <stat> 3 is the network's word; ``SEARCH`` is only what the modem does about it."""
    told = figures("+CREG: 2,0", "+CEREG: 2,3", '+QENG: "servingcell","SEARCH"', "OK")
    assert told["registration"] == "denied"
    assert figures("+CEREG: 2,0", '+QENG: "servingcell","SEARCH"', "OK")["registration"] == "searching"
