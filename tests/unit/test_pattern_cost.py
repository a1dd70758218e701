"""Regular expressions of profiles on texts that mean harm."""

import time

import pytest

from firmware_profiles.answers import MAX_TEXT, Wire
from firmware_profiles.check import check_profiles
from firmware_profiles.load import load_profiles, read_yaml, resolve_all
from firmware_profiles.pattern_cost import BODY, slow_length

PROFILE = """
id: maker/model
vendor: Maker
match: {{sys_object_id: [1.3.6.1.4.1.99999.7], probes: [{{at: 1.3.6.1.2.1.1.1.0, matches: '{probe}'}}]}}
metrics:
  - {{metric: device.cpu_percent, from: [{{at: 1.3.6.1.4.1.99999.7.1.0, pattern: '{pattern}'}}]}}
examples:
  - title: one
    answers: [1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.7, "1.3.6.1.2.1.1.1.0|4|x", "1.3.6.1.4.1.99999.7.1.0|4|cpu 7"]
    readings: {{device.cpu_percent: 7}}
  - title: other
    answers: [1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.8]
    refused: sysObjectID
"""


def findings(probe: str = "x", pattern: str = r"cpu (\d+)") -> list[str]:
    file = read_yaml(PROFILE.format(probe=probe, pattern=pattern), "test.yaml")
    return [str(found) for found in check_profiles(resolve_all({file.id: ("test.yaml", file)}), time.process_time)]


@pytest.mark.long
def test_the_shipped_profiles_hold() -> None:
    assert check_profiles(load_profiles(), time.process_time) == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(?:\w+\s?)*;",
        r"([A-Za-z]+)*!",
        r"(\d+\.?)+x",
        r"Software (?:[^,]+,?)*, Version",
        r"(?:a|a)*b",
        r"Linux (\S+\s*)+ mips",
        r"(.*)(.*)(.*)(.*)(.*)(.*)x",
    ],
)
def test_a_pattern_that_explodes_is_found_before_it_does(pattern: str) -> None:
    began = time.process_time()
    assert slow_length(pattern, MAX_TEXT, time.process_time) is not None
    assert time.process_time() - began < 20  # and the check itself ends


@pytest.mark.parametrize(
    "pattern", [r"Version\s+(?P<value>[^,\s]+)", r"(?:\A|_)(?P<version>\d+\.[0-9.]+)", r"\A\S+ (\S+)", r"[a-z ]*;", "("]
)
def test_an_honest_pattern_is_not_blamed(pattern: str) -> None:
    assert slow_length(pattern, MAX_TEXT, time.process_time) is None


def test_what_a_body_is_searched_for_is_tried_at_a_bodys_length() -> None:
    assert slow_length("[a-z ]*;", BODY, time.process_time) is not None  # quadratic: harmless at 256 characters
    assert slow_length(r"\AError", BODY, time.process_time) is None


def test_the_check_names_the_place() -> None:
    assert findings() == []
    (found,) = findings(pattern="(cpu ?)+ ([0-9]+ ?)+%")
    assert found.startswith("maker/model: metrics.device.cpu_percent.source.pattern: expected a pattern that costs")
    (found,) = findings(probe="(x+x+)+y")
    assert found.startswith("maker/model: match.probes.matches: ")


def test_of_a_text_256_characters_are_looked_at() -> None:
    assert len(Wire("octets", b"x" * 10_000).text() or "") == MAX_TEXT == 256
    assert len(Wire("text", "x" * 10_000).text() or "") == MAX_TEXT
