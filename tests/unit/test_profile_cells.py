"""One cell to one value: the traps that the captures' pages name, and anything at all."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.answers import KINDS, Wire, decode_octets
from firmware_profiles.cells import Outcome, number_in, parse_cell
from firmware_profiles.model import Parsing
from telemetry.metrics import METRICS


def cell(kind: Any, value: Any, metric: str, **parsing: Any) -> Outcome:
    return parse_cell(Wire(kind, value), Parsing(**parsing), METRICS[metric])


@pytest.mark.parametrize(
    ("kind", "value", "metric", "parsing", "expected"),
    [
        ("integer", -55, "modem.rssi_dbm", {}, -55.0),
        ("octets", b"-103", "modem.rssi_dbm", {}, -103.0),
        ("octets", b" -18.3 \0", "modem.rsrq_db", {}, -18.3),
        ("octets", b"-92dBm", "modem.rsrp_dbm", {"unit": ["dBm"]}, -92.0),
        ("integer", 420, "modem.temperature_c", {"scale": 0.1}, 42.0),
        ("integer", 234, "device.temperature_c", {"scale": 0.1}, 23.4),
        ("gauge32", 51000, "device.temperature_c", {"scale": 0.001}, 51.0),
        ("octets", b"54.1", "power.supply_v", {}, 54.1),
        ("ticks", 10976299, "power.runtime_s", {"scale": 0.01}, 109762),
        ("counter64", 2**60 - 1, "modem.bytes_sent", {}, 2**60 - 1),
        ("counter32", 2**31 - 1, "modem.bytes_sent", {}, 2**31 - 1),
        ("octets", b"18B7", "modem.tac", {"base": 16}, 0x18B7),
        ("octets", b"0 days, 01:23:13", "modem.connection_uptime_s", {"duration": True}, 4993),
        ("text", " 0h 11m 22s", "device.uptime_s", {"duration": True}, 682),
        ("octets", b"2 days, 00:00:01", "device.uptime_s", {"duration": True}, 172801),
        ("octets", b"04601", "modem.plmn", {}, "04601"),
        ("gauge32", 20, "modem.band", {"prefix": "B"}, "B20"),
        ("text", "n78", "modem.band", {"prefix": "n"}, "n78"),
        ("octets", b"Registered, roaming", "modem.registration", {"vocabulary": "registration"}, "roaming"),
        ("octets", b"Roaming", "modem.registration", {"vocabulary": "registration"}, "roaming"),
        ("octets", b"registered (home)", "modem.registration", {"vocabulary": "registration"}, "home"),
        ("octets", b"unregistered", "modem.registration", {"vocabulary": "registration"}, "not_registered"),
        ("octets", b"not registered, searching", "modem.registration", {"vocabulary": "registration"}, "searching"),
        (
            "octets",
            b"Not registered, not searching",
            "modem.registration",
            {"vocabulary": "registration"},
            "not_registered",
        ),
        ("octets", b"Denied", "modem.registration", {"vocabulary": "registration"}, "denied"),
        ("octets", b"5G-NSA", "modem.technology", {"vocabulary": "technology"}, "5g_nsa"),
        ("octets", b"5G-SA", "modem.technology", {"vocabulary": "technology"}, "5g_sa"),
        ("octets", b"NR5G", "modem.technology", {"vocabulary": "technology"}, "5g_sa"),
        ("octets", b"WCDMA", "modem.technology", {"vocabulary": "technology"}, "3g"),
        ("octets", b"CAT-M1", "modem.technology", {"vocabulary": "technology"}, "4g"),
        ("octets", b"Evolved 3G (LTE)", "modem.technology", {"vocabulary": "technology"}, "4g"),
        ("octets", b"HSPA+", "modem.technology", {"vocabulary": "technology"}, "3g"),
        ("octets", b"EDGE", "modem.technology", {"vocabulary": "technology"}, "2g"),
        ("octets", b"PIN REQUIRED", "modem.sim", {"vocabulary": "sim"}, "locked"),
        ("octets", b"Required PIN", "modem.sim", {"vocabulary": "sim"}, "locked"),
        ("octets", b"PUK", "modem.sim", {"vocabulary": "sim"}, "locked"),
        ("octets", b"SIM failure", "modem.sim", {"vocabulary": "sim"}, "failure"),
        ("octets", b"SIM busy", "modem.sim", {"vocabulary": "sim"}, "busy"),
        ("octets", b"SIM not inserted", "modem.sim", {"vocabulary": "sim"}, "absent"),
        ("octets", b"NOT READY", "modem.sim", {"vocabulary": "sim"}, "unknown"),
        ("octets", b"OK", "modem.sim", {"vocabulary": "sim"}, "ready"),
        ("integer", 1, "modem.connected", {"enum": {1: True, 2: False}}, True),
        ("octets", b"CONNECTED", "modem.connected", {"enum": {"connected": True}}, True),
    ],
)
def test_values(kind: str, value: Any, metric: str, parsing: dict[str, Any], expected: Any) -> None:
    found = cell(kind, value, metric, **parsing)
    assert found.value == expected
    assert type(found.value) is type(expected)
    assert found.flag is None


def test_a_negative_integer_in_a_counter_has_wrapped() -> None:
    found = cell("integer", -1183791572, "modem.bytes_sent", counter=32)
    assert found == Outcome(3111175724, "wrapped", "-1183791572")
    assert cell("integer", -2147483648, "modem.bytes_sent", counter=32).value == 2147483648


@pytest.mark.parametrize(
    ("kind", "value", "metric", "parsing", "flag"),
    [
        ("integer", -9999, "modem.rsrp_dbm", {"fillers": [-9999]}, "filler"),
        ("gauge32", 2**32 - 1, "power.runtime_s", {"scale": 60}, "filler"),
        ("ticks", 2**32 - 1, "device.uptime_s", {"scale": 0.01}, "filler"),
        ("integer", 2**31 - 1, "power.runtime_s", {}, "filler"),
        ("counter32", 2**32 - 1, "interface.errors", {}, "filler"),
        ("counter64", 2**64 - 1, "modem.bytes_sent", {}, "filler"),
        ("octets", b"4294967295", "device.uptime_s", {}, "filler"),
        ("number", 18446744073709551615, "modem.bytes_sent", {}, "filler"),
        ("number", 9.223372036854776e18, "modem.bytes_sent", {}, "filler"),
        ("integer", 0, "device.temperature_c", {}, "filler"),
        ("octets", b"0.0", "modem.temperature_c", {"scale": 0.1}, "filler"),
        ("octets", b"n/a", "gnss.latitude", {"fillers": ["N/A"]}, "filler"),
        ("octets", b"0.000000", "gnss.latitude", {"fillers": [0]}, "filler"),
        ("octets", b"3", "modem.cell_id", {"fillers": ["<256"]}, "filler"),
        ("text", "<=-113dBm", "modem.rssi_dbm", {"unit": ["dBm"], "fillers": ["<=-113dBm"]}, "filler"),
        ("octets", b"strong", "modem.rssi_dbm", {}, "unparsed"),
        ("octets", b"-92 furlongs", "modem.rsrp_dbm", {"unit": ["dBm"]}, "unparsed"),
        ("octets", b"nan", "modem.rssi_dbm", {}, "unparsed"),
        ("octets", b"1e999", "modem.rssi_dbm", {}, "unparsed"),
        ("octets", b"\x02\x00\x5e\x10\x20\x30", "modem.operator", {}, "unparsed"),
        ("integer", 7, "modem.rssi_dbm", {"types": ["octets"]}, "unparsed"),
        ("integer", 55, "modem.rssi_dbm", {"range": (-120, 0)}, "unparsed"),
        ("octets", b"Somewhere", "modem.registration", {"vocabulary": "registration"}, "unknown_text"),
        ("integer", 9, "modem.connected", {"enum": {1: True}}, "unknown_text"),
    ],
)
def test_flags(kind: str, value: Any, metric: str, parsing: dict[str, Any], flag: str) -> None:
    found = cell(kind, value, metric, **parsing)
    assert found.value is None
    assert found.flag == flag
    assert found.seen


@pytest.mark.parametrize(("kind", "value"), [("null", None), ("octets", b""), ("octets", b"\0"), ("text", "  ")])
def test_nothing_is_not_zero(kind: str, value: Any) -> None:
    assert cell(kind, value, "modem.rssi_dbm") == Outcome()


def test_minus_113_is_a_weak_cell_unless_the_profile_says_filler() -> None:
    assert cell("integer", -113, "modem.rsrp_dbm").value == -113.0
    assert cell("integer", -113, "modem.rssi_dbm", fillers=[-113]).flag == "filler"


def test_unknown_text_of_a_text_metric_is_kept_raw_and_flagged() -> None:
    assert cell("octets", b"B99", "modem.band", enum={"3": "B3"}) == Outcome("B99", "unknown_text", "'B99'")


def test_operator_in_the_encoding_of_china() -> None:
    assert decode_octets("中国移动".encode("gb18030")) == "中国移动"
    assert decode_octets("中国移动".encode()) == "中国移动"


@pytest.mark.parametrize("value", [10**400, float("inf"), float("-inf"), float("nan"), -(10**400)])
@pytest.mark.parametrize("metric", ["modem.bytes_sent", "modem.rssi_dbm", "modem.operator"])
def test_numbers_that_no_float_holds(value: float, metric: str) -> None:
    """Found by fuzzing: JSON has whole numbers of any length, and Python's parser takes Infinity."""
    found = cell("number", value, metric, scale=0.1, counter=32)
    assert found.value is None or METRICS[metric].kind == "text"
    assert found.flag in (None, "unparsed", "truncated")


