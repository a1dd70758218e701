"""Every NMEA log of the captures against EXPECTED.json and the table of NMEA.md, both made without our code."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from kitwatch.decode_nmea import decode_nmea

FOLDER = os.environ.get("KITWATCH_CAPTURES")
if not FOLDER:
    warnings.warn("KITWATCH_CAPTURES is not set: the NMEA logs are NOT tested", stacklevel=1)
    pytest.skip("KITWATCH_CAPTURES is not set", allow_module_level=True)
LOGS = Path(FOLDER) / "serial" / "nmea"
EXPECTED: dict[str, dict[str, Any]] = json.loads((LOGS / "EXPECTED.json").read_text())

# NMEA.md, "What is counted": sentences, bad, epochs, fixes, date and time of the last fix.
TABLE: dict[str, tuple[int, int, int, int, str | None, str | None]] = {
    "beidou-bd": (79, 0, 10, 5, "2015-02-25", "07:41:59.799"),
    "beidou-gb": (68, 0, 5, 2, "2015-03-02", "05:32:33.438"),
    "bu303-nofix": (0, 0, 0, 0, None, None),
    "bu353-glonass": (112, 0, 19, 9, "2014-05-26", "08:14:19"),
    "furuno_gl_ga": (306, 0, 16, 16, "2022-07-31", "12:02:28"),
    "isync": (134, 0, 12, 12, "2016-02-03", "13:15:30"),
    "magellan-ec10": (76, 0, 38, 21, "2005-06-09", "20:52:46"),
    "mtk-3301": (56, 0, 11, 4, "2008-08-23", "08:14:39"),
    "neo-m8n": (293, 0, 24, 24, "2015-03-18", "17:19:48"),
    "nmea-fuzzy-cases": (28, 0, 14, 14, "2020-03-18", "13:39:00.9"),
    "quectel-L70": (115, 0, 16, 16, "2022-03-09", "15:01:34"),
    "quectel-eg25-g-2": (60, 0, 3, 3, "2022-09-20", "05:13:49"),
    "quectelLC79D-1": (533, 0, 29, 29, "2020-11-30", "08:04:27"),
    "sirfstarv-nmea": (367, 0, 59, 59, "2019-02-05", "02:10:33"),
    "ublox-f9p-hpnmea": (139, 0, 9, 9, "2021-12-23", "01:45:08"),
    "ublox-lea-5q": (63, 0, 10, 0, None, None),
    "ublox-neo-m8n": (0, 0, 0, 0, None, None),
}

# NMEA.md, "File by file": fix, latitude, longitude, satellites, HDOP of the last fix (None: must be absent).
LAST: dict[str, tuple[str, float, float, int | None, float | None]] = {
    "bu353-glonass": ("3d", 55.686622, 37.621557, 6, 4.54),
    "beidou-bd": ("3d", 31.248238, 121.587407, 7, 1.1),
    "beidou-gb": ("3d", 31.248035, 121.58738, 6, 1.2),
    "mtk-3301": ("2d", 52.216364, 6.885078, 3, 2.88),
    "magellan-ec10": ("2d", 44.0926, -121.306633, None, None),
    "quectel-eg25-g-2": ("3d", 60.022273, 30.236150, 5, 0.9),
    "quectelLC79D-1": ("3d", 50.040892, 19.980530, 13, 0.9),
    "quectel-L70": ("dgps", 51.068097, -114.095642, 8, 0.94),
    "sirfstarv-nmea": ("3d", 44.068927, -121.314258, 10, 0.6),
    "furuno_gl_ga": ("dgps", 59.950103, 11.010715, 0, 1.3),
    "neo-m8n": ("3d", 44.068984, -121.314229, 12, 1.05),
    "ublox-f9p-hpnmea": ("dgps", 44.068843393, -121.314079523, 12, 0.49),
    "nmea-fuzzy-cases": ("rtk", 41.575030048, -93.750597810, 19, 0.7),
    "isync": ("dgps", 41.897664, -87.643945, 12, 0.73),
}


def decoded(name: str) -> dict[str, Any]:
    return decode_nmea(LOGS / f"{name}.log")


def runs(words: list[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for word in words:
        found = [*found[:-1], (word, found[-1][1] + 1)] if found and found[-1][0] == word else [*found, (word, 1)]
    return found


def fixes(name: str) -> list[str]:
    return [epoch["fix"] for epoch in decoded(name)["epochs"]]


def test_every_log_has_a_row() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_what_is_counted(name: str) -> None:
    sentences, bad, epochs, fixes, date, time = TABLE[name]
    result = decoded(name)
    summary = result["summary"]
    assert (result["sentences"], result["bad_checksums"], len(result["epochs"])) == (sentences, bad, epochs)
    assert summary["fixes"] == fixes
    last = summary["last_fix"] or {}
    assert (last.get("date"), last.get("time")) == (date, time)


@pytest.mark.parametrize("name", TABLE)
def test_against_what_the_sentences_alone_say(name: str) -> None:
    expected = EXPECTED[f"{name}.log"]
    result = decoded(name)
    assert (result["sentences"], result["bad_checksums"]) == (expected["checksum_ok"], expected["checksum_bad"])
    by_time = {epoch["time"]: epoch for epoch in result["epochs"]}
    for key in ("first_gga_fix", "last_gga_fix", "first_rmc_A", "last_rmc_A"):
        row = expected[key]
        if row is None:
            continue
        raw = row["utc"].rstrip("0").rstrip(".") if "." in row["utc"] else row["utc"]
        epoch = by_time[f"{raw[:2]}:{raw[2:4]}:{raw[4:]}"]
        assert epoch["fix"] != "none"
        assert (epoch["latitude"], epoch["longitude"]) == pytest.approx((row["lat"], row["lon"]), abs=2e-9)
        if "speed_kn" in row:
            assert epoch["speed_kmh"] == pytest.approx(row["speed_kn"] * 1.852, abs=6e-4)
            day = row["date"]
            assert epoch["date"] == f"20{day[4:]}-{day[2:4]}-{day[:2]}"
        elif name != "sirfstarv-nmea" or row["talker"] == "GP":  # its GLGGA is not the best talker
            assert (epoch["satellites"], epoch["hdop"]) == (row["sats"], row["hdop"])
            assert epoch["altitude_m"] == row["alt_msl"]


@pytest.mark.parametrize("name", LAST)
def test_the_last_fix(name: str) -> None:
    fix, latitude, longitude, satellites, hdop = LAST[name]
    last = decoded(name)["summary"]["last_fix"]
    assert (last["fix"], last["satellites"], last["hdop"]) == (fix, satellites, hdop)
    close = 1e-9 if name in ("ublox-f9p-hpnmea", "nmea-fuzzy-cases") else 6e-7
    assert (last["latitude"], last["longitude"]) == pytest.approx((latitude, longitude), abs=close)


@pytest.mark.parametrize("name", TABLE)
def test_without_a_fix_nothing_of_one_is_reported(name: str) -> None:
    for epoch in decoded(name)["epochs"]:
        if epoch["fix"] == "none":
            assert (epoch["latitude"], epoch["longitude"], epoch["speed_kmh"]) == (None, None, None)
        assert epoch["date"] is None or epoch["date"][:2] == "20"


def test_the_fix_comes_and_goes_as_the_page_says() -> None:
    # Its first epoch is an RMC alone (the log begins in the middle), which does not say whether the fix is 2D or 3D.
    assert runs(fixes("bu353-glonass")) == [("2d", 1), ("3d", 8), ("none", 10)]
    assert runs(fixes("beidou-bd"))[0] == ("none", 5)
    assert runs(fixes("beidou-gb"))[0] == ("none", 3)
    assert runs(fixes("mtk-3301")) == [("none", 7), ("2d", 4)]
    assert runs(fixes("magellan-ec10")) == [("none", 8), ("2d", 21), ("none", 9)]
    assert runs(fixes("nmea-fuzzy-cases")) == [("dgps", 10), ("rtk", 4)]
    assert runs(fixes("ublox-lea-5q")) == [("none", 10)]


def test_traps_of_single_logs() -> None:
    five_q = decoded("ublox-lea-5q")["epochs"]
    # The log begins with a GGA whose RMC is cut off, and ends with an RMC whose GGA is.
    assert [epoch["date"] for epoch in five_q] == [None] + ["2011-02-02"] * 9
    assert [epoch["satellites"] for epoch in five_q] == [0] * 9 + [None]
    assert {epoch["hdop"] for epoch in five_q} == {None}
    sats = [epoch["satellites"] for epoch in decoded("sirfstarv-nmea")["epochs"]]
    assert (sats[0], sats[-1]) == (8, 10)
    sats = [epoch["satellites"] for epoch in decoded("quectelLC79D-1")["epochs"]]
    assert (sats[0], sats[-1]) == (14, 13)
    acquired = [epoch for epoch in decoded("beidou-bd")["epochs"] if epoch["fix"] != "none"]
    assert (acquired[0]["time"], acquired[0]["satellites"]) == ("07:41:55.799", 5)
    boot = decoded("mtk-3301")
    assert [epoch["date"] for epoch in boot["epochs"]].count(None) == 6
    assert boot["summary"]["unfinished"] == 3  # $POLYN has no checksum
    for name in ("bu303-nofix", "ublox-neo-m8n"):
        summary = decoded(name)["summary"]
        assert summary["nmea_seen"] is False
        assert summary["binary_frames"] > 40
