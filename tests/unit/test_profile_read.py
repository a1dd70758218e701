"""Tables, joins, guards, legs and duplicates: small profiles made for one question each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.answers import KINDS, SnmpAnswers, Wire
from firmware_profiles.asked import wanted
from firmware_profiles.examples import written
from firmware_profiles.http_answers import Answer, HttpAnswers
from firmware_profiles.load import Profile, load_profiles, read_yaml, resolve_all
from firmware_profiles.read import Result, read
from telemetry.metrics import METRICS

SHIPPED = {key: profile for key, profile in load_profiles().items() if profile.transport == "snmp"}
HEAD = "id: maker/model\nvendor: Maker\nmatch: {sys_object_id: ['*']}\n"


def profile(text: str) -> Profile:
    file = read_yaml(HEAD + text, "test.yaml")
    return resolve_all({file.id: ("test.yaml", file)})[file.id]


def result(text: str, values: dict[str, Any]) -> Result:
    wires = {oid: value if isinstance(value, Wire) else Wire("integer", value) for oid, value in values.items()}
    return read(profile(text), SnmpAnswers(wires))


def readings(found: Result) -> dict[str, Any]:
    return {written(reading.metric, reading.labels): reading.value for reading in found.readings}


def octets(text: str) -> Wire:
    return Wire("octets", text.encode())


MODEM = """
default_leg: lte
tables: {modem: {label: modem, unique: [1.3.9.9]}}
metrics:
  - {metric: modem.sim, table: modem, from: [1.3.9.1], enum: {1: ready, 2: absent, 3: unknown}}
  - {metric: modem.registration, table: modem, from: [1.3.9.2], vocabulary: registration,
     enum: {1: home, 2: denied, 3: unknown, 4: searching, 5: emergency_only}}
  - {metric: modem.technology, table: modem, from: [1.3.9.3], enum: {1: 3g, 2: 4g, 3: 5g_nsa, 4: 5g_sa, 5: none}}
  - {metric: modem.rssi_dbm, table: modem, from: [1.3.9.4]}
  - {metric: modem.rsrp_dbm, table: modem, from: [1.3.9.5], fillers: [-140]}
"""


@pytest.mark.parametrize(("technology", "leg"), [(1, None), (2, "lte"), (3, "lte"), (4, "nr"), (None, "lte")])
def test_the_leg_is_the_technologys(technology: int | None, leg: str | None) -> None:
    values = {"1.3.9.5.1": -90, "1.3.9.4.1": -60}
    if technology is not None:
        values["1.3.9.3.1"] = technology
    found = readings(result(MODEM, values))
    suffix = f"{{leg={leg},modem=1}}" if leg else "{modem=1}"
    assert found.get(f"modem.rsrp_dbm{suffix}") == (-90.0 if leg else None)  # 3G has no RSRP
    assert found[f"modem.rssi_dbm{suffix}"] == -60.0


def test_an_rssi_alone_is_not_told_to_be_lte() -> None:
    assert readings(result(MODEM, {"1.3.9.4.1": -60})) == {"modem.rssi_dbm{modem=1}": -60.0}


@pytest.mark.parametrize(
    ("sim", "registration", "kept"),
    [
        *((2, 1, False), (1, 2, False), (1, 4, False), (1, 5, False), (1, 1, True), (3, 3, True), (None, None, True)),
        (3, None, True),
    ],
)
def test_signal_is_withheld_only_where_badness_is_known(sim: int | None, registration: int | None, kept: bool) -> None:
    values = {"1.3.9.4.1": -60, "1.3.9.5.1": -90}
    values |= {"1.3.9.1.1": sim} if sim else {}
    values |= {"1.3.9.2.1": registration} if registration else {}
    found = result(MODEM, values)
    assert ("modem.rsrp_dbm{leg=lte,modem=1}" in readings(found)) is kept
    assert any(flag.startswith("withheld modem.rsrp_dbm") for flag in found.flags) is not kept


def test_one_modems_sim_withholds_nothing_of_the_others() -> None:
    found = result(MODEM, {"1.3.9.1.1": 2, "1.3.9.4.1": -60, "1.3.9.1.2": 1, "1.3.9.4.2": -61})
    assert readings(found) == {
        "modem.sim{modem=1}": "absent",
        "modem.sim{modem=2}": "ready",
        "modem.rssi_dbm{modem=2}": -61.0,
    }


def test_rsrp_above_rssi_is_impossible() -> None:
    found = result(MODEM, {"1.3.9.4.1": -103, "1.3.9.5.1": -74})
    assert readings(found) == {}  # which of the two is wrong nobody knows
    assert found.flags == (
        "contradiction modem.rssi_dbm RSRP -74 above RSSI -103",
        "contradiction modem.rsrp_dbm RSRP -74 above RSSI -103",
    )


def test_no_technology_withholds_the_signal() -> None:
    """A router without service prints its modem's last figures."""
    found = result(MODEM, {"1.3.9.3.1": 5, "1.3.9.4.1": -113, "1.3.9.5.1": -139})
    assert readings(found) == {"modem.technology{modem=1}": "none"}
    assert [flag.split()[:2] for flag in found.flags] == [
        ["withheld", "modem.rssi_dbm"],
        ["withheld", "modem.rsrp_dbm"],
    ]