wires = st.builds(
    Wire,
    st.sampled_from(KINDS),
    st.one_of(
        st.none(),
        st.integers(-(2**70), 2**70),
        st.sampled_from([10**400, -(10**400), float("inf"), float("nan")]),
        st.floats(),
        st.text(max_size=200),
        st.binary(max_size=200),
        st.booleans(),
    ),
)
parsings = st.builds(
    Parsing,
    pattern=st.sampled_from([None, r"(-?\d+)dBm", r"(?P<value>x)?"]),
    unit=st.sampled_from([None, ["dBm"]]),
    base=st.sampled_from([None, 10, 16]),
    duration=st.sampled_from([None, True]),
    counter=st.sampled_from([None, 32]),
    scale=st.sampled_from([None, 0.1, 60.0]),
    fillers=st.sampled_from([None, [0, "N/A", "<256", -9999]]),
    enum=st.sampled_from([None, {"1": None, 2: "x"}]),
    vocabulary=st.sampled_from([None, "technology"]),
)


@given(wires, parsings, st.sampled_from(sorted(METRICS)))
def test_any_wire_value_gives_a_value_or_a_flag_and_never_raises(wire: Wire, parsing: Parsing, name: str) -> None:
    found = parse_cell(wire, parsing, METRICS[name])
    if isinstance(found.value, float):
        assert math.isfinite(found.value)
    assert found.flag is None or found.seen or found.value is None


@given(st.text(max_size=300))
def test_number_in_is_bounded(text: str) -> None:
    found = number_in(text, Parsing(duration=True))
    assert found is None or math.isfinite(found)
