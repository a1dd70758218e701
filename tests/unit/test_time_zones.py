"""Which names are time zones, beside Python's own list of all."""

from __future__ import annotations

import zoneinfo

import pytest

from telemetry.time_zones import is_time_zone

NAMES = sorted(zoneinfo.available_timezones())


def test_every_zone_of_this_machine_is_one() -> None:
    assert len(NAMES) > 400
    assert [name for name in NAMES if not is_time_zone(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "posix/Asia/Shanghai", "right/Asia/Shanghai", "posix", "posixrules", "Asia", "Asia/", "asia/shanghai",
        "Mars/Base", "tzdata.zi", "zone.tab", "leapseconds", "", ".", "..", "../zoneinfo/UTC", "__init__",
        "/usr/share/zoneinfo/UTC", "Asia/./Shanghai", "Asia//Shanghai", "Asia/Shanghai\0", "上海", "\ud800",
        "x" * 300, "x/" * 3000,
    ],
)  # fmt: skip
def test_what_is_none_is_none(name: str) -> None:
    assert name not in NAMES
    assert not is_time_zone(name)