def test_the_state_of_the_device_counts_for_a_modem_that_tells_none() -> None:
    text = MODEM.replace("{metric: modem.sim, table: modem, from: [1.3.9.1]", "{metric: modem.sim, from: [1.3.9.1.0]")
    found = result(text, {"1.3.9.1.0": 2, "1.3.9.4.1": -60})
    assert readings(found) == {"modem.sim": "absent"}


def test_a_part_of_the_identity_is_no_value() -> None:
    text = """
identity: {imsi: [1.3.1.0]}
metrics: [{metric: modem.operator, from: [1.3.2.0]}]
"""
    assert readings(result(text, {"1.3.1.0": octets("460001234567890"), "1.3.2.0": octets("460001234567890")})) == {}
    assert readings(result(text, {"1.3.1.0": octets("460001234567890"), "1.3.2.0": octets("CMCC")})) != {}


def test_without_a_fix_there_is_no_position_and_no_dilution() -> None:
    text = """
metrics:
  - {metric: gnss.fix, from: [1.3.1.0], enum: {0: none, 1: 3d}}
  - {metric: gnss.hdop, from: [1.3.2.0]}
  - {metric: gnss.latitude, from: [1.3.3.0]}
"""
    assert readings(result(text, {"1.3.1.0": 0, "1.3.2.0": 1, "1.3.3.0": 31})) == {"gnss.fix": "none"}
    assert len(readings(result(text, {"1.3.1.0": 1, "1.3.2.0": 1, "1.3.3.0": 31}))) == 3


def test_another_meaning_is_no_fallback() -> None:
    """Memory of net-snmp without its cache is not hrStorage's, in which the cache counts as used."""
    shipped = SHIPPED["generic/net-snmp"]
    ram = {"1.3.6.1.2.1.25.2.3.1.2.1": Wire("oid", "1.3.6.1.2.1.25.2.1.2")}
    ram |= {"1.3.6.1.2.1.25.2.3.1.5.1": Wire("integer", 61016), "1.3.6.1.2.1.25.2.3.1.6.1": Wire("integer", 46984)}
    parts = {"5": 61016, "6": 14084, "14": 6264, "15": 16164}
    ucd = {f"1.3.6.1.4.1.2021.4.{number}.0": Wire("integer", value) for number, value in parts.items()}
    found = readings(read(shipped, SnmpAnswers(ram | ucd)))
    assert found["device.memory_percent"] == pytest.approx(40.15996)
    del ucd["1.3.6.1.4.1.2021.4.15.0"]
    assert "device.memory_percent" not in readings(read(shipped, SnmpAnswers(ram | ucd)))
    assert readings(read(shipped, SnmpAnswers(ram)))["device.memory_percent"] == pytest.approx(77.00275)


def test_a_row_of_the_same_modem_is_dropped() -> None:
    values = {"1.3.9.4.1": -60, "1.3.9.4.2": -61, "1.3.9.9.1": octets("860001"), "1.3.9.9.2": octets("860001")}
    found = result(MODEM, values)
    assert readings(found) == {"modem.rssi_dbm{modem=1}": -60.0}
    assert found.flags == ("duplicate modem.* row 2 is row 1 again",)


def test_a_row_of_fillers_is_no_modem() -> None:
    found = result(MODEM, {"1.3.9.5.1": -90, "1.3.9.5.2": -140})
    assert readings(found) == {"modem.rsrp_dbm{leg=lte,modem=1}": -90.0}
    assert found.flags == ("filler modem.rsrp_dbm -140 (row 2)",)


