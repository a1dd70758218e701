from __future__ import annotations

import math

import pytest

from telemetry.metrics import METRICS, metric


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("modem.rsrp_dbm", -95, -95.0),
        ("modem.cell_id", 4295434240.0, 4295434240),
        ("modem.connected", True, True),
        ("modem.registration", "home", "home"),
        ("modem.plmn", "46000", "46000"),
    ],
)
def test_values_come_back_in_the_type_of_the_metric(name: str, value: object, expected: object) -> None:
    checked = metric(name).check(value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("modem.rsrp_dbm", -9999, "-160 to -20 dBm, found -9999"),
        ("modem.rsrp_dbm", math.nan, "finite"),
        ("modem.rsrp_dbm", "-95", "a number, found '-95'"),
        ("modem.rsrp_dbm", True, "a number, found True"),
        ("modem.cell_id", 1.5, "whole number, found 1.5"),
        ("modem.cell_id", math.inf, "whole number, found inf"),
        pytest.param("modem.cell_id", 10**400, "whole number, found 1000", id="no float is that large"),
        pytest.param("modem.rsrp_dbm", -(10**400), "finite number, found -1000", id="no float is that small"),
        ("modem.connected", 1, "true or false, found 1"),
        ("modem.registration", "Home", "one of home, roaming"),
        ("modem.operator", "x" * 129, "at most 128 characters, found 129"),
        ("gnss.latitude", 149.333, "-90 to 90"),
    ],
)
def test_what_does_not_fit_is_refused_with_expected_and_found(name: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*{told}"):
        metric(name).check(value)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(KeyError, match=r"did you mean 'modem\.rsrp_dbm'"):
        metric("modem.rsrp_dbn")


def test_the_catalogue_is_that_of_the_design() -> None:
    """Every field that was agreed, no other measurement."""
    assert {m.measurement for m in METRICS.values()} == {
        "modem", "device", "interface", "link", "stream", "gnss", "power", "host", "agent",
    }  # fmt: skip
    units = {m.name: m.unit for m in METRICS.values()}
    assert units["modem.rsrp_dbm"] == "dBm"
    assert units["modem.rsrq_db"] == "dB"
    assert units["device.uptime_s"] == "s"
    assert units["host.disk_free_bytes"] == "B"
    assert units["modem.bytes_sent"] == "B"
    assert units["agent.outbox_hours_left"] == "h"
    assert units["stream.bitrate_kbps"] == "kbit/s"
