"""Firmware versions and ranges, examples from the captures' manifest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.version import Version, VersionError, compare, parse_range, parse_version

RUTOS = r"(?P<prefix>[A-Z0-9]+)_R_00\.(?P<version>[0-9.]+)"


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("RUT9_R_00.07.06.18", RUTOS, Version((7, 6, 18), "RUT9")),
        ("RUTX_R_00.07.00", RUTOS, Version((7, 0), "RUTX")),
        ("RUT2XX_R_00.01.07.1", RUTOS, Version((1, 7, 1), "RUT2XX")),
        ("6.3.6 (2022-06-16)", None, Version((6, 3, 6))),
        ("15.8(3)M4", None, Version((15, 8, 3))),
        ("V5.7.3", None, Version((5, 7, 3))),
        ("8.0.0s010 build 4198", None, Version((8, 0, 0))),
        ("6.45.7", None, Version((6, 45, 7))),
        ("FXT201E-v7.4.5-build249", r"(?P<prefix>[A-Z0-9]+)-v(?P<version>[0-9.]+)", Version((7, 4, 5), "FXT201E")),
    ],
)
def test_makers_versions(text: str, pattern: str | None, expected: Version) -> None:
    assert parse_version(text, pattern) == expected


@pytest.mark.parametrize("text", ["", "unknown", "build 7", "RUT9_R_7"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(VersionError):
        parse_version(text, RUTOS if text.startswith("RUT") else None)


@pytest.mark.parametrize(
    ("version", "text", "inside"),
    [
        ((7, 9, 99), ">=7.0 <7.10", True),
        ((7, 10), ">=7.0 <7.10", False),
        ((7, 10), ">=7.10 <8", True),
        ((7, 9), ">=7.10 <8", False),
        ((7, 6, 18), ">=7.0 <7.10", True),
        ((12,), ">=12", True),
        ((11, 11, 99), ">=12", False),
        ((7,), "=7.0", True),
        ((1,), "*", True),
    ],
)
def test_ranges_compare_numbers_not_texts(version: tuple[int, ...], text: str, inside: bool) -> None:
    assert (Version(version) in parse_range(text)) is inside


def test_a_prefix_belongs_to_the_range() -> None:
    wanted = parse_range(">=7", ("RUT*", "OTD5"))
    assert Version((7, 1), "RUT9M") in wanted
    assert Version((7, 1), "TRB500") not in wanted


@pytest.mark.parametrize("text", ["", "7.0", ">=", "=>7", "~7", ">=7,<8"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(VersionError):
        parse_range(text)


numbers = st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple)


@given(numbers, numbers)
def test_compare_is_an_order(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert compare(one, other) == -compare(other, one)
    assert compare(one, (*one, 0)) == 0


@given(st.text(max_size=40))
def test_any_text_is_a_version_or_an_error(text: str) -> None:
    try:
        found = parse_version(text)
    except VersionError:
        return
    assert found.numbers
    assert not found.prefix