INTERFACES = """
tables: {interface: {label: interface, name: [1.3.1, 1.3.2], keep: [{at: 1.3.3, none_of: [24]}]}}
metrics:
  - {metric: interface.bytes_sent, table: interface, from: [1.3.5, 1.3.4]}
"""


def test_names_join_by_index_and_fall_back() -> None:
    values = {"1.3.4.7": 1, "1.3.5.9": 2, "1.3.4.9": 3, "1.3.1.7": octets("eth0"), "1.3.2.9": octets("wwan0")}
    assert readings(result(INTERFACES, values)) == {
        "interface.bytes_sent{interface=eth0}": 1,
        "interface.bytes_sent{interface=wwan0}": 2,
    }


def test_an_interface_keeps_its_label_when_its_index_changes() -> None:
    """Field note 37: after an upgrade ifIndex is another one; the series must go on."""
    before = {"1.3.4.7": 1, "1.3.4.8": 2, "1.3.1.7": octets("eth0"), "1.3.1.8": octets("wwan0")}
    after = {"1.3.4.3": 2, "1.3.4.12": 1, "1.3.1.3": octets("wwan0"), "1.3.1.12": octets("eth0")}
    assert readings(result(INTERFACES, before)) == readings(result(INTERFACES, after))


def test_a_name_of_two_means_neither() -> None:
    values: dict[str, Any] = {f"1.3.4.{index}": index for index in (1, 2, 3)}
    values |= {"1.3.1.1": octets("wwan0"), "1.3.1.2": octets("wwan0"), "1.3.1.3": octets("eth0")}
    found = result(INTERFACES, values)
    assert readings(found) == {"interface.bytes_sent{interface=eth0}": 3}
    assert found.flags == ("duplicate interface.* 'wwan0' in rows 1, 2",)


def test_rows_that_a_condition_leaves_out() -> None:
    assert readings(result(INTERFACES, {"1.3.4.1": 1, "1.3.3.1": 24, "1.3.4.2": 2, "1.3.3.2": 6})) == {
        "interface.bytes_sent{interface=2}": 2
    }


def test_rows_beyond_the_ceiling_are_told() -> None:
    text = INTERFACES.replace("label: interface,", "label: interface, rows: 2,")
    found = result(text, {f"1.3.4.{index}": index for index in range(1, 6)})
    assert len(found.readings) == 2
    assert found.flags == ("truncated interface.* 5 rows, 2 read",)


def test_a_two_part_index_joins_by_its_first_part() -> None:
    text = """
tables: {s: {label: sensor, name: [{at: 1.3.2, join: [0]}]}}
metrics: [{metric: device.temperature_c, table: s, from: [1.3.1]}]
"""
    values = {"1.3.1.14.1": 40, "1.3.2.14": octets("board")}
    assert readings(result(text, values)) == {"device.temperature_c{sensor=board}": 40.0}


def test_alternatives_in_order_and_by_wire_type() -> None:
    text = """
metrics:
  - metric: device.uptime_s
    from: [{at: 1.3.1.0, types: [octets]}, {at: 1.3.2.0, types: [ticks], scale: 0.01}]
"""
    found = result(text, {"1.3.1.0": 5, "1.3.2.0": Wire("ticks", 4446713)})
    assert readings(found) == {"device.uptime_s": 44467}
    assert found.flags == ("unparsed device.uptime_s 5 of type integer",)
    assert readings(result(text, {"1.3.1.0": octets("347673"), "1.3.2.0": Wire("ticks", 1)})) == {
        "device.uptime_s": 347673
    }


def test_aggregates_and_formulas() -> None:
    text = """
metrics:
  - {metric: device.cpu_percent, aggregate: mean, from: [1.3.1]}
  - metric: device.memory_percent
    from: [{formula: 100 * (total - free) / total, of: {total: 1.3.2.0, free: 1.3.3.0}}]
"""
    values = {"1.3.1.196608": 10, "1.3.1.196609": 13, "1.3.2.0": 400, "1.3.3.0": 100}
    assert readings(result(text, values)) == {"device.cpu_percent": 11.5, "device.memory_percent": 75.0}
    empty = result(text, {"1.3.2.0": 0, "1.3.3.0": 0})
    assert readings(empty) == {}
    assert empty.flags[0].startswith("unparsed device.memory_percent")


def test_instances_are_a_second_modem_at_another_arc() -> None:
    text = """
tables: {modem: {label: modem, instances: {"1": 0, "2": 100}}}
metrics: [{metric: modem.rssi_dbm, table: modem, from: ["1.3.4.{30}.0"]}]
"""
    assert readings(result(text, {"1.3.4.30.0": -60})) == {"modem.rssi_dbm{modem=1}": -60.0}
    both = result(text, {"1.3.4.30.0": -60, "1.3.4.130.0": -70})
    assert readings(both) == {"modem.rssi_dbm{modem=1}": -60.0, "modem.rssi_dbm{modem=2}": -70.0}
    assert wanted(profile(text)).scalars == ("1.3.4.30.0", "1.3.4.130.0", "1.3.6.1.2.1.1.3.0")


def test_out_of_the_catalogues_range_is_no_reading() -> None:
    found = result("metrics: [{metric: modem.rsrp_dbm, from: [1.3.1.0]}]", {"1.3.1.0": 31})
    assert found.readings == ()
    assert found.flags == ("unparsed modem.rsrp_dbm 31.0 outside -160 to -20",)


def test_a_connection_is_not_older_than_its_device() -> None:
    text = """
metrics:
  - {metric: device.uptime_s, from: [1.3.1.0]}
  - {metric: modem.connection_uptime_s, from: [1.3.2.0]}
"""
    assert "modem.connection_uptime_s" in readings(result(text, {"1.3.1.0": 100, "1.3.2.0": 100}))
    found = result(text, {"1.3.1.0": 2826, "1.3.2.0": 140367})
    assert readings(found) == {"device.uptime_s": 2826}
    assert found.flags == ("contradiction modem.connection_uptime_s 140367 above the device's uptime 2826",)


def test_what_is_asked_is_each_thing_once() -> None:
    for shipped in SHIPPED.values():
        asked = wanted(shipped)
        assert len(set(asked.scalars)) == len(asked.scalars)
        assert len(set(asked.columns)) == len(asked.columns)
        assert not set(asked.scalars) & set(asked.columns)


def _oids() -> list[str]:
    found: set[str] = set()
    for shipped in SHIPPED.values():
        asked = wanted(shipped)
        found |= set(asked.scalars)
        found |= {f"{column}.{index}" for column in asked.columns for index in ("1", "2", "1.3")}
    return sorted(found)


hostile = st.builds(
    Wire,
    st.sampled_from(KINDS),
    st.one_of(
        st.none(),
        st.integers(-(2**65), 2**65),
        st.sampled_from([10**400, float("inf")]),
        st.binary(max_size=30),
        st.text(max_size=30),
        st.floats(),
    ),
)


@given(
    st.sampled_from(sorted(SHIPPED)),
    st.dictionaries(st.sampled_from(_oids()), hostile, max_size=60),
)
def test_a_hostile_device_gives_only_what_the_catalogue_admits(name: str, values: dict[str, Wire]) -> None:
    found = read(SHIPPED[name], SnmpAnswers(values))
    keys = set()
    for reading in found.readings:
        entry = METRICS[reading.metric]
        assert entry.check(reading.value) == reading.value
        assert set(reading.labels) <= set(entry.labels)
        key = (reading.metric, tuple(sorted(reading.labels.items())))
        assert key not in keys
        keys.add(key)
    kinds = [
        "filler",
        "withheld",
        "contradiction",
        "unknown_text",
        "wrapped",
        "duplicate",
        "truncated",
        "stale",
        "unparsed",
    ]
    assert all(flag.split(" ")[0] in kinds for flag in found.flags)


HTTP = {key: profile for key, profile in load_profiles().items() if profile.transport == "http"}
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([10**400]), st.floats(), st.text(max_size=20)
)


@given(st.sampled_from(sorted(HTTP)), st.data())
def test_hostile_documents_give_only_what_the_catalogue_admits(name: str, data: st.DataObject) -> None:
    """Every path that a profile reads, with anything at its end."""
    answers: dict[str, Answer] = {}
    asked = wanted(HTTP[name])
    for at in (*asked.scalars, *asked.columns):
        request, _, path = at.partition(":")
        answer = answers.setdefault(request, Answer({}))
        node = answer.document
        *steps, last = path.replace("[]", ".[0]").replace("[0]", ".[0]").split(".")
        for step in steps:
            below = node.setdefault(step or "x", {}) if isinstance(node, dict) else {}
            node = below
        if isinstance(node, dict):
            node[last] = data.draw(scalars)
    found = read(HTTP[name], HttpAnswers(answers))
    for reading in found.readings:
        assert METRICS[reading.metric].check(reading.value) == reading.value
